"""Symmetric grids with a scale for each row, column or group."""

import ml_dtypes
import numpy as np
import pytest

from kolmo.checkpoints import array_tensor
from kolmo.errors import InputError, NotExpressibleError
from kolmo.quantize import get_quantizer

WEIGHTS = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)


def fit(spec, weights):
    return get_quantizer(spec).fit(array_tensor("w", weights))


def by_hand(group, half):
    """Symbols of weights that share a scale, and the scale: the least bfloat16 that clips none."""
    largest = np.abs(group.astype(np.float64)).max() / half
    every = np.arange(0x7F80, dtype=np.uint16).view(ml_dtypes.bfloat16).astype(np.float64)
    scale = every[np.searchsorted(every, largest)]
    return np.rint(group.astype(np.float64) / scale) + half, scale


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ("axis=row", [(slice(i, i + 1), slice(None)) for i in range(6)]),
        ("axis=column", [(slice(None), slice(j, j + 1)) for j in range(10)]),
        ("group=4", [(slice(i, i + 1), slice(j, j + 4)) for i in range(6) for j in (0, 4, 8)]),
        ("group=64", [(slice(i, i + 1), slice(None)) for i in range(6)]),
    ],
)
@pytest.mark.parametrize("bits", [3, 8])
def test_each_group_has_the_symbols_of_its_own_scale(options, groups, bits):
    coder, half = fit(f"symmetric:{bits},{options}", WEIGHTS), 2 ** (bits - 1) - 1
    symbols, back = coder.encode(WEIGHTS), coder.decode(coder.encode(WEIGHTS))
    for group in groups:
        expected, scale = by_hand(WEIGHTS[group], half)
        assert (symbols[group] == expected).all()
        assert (back[group] == (expected - half) * scale).all()
        assert np.abs(symbols[group].astype(int) - half).max() >= half - 1
    assert coder.side_bits(WEIGHTS.dtype) == 16 * len(groups)


@pytest.mark.parametrize(("spec", "by"), [("axis=row", (6, 1)), ("axis=column", (10,))])
def test_scaled_rows_keep_their_symbols(spec, by):
    powers = 2.0 ** np.random.default_rng(1).integers(-9, 9, size=by)
    scaled = WEIGHTS * powers.astype(np.float32)
    symbols = [fit(f"symmetric:8,{spec}", each).encode(each) for each in (WEIGHTS, scaled)]
    assert np.array_equal(*symbols)


@pytest.mark.parametrize("options", ["axis=row", "axis=column", "group=100"])
def test_a_vector_has_one_scale(options):
    vector = WEIGHTS.reshape(-1)
    coder = fit(f"symmetric:8,{options}", vector)
    assert coder.side_bits(vector.dtype) == 16
    assert np.array_equal(coder.encode(vector), by_hand(vector, 127)[0])


def test_rows_of_zeros_are_the_middle_symbol():
    weights = WEIGHTS * (np.arange(6) % 2)[:, None]
    symbols = fit("symmetric:8,axis=row", weights).encode(weights)
    assert (symbols[::2] == 127).all()


def test_a_long_row_is_cut_anywhere():
    weights = np.random.default_rng(0).normal(size=(2, 100_003))
    coder = fit("symmetric:5,group=999", weights)
    flat, tensor = coder.encode(weights).reshape(-1), array_tensor("w", weights)
    for start, stop in ((0, 5), (998, 70_000), (99_990, 150_001), (200_000, 200_006)):
        assert np.array_equal(coder.load(tensor, start, stop), flat[start:stop])
    assert np.array_equal(flat[999:1998], by_hand(weights[0, 999:1998], 15)[0])
    assert np.array_equal(flat[100_003:101_002], by_hand(weights[1, :999], 15)[0])


def test_the_largest_floats():
    weights = np.full((2, 3), np.finfo(np.float32).max)
    assert (fit("symmetric:2,axis=row", weights).encode(weights) == 2).all()
    with pytest.raises(NotExpressibleError, match=r"'w' holds a magnitude over"):
        fit("symmetric:2,axis=row", weights.astype(np.float64) * 4)


@pytest.mark.parametrize("options", ["axis=rows", "group=0", "group=4,axis=row", "group=-1"])
def test_options_that_mean_nothing(options):
    with pytest.raises(InputError, match="symmetric"):
        get_quantizer(f"symmetric:8,{options}")
