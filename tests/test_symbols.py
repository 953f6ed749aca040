"""Alphabets: how many symbols, of which kind; and symbols that are gathered."""

import math
import pickle

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo import get_estimator
from kolmo.errors import InputError
from kolmo.gathering import Gatherer
from kolmo.symbols import Alphabet

FLOATS = ["float8_e4m3fn", "float8_e5m2", "float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize("name", FLOATS)
def test_bit_patterns_of_floats_know_their_format(name):
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    alphabet = Alphabet.of_dtype(dtype)
    assert alphabet == Alphabet(1 << 8 * dtype.itemsize, name)
    assert (alphabet.bits, alphabet.container.itemsize) == (8 * dtype.itemsize, dtype.itemsize)


@pytest.mark.parametrize("name", ["bool", "int8", "uint16", "int64"])
def test_other_bit_patterns_have_no_format(name):
    dtype = np.dtype(name)
    assert Alphabet.of_dtype(dtype) == Alphabet(1 << 8 * dtype.itemsize)


@pytest.mark.parametrize("size", [0, -1])
def test_an_alphabet_has_symbols(size):
    with pytest.raises(InputError, match=f"an alphabet of {size} symbols does not exist"):
        Alphabet(size)
    with pytest.raises(InputError, match="does not exist"):
        get_estimator("kt").start((3,), size)


@pytest.mark.parametrize("alphabet", [4, Alphabet(4), np.int64(4)])
def test_estimators_take_a_number_for_plain_symbols(alphabet):
    accumulator = get_estimator("context").start((6,), alphabet)
    accumulator.update(np.uint8([0, 1, 2, 3, 2, 1]))
    same = get_estimator("context").start((6,), Alphabet(4))
    same.update(np.uint8([0, 1, 2, 3, 2, 1]))
    assert accumulator.finish() == same.finish()


def test_alphabets_are_values():
    alphabet = Alphabet(65536, "bfloat16")
    assert pickle.loads(pickle.dumps(alphabet)) == alphabet
    assert len({alphabet, Alphabet(65536, "float16"), Alphabet(65536, "bfloat16")}) == 2


@given(
    st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), max_size=6),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_gathered_arrays_are_the_pieces_in_order_whatever_the_chunks(shapes, cuts):
    sizes = [math.prod(shape) for shape in shapes]
    symbols = np.arange(sum(sizes), dtype=np.uint16)
    gatherer = Gatherer(shapes, np.dtype(np.uint32))
    chunks = np.split(symbols, sorted(min(cut, symbols.size) for cut in cuts))
    found = [array.copy() for chunk in chunks for array in gatherer.take(chunk)]
    assert [array.shape for array in found] == [s for s in shapes if math.prod(s)]
    assert [array.dtype for array in found] == [np.uint32] * len(found)
    assert np.concatenate([[], *map(np.ravel, found)]).tolist() == symbols.tolist()
    assert gatherer.rest().size == 0
