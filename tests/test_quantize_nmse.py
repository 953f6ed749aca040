"""Grids of a given distortion: it is met, and nothing else about the weights matters."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.checkpoints.base import WeightTensor
from kolmo.errors import InputError
from kolmo.quantize import get_quantizer
from kolmo.quantize.nmse import TOLERANCE, solve
from kolmo.quantize.scales import alternating_scales, rectangles

AXES = ("both", "row", "column", "tensor")


def random(seed=0):
    return np.random.default_rng(seed)


def normal(shape=(256, 200)):
    return random().normal(size=shape).astype(np.float32)


def outer(shape=(256, 200), spread=0.7):
    rows, columns = (np.exp(spread * random(n).normal(size=n)) for n in shape)
    return (normal(shape) * rows[:, None] * columns).astype(np.float32)


def fit(spec, weights):
    return get_quantizer(spec).fit(array_tensor("w", weights))


def distortion(spec, weights):
    coder = fit(spec, weights)
    wide = weights.astype(np.float64)
    largest = np.abs(wide).max()
    error = (wide - coder.decode(coder.encode(weights))) / largest
    return float((error**2).sum() / ((wide / largest) ** 2).sum())


CONTENTS = {
    "normal": normal(),
    "student": random().standard_t(2, size=(256, 200)).astype(np.float32),
    "scaled": outer(),
    "sparse": normal() * (random(1).random((256, 200)) < 0.05),
    "rows of zeros": normal() * (np.arange(256) % 3 > 0)[:, None],
    "tiny": normal((3, 5)),
    "vector": normal((1000,)),
    "convolution": normal((16, 8, 3, 3)),
    "double": normal().astype(np.float64) * 1e-200,
    "half": normal().astype(np.float16),
    "bfloat16": normal().astype(ml_dtypes.bfloat16),
    "integers": np.rint(40 * normal()).astype(np.int8),
}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("wanted", [0.3, 0.001])
def test_the_distortion_is_met(name, axis, wanted):
    found = distortion(f"nmse:{wanted},axis={axis}", CONTENTS[name])
    assert found <= wanted * (1 + TOLERANCE) * (1 + 1e-9)
    if name not in ("tiny", "integers"):  # of which no step may give it
        assert found >= wanted * (1 - TOLERANCE) * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.float16, np.int16, bool]),
        hnp.array_shapes(max_dims=3, max_side=7),
    ),
    st.sampled_from(AXES),
    st.sampled_from([0.5, 0.01, 1e-6]),
)
def test_the_distortion_is_never_exceeded(weights, axis, wanted):
    wide = weights.astype(np.float64)
    if not np.isfinite(wide).all() or np.abs(wide).max() > 1e100 or not wide.any():
        return
    assert distortion(f"nmse:{wanted},axis={axis}", weights / np.abs(wide).max()) <= 1.002 * wanted


@pytest.mark.parametrize("weights", [np.zeros((5, 4), np.float32), np.zeros((0, 4), np.float32)])
def test_zeros_are_one_symbol(weights):
    coder = fit("nmse:0.001", weights)
    symbols = coder.encode(weights)
    assert (symbols == coder.alphabet.size // 2).all()
    assert (coder.decode(symbols) == weights).all()


@pytest.mark.parametrize("wanted", [0.01, 0.001])
def test_bits_of_normal_weights_are_those_of_theory(wanted):
    """Gish & Pierce: ½ log2(1/D) + ½ log2(πe/6)."""
    theory = 0.5 * math.log2(1 / wanted) + 0.5 * math.log2(math.pi * math.e / 6)
    weights = random().normal(size=(600, 500))
    found = kolmo.estimate(weights, "kt", f"nmse:{wanted}").bits_per_weight
    assert abs(found - theory) < 0.05


def bits(weights, spec="nmse:0.001"):
    return kolmo.estimate(weights, "kt", spec).bits


def test_an_outlier_hardly_changes_bits():
    weights = normal()
    outlier = weights.copy()
    outlier[3, 4] = 20
    for spec in ("nmse:0.001", "nmse:0.001,axis=tensor"):
        assert abs(bits(outlier, spec) / bits(weights, spec) - 1) < 0.02
    assert bits(outlier, "symmetric:8") / bits(weights, "symmetric:8") < 0.8


@pytest.mark.parametrize("across", [False, True])
def test_scales_of_rows_and_columns_hardly_change_symbols(across):
    """All that is left is that large rows count for more in the distortion."""
    weights = normal()
    powers = 2.0 ** random(5).integers(-3, 4, weights.shape[across])
    scaled = weights * (powers if across else powers[:, None]).astype(np.float32)
    codes = [fit("nmse:0.001", each) for each in (weights, scaled)]
    same = codes[0].encode(weights) == codes[1].encode(scaled)
    assert same.mean() > 0.95
    assert abs(bits(scaled) / bits(weights) - 1) < 0.002


def test_noise_with_scales_costs_what_noise_does():
    assert abs(bits(outer()) / bits(normal()) - 1) < 0.01
    assert bits(outer(), "nmse:0.001,axis=tensor") / bits(normal()) < 0.9


def test_the_order_of_weights_does_not_matter_without_scales():
    weights = random().standard_t(2, size=5000)
    moved = random(1).permutation(weights)
    coders = [fit("nmse:0.001,axis=tensor", each) for each in (weights, moved)]
    assert coders[0].step == coders[1].step
    assert sorted(coders[0].values) == sorted(coders[1].values)
    assert coders[0].values.size > 0
    nulls = {"quantizers": ["nmse:0.001,axis=tensor"], "nulls": ["shuffled"], "draws": 2}
    (row,) = kolmo.analyze({"w": weights}, estimators=["kt"], scope="model", **nulls).table.iloc
    assert row.null_bits == row.bits
    assert row.null_sd == 0


def test_weights_beyond_the_grid_are_kept():
    weights = normal()
    weights[5, 7] = 300.7
    coder = fit("nmse:0.001,axis=tensor", weights)
    assert coder.places.tolist() == [5 * 200 + 7]
    assert coder.decode(coder.encode(weights))[5, 7] == weights[5, 7]
    assert coder.side_bits(weights.dtype) == 1 + 32 + 32


def test_side_bits_count_scales():
    weights = normal((12, 7))
    sides = [fit(f"nmse:0.01,axis={axis}", weights).side_bits(weights.dtype) for axis in AXES]
    assert sides == [33 + 8 * 19, 33 + 8 * 12, 33 + 8 * 7, 33]


def test_the_alphabet_follows_from_the_distortion():
    quantizer = get_quantizer("nmse:0.001")
    assert quantizer.alphabet(np.dtype(np.int8)).size == 2 * math.ceil(32 / math.sqrt(0.012)) + 1
    assert get_quantizer("nmse:1e-12").alphabet(np.dtype(np.float32)).size == 65_535


def test_large_tensors_are_read_in_pieces():
    weights = outer((700, 3000))
    read = []

    def load(start, stop):
        read.append(stop - start)
        return weights.reshape(-1)[start:stop].copy()

    streamed = get_quantizer("nmse:0.01").fit(WeightTensor("w", weights.shape, weights.dtype, load))
    assert max(read) <= 1 << 20
    whole = fit("nmse:0.01", weights)
    assert streamed.parameters() == whole.parameters()
    tensor = array_tensor("w", weights)
    cuts = [0, 1, 2999, 10_007, 1_000_003, weights.size]
    parts = [whole.load(tensor, *cut) for cut in itertools.pairwise(cuts)]
    assert np.array_equal(np.concatenate(parts), whole.encode(weights).reshape(-1))


def test_one_model_of_several_tensors_has_one_figure():
    weights = {"a": normal((40, 30)), "b": outer((20, 30)), "c": normal((30,))}
    table = kolmo.analyze(weights, quantizers=["nmse:0.01"], estimators=["kt", "zstd:3"]).table
    assert table["bits"].notna().all()
    assert set(table[table.scope == "model"].covered) == {40 * 30 + 20 * 30 + 30}


@pytest.mark.parametrize("spec", ["nmse", "nmse:0", "nmse:1", "nmse:0.1,axis=rows", "nmse:x"])
def test_specs_that_mean_nothing(spec):
    with pytest.raises(InputError, match="nmse"):
        get_quantizer(spec)


def test_solve_where_no_step_meets_it():
    """A distortion that jumps from 0 to 1 at a step of 1."""
    assert solve(lambda step: float(step > 1), 0.01, 0.3) == pytest.approx(1, rel=1e-5)


# --- scales -----------------------------------------------------------------------------------


def test_scales_give_rows_and_columns_of_unit_rms():
    weights = outer((60, 40)).astype(np.float64)
    r, c = alternating_scales(array_tensor("w", weights))
    squares = (weights / np.outer(r, c)) ** 2
    assert np.allclose(squares.mean(axis=0), 1)
    assert np.allclose(squares.mean(axis=1), 1)


def test_scales_of_an_outer_product_are_its_factors():
    rows, columns = np.array([1.0, 2, 0, 5]), np.array([0.0, 3, 4])
    r, c = alternating_scales(array_tensor("w", np.outer(rows, columns)))
    assert np.allclose(np.outer(r, c), np.outer(rows, columns))
    assert c.tolist() == [0, 1, pytest.approx(4 / 3)]


@given(st.integers(0, 30), st.integers(0, 60), st.integers(1, 9), st.integers(1, 12))
def test_rectangles_cover_each_place_once(start, size, columns, most):
    found = list(rectangles(start, start + size, columns, most))
    places = [p for part in found for p in range(part.start, part.stop)]
    assert places == list(range(start, start + size))
    for part in found:
        assert part.rows * part.columns == part.stop - part.start <= most
        assert divmod(part.start, columns) == (part.row, part.column)
        assert part.rows == 1 or (part.column, part.columns) == (0, columns)


@pytest.mark.parametrize("distortion", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_weights_near_the_largest_of_their_dtype_come_back_finite(dtype, distortion):
    """A level above the largest number would be an infinity of the dtype."""
    largest = float(ml_dtypes.finfo(dtype).max)
    weights = (random().uniform(-1, 1, (20, 30)) * largest).astype(dtype)
    weights[0, 0], weights[3] = largest, -largest
    coder = fit(f"nmse:{distortion}", weights)
    decoded = coder.decode(coder.encode(weights.astype(np.float64)))
    assert np.isfinite(decoded.astype(dtype)).all()
    least = fit(f"nmse:{distortion}", (weights.astype(np.float64) / largest).astype(dtype))
    assert len(least.parameters()) <= len(coder.parameters())


def test_steps_that_no_number_holds_are_refused():
    with pytest.raises(InputError, match="near the largest of float64"):
        fit("nmse:0.9", random().uniform(-8e307, 8e307, (20, 30)))
