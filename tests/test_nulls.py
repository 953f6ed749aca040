"""Null models keep what they claim to keep, and depend on nothing but their seed."""

import dataclasses
import math
import pickle

import ml_dtypes
import numpy as np
import pytest

from kolmo.checkpoints import array_tensor
from kolmo.checkpoints.base import Codes, WeightTensor
from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators import estimator_names, get_estimator
from kolmo.nulls import NULLS, PERMUTATIONS, Weights, get_null, unmoved
from kolmo.nulls.made import BLOCK, mean_and_sd
from kolmo.quantize import get_quantizer
from kolmo.symbols import Alphabet
from tests.test_nulls_moved import Held

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
    for integers in (np.ones(3, np.int32), np.ones(3, ml_dtypes.int4), np.ones(3, bool)):
        with pytest.raises(NotApplicableError, match=integers.dtype.name):
            draw("gaussian", integers)
    with pytest.raises(NotApplicableError, match="finite weights"):
        draw("gaussian", np.float32([1, np.nan]))
    with pytest.raises(NotApplicableError, match="variance is finite"):
        draw("gaussian", np.float64([1e300, -1e300]))


@pytest.mark.parametrize("numel", [0, 1, 1000, 70_000, 200_001])
@pytest.mark.parametrize("shift", [0, 1e6])
def test_mean_and_deviation_are_those_of_the_whole(numel, shift):
    """Against sums without rounding."""
    weights = np.random.default_rng(numel).normal(shift, 2.0, numel)
    mean = math.fsum(weights) / max(1, numel)
    sd = math.sqrt(math.fsum((weights - mean) ** 2) / max(1, numel))
    assert mean_and_sd(array_tensor("w", weights)) == pytest.approx((mean, sd), rel=1e-12)


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


# --- draws that need not be made ---------------------------------------------------------------

ORDER_FREE = [n for n in estimator_names() if get_estimator(n).order_free]
FREE_QUANTIZERS = ["native", "sign", "symmetric:8", "affine:4"]


def measured(estimator, quantizer, sources):
    """The figures of several tensors one by one, and of all of them together."""
    chunks = [list(source.coded(quantizer).chunks) for source in sources]
    shapes = [source.drawn.shape for source in sources]
    alphabet = quantizer.alphabet_of(sources[0].drawn)
    found = []
    for which in (*([i] for i in range(len(sources))), range(len(sources))):
        accumulator = estimator.start_many([shapes[i] for i in which], alphabet)
        for i in which:
            for chunk in chunks[i]:
                accumulator.update(chunk)
        found.append(accumulator.finish().with_side(sources[0].coded(quantizer).side_bits))
    return found


def test_what_counts_symbols_is_free_of_order():
    assert sorted(["kt", "nml", "enumerative", "gaussian", "laplace", "entropy"]) == ORDER_FREE


@pytest.mark.parametrize("null", PERMUTATIONS)
@pytest.mark.parametrize("quantizer", FREE_QUANTIZERS)
@pytest.mark.parametrize("estimator", ORDER_FREE)
def test_what_is_unmoved_costs_the_same_to_the_bit(estimator, quantizer, null):
    null, estimator, quantizer = get_null(null), get_estimator(estimator), get_quantizer(quantizer)
    assert unmoved(null, estimator, quantizer)
    if estimator.name in ("gaussian", "laplace") and quantizer.name == "native":
        return  # they take no native floats
    tensors = [array_tensor("a", WEIGHTS), array_tensor("b", WEIGHTS[:7].copy())]
    own = [Weights(tensor) for tensor in tensors]
    drawn = [null.draw(tensor, 3, 1) for tensor in tensors]
    assert measured(estimator, quantizer, own) == measured(estimator, quantizer, drawn)


@pytest.mark.parametrize(
    ("null", "estimator", "quantizer"),
    [("gaussian", "kt", "sign"), ("uniform", "kt", "sign"), ("shuffled", "bdm", "sign"),
     ("shuffled", "zstd", "native"), ("shuffled", "kt", "codebook:4"),
     ("row-shuffled", "kt", "affine:8,clip=99")],
)  # fmt: skip
def test_what_may_move_a_figure_is_drawn(null, estimator, quantizer):
    assert not unmoved(get_null(null), get_estimator(estimator), get_quantizer(quantizer))


def test_a_quantizer_that_places_do_not_matter_to_is_fitted_without_a_draw():
    held = Held(WEIGHTS)
    tensor = WeightTensor("w", WEIGHTS.shape, WEIGHTS.dtype, held.load)
    source = get_null("shuffled").draw(tensor, 0, 0)
    assert held.reads == 0
    parameters = source.fit(get_quantizer("symmetric:8")).parameters()
    assert held.reads == WEIGHTS.size
    assert parameters == get_quantizer("symmetric:8").fit(source.drawn).parameters()
    assert held.reads == 2 * WEIGHTS.size


# --- draws as tensors --------------------------------------------------------------------------


