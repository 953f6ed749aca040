"""The null that keeps scales, and the one that draws signs."""

import itertools
import math
import pickle

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.checkpoints.base import Codes, WeightTensor
from kolmo.errors import NotApplicableError
from kolmo.nulls import get_null, moved, scaled
from kolmo.nulls.scaled import drawn_together
from kolmo.quantize import get_quantizer
from kolmo.symbols import Alphabet
from tests.benchmarks.scaled_null import alarms


def random(seed=0):
    return np.random.default_rng(seed)


def outer(shape=(60, 90), spread=0.7):
    rows, columns = (np.exp(spread * random(n).normal(size=n)) for n in shape)
    return (random().normal(size=shape) * rows[:, None] * columns).astype(np.float32)


def draw(null, weights, number=0, name="w"):
    source = get_null(null).draw(array_tensor(name, weights), number, 0)
    return source.drawn.load(0, weights.size).reshape(weights.shape)


def magnitudes(weights, axis):
    return np.abs(weights.astype(float)).mean(axis=axis)


# --- scaled -----------------------------------------------------------------------------------


def test_rows_and_columns_keep_their_scales_and_nothing_else():
    weights = outer()
    draws = np.array([draw("scaled", weights, n) for n in range(20)])
    for axis in (0, 1):
        expected, found = magnitudes(weights, axis), magnitudes(draws.reshape(-1, 60, 90), axis + 1)
        assert np.abs(np.log(found / expected)).mean() < 0.15
        assert np.corrcoef(np.log(expected), np.log(found).mean(axis=0))[0, 1] > 0.98
    assert abs(np.corrcoef(weights.reshape(-1), draws[0].reshape(-1))[0, 1]) < 0.1
    assert len({each.tobytes() for each in draws}) == 20


def test_values_over_their_scales_are_kept_where_scales_are_exact():
    """Of ±1 × scales nothing is left but the signs' places."""
    scales = np.outer([1.0, 4, 2, 8], [1.0, 0.5, 16]).astype(np.float32)
    weights = scales * np.sign(random().normal(size=scales.shape)).astype(np.float32)
    drawn = draw("scaled", weights)
    assert np.allclose(np.abs(drawn), scales, rtol=1e-6)
    assert np.sign(drawn).sum() == np.sign(weights).sum()


def test_zeros_stay_as_many_and_lines_of_zeros_where_they_are():
    weights = outer() * (random(1).random((60, 90)) < 0.5)
    weights[7], weights[:, 11] = 0, 0
    drawn = draw("scaled", weights)
    assert (drawn == 0).sum() == (weights == 0).sum()
    assert not drawn[7].any()
    assert not drawn[:, 11].any()
    assert not draw("scaled", np.zeros((4, 5), np.float32)).any()


@pytest.mark.parametrize("stored", [ml_dtypes.bfloat16, np.float16, ml_dtypes.float8_e4m3fn])
def test_what_a_wider_dtype_holds_stays_so(stored):
    """Zero bits at the end of all mantissas are kept; those of half precision beside subnormals."""
    weights = (outer(spread=0.2) * 4).astype(stored)
    assert draw("scaled", weights).dtype == stored
    wide = draw("scaled", weights.astype(np.float32))
    shared = np.bitwise_or.reduce(weights.astype(np.float32).view(np.uint32), axis=None)
    zeros = (int(shared) & -int(shared)).bit_length() - 1
    assert zeros >= 13
    assert not (wide.view(np.uint32) & ((1 << zeros) - 1)).any()
    assert np.isfinite(wide).all()


def test_the_largest_weights_stay_finite():
    weights = np.float16([[60000, 1, 2], [3, 60000, -1], [1, 1, 60000]])
    assert np.isfinite(draw("scaled", weights).astype(float)).all()


@pytest.mark.parametrize("shape", [(50,), (1, 50), (50, 1), ()])
def test_a_single_line_is_shuffled(shape):
    weights = random().normal(size=shape).astype(np.float32)
    assert sorted(draw("scaled", weights).reshape(-1)) == sorted(weights.reshape(-1))


