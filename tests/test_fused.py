"""The fast paths of `kolmo.estimate`: the same figures as quantizing, then counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.errors import NotExpressibleError
from kolmo.estimators import get_estimator
from kolmo.estimators.fused import fused_estimate
from kolmo.quantize import get_quantizer, side_bits


def plain(weights, spec, quantizer):
    """Quantize, then count: without the fast path."""
    tensor = array_tensor("w", weights)
    coder = get_quantizer(quantizer).fit(tensor)
    accumulator = get_estimator(spec).start(weights.shape, coder.alphabet)
    accumulator.update(coder.encode(weights))
    return accumulator.finish().with_side(side_bits(coder, tensor))


@pytest.mark.parametrize("spec", ["bdm", "ctm", "block-entropy"])
@pytest.mark.parametrize("size", [12, 13, 23, 24, 36, 3071, 3072, 3084, 3095, 100_003])
def test_signs_counted_at_once_are_the_same(spec, size):
    weights = np.random.default_rng(size).normal(size=size).astype(np.float32)
    weights[::5] = 0
    weights[1::7] = -0.0
    fast = fused_estimate(weights, get_quantizer("sign"), get_estimator(spec))
    for other in (plain(weights, spec, "sign"), kolmo.estimate(weights, spec, "sign")):
        assert str(fast) == str(other)  # their texts, for a missing error is NaN in both


@given(
    st.integers(4, 40),
    st.integers(4, 70),
    st.integers(1, 8),
    st.sampled_from([1.0, 1e-30, 1e30]),
    st.integers(0, 99),
)
def test_planes_counted_at_once_are_the_same(rows, columns, bits, scale, seed):
    weights = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    weights *= np.float32(scale)
    fast = fused_estimate(weights, get_quantizer(f"affine:{bits}"), get_estimator("qubd"))
    assert fast == plain(weights, "qubd", f"affine:{bits}")


def test_fast_paths_meet_halves_and_constants_alike():
    halves = (np.arange(64, dtype=np.float32) / 2).reshape(8, 8)  # w / step is often n + 1/2
    constant = np.full((8, 8), 3.5, np.float32)
    deep = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    for weights in (halves, constant, deep):
        for bits in (3, 4, 5, 8):
            fast = fused_estimate(weights, get_quantizer(f"affine:{bits}"), get_estimator("qubd"))
            assert fast == plain(weights, "qubd", f"affine:{bits}")


@pytest.mark.parametrize("place", [0, 11, 500, 997])
def test_fast_paths_refuse_nan(place):
    weights = np.ones(998, np.float32)
    weights[place] = np.nan
    with pytest.raises(NotExpressibleError, match="holds NaN"):
        kolmo.estimate(weights, "bdm", "sign")
    weights[place] = -np.inf
    assert kolmo.estimate(weights, "bdm", "sign").bits > 0
    with pytest.raises(NotExpressibleError, match="infinity"):
        kolmo.estimate(np.tile(weights, (4, 1)), "qubd", "affine:8")


def test_there_is_no_fast_path_for_the_rest():
    weights = np.ones((8, 8))
    assert fused_estimate(weights, get_quantizer("sign"), get_estimator("bdm")) is None
    weights = weights.astype(np.float32)
    for quantizer, spec in (
        ("sign", "bdm,ndim=2"),
        ("sign", "bdm,window=24"),
        ("sign", "bdm,boundary=recursive"),
        ("affine:8,clip=99", "qubd"),
        ("affine:9", "qubd"),
        ("native", "kt"),
    ):
        assert fused_estimate(weights, get_quantizer(quantizer), get_estimator(spec)) is None
