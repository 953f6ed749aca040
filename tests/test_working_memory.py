"""What estimators say of their memory is no less than what they take: measured in a process."""

import json
import subprocess
import sys

import numpy as np
import pytest

from kolmo.errors import NotApplicableError
from kolmo.estimators import estimator_names, get_estimator
from kolmo.symbols import Alphabet

PEAK = """
def peak():
    lines = open("/proc/self/status").read().split()
    return int(lines[lines.index("VmHWM:") + 1]) << 10
"""

CODE = f"""
import json, sys
import numpy as np
from kolmo.estimators import get_estimator
from tests.trellises import as_part, obeying
{PEAK}
def feed(spec, shape, alphabet, random):
    accumulator = get_estimator(spec).start(shape, alphabet)
    if spec == "pack:fast" and alphabet % 2:  # levels that obey a trellis
        levels = obeying(random.normal(size=shape).round().astype(int))
        accumulator.update(as_part(levels, alphabet // 2)[0])
        return accumulator.finish()
    left = int(np.prod(shape))
    while left:
        size = min(left, 1 << 19)
        middle = random.normal(alphabet / 2, alphabet / 16, size)
        symbols = np.clip(np.rint(middle), 0, alphabet - 1).astype(np.uint64)
        accumulator.update(symbols.astype(np.min_scalar_type(alphabet - 1)))
        left -= size
    accumulator.finish()

found = []
for spec, shape, alphabet in json.loads(sys.argv[1]):
    feed(spec, (40, 40), alphabet, np.random.default_rng(0))
    feed("kt", (1 << 20,), alphabet, np.random.default_rng(0))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = peak()
    feed(spec, shape, alphabet, np.random.default_rng(0))
    found.append(peak() - before)
print(json.dumps(found))
"""

GRIDS = f"""
import json, sys
import numpy as np
from kolmo.estimators import get_estimator
from kolmo.symbols import Alphabet

{PEAK}
def measure(weights):
    alphabet = Alphabet.of_dtype(weights.dtype)
    accumulator = get_estimator("pack:fast").start(weights.shape, alphabet)
    symbols = weights.reshape(-1).view(alphabet.container)
    for start in range(0, symbols.size, 1 << 19):
        accumulator.update(symbols[start : start + (1 << 19)])
    accumulator.finish()

groups = np.random.default_rng(0).normal(size=(1 << 14, 128)).astype(sys.argv[1])
least = groups.min(1, keepdims=True)
steps = (groups.max(1, keepdims=True) - least) / groups.dtype.type(15)
groups = np.rint((groups - least) / steps) * steps + least
measure(groups[:100])
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = peak()
measure(groups)
print(peak() - before)
"""

CHUNK = 24 << 20
"""What making and handing over a chunk takes."""

SQUARE = (1 << 10, 1 << 10)

CASES = [
    ("mosaic", SQUARE, 255), ("mosaic", SQUARE, 2**32), ("lz76", SQUARE, 255),
    ("lz78", SQUARE, 255), ("lowrank", SQUARE, 255), ("linear", (1 << 7, 1 << 11), 255),
    ("zstd:9@shuffle", SQUARE, 2**32),
    ("xz:6,sample=131072@shuffle", SQUARE, 2**32), ("bz2:9", (1 << 18,), 255),
    ("pack:fast", (40, 1 << 15), 255),
]  # fmt: skip

SLOW = [
    ("mosaic", SQUARE, 2), ("mosaic", (1 << 22,), 2**16), ("mosaic,block=12", SQUARE, 255),
    ("lowrank", (100, 5000), 15), ("planes", SQUARE, 255), ("prequential", (300, 300), 255),
    ("mosaic", (1 << 25,), 2**32), ("mosaic", (1 << 26,), 255), ("lz76", (1 << 23,), 300),
    ("lowrank", (1 << 12, 1 << 13), 255), ("context", SQUARE, 2**32), ("zstd:19", (1 << 24,), 255),
    ("predictive", SQUARE, 2**32), ("pack:fast", (1 << 22,), 2**32),
    ("xz:9", (1 << 23,), 255), ("brotli:11", SQUARE, 255), ("ppmd", SQUARE, 255),
    ("zstd:9@bitplanes", (1 << 23,), 2**32),
]  # fmt: skip


def check(cases):
    command = [sys.executable, "-c", CODE, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for (spec, shape, alphabet), took in zip(cases, json.loads(done.stdout), strict=True):
        said = get_estimator(spec).working_memory([shape], Alphabet(alphabet))
        assert took <= said + CHUNK, (spec, shape, alphabet, took >> 20, said >> 20)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the peak of memory")
def test_estimators_take_no_more_memory_than_they_say():
    check(CASES)


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the peak of memory")
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
def test_grids_take_no_more_memory_than_is_said(dtype):
    command = [sys.executable, "-c", GRIDS, dtype]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    alphabet = Alphabet.of_dtype(np.dtype(dtype))
    said = get_estimator("pack:fast").working_memory([(1 << 14, 128)], alphabet)
    assert int(done.stdout) <= said + CHUNK


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the peak of memory")
@pytest.mark.parametrize("case", SLOW, ids=lambda case: case[0])
def test_large_objects_take_no_more_memory_than_is_said(case):
    check([case])


@pytest.mark.parametrize("name", estimator_names())
def test_memory_is_bounded_for_objects_of_any_size(name):
    """An estimator takes a matrix of 2^36 symbols in less than a gigabyte, or says why not."""
    estimator, shapes = get_estimator(name), [(1 << 18, 1 << 18)]
    try:
        estimator.start_many(shapes, 2)
    except NotApplicableError:
        return
    assert estimator.working_memory(shapes, Alphabet(2)) < 1 << 30
