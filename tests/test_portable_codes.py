"""Codes write and read the same bits on every machine.

Their loops know no floating-point number, as the types say that the compiler found. Files decode
alike under an interpreter, and for a processor without extensions. Bytes that stand for numbers of
several bytes are little-endian by what the source says, not by what the machine is.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kolmo
from kolmo.codes.base import code_numbers
from kolmo.container.decoding import Digests
from kolmo.container.format import Entry
from kolmo.quantize import get_quantizer
from tests.golden.measured import FOLDER

ROOT = Path(kolmo.__file__).parents[1]
SEARCHES = ("kernels_grid",)
"""Look for what an encoder compares bit by bit afterwards, and are no part of any decoder."""

KERNELS = [
    path for path in sorted(ROOT.glob("kolmo/codes/kernels_*.py")) if path.stem not in SEARCHES
]
SOURCES = [*sorted(ROOT.glob("kolmo/codes/*.py")), *sorted(ROOT.glob("kolmo/container/*.py"))]
FILES = sorted(FOLDER.glob("kmo-*/*.kmo"))

LENGTHY = 1 << 10
"""Bytes of a file that takes long where no compiler is."""


def run(program: str, *given: str, **environment: str) -> str:
    """What a program prints, in a process of its own that takes two minutes at most."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *given],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KOLMO_STORE": "off", **environment},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- files decode alike ---------------------------------------------------------------------


DECODE = """
import json, sys
import kolmo
print(json.dumps([kolmo.verify(path).sha256 for path in sys.argv[1:]]))
"""


def require_same(paths, **environment):
    """A process with this environment finds in each file what was found when it was made."""
    said = [json.loads(path.parent.with_suffix(".json").read_text())[path.stem] for path in paths]
    found = json.loads(run(DECODE, *map(str, paths), **environment))
    assert found == [facts["sha256"] for facts in said]


@pytest.mark.slow
def test_files_decode_without_a_compiler():
    newest = [path for path in FILES if path.parent == FILES[-1].parent]
    paths = [path for path in newest if path.stat().st_size < LENGTHY]
    require_same([p for p in paths if p.stem != "repeat-best"], NUMBA_DISABLE_JIT="1")


@pytest.mark.slow
def test_longer_files_decode_without_a_compiler():
    newest = [path for path in FILES if path.parent == FILES[-1].parent]
    require_same([p for p in newest if p.stat().st_size < 12 * LENGTHY], NUMBA_DISABLE_JIT="1")


@pytest.mark.slow
def test_files_decode_for_a_processor_without_extensions(tmp_path):
    environment = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
    require_same(FILES, **environment, NUMBA_CACHE_DIR=str(tmp_path))


# --- no floating-point numbers --------------------------------------------------------------


TYPES = """
import importlib, itertools, json, sys
import numpy as np
from numba.core.registry import CPUDispatcher
import kolmo.compiled
kolmo.compiled.folder_of_code = lambda: None  # loaded code has no record of inlined functions
from kolmo.codes.base import code_numbers, get_code
from kolmo.errors import KolmoError
from kolmo.symbols import Alphabet
from tests.test_portable_codes import objects

for name, parts, alphabet in objects():
    code, shapes = get_code(name), [part.shape for part in parts]
    try:
        data = code.encode(parts, alphabet) if code.takes(shapes, alphabet) else None
    except KolmoError:
        continue
    if data is not None:
        back = code.decode(data, shapes, alphabet)
        assert all(map(np.array_equal, back, parts)), (name, alphabet)

types = {}
for name in sys.argv[1:]:
    module = importlib.import_module(name)
    for function in vars(module).values():
        if isinstance(function, CPUDispatcher) and function.__module__ == name:
            compiled = [str(found.type_annotation) for found in function.overloads.values()]
            types[f"{name}.{function.__name__}"] = compiled
print(json.dumps(types))
"""


def objects():
    """Small objects of every code: matrices with rows that recur, and a second tensor."""
    from kolmo.dtypes import DTYPES
    from kolmo.symbols import Alphabet
    from tests.trellises import as_part, obeying

    random = np.random.default_rng(0)
    bell = random.normal(size=(24, 16))
    bell[12:] = bell[:12]
    for format in ("float8_e4m3fn", "float16", "bfloat16", "float32", "float64"):
        alphabet = Alphabet.of_dtype(DTYPES[format])
        symbols = bell.astype(DTYPES[format]).view(alphabet.container)
        yield from ((name, [symbols, symbols[:2]], alphabet) for name in code_numbers())
    for size in (2, 15, 255, 1 << 16, 1 << 32, 1 << 64):
        levels = np.rint((0.5 + bell / 8) * (min(size, 1 << 20) - 1)).clip(0, size - 1)
        symbols = levels.astype(Alphabet(size).container)
        yield from ((name, [symbols, symbols[:2]], Alphabet(size)) for name in code_numbers())
    levels, starts = np.rint(40 * bell).astype(np.int64), np.arange(16)
    yield "trellis", [as_part(obeying(levels, starts=starts), 511)[0]], Alphabet(1023)


