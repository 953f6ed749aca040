"""PPMd: bits of the library's own bytes, which decompress; an extra that is named if missing."""

import sys

import numpy as np
import pytest

from kolmo.errors import InputError, MissingExtraError
from kolmo.estimators import get_estimator
from kolmo.layout import LAYOUTS, lay_out
from kolmo.symbols import Alphabet


def skewed(alphabet, numel):
    drawn = np.random.default_rng(0).geometric(0.05, numel) % alphabet
    drawn[numel // 2 :] = drawn[: numel - numel // 2]
    return drawn.astype(np.uint32)


def measure(spec, symbols, alphabet, chunks=1):
    accumulator = get_estimator(spec).start(symbols.shape, alphabet)
    for chunk in np.array_split(symbols, chunks):
        accumulator.update(chunk)
    return accumulator.finish()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("alphabet", [2, 256, 2**32])
def test_bits_are_those_of_the_library(layout, alphabet):
    pyppmd = pytest.importorskip("pyppmd")
    symbols = skewed(alphabet, 20_011)
    data = lay_out(symbols, Alphabet(alphabet), layout)
    encoder = pyppmd.Ppmd8Encoder(4, 64 << 20)
    compressed = encoder.encode(data) + encoder.flush(True)
    spec = f"ppmd:4@{layout}"
    assert measure(spec, symbols, alphabet, chunks=7).bits == 8 * len(compressed)
    assert pyppmd.decompress(compressed, max_order=4, mem_size=64 << 20) == data


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[ppmd\]'"):
        get_estimator("ppmd").start((3,), 2)


def test_orders_are_2_to_64():
    with pytest.raises(InputError, match="the level is 2 to 64, not 1"):
        get_estimator("ppmd:1")
