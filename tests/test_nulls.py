"""Null models keep what they claim to keep, and depend on nothing but their seed."""

import ml_dtypes
import numpy as np
import pytest

from kolmo.checkpoints import array_tensor
from kolmo.errors import InputError, NotApplicableError
from kolmo.nulls import PERMUTATIONS, get_null
from kolmo.quantize import get_quantizer

WEIGHTS = np.random.default_rng(5).normal(0.3, 2.0, (100, 200)).astype(np.float32)


def draw(null, weights=WEIGHTS, number=0, seed=0, quantizer="native", name="w"):
    source = get_null(null).draw(array_tensor(name, weights), number, seed)
    return np.concatenate(list(source.coded(get_quantizer(quantizer)).chunks))


@pytest.mark.parametrize("dtype", [np.float32, np.int8, bool, ml_dtypes.bfloat16])
def test_shuffled_keeps_the_values_only(dtype):
    weights = np.maximum(WEIGHTS, 0).astype(dtype)
    native = weights.reshape(-1).view(f"u{weights.dtype.itemsize}")
    shuffled = draw("shuffled", weights)
    assert (np.sort(shuffled) == np.sort(native)).all()
    assert (shuffled != native).any()


@pytest.mark.parametrize("dtype", [np.float32, np.int8, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(40, 50), (20, 5, 4, 5), (1, 2000), (2000, 1)])
@pytest.mark.parametrize(("null", "axis"), [("row-shuffled", 1), ("column-shuffled", 0)])
def test_rows_and_columns_keep_their_own_values_only(null, axis, shape, dtype):
    """Rows are slices of the first dimension, columns places in what is left, flattened."""
    weights = WEIGHTS.reshape(-1)[:2000].reshape(shape).astype(dtype)
    native = weights.reshape(shape[0], -1).view(f"u{weights.dtype.itemsize}")
    drawn = draw(null, weights).reshape(native.shape)
    assert (np.sort(drawn, axis) == np.sort(native, axis)).all()
    if native.shape[axis] == 1:
        assert (drawn == native).all()
        return
    assert (drawn != native).any()
    order = np.argsort(drawn, axis, kind="stable")
    if native.shape[1 - axis] > 1 and dtype == np.float32:  # lines move each on its own
        assert (order.take([0], 1 - axis) != order.take([1], 1 - axis)).any()
        other = 1 - axis
        assert (np.sort(drawn, other) != np.sort(native, other)).any()


def test_a_small_shuffle_of_rows_takes_all_orders_alike():
    weights = np.float32([[1, 2, 3], [4, 5, 6]])
    seen = {}
    for number in range(720):
        key = tuple(draw("row-shuffled", weights, number).tolist())
        seen[key] = seen.get(key, 0) + 1
    assert len(seen) == 36
    chi2 = sum((count - 20) ** 2 / 20 for count in seen.values())
    assert chi2 < 35 + 5 * np.sqrt(70)


@pytest.mark.parametrize("null", ["row-shuffled", "column-shuffled"])
@pytest.mark.parametrize("shape", [(50,), (), (0, 3), (3, 0)])
def test_a_vector_is_one_row_and_one_column(null, shape):
    weights = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    drawn = draw(null, weights) if weights.size else np.empty(0)
    assert sorted(drawn) == sorted(weights.reshape(-1).view(np.uint32)[: drawn.size])
    assert weights.size < 2 or (drawn != weights.reshape(-1).view(np.uint32)).any()


@pytest.mark.parametrize("null", PERMUTATIONS)
def test_shuffling_leaves_the_tensor_alone(null):
    before = WEIGHTS.copy()
    draw(null)
    assert (before == WEIGHTS).all()


def test_gaussian_has_mean_and_sd():
    drawn = draw("gaussian").view(np.float32)
    assert drawn.mean() == pytest.approx(WEIGHTS.mean(), abs=0.06)
    assert drawn.std() == pytest.approx(WEIGHTS.std(), rel=0.03)


def test_gaussian_needs_finite_floats():
    with pytest.raises(NotApplicableError, match="int32"):
        draw("gaussian", np.ones(3, np.int32))
    with pytest.raises(NotApplicableError, match="finite"):
        draw("gaussian", np.float32([1, np.nan]))


@pytest.mark.parametrize(
    ("quantizer", "alphabet"), [("sign", 2), ("symmetric:3", 7), ("affine:8", 256)]
)
def test_uniform_symbols_are_uniform(quantizer, alphabet):
    drawn = draw("uniform", quantizer=quantizer)
    counts = np.bincount(drawn, minlength=alphabet)
    expected = WEIGHTS.size / alphabet
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert counts.size == alphabet
    assert chi2 < alphabet - 1 + 5 * np.sqrt(2 * (alphabet - 1)) + 10


@pytest.mark.parametrize("null", [*PERMUTATIONS, "gaussian", "uniform"])
def test_draws_differ_and_repeat(null):
    first = draw(null)
    assert (draw(null) == first).all()
    assert (draw(null, number=1) != first).any()
    assert (draw(null, seed=1) != first).any()
    assert (draw(null, name="v") != first).any()


def test_reference_is_the_tensor_of_the_same_name(tmp_path):
    np.savez(tmp_path / "init.npz", w=2 * WEIGHTS)
    null = f"reference:{tmp_path / 'init.npz'}"
    assert (draw(null).view(np.float32) == 2 * WEIGHTS.reshape(-1)).all()
    with pytest.raises(NotApplicableError, match="no tensor 'v'"):
        draw(null, name="v")
    with pytest.raises(NotApplicableError, match=r"float32 \[100, 200\]"):
        draw(null, WEIGHTS[:50])


def test_wrong_nulls_are_explained():
    with pytest.raises(InputError, match="did you mean shuffled"):
        get_null("shufled")
    with pytest.raises(InputError, match="reference:PATH"):
        get_null("reference")
