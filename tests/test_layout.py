"""Layouts: what goes in comes out, whatever the alphabet and the chunking."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo import layout
from kolmo.errors import InputError
from kolmo.layout import LAYOUTS, laid_out_size, lay_out, read_back, start_layout
from kolmo.symbols import Alphabet

ALPHABETS = [1, 2, 3, 7, 16, 255, 256, 257, 1023, 65536, 2**17, 2**32, 2**64]


def symbols_of(alphabet, numel, seed=0):
    return np.random.default_rng(seed).integers(
        0, alphabet - 1, numel, dtype=np.uint64, endpoint=True
    )


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("numel", [0, 1, 7, 8, 9, 1000])
def test_round_trip_and_size(name, alphabet, numel):
    symbols = symbols_of(alphabet, numel)
    data = lay_out(symbols, Alphabet(alphabet), name)
    assert len(data) == laid_out_size(numel, Alphabet(alphabet), name)
    assert (read_back(data, numel, Alphabet(alphabet), name) == symbols).all()


@given(
    st.sampled_from(LAYOUTS),
    st.sampled_from(ALPHABETS),
    st.integers(0, 300),
    st.lists(st.integers(0, 300), max_size=5),
)
def test_chunks_give_the_same_bytes(name, alphabet, numel, cuts):
    symbols = symbols_of(alphabet, numel)
    encoder = start_layout(name, Alphabet(alphabet))
    pieces = []
    for chunk in np.split(symbols, sorted(min(cut, numel) for cut in cuts)):
        pieces += encoder.update(chunk)
    pieces += encoder.finish()
    assert b"".join(piece.tobytes() for piece in pieces) == lay_out(
        symbols, Alphabet(alphabet), name
    )


def test_segments(monkeypatch):
    monkeypatch.setattr(layout, "SEGMENT", 64)
    for name in ("shuffle", "bitplanes"):
        symbols = symbols_of(1000, 64 * 3 + 5)
        data = lay_out(symbols, Alphabet(1000), name)
        assert data[: laid_out_size(64, Alphabet(1000), name)] == lay_out(
            symbols[:64], Alphabet(1000), name
        )
        assert len(data) == laid_out_size(symbols.size, Alphabet(1000), name)
        assert (read_back(data, symbols.size, Alphabet(1000), name) == symbols).all()


def test_known_bytes():
    assert lay_out(np.uint8([1, 0, 1, 1]), Alphabet(2), "packed") == bytes([0b10110000])
    assert lay_out(np.uint8([5, 2]), Alphabet(8), "packed") == bytes([0b10101000])
    assert lay_out(np.uint8([5, 2]), Alphabet(8), "bitplanes") == bytes(
        [0b10000000, 0b01000000, 0b10000000]
    )
    assert lay_out(np.uint16([0x0102, 0x0304]), Alphabet(65536), "bytes") == bytes([2, 1, 4, 3])
    assert lay_out(np.uint16([0x0102, 0x0304]), Alphabet(65536), "shuffle") == bytes([2, 4, 1, 3])
    assert lay_out(np.uint16([0x0102, 0x0304]), Alphabet(65536), "packed") == bytes([1, 2, 3, 4])


def test_unknown_layout():
    with pytest.raises(InputError, match="did you mean packed"):
        start_layout("pack", Alphabet(2))