@pytest.mark.parametrize("null", ["scaled", "signs", "inits:kaiming_uniform,2"])
def test_a_draw_is_the_same_wherever_it_is_read(null, monkeypatch):
    weights = outer((70, 130))
    weights[3], weights[:, 5] = 0, 0
    tensor = array_tensor("w", weights)
    source = get_null(null).draw(tensor, 1, 0)
    whole = source.drawn.load(0, weights.size)
    again = pickle.loads(pickle.dumps(source)).drawn
    cuts = [0, 1, 129, 131, 4000, weights.size]
    parts = [again.load(*cut) for cut in itertools.pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert get_null(null).working_memory(tensor) > 0


def test_a_window_of_a_large_tensor_is_drawn_at_a_time(monkeypatch):
    weights = outer((200, 300))
    sizes = moved.Sizes(window=1 << 16, bucket=1 << 13, step=1 << 12)
    monkeypatch.setattr(scaled, "_SIZES", sizes)
    drawn = draw("scaled", weights)
    assert magnitudes(drawn, 1) == pytest.approx(magnitudes(weights, 1), rel=0.25)


def test_both_have_the_grid_of_the_tensor():
    tensor = array_tensor("w", outer())
    source = get_null("scaled").draw(tensor, 0, 0)
    for spec in ("symmetric:8", "affine:4", "codebook:8", "symmetric:8,axis=row", "nmse:0.01"):
        quantizer = get_quantizer(spec)
        assert source.fit(quantizer).parameters() == quantizer.fit(tensor).parameters()
        symbols = np.concatenate(list(source.coded(quantizer).chunks))
        assert symbols.max() < quantizer.alphabet(tensor.dtype).size
    run = {"quantizers": ["symmetric:8"], "estimators": ["zstd:1"], "scope": "model", "draws": 2}
    table = kolmo.analyze({"w": tensor.read()}, nulls=["scaled"], **run).table
    symbols = [get_null("scaled").draw(tensor, n, 0) for n in (0, 1)]
    coded = [kolmo.get_estimator("zstd:1").start(tensor.shape, 255) for _ in symbols]
    for accumulator, source in zip(coded, symbols, strict=True):
        for chunk in source.coded(get_quantizer("symmetric:8")).chunks:
            accumulator.update(chunk)
    expected = [each.finish().bits + 33 for each in coded]
    assert table.null_bits.tolist() == [np.mean(expected)]


def test_scales_are_drawn_together_by_what_is_noise():
    scales = np.exp(random().normal(size=1000) * 0.5)
    for noise in (0.0, 0.1, 0.2):
        found = np.log(drawn_together(scales, noise))
        assert found.var() == pytest.approx(np.log(scales).var() - noise)
        assert found.mean() == pytest.approx(np.log(scales).mean())
    assert len(set(drawn_together(scales, 1.0))) == 1


@pytest.mark.parametrize("family", ["normal", "rows × columns × mixture of scales"])
def test_false_alarms_are_few(family):
    """39 draws: 1 in 40 of structureless matrices is expected below all of them. A small version of
    the table in docs/nulls.md."""
    (found,) = alarms(family, 8, measured=[("kt", "nmse:0.001,axis=tensor")])
    assert found <= 2  # P < 1e-3 at .025


def test_noise_with_scales_has_no_structure_and_low_rank_has():
    low_rank = outer() * np.float32(0.3) + np.outer(*(random(n).normal(size=n) for n in (60, 90)))
    run = {"quantizers": ["symmetric:8"], "estimators": ["context"], "scope": "model", "draws": 39}
    for weights, beyond in ((outer(), False), (low_rank.astype(np.float32), True)):
        (row,) = kolmo.analyze({"w": weights}, nulls=["scaled"], **run).table.itertuples()
        assert (row.bits < row.null_bits and row.p <= 0.05) == beyond


# --- signs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fnuz]
)
def test_magnitudes_stay_at_their_places(dtype):
    weights = (outer() * (random(2).random((60, 90)) < 0.8)).astype(dtype)
    drawn = draw("signs", weights)
    assert drawn.dtype == weights.dtype
    assert np.array_equal(np.abs(drawn.astype(float)), np.abs(weights.astype(float)))
    zero = weights.astype(float) == 0
    assert drawn[zero].tobytes() == weights[zero].tobytes()
    flipped = np.sign(drawn.astype(float)) != np.sign(weights.astype(float))
    share = flipped[~zero].mean()
    assert abs(share - 0.5) < 4 * 0.5 / math.sqrt((~zero).sum())


def test_signs_are_independent_of_place_and_draw():
    ones = np.ones(100_000, np.float32)
    draws = np.array([draw("signs", ones, n) for n in range(3)])
    for a, b in (
        (draws[0], draws[1]),
        (draws[0][1:], draws[0][:-1]),
        (draws[0][64:], draws[0][:-64]),
    ):
        assert abs(np.mean(a * b)) < 4 / math.sqrt(a.size)
    assert (draw("signs", ones, 0, "v") != draws[0]).any()


@pytest.mark.parametrize("null", ["scaled", "signs", "inits:kaiming_uniform,2"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, bool, ml_dtypes.float8_e8m0fnu])
def test_what_has_no_signs_is_refused(null, dtype):
    with pytest.raises(NotApplicableError, match=np.dtype(dtype).name):
        draw(null, np.ones((4, 4)).astype(dtype))


@pytest.mark.parametrize("null", ["scaled", "signs"])
def test_codes_have_no_draws_but_the_weights_they_stand_for(null):
    weights = outer()
    codes = Codes("GPTQ", Alphabet(16), lambda start, stop: np.zeros(stop - start, np.uint8), 32)
    flat = weights.reshape(-1)
    tensor = WeightTensor("w", weights.shape, weights.dtype, lambda a, b: flat[a:b], codes)
    source = get_null(null).draw(tensor, 0, 0)
    with pytest.raises(NotApplicableError, match="native reads codes"):
        source.coded(get_quantizer("native"))
    assert sum(chunk.size for chunk in source.coded(get_quantizer("symmetric:8")).chunks) == 5400


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scales_of_what_is_not_finite(value):
    weights = outer()
    weights[1, 2] = value
    with pytest.raises(NotApplicableError, match="finite"):
        draw("scaled", weights)
    assert np.isfinite(draw("signs", weights)).sum() == weights.size - 1


def test_scales_of_too_many_lines_are_refused_from_the_header():
    tensor = WeightTensor("w", (2, 1 << 21), np.dtype(np.float32), None)
    with pytest.raises(NotApplicableError, match="1,048,576 rows and columns"):
        get_null("scaled").draw(tensor, 0, 0)
