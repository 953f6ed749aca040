"""The project itself: examples that run, public names that are documented, notebooks."""

import ast
import doctest
import importlib
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


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
    assert importlib.import_module(name).__doc__


def test_rooms_to_the_left_know_nothing_to_the_right():
    """kolmo never imports momos; importing it brings no heavy package before it is used."""
    for path in (ROOT / "kolmo").rglob("*.py"):
        tree = ast.parse(path.read_text())
        imported = {
            alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
        }
        assert "momos" not in imported, path
    rooms = "kolmo.checkpoints, kolmo.quantize, kolmo.layout, kolmo.estimators.mdl, kolmo.nulls"
    heavy = ["torch", "matplotlib", "pandas", "numba"]
    code = f"import sys, {rooms}; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
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
