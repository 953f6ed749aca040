"""The distribution as users get it: a wheel that has all files and works outside the clone, a
source archive with data and notebooks, and nowhere a word that sends people to a stranger's."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import kolmo
from tests.house import KNOWN, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PACKAGES = ("kolmo", "momos")
BUILT_FROM = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
BESIDE = ("data", "docs", "notebooks", "tests")
QUICK = {**os.environ, "NUMBA_DISABLE_JIT": "1"}  # builds without compiling the loops


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A copy of what the distribution is built from: building leaves files behind."""
    folder = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in (*BUILT_FROM, *BESIDE):
        if (ROOT / name).is_dir():
            (folder / name).symlink_to(ROOT / name)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(clone):
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", "."]
    command = [sys.executable, "-m", "pip", "wheel", *options]
    subprocess.run(command, cwd=clone, env=QUICK, check=True, capture_output=True)
    (built,) = (clone / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the packages of the wheel, as --target installs them."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--quiet", "--no-deps", "--no-compile", "--target", folder, wheel]
    subprocess.run([sys.executable, "-m", "pip", "install", *options], check=True)
    return folder


def test_it_has_a_name_of_its_own_and_its_own_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(name).decode("utf-8"))
    assert told["Name"] == PROJECT["name"] == "kolmo-bits"
    assert told["Version"] == kolmo.__version__
    assert wheel.name.startswith("kolmo_bits-")
    needed = [re.split(r"[ \[<>=;]", line)[0] for line in told.get_all("Requires-Dist")]
    assert not {"kolmo", "momos"} & set(needed)
    assert "kolmo-bits" in needed


def test_every_file_of_the_packages_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        there = {name for name in archive.namelist() if name.startswith(("kolmo/", "momos/"))}
    ours = {path.relative_to(ROOT).as_posix() for path in KNOWN.values()} | {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == ours


PROGRAM = """
import sys, kolmo, momos
print(kolmo.__file__, momos.__file__, sep="\\n")
from kolmo.cli import main
for line in sys.argv[1:]:
    sys.argv = ["kolmo", *line.split()]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, line
"""


def test_it_works_outside_the_clone(installed, tmp_path):
    shutil.copy(ROOT / "data" / "momos.mosaic", tmp_path)
    lines = [
        "inspect momos.mosaic",
        "analyze momos.mosaic -q native -e zstd:3 --null none --scope model",
        "plot -h",
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *lines],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "KOLMO_STORE": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    kolmos, momos, *shown = done.stdout.splitlines()
    assert [Path(path).parents[1] for path in (kolmos, momos)] == [installed, installed]
    assert shown[0].startswith("momos.mosaic: mosaic, 17,290 weights in 10 tensors")
    assert "momos: 17,290 weights in 10 tensors" in shown
    assert "  kolmo plot report.parquet -o figures --format pdf" in shown


def test_its_commands_run(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    for program, said in (("kolmo", kolmo.__version__), ("momos", kolmo.__version__)):
        done = subprocess.run(
            [sys.executable, "-m", program, "--version"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == said


def test_the_source_archive_has_data_and_notebooks(clone):
    code = "from setuptools.build_meta import build_sdist; print(build_sdist('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=clone,
        env=QUICK,
        check=True,
        capture_output=True,
        text=True,
    )
    with tarfile.open(clone / "dist" / done.stdout.split()[-1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = [
        path.relative_to(ROOT).as_posix()
        for folder in BESIDE
        for pattern in ("*.md", "*.ipynb", "*.safetensors", "*.mosaic", "test_*.py")
        for path in (ROOT / folder).rglob(pattern)
    ]
    assert len(wanted) > 100
    assert [name for name in wanted if name not in names] == []
    assert set(BUILT_FROM) <= names


STRANGERS = re.compile(
    r"(?:pip3?|uv pip|pipx|uv tool|uv add|poetry add)\s[^\n|;`#]*?"
    r"(?<![\w./@-])['\"]?(?:kolmo|momos)(?:\[[\w,]*\])?['\"]?(?=[\s`'\"]|$)(?!\s*@)"
)
"""A command that installs a package called kolmo or momos, which are other people's."""


@pytest.mark.parametrize(
    ("line", "is_wrong"),
    [
        ("pip install kolmo", True), ("pip install -U 'kolmo[torch]'", True),
        ("uv pip install momos", True), ("`pip install kolmo`", True), ("pip install .", False),
        ("pip install 'kolmo-bits[all] @ git+URL'", False), ("pip install '.[torch]'", False),
        ("in a clone of kolmo, run  pip install '.[torch]'", False),
    ],
)  # fmt: skip
def test_commands_that_install_strangers_are_found(line, is_wrong):
    assert bool(STRANGERS.search(line)) == is_wrong


def test_nobody_is_sent_to_the_packages_of_strangers():
    listed = ("*.py", "*.md", "*.ipynb", "*.yml", "*.cff", "*.toml", "Makefile", ".ci/*")
    command = ["git", "ls-files", "--", *listed]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = [
        f"{name}: {match[0]}"
        for name in files.splitlines()
        if name != "tests/test_wheel.py" and (ROOT / name).is_file()
        for match in STRANGERS.finditer((ROOT / name).read_text("utf-8"))
    ]
    assert len(files.splitlines()) > 300
    assert found == []
