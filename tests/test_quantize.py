"""Quantizers against their formulas, their edge cases and their inverses."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kolmo.checkpoints import array_tensor
from kolmo.errors import NotExpressibleError
from kolmo.quantize import get_quantizer
from kolmo.symbols import Alphabet

FLOATS = [np.float64, np.float32, np.float16]
EXTENDED = [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]

finite = hnp.arrays(
    np.float32,
    hnp.array_shapes(max_dims=3, max_side=9, min_side=0),
    elements=st.floats(-1e6, 1e6, width=32),
)


def fit(spec, weights):
    return get_quantizer(spec).fit(array_tensor("w", np.asarray(weights)))


def encode(spec, weights):
    return fit(spec, weights).encode(np.asarray(weights))


@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int8, np.int64, np.uint16, bool]),
        hnp.array_shapes(max_side=5),
    )
)
def test_native_is_lossless(weights):
    coder = fit("native", weights)
    symbols = coder.encode(weights)
    assert symbols.dtype.kind == "u"
    assert symbols.shape == weights.shape
    assert coder.alphabet.bits == 8 * weights.dtype.itemsize
    assert coder.decode(symbols).tobytes() == weights.tobytes()


@pytest.mark.parametrize("dtype", EXTENDED)
def test_native_extended(dtype):
    weights = np.array([0.0, -0.0, 1.5, np.nan], dtype)
    coder = fit("native", weights)
    assert coder.decode(coder.encode(weights)).tobytes() == weights.tobytes()
    assert coder.alphabet == Alphabet(2 ** (8 * weights.dtype.itemsize), weights.dtype.name)


def test_native_keeps_nan_payloads_and_negative_zero():
    bits = np.uint32([0x7FC00001, 0xFFC00002, 0x80000000, 0x00000001])
    weights = bits.view(np.float32)
    assert (encode("native", weights) == bits).all()


def test_sign_is_one_for_positive_weights_only():
    symbols = encode("sign", np.float32([-1, -0.0, 0, 1e-45, 2, np.inf, -np.inf]))
    assert symbols.tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert encode("sign", np.array([True, False])).tolist() == [1, 0]


@given(finite, st.integers(2, 16))
def test_symmetric_follows_its_formula(weights, bits):
    coder = fit(f"symmetric:{bits}", weights)
    half = 2 ** (bits - 1) - 1
    assert coder.alphabet == Alphabet(2 * half + 1)
    symbols = coder.encode(weights).astype(np.int64)
    scale = np.abs(weights.astype(np.float64)).max(initial=0) / half
    expected = np.rint(weights / scale) if scale else np.zeros(weights.shape)
    assert (symbols - half == expected).all()
    assert np.abs(coder.decode(coder.encode(weights)) - weights).max(initial=0) <= scale * 0.5000001


@given(finite, st.integers(1, 16))
def test_affine_follows_its_formula(weights, bits):
    coder = fit(f"affine:{bits}", weights)
    symbols = coder.encode(weights)
    low = float(weights.min()) if weights.size else 0.0
    step = (float(weights.max()) - low) / (2**bits - 1) if weights.size else 0.0
    expected = np.rint((weights.astype(np.float64) - low) / step) if step else 0 * weights
    assert (symbols == expected).all()
    assert symbols.max(initial=0) < coder.alphabet.size == 2**bits


def test_affine_clip_uses_symmetric_quantiles():
    weights = np.concatenate([np.linspace(-1, 1, 100_001), [1000.0]]).astype(np.float32)
    coder = fit("affine:8,clip=99.9", weights)
    symbols = coder.encode(weights)
    assert symbols[-1] == 255
    assert coder.decode(symbols)[-1] == pytest.approx(np.quantile(weights, 0.9995), rel=1e-6)
    assert np.unique(symbols).size == 256


def test_a_constant_tensor_has_one_symbol():
    for spec in ("symmetric:8", "affine:8", "codebook:4", "sign"):
        assert np.unique(encode(spec, np.full(7, 2.5, np.float32))).size == 1
        assert np.unique(encode(spec, np.zeros(7, np.float32))).size == 1
    assert (encode("symmetric:8", np.zeros(3, np.float32)) == 127).all()


@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8), st.integers(8, 40))
def test_codebook_is_exact_with_few_values(values, size):
    weights = np.random.default_rng(0).choice(np.float32(values), 100)
    coder = fit("codebook:8", weights)
    assert (coder.decode(coder.encode(weights)) == weights).all()


def test_codebook_kmeans_finds_clusters():
    random = np.random.default_rng(0)
    centres = np.array([-3.0, 0.0, 1.0, 5.0])
    weights = (random.choice(centres, 10_000) + random.normal(0, 0.05, 10_000)).astype(np.float32)
    coder = fit("codebook:4", weights)
    assert np.unique(coder.decode(coder.encode(weights))) == pytest.approx(centres, abs=0.02)


def test_codebook_is_a_fixed_point_of_lloyd():
    weights = np.random.default_rng(1).normal(size=5000).astype(np.float32)
    coder = fit("codebook:3", weights)
    symbols = coder.encode(weights)
    means = [weights[symbols == s].astype(np.float64).mean() for s in range(3)]
    assert coder.decode(np.arange(3)) == pytest.approx(means, rel=1e-9)


@pytest.mark.parametrize("spec", ["sign", "symmetric:8", "affine:8", "codebook:4"])
def test_nan_is_refused_by_name(spec):
    with pytest.raises(NotExpressibleError, match="tensor 'w' holds NaN"):
        encode(spec, np.float32([1, np.nan]))


@pytest.mark.parametrize("spec", ["symmetric:8", "affine:8", "codebook:4"])
@pytest.mark.parametrize("dtype", [*FLOATS, ml_dtypes.bfloat16])
def test_infinity_is_refused(spec, dtype):
    with pytest.raises(NotExpressibleError, match="infinity"):
        encode(spec, np.array([1, np.inf], dtype))


def test_chunks_give_the_symbols_of_the_whole():
    weights = np.random.default_rng(0).normal(size=(100, 37)).astype(np.float32)
    for spec in ("sign", "symmetric:4", "affine:8,clip=99", "codebook:5"):
        tensor = array_tensor("w", weights)
        coder = get_quantizer(spec).fit(tensor)
        pieces = [coder.encode(chunk) for chunk in tensor.chunks(500)]
        assert (np.concatenate(pieces) == coder.encode(weights).reshape(-1)).all()