FLOATING = re.compile(r"::.*\b(?:float|complex)\d", re.IGNORECASE)
"""A variable that the compiler found to be of floating-point numbers, or to hold some."""


@pytest.mark.slow
def test_no_variable_of_a_kernel_is_a_float():
    """Of no function, those that are inlined too, for no object that any code takes."""
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in KERNELS]
    found = json.loads(run(TYPES, *modules, NUMBA_OPT="0"))
    assert {name.rpartition(".")[0] for name in found} == set(modules)
    assert [name for name, compiled in found.items() if not compiled] == []
    for name, compiled in found.items():
        for annotated in compiled:
            assert "::" in annotated
            floats = [line.strip() for line in annotated.splitlines() if FLOATING.search(line)]
            assert floats == [], name


@pytest.mark.parametrize(
    ("line", "is_float"),
    [
        ("#   x = a  :: float64", True),
        ("#   x = arg(0, name=x)  :: array(float32, 1d, C)", True),
        ("#   x = t  :: Known(int64 x 2, Array(float64, 1, 'C', False, aligned=True))", True),
        ("#   x = a  :: int64", False),
        ("    # a float64 is read as an integer", False),
    ],
)
def test_the_types_of_variables_are_read(line, is_float):
    assert bool(FLOATING.search(line)) == is_float


def kernels_of(path):
    """The functions of a file that are compiled."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            names = {n.id for each in node.decorator_list for n in ast.walk(each)
                     if isinstance(n, ast.Name)}  # fmt: skip
            if "compiled" in names:
                yield node


def floating(function):
    """Lines of a function that make a float, whatever types it is called for."""
    for node in ast.walk(function):
        divides = isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.Div)
        constant = isinstance(node, ast.Constant) and isinstance(node.value, (float, complex))
        named = "float" in getattr(node, "attr", "") or getattr(node, "id", "") in ("float", "math")
        if divides or constant or named:
            yield node.lineno


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_no_kernel_has_a_float_in_its_text(path):
    functions = list(kernels_of(path))
    assert functions
    assert {function.name: list(floating(function)) for function in functions} == {
        function.name: [] for function in functions
    }


@pytest.mark.parametrize("text", ["x / 2", "x * 0.5", "float(x)", "np.float32(x)", "math.log(x)"])
def test_floats_in_a_text_are_found(text):
    (function,) = ast.parse(f"def f(x):\n    return {text}").body
    assert next(floating(function)) == 2


# --- the order of bytes ---------------------------------------------------------------------


def views(tree):
    """Lines that take bytes for numbers of several bytes in the order of the machine, or numbers
    for such bytes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("view", "frombuffer"):
            for given in (*node.args, *(keyword.value for keyword in node.keywords)):
                name = getattr(given, "attr", "") or getattr(given, "value", "")
                if re.fullmatch(r"(u?int|float)(16|32|64)|=?[uif][248]", str(name)):
                    yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_bytes_are_read_in_the_order_of_the_machine(path):
    assert list(views(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_views_in_the_order_of_the_machine_are_found():
    lines = ["a.view(np.float32)", "np.frombuffer(d, 'u4')", "np.frombuffer(d, dtype=np.uint16)"]
    assert list(views(ast.parse("\n".join(lines)))) == [1, 2, 3]
    lines = ["a.view('<f4')", "np.frombuffer(d, np.uint8)", "a.view(alphabet.container)"]
    assert list(views(ast.parse("\n".join(lines)))) == []


def swapped(array):
    return array.astype(array.dtype.newbyteorder("S"))


@pytest.mark.parametrize("quantizer", ["native", "symmetric:4", "nmse:0.01"])
def test_arrays_of_the_other_order_make_the_same_file(quantizer, tmp_path):
    random = np.random.default_rng(0)
    model = {
        "tiled": np.tile(random.normal(size=(4, 8)).astype("f4"), (20, 1)),
        "double": random.normal(size=(7, 9)),
        "half": random.normal(size=(9, 9)).astype("f2"),
        "steps": random.integers(0, 1000, 50).astype("u2"),
    }
    for name, arrays in (("one", model), ("other", {k: swapped(v) for k, v in model.items()})):
        kolmo.pack(arrays, tmp_path / name, quantizer=quantizer, preset="fast")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("dtype", ["u2", "u4", "u8"])
def test_digests_are_of_little_endian_symbols(dtype):
    symbols = np.arange(300).astype(dtype)
    coder = get_quantizer("native").restore(np.dtype(dtype), [])
    digests = [Digests([Entry("w", (300,), np.dtype(dtype), coder)]) for _ in range(2)]
    for each, given in zip(digests, (symbols, swapped(symbols)), strict=True):
        each.update(0, given)
    assert digests[0].each() == digests[1].each()
