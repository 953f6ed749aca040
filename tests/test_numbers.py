"""Numbers at the edges of what dtypes hold: a sound figure or a reason, and the right symbols."""

import random

import numpy as np
import pytest
from safetensors.numpy import load_file

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.codes.choosing import PRESETS
from kolmo.dtypes import DTYPES
from kolmo.errors import MissingExtraError
from kolmo.estimators import estimator_names, get_estimator
from kolmo.floats import is_float
from kolmo.layout import LAYOUTS
from kolmo.quantize import get_quantizer, quantizer_names
from kolmo.testing.access import measure
from kolmo.testing.cases import Case
from kolmo.testing.estimators import EVERY, estimator_checks
from momos.mosaic.mosaic import Mosaic
from tests.extremes import (
    ESTIMATORS,
    QUANTIZERS,
    TENSORS,
    WAYS,
    cells,
    check_nearest,
    check_symbols,
    measured,
    tensor,
)

SMALL = [name for name in TENSORS if name != "many levels"]
PLAIN = ("bool", "int8", "int64", "uint8", "uint64", "float16", "float32", "float64")
"""Dtypes that safetensors' own reader gives back to numpy."""

SAFE = (*PLAIN, "bfloat16", "float8_e4m3fn", "float8_e5m2")


# --- the grid -------------------------------------------------------------------------------


def test_the_grid_has_every_quantizer_and_every_estimator():
    assert set(WAYS) == set(quantizer_names())
    assert {get_estimator(spec).name for spec in ESTIMATORS} == set(estimator_names())


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_symbols_are_right(quantizer):
    """A draw of the grid, each time the same: three cells of each tensor that is small."""
    drawn = random.Random(quantizer)
    for name in SMALL:
        for dtype in drawn.sample(list(DTYPES), 3):
            check_symbols(tensor(name, DTYPES[dtype]), quantizer)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_figure_is_sound_or_there_is_a_reason(estimator):
    drawn = random.Random(estimator)
    for name in drawn.sample(SMALL, 6):
        dtype, quantizer = drawn.choice(list(DTYPES)), drawn.choice(QUANTIZERS)
        measured(tensor(name, DTYPES[dtype]), quantizer, estimator)


def test_a_level_that_is_not_the_nearest_is_found():
    """By a tenth of a step, and where a difference of floats is infinite."""
    for weight, levels in ((0.55, [0.0, 1.0]), (-1.7e308, [-1.7e308, 1.7e308])):
        near = int(abs(levels[0] - weight) > abs(levels[1] - weight))
        check_nearest(np.array([weight]), np.array([near]), np.array(levels))
        with pytest.raises(AssertionError):
            check_nearest(np.array([weight]), np.array([1 - near]), np.array(levels))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_symbols_of_a_dtype(dtype):
    ours = [(name, quantizer) for one, name, quantizer in cells() if one == dtype]
    assert sum(check_symbols(tensor(name, DTYPES[dtype]), quantizer) for name, quantizer in ours)


# --- containers -----------------------------------------------------------------------------


def extremes(dtypes):
    return {f"{dtype} {name}": tensor(name, DTYPES[dtype]) for dtype in dtypes for name in SMALL}


def test_containers_keep_every_bit(tmp_path):
    """NaN payloads, zeros with a sign, and subnormals too."""
    source = extremes(SAFE)
    kolmo.pack(source, tmp_path / "x.kmo", preset="fast")
    assert kolmo.verify(tmp_path / "x.kmo", source)
    source = extremes(PLAIN)
    certificate = kolmo.pack(source, tmp_path / "x.kmo", preset="fast")
    assert kolmo.verify(tmp_path / "x.kmo", source).sha256 == certificate.sha256
    out = load_file(kolmo.unpack(tmp_path / "x.kmo", tmp_path / "x.safetensors"))
    assert set(out) == set(source)
    for name, weights in source.items():
        assert (out[name].dtype, out[name].shape) == (weights.dtype, weights.shape), name
        assert out[name].tobytes() == weights.tobytes(), name


@pytest.mark.parametrize("quantizer", ["symmetric:8", "affine:4", "codebook:16"])
def test_quantized_containers_decode_to_finite_weights(tmp_path, quantizer):
    """Those of which the quantizer can express all; in the source's own dtype."""
    floats = [name for name in PLAIN if is_float(DTYPES[name])]
    source = {k: w for k, w in extremes(floats).items() if check_symbols(w, quantizer)}
    kolmo.pack(source, tmp_path / "x.kmo", preset="fast", quantizer=quantizer)
    kolmo.verify(tmp_path / "x.kmo", source)
    out = load_file(kolmo.unpack(tmp_path / "x.kmo", tmp_path / "x.safetensors"))
    for name, weights in source.items():
        assert out[name].dtype == weights.dtype, name
        assert np.isfinite(out[name].astype(np.float64)).all(), name


# --- bounds ---------------------------------------------------------------------------------

BOUNDS = [spec for spec in ESTIMATORS if get_estimator(spec).kind == "bound"]
FURTHER = [
    *(f"pack:{preset}" for preset in PRESETS if preset != "fast"),
    "xz:9",
    "brotli:11",
    "zstd:22",
]
UNIFORM = [
    *(Case(((64,),), alphabet, "uniform") for alphabet in (2, 3, 256, 4096, 2**32, 2**64)),
    *(Case(((8, 8),), 1 << bits, "uniform", name) for name, bits in (("float16", 16),
                                                                    ("float32", 32))),
]  # fmt: skip
KRAFT = dict(estimator_checks())["a bound obeys Kraft's inequality"]


