"""A sweep gives every accumulator the bits of its symbols, made by the plain way."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.dtypes import DTYPES
from kolmo.errors import NotApplicableError, NotExpressibleError
from kolmo.estimators import get_estimator
from kolmo.estimators.counts import Histogram
from kolmo.estimators.sweep import Sweep
from kolmo.quantize import get_quantizer
from kolmo.symbols import Alphabet

QUANTIZERS = ["native", "symmetric:8", "symmetric:3", "affine:8", "affine:10,clip=99", "sign",
              "codebook:7"]  # fmt: skip
ESTIMATORS = ["kt", "entropy", "bdm", "bdm,ndim=2", "bdm,boundary=recursive", "qubd"]


def numbers(dtype, size, seed):
    """Weights of a dtype: around zero, with zeros of both signs."""
    random = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        weights = random.normal(size=size, scale=3).round(2).astype(dtype)
        weights[1::7], weights[::5] = 0, -0.0
        weights[~np.isfinite(weights.astype(np.float64))] = 1
    return weights


def fresh(estimators, shape, alphabet):
    """Started accumulators, by spec, of the estimators that take such objects."""
    found = {}
    for spec in estimators:
        try:
            found[spec] = get_estimator(spec).start(shape, alphabet)
        except NotApplicableError:
            continue
    return found


def swept(weights, shape, coders, cuts):
    """Figures of all estimators on all coders, by a sweep over chunks."""
    started = [fresh(ESTIMATORS, shape, coder.alphabet) for coder in coders]
    takers = [
        (coder, [each.inner for each in found.values()])
        for coder, found in zip(coders, started, strict=True)
    ]
    sweep = Sweep(weights.dtype, takers)
    for start, stop in itertools.pairwise(cuts):
        sweep.update(weights[start:stop].copy())
    sweep.finish()
    assert sweep.errors == [None] * len(coders)
    return [{spec: str(a.inner.finish()) for spec, a in found.items()} for found in started]


def plain(weights, shape, coder):
    """Figures of all estimators on one coder, by its symbols."""
    found = fresh(ESTIMATORS, shape, coder.alphabet)
    for accumulator in found.values():
        accumulator.update(coder.encode(weights))
    return {spec: str(accumulator.finish()) for spec, accumulator in found.items()}


@pytest.mark.parametrize("name", DTYPES)
@settings(max_examples=2)
@given(st.data(), st.integers(4, 40), st.integers(4, 30), st.integers(0, 99))
def test_a_sweep_gives_the_bits_of_the_symbols(name, data, rows, columns, seed):
    weights = numbers(DTYPES[name], rows * columns, seed)
    tensor = array_tensor("w", weights)
    coders = [get_quantizer(quantizer).fit(tensor) for quantizer in QUANTIZERS]
    inner = data.draw(st.lists(st.integers(0, weights.size), max_size=4))
    found = swept(weights, (rows, columns), coders, [0, *sorted(inner), weights.size])
    assert found == [plain(weights, (rows, columns), coder) for coder in coders]


@pytest.mark.parametrize("name", ["bfloat16", "float32", "float64", "float8_e4m3fn", "int8"])
def test_a_sweep_of_many_weights_gives_the_bits_of_the_symbols(name):
    weights = numbers(DTYPES[name], 300 * 1000, 0)
    shape, tensor = (300, 1000), array_tensor("w", weights)
    coders = [get_quantizer(spec).fit(tensor) for spec in ("native", "symmetric:8", "sign")]
    found = swept(weights, shape, coders, [0, 1, 6, 200_003, weights.size])
    for coder, figures in zip(coders, found, strict=True):
        symbols = np.concatenate([coder.encode(w) for w in np.array_split(weights, 100)])
        for spec, accumulator in fresh(ESTIMATORS, shape, coder.alphabet).items():
            accumulator.update(symbols)
            assert figures[spec] == str(accumulator.finish())


@pytest.mark.parametrize("name", ["bfloat16", "float32", "float8_e5m2"])
@pytest.mark.parametrize("place", [0, 10, 13, 500, 1001])
def test_what_one_coder_cannot_express_stops_no_other(name, place):
    weights = numbers(DTYPES[name], 1002, 0)
    coders = [get_quantizer(spec).fit(array_tensor("w", weights)) for spec in ("sign", "native")]
    weights[place] = np.nan
    started = [fresh(["kt", "bdm"], weights.shape, coder.alphabet) for coder in coders]
    inner = [[each.inner for each in found.values()] for found in started]
    sweep = Sweep(weights.dtype, zip(coders, inner, strict=True))
    sweep.update(weights[:11])
    sweep.update(weights[11:])
    sweep.finish()
    with pytest.raises(NotExpressibleError) as expected:
        coders[0].encode(weights)
    assert [str(error) for error in sweep.errors] == [str(expected.value), "None"]
    assert str(started[1]["kt"].inner.finish()) == plain(weights, weights.shape, coders[1])["kt"]


@pytest.mark.parametrize("spec", ["bdm", "bdm,boundary=recursive"])
def test_parts_of_a_string_may_begin_anywhere(spec):
    weights = numbers(np.dtype(np.float32), 1000, 1)
    coder = get_quantizer("sign").fit(array_tensor("w", weights))
    estimator = get_estimator(spec)
    whole = estimator.start(weights.shape, 2)
    for start, stop in itertools.pairwise([0, 5, 7, 30, 511, 517, 1000]):
        part = estimator.start_part(weights.shape, 2, start, stop)
        sweep = Sweep(weights.dtype, [(coder, [part.inner])])
        sweep.update(weights[start:stop])
        sweep.finish()
        part.took(stop - start)
        whole.merge(part)
    assert str(whole.finish()) == plain(weights, weights.shape, coder)[spec]


@settings(max_examples=40)
@given(
    st.integers(12, 150),
    st.lists(st.integers(0, 60), min_size=1, max_size=4),
    st.lists(st.integers(0, 150), max_size=3),
)
def test_strings_that_begin_at_several_places_share_a_pass(numel, ahead, cuts):
    weights = numbers(np.dtype(np.float32), 60 + numel, numel)
    coder = get_quantizer("sign").fit(array_tensor("w", weights))
    bdm, tensor = get_estimator("bdm"), weights[60:]
    alone = bdm.start(tensor.shape, 2)
    parts = {before: bdm.start_part(tensor.shape, 2, 0, numel, before) for before in ahead}
    sweep = Sweep(weights.dtype, [(coder, [each.inner for each in (alone, *parts.values())])])
    for start, stop in itertools.pairwise(sorted({0, *(c for c in cuts if c < numel), numel})):
        sweep.update(tensor[start:stop])
    sweep.finish()
    assert str(alone.inner.finish()) == plain(tensor, tensor.shape, coder)["bdm"]
    for before, part in parts.items():
        part.took(numel)
        whole = bdm.start_many([(before,), (numel,)], 2)
        first = bdm.start_part((before,), 2, 0, before)
        first.update(coder.encode(weights[60 - before : 60]))
        for each in (first, part):
            whole.merge(each)
        expected = bdm.start((before + numel,), 2)
        expected.update(coder.encode(weights[60 - before :]))
        assert str(whole.finish()) == str(expected.finish())


@pytest.mark.parametrize("place", [0, 11, 500, 997])
def test_an_estimate_refuses_nan(place):
    weights = np.ones(998, np.float32)
    weights[place] = np.nan
    with pytest.raises(NotExpressibleError, match="'array' holds NaN"):
        kolmo.estimate(weights, "bdm", "sign")
    weights[place] = -np.inf
    assert kolmo.estimate(weights, "bdm", "sign").bits > 0
    with pytest.raises(NotExpressibleError, match="infinity"):
        kolmo.estimate(np.tile(weights, (4, 1)), "qubd", "affine:8")


@pytest.mark.parametrize("size", [2, 255, 65536, 65537, 2**32, 2**64])
def test_a_histogram_counts_exactly(size):
    alphabet = Alphabet(size)
    random = np.random.default_rng(0)
    symbols = random.integers(0, size, 70_001, np.uint64, endpoint=False) // np.uint64(3)
    histogram, other = Histogram(alphabet), Histogram(alphabet)
    histogram.update(symbols[:65_000])
    histogram.update(symbols[65_000:65_003])
    other.update(symbols[65_003:])
    histogram.merge(other)
    if size <= 65536:
        assert (histogram.counts[0] == np.bincount(symbols.astype(int), minlength=size)).all()
        return
    planes = symbols.astype(alphabet.container).view(np.uint8).reshape(symbols.size, -1)
    expected = [np.bincount(plane, minlength=256) for plane in planes.T]
    assert (histogram.counts == expected).all()
