"""Bytes at fixed shares: exact both ways, near their entropy, an error on damage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo import InputError
from kolmo.codes.rans import decode_bytes, encode_bytes, least_bytes


@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=5),
    st.sampled_from([1, 2, 3, 100, 256]),
    st.floats(0.1, 4),
    st.integers(0, 9),
)
def test_any_bytes_come_back(sizes, alphabet, steep, seed):
    random = np.random.default_rng(seed)
    data = (alphabet * random.random(sum(sizes)) ** steep).astype(np.uint8)
    assert np.array_equal(decode_bytes(encode_bytes(data, sizes), sizes), data)


def entropy(data):
    counts = np.unique(data, return_counts=True)[1]
    return float(-(counts * np.log2(counts / data.size)).sum())


@pytest.mark.parametrize("share", [0.03, 0.5, 0.9])
def test_the_length_is_that_of_each_stretch_alone(share):
    random = np.random.default_rng(0)
    parts = [random.binomial(n, share, 30_000).astype(np.uint8) for n in (1, 12, 200)]
    data, sizes = np.concatenate(parts), [part.size for part in parts]
    least = sum(map(entropy, parts)) / 8
    assert least_bytes(data, sizes) == pytest.approx(least, rel=0.01)
    assert least_bytes(data, sizes) <= len(encode_bytes(data, sizes)) <= 1.01 * least + 3 * 150


def test_one_byte_over_and_over_costs_its_table():
    assert len(encode_bytes(np.full(100_000, 7, np.uint8), [100_000])) < 150


def test_shares_to_half_a_power_of_two_cost_little():
    """Geometric frequencies of every kind: never more than .02 bits a byte over the entropy."""
    for ratio in (0.3, 0.55, 0.77, 0.95):
        counts = np.round(1e6 * ratio ** np.arange(60)).astype(np.int64)
        data = np.random.default_rng(0).permutation(
            np.repeat(np.arange(60, dtype=np.uint8), counts)
        )
        assert least_bytes(data, [data.size]) < entropy(data) / 8 + 0.02 * data.size / 8


def test_damage_is_an_error_or_bytes():
    random = np.random.default_rng(0)
    data = random.binomial(9, 0.3, 4000).astype(np.uint8)
    code = encode_bytes(data, [data.size])
    refused = 0
    for _ in range(600):
        damaged = bytearray(code[: random.integers(1, len(code) + 1)])
        damaged[random.integers(0, len(damaged))] ^= random.integers(1, 256)
        try:
            assert decode_bytes(bytes(damaged), [data.size]).size == data.size
        except InputError:
            refused += 1
    assert refused > 300
    for wrong in (b"", code[:-2], code + b"\0"):
        with pytest.raises(InputError):
            decode_bytes(wrong, [data.size])


def test_bytes_once_written_are_read_for_ever():
    code = bytes.fromhex("0b1397116700032835d200000070540d005c5b02005c5b02005c854b00")
    assert decode_bytes(code, [8]).tolist() == [1, 1, 1, 0, 2, 1, 1, 9]
