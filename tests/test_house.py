"""The house: rooms in a declared order, no arrow back, no circle, no file too long."""

import ast
import collections
import subprocess
import sys

import pytest

from tests.house import KNOWN, circles, imports

# --8<-- [start:rooms] (docs/architecture.md shows these lines)
KOLMO = (
    (
        "ground floor",
        "errors text markup spoken specs execution progress console files replacing compiled ahead "
        "dtypes floats symbols registry gathering layout pvalues intervals provenance temporary "
        "workers locks forms",
    ),
    ("codes", "codes"),
    ("checkpoints", "checkpoints"),
    ("quantize", "quantize"),
    ("estimators", "estimators"),
    ("contracts", "testing"),
    ("variants", "nulls outcomes ledger"),
    ("memory of runs", "digests store rates"),
    ("measure", "engine measure"),
    ("report", "report"),
    ("analysis", "estimating options defaults structure analysis planning budgets inspection"),
    ("container", "container"),
    ("lossy", "lossy"),
    ("comparisons", "series difference callbacks"),
    ("calibration", "calibration"),
    ("command line", "cli __main__"),
)
"""The rooms of kolmo, the lowest first: each imports those below it, and no other."""

MOMOS = (
    ("ground floor", "config formats tensors attaching parameters"),
    ("mosaic", "mosaic"),
    ("nearest", "nearest"),
    ("sampled", "sampled"),
    ("learned", "learned"),
    ("ways in", "wrapping checkpoint"),
    ("running", "running"),
    ("trainers", "trainers"),
    ("laboratory", "lab"),
    ("command line", "cli __main__"),
)
"""The rooms of momos, which stands on kolmo as a whole."""
# --8<-- [end:rooms]

PACKAGES = [("kolmo", KOLMO), ("momos", MOMOS)]

LONG_KERNELS = {f"kolmo.codes.kernels_{name}" for name in ("context", "predictive", "records")}
"""Kernels of more than 400 lines, whose docstrings say why."""


def floors(package, order):
    """The floor and the room of each name below a package."""
    return {
        f"{package}.{name}": (floor, room)
        for floor, (room, names) in enumerate(order)
        for name in names.split()
    }


def place(module, known):
    """The floor and the room of a module."""
    parts = module.split(".")
    return known[".".join(parts[:2])] if len(parts) > 1 else (-1, "package")


@pytest.mark.parametrize(("package", "order"), PACKAGES)
def test_every_module_has_a_room(package, order):
    known = floors(package, order)
    lost = [
        m for m in KNOWN if m.startswith(f"{package}.") and ".".join(m.split(".")[:2]) not in known
    ]
    assert lost == []


@pytest.mark.parametrize(("package", "order"), PACKAGES)
def test_no_arrow_runs_back(package, order):
    known = floors(package, order)
    back = [
        f"{module} (line {found.line}) imports {found.imported}"
        for module in KNOWN
        if module.startswith(f"{package}.")
        for found in imports(module)
        if found.imported.split(".")[0] == package
        and place(found.imported, known)[0] > place(module, known)[0]
    ]
    assert back == []


def test_kolmo_never_imports_momos():
    found = [one for m in KNOWN if m.startswith("kolmo") for one in imports(m)]
    assert found
    assert [one for one in found if one.imported.startswith("momos")] == []


@pytest.mark.parametrize("package", ["kolmo", "momos"])
def test_no_files_import_each_other(package):
    edges = {
        module: {found.imported for found in imports(module) if found.imported in KNOWN}
        for module in KNOWN
    }
    assert [circle for circle in circles(edges) if circle[0].startswith(package)] == []


def test_circles_are_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}
    assert circles(edges) == [["a", "b", "c"]]


def test_imports_stand_at_heads_of_files():
    """Fewer than 2 in 1,000 lines stand in functions: kernels, and what a command needs."""
    inside = [one for module in KNOWN for one in imports(module) if one.in_function]
    lines = sum(len(path.read_text().splitlines()) for path in KNOWN.values())
    assert 1000 * len(inside) / lines < 2, [f"{one.importer}:{one.line}" for one in inside]


def test_no_file_is_too_long():
    long = {m for m, path in KNOWN.items() if len(path.read_text().splitlines()) > 400}
    assert long <= LONG_KERNELS


LIGHT = [
    ("kolmo, momos", "torch matplotlib pandas numba numpy scipy rich typer"),
    ("kolmo.checkpoints, kolmo.quantize, kolmo.layout, kolmo.estimators.mdl, kolmo.nulls",
     "torch matplotlib pandas numba"),
    ("kolmo.estimating", "torch matplotlib pandas numba"),
    ("kolmo.container.packing, kolmo.container.unpacking, kolmo.container.verifying",
     "torch matplotlib pandas"),
]  # fmt: skip


@pytest.mark.parametrize(("rooms", "heavy"), LIGHT)
def test_heavy_packages_wait_until_they_are_used(rooms, heavy):
    code = f"import sys, {rooms}; print([m for m in {heavy.split()} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_public_classes_have_names_of_their_own():
    names = [
        node.name
        for path in KNOWN.values()
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert [name for name, count in collections.Counter(names).items() if count > 1] == []
