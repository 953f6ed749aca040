"""The records code: exact, and short where symbols have structure."""

import lzma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo import InputError
from kolmo.codes.base import get_code
from kolmo.symbols import Alphabet

CODE = get_code("records")
RANDOM = np.random.default_rng(0)


def size(symbols, alphabet=None, **options):
    """Bytes of an array, which is decoded too."""
    alphabet = alphabet or Alphabet.of_dtype(symbols.dtype)
    bits = np.ascontiguousarray(symbols).view(alphabet.container)
    data = CODE.encode([bits], alphabet)
    (found,) = CODE.decode(data, [bits.shape], alphabet)
    assert np.array_equal(found, bits)
    return len(data)


@given(
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7), st.integers(1, 3)), max_size=4),
    st.integers(0, 1 << 32),
    st.integers(0, 20),
)
def test_symbols_come_back(bits, shapes, seed, zeros):
    random, alphabet = np.random.default_rng(seed), Alphabet(1 << bits)
    shapes = [*shapes, (3, 5)]
    parts = [
        (random.integers(0, 1 << bits, shape, np.uint64, endpoint=False) if bits < 64 else
         random.integers(0, (1 << 64) - 1, shape, np.uint64, endpoint=True))
        & np.uint64(((1 << 64) - 1) << min(zeros, bits - 1) & ((1 << 64) - 1))
        for shape in shapes
    ]  # fmt: skip
    parts = [part.astype(alphabet.container) for part in parts]
    found = CODE.decode(CODE.encode(parts, alphabet), shapes, alphabet)
    assert all(np.array_equal(one, other) for one, other in zip(found, parts, strict=True))


STRUCTURED = {
    "a ramp": (lambda: np.arange(20_000), 40),
    "relative positions": (lambda: np.subtract.outer(np.arange(150), np.arange(150)) + 149, 120),
    "one-hot rows": (lambda: np.eye(96, dtype=np.float32)[RANDOM.integers(0, 96, 120)], 260),
    "Toeplitz": (
        lambda: np.random.default_rng(1).integers(0, 1 << 16, 199)[
            np.subtract.outer(np.arange(100), np.arange(100)) + 99
        ], 560,
    ),
    "signs of a Hadamard matrix": (
        lambda: np.array([[(i & j).bit_count() % 2 for j in range(128)] for i in range(128)], "u1"),
        200,
    ),
    "Kronecker": (
        lambda: np.kron(RANDOM.integers(-4, 5, (9, 9)), RANDOM.integers(-9, 10, (12, 12))), 1300,
    ),
    "a causal mask": (lambda: np.tril(np.ones((150, 150), bool)), 60),
}  # fmt: skip


@pytest.mark.parametrize(("make", "most"), STRUCTURED.values(), ids=STRUCTURED)
def test_structure_takes_few_bytes(make, most):
    symbols = make()
    assert size(symbols) <= min(most, len(lzma.compress(symbols.tobytes())))


def test_sorted_numbers_cost_their_differences():
    symbols = np.sort(np.random.default_rng(0).integers(0, 1 << 24, 20_000)).astype(np.int32)
    mean = (1 << 24) / 20_000
    entropy = 20_000 * (np.log2(mean) + np.log2(np.e)) / 8  # of geometric differences
    assert size(symbols) < 1.02 * entropy


def test_bits_that_do_not_vary_cost_nothing():
    narrow = np.random.default_rng(0).integers(0, 256, 3000)
    wide = narrow.astype(np.uint64) << np.uint64(40) | np.uint64(7 << 20)
    assert size(wide) - size(narrow.astype(np.uint8)) <= 16


def test_noise_costs_little_more_than_its_bits():
    assert size(np.random.default_rng(0).integers(0, 256, 20_000, np.uint8)) < 20_000 * 1.01


def test_damage_is_an_error_or_symbols():
    random, alphabet = np.random.default_rng(1), Alphabet(300)
    data = CODE.encode([random.binomial(4, 0.5, (30, 30)).astype(np.uint16)], alphabet)
    for _ in range(200):
        damaged = bytearray(data[: random.integers(1, len(data) + 1)])
        damaged[random.integers(0, len(damaged))] = random.integers(0, 256)
        try:
            (found,) = CODE.decode(bytes(damaged), [(30, 30)], alphabet)
        except InputError:
            continue
        assert found.max() < 300


@pytest.mark.parametrize("head", ["", "02 01 00 00 00", "00 01 00 01 00", "00 00 80 00 00"])
def test_a_damaged_head_is_refused(head):
    """No head; an unknown mode; a bit that varies and is fixed; one beyond the alphabet"""
    with pytest.raises(InputError, match="head is damaged"):
        CODE.decode(bytes.fromhex(head), [(5,)], Alphabet(300))