@pytest.mark.parametrize("null", PERMUTATIONS)
def test_codes_move_as_their_weights_do(null):
    numbers = np.arange(WEIGHTS.size).reshape(WEIGHTS.shape)
    codes = Held((numbers % 251).astype(np.uint8))
    tensor = dataclasses.replace(
        array_tensor("w", numbers.astype(np.float32)),
        codes=Codes("made up", Alphabet(256), codes.load, 99),
    )
    source = get_null(null).draw(tensor, 0, 0)
    symbols = np.concatenate(list(source.coded(get_quantizer("native")).chunks))
    moved = source.drawn.load(0, WEIGHTS.size)
    assert (moved % 251 == symbols).all()
    assert (moved != numbers.reshape(-1)).any()
    assert source.coded(get_quantizer("native")).side_bits == 99


@pytest.mark.parametrize("null", [*PERMUTATIONS, "gaussian", "uniform"])
@pytest.mark.parametrize("quantizer", ["native", "affine:8", "sign"])
def test_a_draw_is_the_same_where_it_is_unpickled(null, quantizer):
    tensor = WeightTensor("w", WEIGHTS.shape, WEIGHTS.dtype, Held(WEIGHTS).load)
    null = pickle.loads(pickle.dumps(get_null(null)))
    source = null.draw(tensor, 2, 1)
    chunks = list(source.coded(get_quantizer(quantizer)).chunks)  # before and after it is read
    again = pickle.loads(pickle.dumps(source)).coded(get_quantizer(quantizer)).chunks
    assert len(pickle.dumps(source)) < WEIGHTS.nbytes + 4000  # with no copy of what is drawn
    assert all((a == b).all() for a, b in zip(chunks, again, strict=True))


@pytest.mark.parametrize("null", [*PERMUTATIONS, "gaussian"])
def test_a_draw_is_a_tensor_like_the_one_that_it_is_of(null):
    weights = WEIGHTS.astype(ml_dtypes.bfloat16)
    drawn = get_null(null).draw(array_tensor("w", weights), 0, 0).drawn
    assert (drawn.name, drawn.shape, drawn.dtype) == ("w", weights.shape, weights.dtype)
    assert (drawn.read().dtype, drawn.read().shape) == (weights.dtype, weights.shape)
    assert drawn.place is None
    whole = drawn.load(0, drawn.numel).view(np.uint16)
    assert (drawn.load(77, 9001).view(np.uint16) == whole[77:9001]).all()


def test_uniform_is_symbols_alone_of_which_any_are_drawn_by_themselves():
    numel = BLOCK + 1000
    source = get_null("uniform").draw(array_tensor("w", np.zeros(numel, np.float16)), 0, 0)
    quantizer = get_quantizer("affine:5")
    assert source.drawn is None
    whole = np.concatenate(list(source.coded(quantizer).chunks))
    for start, stop in ((0, 1), (5, BLOCK), (BLOCK - 9, BLOCK + 9), (BLOCK, numel), (7, 7)):
        assert (source.symbols(quantizer, start, stop) == whole[start:stop]).all()
    assert (whole[:1000] != whole[BLOCK:]).mean() == pytest.approx(31 / 32, abs=0.03)


def test_blocks_of_normal_weights_are_independent_and_drawn_by_themselves():
    weights = np.resize(WEIGHTS.reshape(-1), 2 * BLOCK)
    drawn = get_null("gaussian").draw(array_tensor("w", weights), 0, 0).drawn
    whole = drawn.load(0, drawn.numel)
    assert abs(np.corrcoef(whole[:BLOCK], whole[BLOCK:])[0, 1]) < 5 / math.sqrt(BLOCK)
    for start, stop in ((3, 4), (BLOCK - 9, BLOCK + 9), (BLOCK, 2 * BLOCK), (7, 7)):
        assert (drawn.load(start, stop) == whole[start:stop]).all()


@pytest.mark.parametrize(
    "shape", [(8_000_000_000,), (128_000, 65_536), (8, 10**9), (1, 10**9), (3, 0), (0, 3), ()]
)
@pytest.mark.parametrize(
    "null", [*PERMUTATIONS, "gaussian", "uniform", "scaled", "signs", "inits:kaiming_uniform"]
)
def test_what_a_draw_holds_is_known_from_the_header(null, shape):
    """0.4 GB at most, whatever is drawn."""

    def load(start, stop):
        raise AssertionError("weights are read")

    tensor = WeightTensor("w", shape, np.dtype(ml_dtypes.bfloat16), load)
    assert get_null(null).working_memory(tensor) < 400 << 20


def test_columns_of_too_many_rows_are_refused_from_the_header():
    tensor = WeightTensor("w", (1 << 32, 2), np.dtype(np.int8), None)
    with pytest.raises(NotApplicableError, match="4,294,967,295 rows"):
        get_null("column-shuffled").draw(tensor, 0, 0)


def test_versions_say_that_draws_are_not_those_of_the_first_shuffles():
    versions = {name: NULLS.get(name).version for name in NULLS.names()}
    later = {"reference", "scaled", "signs", "inits"}
    assert {name for name, version in versions.items() if version == 1} == later


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
