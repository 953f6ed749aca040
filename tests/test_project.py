"""The project itself: examples that run, public names that are documented, notebooks."""

import builtins
import doctest
import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import kolmo
import momos

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    module.name
    for package in (kolmo, momos)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith("__main__")
    # Triton comes with torch for CUDA, and only there is it needed.
    and (module.name != "momos.nearest.triton" or find_spec("triton"))
)


def test_doctests_are_collected():
    """Enough examples exist, and pytest is told to run those of both packages."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [
        test
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
        if test.examples
    ]
    assert len(found) >= 40
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "kolmo", "momos"]
    listed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    for test in found:
        assert f"::{test.name}" in listed


@pytest.mark.parametrize("package", [kolmo, momos])
def test_what_is_public_is_documented(package):
    for name in package.__all__:
        if not name.startswith("__"):
            assert (getattr(package, name).__doc__ or "").strip(), name


def documented(module):
    """Public classes and functions of a module, and their public methods, by name."""
    for name, thing in vars(module).items():
        own = getattr(thing, "__module__", None) == module.__name__
        if own and not name.startswith("_") and (inspect.isclass(thing) or callable(thing)):
            yield f"{module.__name__}.{name}", thing
            for method, function in vars(thing).items() if inspect.isclass(thing) else ():
                if not method.startswith("_") and callable(function):
                    yield f"{module.__name__}.{name}.{method}", function


def raised(docstring):
    """The errors that a docstring names under Raises."""
    section = inspect.cleandoc(docstring or "").partition("\nRaises\n------\n")[2]
    lines = section.partition("\n\n")[0].splitlines()
    return [name.strip() for line in lines if line[:1].strip() for name in line.split(",")]


def test_every_error_that_a_docstring_names_is_public():
    found = [
        (where, name)
        for module in MODULES
        for where, thing in documented(importlib.import_module(module))
        for name in raised(thing.__doc__)
    ]
    assert len(found) > 60
    names = {name for _, name in found}
    assert {"NotApplicableError", "NotExpressibleError", "MissingExtraError"} <= names
    for where, name in found:
        error = getattr(builtins, name, None) or getattr(kolmo, name, None)
        assert inspect.isclass(error), f"{where} raises {name}, which kolmo does not have"
        assert issubclass(error, BaseException), where


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
    assert importlib.import_module(name).__doc__


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


LONG = [pytest.mark.slow]  # the tour trains, and follows the training


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=LONG if p.stem == "tour" else []) for p in NOTEBOOKS],
)
def test_notebooks_run(path, tmp_path):
    """The code cells, one after the other, as a program."""
    cells = json.loads(path.read_text())["cells"]
    code = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    script = tmp_path / "notebook.py"
    script.write_text(code)
    result = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        cwd=path.parent,
        env={**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_make_targets_in_readme_and_contributing_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in ("README.md", "CONTRIBUTING.md"):
        targets = re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / page).read_text(), re.M)
        assert "test" in targets
        for target in targets:
            assert re.search(rf"^{target}:", makefile, re.M), f"{page}: make {target}"