@pytest.mark.parametrize("spec", BOUNDS)
def test_every_bound_has_sequences_that_kraft_is_tried_on(spec):
    """One that refused all cases of `kolmo.testing` would never be tried."""
    assert any(not isinstance(figure(spec, case), str) for case in EVERY)


def figure(spec, case):
    try:
        return measure(get_estimator(spec), case)
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("spec", BOUNDS)
def test_uniform_symbols_cost_their_logarithm(spec):
    """12 bits less has a probability of 1 in 4,096; the draws are always the same."""
    for case in UNIFORM:
        code = figure(spec, case)
        if not isinstance(code, str):
            assert code.bits >= code.numel * np.log2(float(case.alphabet)) - 12, (case, code)


LEVELS = {
    "native": 4, "sign": 2, "symmetric:4": 15, "symmetric:4,axis=row": 15,
    "symmetric:4,group=3": 15, "affine:4": 16, "affine:8,clip=99": 8, "codebook:16": 16,
    "nmse:1e-4": 15, "nmse:1e-4,axis=column": 15,
}  # fmt: skip
"""How many values weights have that a quantizer tells apart."""


def levels(quantizer, shape=(12, 12)):
    """Weights of so many values, each as likely as the others, and their information in bits."""
    count = LEVELS[quantizer]
    drawn = np.random.default_rng(5).integers(0, count, shape) - count // 2
    drawn = np.where(drawn >= 0, drawn + 1, drawn) if quantizer == "sign" else drawn
    return drawn.astype(np.float32), drawn.size * np.log2(count)


def test_levels_of_every_quantizer_are_tried():
    assert {get_quantizer(spec).name for spec in LEVELS} == set(quantizer_names())


@pytest.mark.parametrize("quantizer", LEVELS)
def test_uniform_levels_cost_their_logarithm(quantizer):
    """Under every quantizer that tells them apart, for every bound in every layout."""
    weights, information = levels(quantizer)
    coder = get_quantizer(quantizer).fit(array_tensor("w", weights))
    symbols = coder.encode(weights).reshape(-1)
    told = coder.decode_at(symbols, 0) if coder.restores else symbols
    pairs = set(zip(told.tolist(), weights.reshape(-1).tolist(), strict=True))
    assert len({one for one, _ in pairs}) == len(pairs)  # of what is told follows the weight
    for spec in BOUNDS:
        code = measured(weights, quantizer, spec)
        if not isinstance(code, str):
            assert code.bits >= information - 12, (spec, code)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("quantizer", ["native", "symmetric:4", "codebook:16"])
def test_files_of_uniform_levels_have_their_logarithm(tmp_path, preset, quantizer):
    weights, information = levels(quantizer)
    kolmo.pack({"w": weights}, tmp_path / "x.kmo", preset=preset, quantizer=quantizer)
    assert 8 * (tmp_path / "x.kmo").stat().st_size >= information - 12


@pytest.mark.parametrize("count", [2, 16, 100])
def test_mosaics_of_uniform_motifs_have_their_logarithm(count):
    random = np.random.default_rng(count)
    motifs = random.normal(size=(count, 4)).astype(np.float32)
    blocks = random.integers(0, count, 2000)
    mosaic = Mosaic.from_model({"w": motifs[blocks].reshape(100, 80)}, block_size=4)
    assert 8 * len(mosaic.encode()) >= blocks.size * np.log2(count) + 16 * motifs.size - 12


@pytest.mark.slow
@pytest.mark.parametrize("spec", [*(spec for spec in BOUNDS if "@" in spec), *FURTHER])
def test_kraft_of_further_bounds(spec):
    """What the contract of those that are registered leaves out: layouts, and other levels."""
    KRAFT(spec)


def test_all_layouts_are_tried():
    assert {spec.partition("@")[2] for spec in BOUNDS if "@" in spec} == set(LAYOUTS)


# --- what was wrong once --------------------------------------------------------------------


def test_steps_under_the_least_float_are_no_grid(tmp_path):
    """The least float64 over 8 is 0, of which everything would be a multiple."""
    least = np.nextafter(0, 1)
    weights = {"w": np.resize([least, 3 * least, -least, 1.0, 0.1, 0.7], 600).reshape(30, 20)}
    kolmo.pack(weights, tmp_path / "x.kmo", preset="fast")
    assert kolmo.verify(tmp_path / "x.kmo", weights)


def test_means_of_huge_weights_do_not_overflow():
    weights = np.linspace(-8e307, 8e307, 500)
    coder = get_quantizer("codebook:2").fit(array_tensor("w", weights))
    assert coder.parameters() == pytest.approx([-4e307, 4e307], rel=0.01)


def test_powers_of_two_are_positive():
    """float8_e8m0fnu has no zero, and no sign."""
    powers = np.float64([2**-127, 0.5, 1, 2**127]).astype(DTYPES["float8_e8m0fnu"])
    for weights in (powers, np.resize(powers, 1 << 15)):  # one by one, and by a table
        coder = get_quantizer("sign").fit(array_tensor("w", weights))
        assert coder.encode(weights).all()
