"""The documentation: it builds without a warning, loads nothing from the network, leaves out no
public name and nothing that there is to choose from, and its examples print what it shows."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import griffe
import pytest

import kolmo
import momos
from kolmo.estimators.base import estimator_names
from kolmo.layout import LAYOUTS
from kolmo.nulls import Null
from kolmo.quantize import quantizer_names
from kolmo.report.columns import COLUMNS
from tests.examples import PAGES, ROOT, has_examples, refreshed


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr[-4000:]
    return folder


class Loaded(HTMLParser):
    """Addresses of what a browser fetches for a page by itself, and names of its anchors."""

    def __init__(self, page):
        super().__init__()
        self.addresses, self.anchors = [], set()
        self.feed(page.read_text())

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.anchors.add(known.get("id"))
        if tag == "link" and known.get("rel") != "canonical":
            self.addresses.append(known["href"])
        elif tag != "a" and "src" in known:
            self.addresses.append(known["src"])


def pages_of(site):
    return sorted(site.rglob("*.html"))


def test_no_page_loads_anything_from_the_network(site):
    remote = re.compile(r"(https?:)?//")
    for page in pages_of(site):
        loaded = Loaded(page).addresses
        assert loaded
        for address in loaded:
            assert not remote.match(address), (page.name, address)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text()), sheet.name


def test_what_a_page_loads_is_in_the_site(site):
    for page in pages_of(site):
        for address in Loaded(page).addresses:
            path = address.split("?")[0].split("#")[0]
            if page.name != "404.html" and not path.startswith("data:"):
                assert (page.parent / path).exists(), (page.name, address)


def test_what_pages_include_is_there(site):
    for page in pages_of(site):
        assert "--8" not in page.read_text(), page.name


def test_every_page_is_in_the_navigation(site):
    listed = {
        line.split(": ")[-1].strip() for line in _navigation() if line.rstrip().endswith(".md")
    }
    written = {str(page.relative_to(ROOT / "docs")) for page in PAGES if "docs" in page.parts}
    assert listed == written
    assert all((site / name).with_suffix(".html").is_file() for name in listed)


def _navigation():
    return (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1].splitlines()


@pytest.mark.parametrize("package", [kolmo, momos], ids=lambda package: package.__name__)
def test_all_public_names_are_in_the_reference(site, package):
    anchors = Loaded(site / "api" / f"{package.__name__}.html").anchors
    public = {f"{package.__name__}.{name}" for name in package.__all__ if name != "__version__"}
    assert public <= anchors


@pytest.mark.parametrize("package", ["kolmo", "momos"])
def test_defaults_in_docstrings_are_those_of_the_signatures(package):
    """The first of ``{...}`` is taken for the default."""
    for function in _functions(griffe.load(package, search_paths=[ROOT])):
        real = {p.name: str(p.default) for p in function.parameters if p.default != "None"}
        for section in function.docstring.parse("numpy", warnings=False):
            for item in section.value if section.kind.value == "parameters" else []:
                shown = str(item.default or real.get(item.name))
                assert shown.strip("'\"") == real.get(item.name, shown).strip("'\""), function.path


def _functions(parent):
    for member in parent.members.values():
        if not member.is_alias and member.is_function and member.docstring:
            yield member
        elif not member.is_alias and (member.is_class or member.is_module):
            yield from _functions(member)


def _derived(cls):
    return [derived for child in cls.__subclasses__() for derived in (child, *_derived(child))]


CATALOGUE = {
    "estimators": estimator_names(),
    "quantizers": quantizer_names(),
    "layouts": LAYOUTS,
    "nulls": sorted({cls.name for cls in _derived(Null) if hasattr(cls, "name")}),
}


@pytest.mark.parametrize("page", CATALOGUE)
def test_the_catalogue_is_complete(page):
    """One section for each that exists, and none for what does not."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    assert sorted(re.findall(r"^##+ `([\w-]+)`", text, re.M)) == sorted(CATALOGUE[page])


def test_every_column_is_explained():
    text = (ROOT / "docs" / "reading.md").read_text()
    assert [column for column in COLUMNS if f"`{column}`" not in text] == []


@pytest.mark.parametrize(
    "page", list(filter(has_examples, PAGES)), ids=lambda page: str(page.relative_to(ROOT))
)
def test_examples_print_what_the_page_shows(page, tmp_path):
    text = page.read_text()
    assert refreshed(text, tmp_path) == text


def test_an_example_that_prints_something_else_is_noticed(tmp_path):
    page = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
    for folder, shown in (("a", "3"), ("b", "2")):
        (tmp_path / folder).mkdir()
        assert refreshed(page.format(shown), tmp_path / folder) == page.format("2")
