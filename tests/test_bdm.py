"""Block decomposition against pybdm, the theory's invariances, and brute force."""

import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kolmo
from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators import get_estimator
from kolmo.estimators.accumulators import SATURATED
from kolmo.estimators.blocks import Boundary, SquareCounter, StringCounter, Tally
from kolmo.estimators.ctm import load_table
from kolmo.estimators.scores import conditional_bdm
from kolmo.symbols import symbol_bits

with warnings.catch_warnings():  # its own doing: pkg_resources, invalid escapes
    warnings.simplefilter("ignore")
    pybdm = pytest.importorskip("pybdm")
    from pybdm.partitions import PartitionCorrelated, PartitionIgnore, PartitionRecursive

PARTITIONS = {
    "ignore": (PartitionIgnore, {}),
    "recursive": (PartitionRecursive, {"min_length": 2}),
    "recursive,min_length=1": (PartitionRecursive, {"min_length": 1}),
    "recursive,min_length=3": (PartitionRecursive, {"min_length": 3}),
    "correlated": (PartitionCorrelated, {"shift": 1}),
    "correlated,shift=3": (PartitionCorrelated, {"shift": 3}),
    "correlated,shift=17": (PartitionCorrelated, {"shift": 17}),
}
ORACLES = {}


def oracle(ndim, alphabet, boundary):
    key = (ndim, alphabet, boundary)
    if key not in ORACLES:
        partition, options = PARTITIONS[boundary]
        ORACLES[key] = pybdm.BDM(
            ndim, alphabet, partition=partition, warn_if_missing_ctm=False, **options
        )
    return ORACLES[key]


def content(kind, shape, alphabet, seed=0):
    random = np.random.default_rng(seed)
    if kind == "random":
        return random.integers(0, alphabet, shape)
    if kind == "constant":
        return np.full(shape, alphabet - 1)
    if kind == "periodic":
        return (np.arange(math.prod(shape)).reshape(shape) // 2) % alphabet
    if kind == "sparse":
        return np.where(random.random(shape) < 0.03, alphabet - 1, 0)
    weights = np.cumsum(random.normal(size=shape), axis=-1)  # smooth: neighbours share a sign
    return (weights > 0).astype(np.int64)


KINDS = ["random", "constant", "periodic", "sparse", "signs"]


def measure(spec, symbols, alphabet, chunks=1):
    accumulator = get_estimator(spec).start(symbols.shape, alphabet)
    for chunk in np.array_split(symbols.reshape(-1).astype(np.uint8), chunks):
        accumulator.update(chunk)
    return accumulator.finish()


@pytest.mark.parametrize("boundary", PARTITIONS)
@pytest.mark.parametrize("length", [12, 13, 23, 25, 100, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_strings_equal_pybdm(boundary, length, kind):
    symbols = content(kind, (length,), 2)
    code = measure(f"bdm,boundary={boundary}", symbols, 2, chunks=3)
    assert code.bits == pytest.approx(oracle(1, 2, boundary).bdm(symbols), rel=1e-9)
    assert code.kind == "estimate"


@pytest.mark.parametrize("boundary", PARTITIONS)
@pytest.mark.parametrize("shape", [(4, 4), (4, 9), (7, 4), (5, 6), (10, 11), (31, 18), (40, 40)])
@pytest.mark.parametrize("kind", KINDS)
def test_matrices_equal_pybdm(boundary, shape, kind):
    symbols = content(kind, shape, 2)
    code = measure(f"bdm,ndim=2,boundary={boundary}", symbols, 2, chunks=5)
    assert code.bits == pytest.approx(oracle(2, 2, boundary).bdm(symbols), rel=1e-9)


@pytest.mark.parametrize("length", [2, 5, 11])
def test_short_strings_equal_pybdm(length):
    symbols = content("random", (length,), 2)
    code = measure("bdm,boundary=recursive", symbols, 2)
    assert code.bits == pytest.approx(oracle(1, 2, "recursive").bdm(symbols), rel=1e-9)
    with pytest.raises(NotApplicableError, match="no whole block of 12"):
        measure("bdm", symbols, 2)


@pytest.mark.parametrize("shape", [(2, 2), (3, 7), (2, 9)])
def test_small_matrices_equal_pybdm(shape):
    symbols = content("random", shape, 2)
    code = measure("bdm,ndim=2,boundary=recursive", symbols, 2)
    assert code.bits == pytest.approx(oracle(2, 2, "recursive").bdm(symbols), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("alphabet", [5, 6, 9])
@pytest.mark.parametrize("boundary", ["ignore", "recursive", "correlated"])
def test_larger_alphabets_equal_pybdm(alphabet, boundary):
    for kind in KINDS:
        symbols = content(kind, (4003,), alphabet)
        code = measure(f"bdm,boundary={boundary}", symbols, alphabet, chunks=4)
        assert code.bits == pytest.approx(oracle(1, alphabet, boundary).bdm(symbols), rel=1e-9)


@pytest.mark.parametrize("boundary", ["ignore", "recursive", "correlated"])
@pytest.mark.parametrize("kind", KINDS)
def test_four_symbols_equal_pybdm(boundary, kind):
    symbols = content(kind, (4003,), 4)
    code = measure(f"bdm,boundary={boundary}", symbols, 4, chunks=4)
    assert code.bits == pytest.approx(oracle(1, 4, boundary).bdm(symbols), rel=1e-9)


@pytest.mark.parametrize("length", [120_000, 3_240_000])  # few blocks, and many
def test_imputed_blocks_are_counted(length):
    symbols = content("random", (length,), 4)
    code = measure("bdm", symbols, 4)
    table = load_table(1, 4)[(12,)]
    codes, counts = np.unique(
        symbols.reshape(-1, 12) @ 4 ** np.arange(11, -1, -1), return_counts=True
    )
    values, imputed = table.lookup(codes)
    assert 0 < code.details["imputed"] == imputed == (values == table.imputed).sum()
    assert code.bits == pytest.approx((values + np.log2(counts)).sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("boundary", "ndim", "shape"),
    [
        ("ignore", 1, (25,)),
        ("ignore", 1, (60_011,)),
        ("recursive", 1, (27,)),  # of a tail too short to count pybdm normalizes by it all the same
        ("recursive", 1, (60_011,)),
        ("ignore", 2, (9, 22)),
        ("ignore", 2, (130, 67)),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_normalized_equals_pybdm(boundary, ndim, shape, kind):
    symbols = content(kind, shape, 2)
    reference = oracle(ndim, 2, boundary)
    code = measure(f"bdm,ndim={ndim},boundary={boundary}", symbols, 2)
    assert code.details["normalized"] == pytest.approx(reference.nbdm(symbols), rel=1e-9, abs=1e-9)
    entropy = measure(f"block-entropy,ndim={ndim},boundary={boundary}", symbols, 2)
    assert entropy.details["bits_per_block"] == pytest.approx(
        reference.ent(symbols), rel=1e-9, abs=1e-9
    )
    expected = reference.nent(symbols)
    if boundary == "ignore":  # else pybdm takes blocks of different shapes for the same
        assert entropy.details["normalized"] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def imputed_blocks(table, number):
    """Distinct blocks that the table lacks, as rows of symbols."""
    random = np.random.default_rng(0)
    length, bits = math.prod(table.shape), symbol_bits(table.symbols)
    drawn = np.unique(random.integers(0, table.symbols, (40_000, length)), axis=0)
    codes = (drawn << (bits * np.arange(length - 1, -1, -1))).sum(axis=1)
    return drawn[table.lookup(codes)[0] == table.imputed][:number]


ALPHABETS = [2, 4, *(pytest.param(size, marks=pytest.mark.slow) for size in (5, 6, 9))]


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("boundary", ["ignore", "recursive", "recursive,min_length=1"])
@given(
    blocks=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    tail=st.integers(0, 11),
    used=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_normalized_is_between_the_least_and_the_greatest(
    alphabet, boundary, blocks, tail, used, seed
):
    """Blocks that repeat, of some of the symbols or of all: from the simplest to imputed ones."""
    random = np.random.default_rng(seed)
    pool = random.integers(0, min(used, alphabet), (6, 12))
    pool[random.random(6) < 0.3] = 0
    ends = random.integers(0, alphabet, tail)
    code = measure(f"bdm,boundary={boundary}", np.append(pool[blocks].reshape(-1), ends), alphabet)
    assert code.details["normalized"] is None or 0 <= code.details["normalized"] <= 1


@given(st.integers(2, 25), st.integers(2, 25), st.sampled_from(KINDS), st.integers(0, 99))
def test_normalized_squares_are_too(rows, columns, kind, seed):
    symbols = content(kind, (rows, columns), 2, seed)
    for boundary in ("recursive", "ignore") if min(rows, columns) >= 4 else ("recursive",):
        normalized = measure(f"bdm,ndim=2,boundary={boundary}", symbols, 2).details["normalized"]
        assert normalized is None or 0 <= normalized <= 1


@pytest.mark.parametrize("alphabet", ALPHABETS[1:])
@pytest.mark.parametrize("number", [1, 7])
def test_blocks_that_the_table_lacks_are_the_most_complex(alphabet, number):
    blocks = imputed_blocks(load_table(1, alphabet)[(12,)], number)
    assert len(blocks) == number
    code = measure("bdm", blocks.reshape(-1), alphabet)
    assert code.details["imputed"] == number
    assert code.details["normalized"] == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_normalized_equals_pybdm_where_every_block_has_a_value(alphabet):
    """Of strings shorter than a block all are in the table."""
    for kind, length in itertools.product(KINDS, (3, 7, 10)):
        symbols = content(kind, (length,), alphabet)
        code = measure("bdm,boundary=recursive", symbols, alphabet)
        expected = oracle(1, alphabet, "recursive").nbdm(symbols)
        assert code.details["normalized"] == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(
    st.integers(12, 400),
    st.lists(st.integers(0, 400), max_size=6),
    st.sampled_from(list(PARTITIONS)),
    st.integers(0, 5),
)
def test_string_chunks_do_not_matter(length, cuts, boundary, seed):
    symbols = content("random", (length,), 2, seed).astype(np.uint8)
    estimator = get_estimator(f"bdm,boundary={boundary}")
    accumulator = estimator.start((length,), 2)
    for chunk in np.split(symbols, sorted(min(cut, length) for cut in cuts)):
        accumulator.update(chunk)
    assert accumulator.finish().bits == measure(str(estimator), symbols, 2).bits


@given(
    st.lists(st.tuples(st.integers(0, 13), st.integers(0, 13)), min_size=1, max_size=4),
    st.lists(st.integers(0, 600), max_size=6),
    st.sampled_from(["ignore", "recursive", "correlated", "correlated,shift=3"]),
)
def test_matrix_chunks_do_not_matter(shapes, cuts, boundary):
    estimator = get_estimator(f"bdm,ndim=2,boundary={boundary}")
    numel = sum(math.prod(shape) for shape in shapes)
    symbols = content("random", (numel,), 2).astype(np.uint8)
    try:
        whole, pieces = estimator.start_many(shapes, 2), estimator.start_many(shapes, 2)
    except NotApplicableError:
        return
    whole.update(symbols)
    for chunk in np.split(symbols, sorted(min(cut, numel) for cut in cuts)):
        pieces.update(chunk)
    assert pieces.finish() == whole.finish()


def test_strings_run_on_across_tensors():
    symbols = content("random", (100,), 2).astype(np.uint8)
    accumulator = get_estimator("bdm").start_many([(7,), (3, 11), (), (59,)], 2)
    accumulator.update(symbols)
    assert accumulator.finish().bits == measure("bdm", symbols, 2).bits


def test_matrices_share_their_counts_and_vectors_are_left_out():
    symbols = content("signs", (8, 8), 2).astype(np.uint8)
    accumulator = get_estimator("bdm,ndim=2").start_many([(8, 8), (5,), (8, 2, 4)], 2)
    for part in (symbols, np.ones(5, np.uint8), symbols):
        accumulator.update(part)
    code = accumulator.finish()
    twice = measure("bdm,ndim=2", np.concatenate([symbols, symbols]), 2)
    assert code.bits == twice.bits
    assert code.numel == 128
    assert "leaves out 1 tensors that are no matrices (5 weights)" in code.note


@pytest.mark.parametrize("shape", [(1200,), (40, 36)])
def test_complement_and_reversal_change_nothing(shape):
    """The tables are closed under complement by renaming; where they are under reversal, BDM is."""
    symbols = content("signs", shape, 2)
    spec = f"bdm,ndim={len(shape)}"
    assert measure(spec, 1 - symbols, 2).bits == pytest.approx(
        measure(spec, symbols, 2).bits, rel=1e-12
    )


def test_the_string_table_is_closed_under_reversal():
    table = load_table(1, 2)[(12,)]
    codes = np.arange(4096)
    mirrored = np.array([int(f"{code:012b}"[::-1], 2) for code in codes])
    assert table.lookup(codes)[0] == pytest.approx(table.lookup(mirrored)[0], rel=1e-12)
    symbols = content("signs", (1200,), 2)
    assert measure("bdm", symbols[::-1], 2).bits == pytest.approx(measure("bdm", symbols, 2).bits)


def test_the_square_table_is_closed_under_transposition():
    table = load_table(2, 2)[(4, 4)]
    codes = np.arange(1 << 16)
    squares = (codes[:, None] >> np.arange(15, -1, -1) & 1).reshape(-1, 4, 4)
    powers = 1 << np.arange(15, -1, -1)
    for moved in (squares.transpose(0, 2, 1), np.rot90(squares, axes=(1, 2))):
        there = table.lookup(moved.reshape(-1, 16) @ powers)[0]
        assert there == pytest.approx(table.lookup(codes)[0], rel=1e-12)
    symbols = content("signs", (40, 36), 2)
    assert measure("bdm,ndim=2", symbols.T, 2).bits == pytest.approx(
        measure("bdm,ndim=2", symbols, 2).bits
    )


def test_counters_merge_in_any_order():
    symbols = content("signs", (1200,), 2).astype(np.uint8)
    parts = [StringCounter(2, Boundary()) for _ in range(4)]
    for counter, part in zip(parts, np.split(symbols, 4), strict=True):
        counter.update(part)
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        merged = StringCounter(2, Boundary())
        for number in order:
            merged.merge(parts[number])
        codes, counts = merged.finish()[(12,)]
        whole = StringCounter(2, Boundary())
        whole.update(symbols)
        assert (codes == whole.finish()[(12,)][0]).all()
        assert (counts == whole.finish()[(12,)][1]).all()
    ragged = StringCounter(2, Boundary())
    ragged.update(symbols[:7])
    with pytest.raises(InputError, match="meet between two blocks"):
        ragged.merge(parts[0])
    squares = SquareCounter([(8, 8)], Boundary())
    squares.update(symbols[:64])
    doubled = SquareCounter([], Boundary())
    doubled.merge(squares)
    doubled.merge(squares)
    assert (doubled.finish()[(4, 4)][1] == 2 * squares.finish()[(4, 4)][1]).all()


@pytest.mark.parametrize(
    ("spec", "shape", "alphabet", "cuts"),
    [
        ("bdm", (1205,), 2, [240, 600]),
        ("bdm,boundary=recursive", (1205,), 2, [240, 600]),
        ("bdm", (120_005,), 4, [24_000]),
        ("bdm,ndim=2", (50, 33), 2, [8 * 33, 20 * 33]),
        ("qubd", (50, 33), 256, [8 * 33, 20 * 33]),
        ("qubd,ndim=1", (1205,), 256, [240]),
        ("ctm", (1205,), 2, [12]),
        ("block-entropy", (1205,), 2, [12]),
        ("kt", (1205,), 300, [7, 11]),
        ("entropy", (1205,), 2**32, [7, 11]),
    ],
)
def test_accumulators_merge_across_processes(spec, shape, alphabet, cuts):
    symbols = np.random.default_rng(0).integers(0, alphabet, math.prod(shape), dtype=np.uint64)
    estimator = get_estimator(spec)
    whole, merged = estimator.start(shape, alphabet), estimator.start(shape, alphabet)
    whole.update(symbols)
    for stretch in np.split(symbols, cuts):
        part_shape = (stretch.size // shape[1], shape[1]) if len(shape) == 2 else stretch.shape
        part = estimator.start(part_shape, alphabet)
        part.update(stretch)
        merged.merge(pickle.loads(pickle.dumps(part)))
    assert merged.finish() == whole.finish()


def test_what_cannot_be_merged_says_so():
    gzip = get_estimator("gzip")
    with pytest.raises(InputError, match="cannot be merged"):
        gzip.start((5,), 2).merge(gzip.start((5,), 2))
    with pytest.raises(InputError, match="the part is of ctm"):
        get_estimator("bdm").start((50,), 2).merge(get_estimator("ctm").start((50,), 2))


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=40), max_size=5),
    st.sampled_from([(1 << 40, 0), (1 << 24, 1 << 20), (1 << 10, 0)]),
)
def test_a_tally_counts_exactly(parts, sizes):
    tally, other = Tally(*sizes), Tally(1 << 40)
    for number, part in enumerate(parts):
        (tally if number % 2 else other).add(np.array(part, np.int64))
    tally.merge(other)
    codes, counts = np.unique(
        np.array([code for part in parts for code in part], np.int64), return_counts=True
    )
    assert tally.finish()[0].tolist() == codes.tolist()
    assert tally.finish()[1].tolist() == counts.tolist()


@pytest.mark.parametrize("bits", [1, 3, 8, 12])
def test_qubd_is_the_sum_over_planes(bits):
    codes = np.random.default_rng(0).integers(0, 1 << bits, (22, 37))
    accumulator = get_estimator("qubd").start(codes.shape, 1 << bits)
    accumulator.update(codes.astype(np.uint16))
    code = accumulator.finish()
    planes = [oracle(2, 2, "ignore").bdm(codes >> p & 1) for p in reversed(range(bits))]
    assert code.details["planes"] == pytest.approx(planes, rel=1e-9)
    assert code.bits == pytest.approx(sum(planes), rel=1e-9)


MODEL = [(22, 37), (5,), (8, 2, 4), (9, 4), (0, 4), (40,)]


def tensors(alphabet):
    """Signs that run in stretches, below which the lower planes are noise."""
    return [
        content("signs", shape, 2, n) * (alphabet // 2) + content("random", shape, alphabet // 2, n)
        for n, shape in enumerate(MODEL)
    ]


def measure_model(spec, parts, alphabet, chunks=1):
    accumulator = get_estimator(spec).start_many([part.shape for part in parts], alphabet)
    whole = np.concatenate([part.reshape(-1) for part in parts]).astype(np.uint8)
    for chunk in np.array_split(whole, chunks):
        accumulator.update(chunk)
    return accumulator.finish()


def matrices(parts):
    flat = [part.reshape(part.shape[0], -1) for part in parts if part.ndim > 1 and part.size]
    return [matrix for matrix in flat if min(matrix.shape) >= 4]


@pytest.mark.parametrize("chunks", [1, 7])
def test_qubd_of_a_model_is_the_sum_over_tensors_as_published(chunks):
    parts = tensors(256)
    code = measure_model("qubd", parts, 256, chunks)
    planes = [
        sum(oracle(2, 2, "ignore").bdm(matrix >> p & 1) for matrix in matrices(parts))
        for p in reversed(range(8))
    ]
    assert code.details["planes"] == pytest.approx(planes, rel=1e-9)
    assert code.bits == pytest.approx(sum(planes), rel=1e-9)
    assert code.details["aggregate"] == "sum"
    assert code.numel == sum(matrix.size for matrix in matrices(parts))


def test_qubd_pooled_counts_the_blocks_of_all_tensors_together():
    """Of matrices whose sides are multiples of 4 it is that of all of them, one upon the other."""
    parts = [content("sparse", (8 * n, 12), 256, n) for n in (1, 2, 3)]
    stacked = measure("qubd", np.concatenate(parts), 256)
    pooled = measure_model("qubd,aggregate=pooled", parts, 256)
    assert pooled.bits == pytest.approx(stacked.bits, rel=1e-12)
    assert pooled.details["aggregate"] == "pooled"
    assert pooled.bits < measure_model("qubd", parts, 256).bits


@pytest.mark.parametrize("spec", ["bdm,ndim=2", "bdm", "block-entropy,ndim=2", "block-entropy"])
def test_a_sum_over_tensors_is_that_of_pybdm(spec):
    parts = tensors(2)
    taken = matrices(parts) if "ndim=2" in spec else [p.reshape(-1) for p in parts if p.size >= 12]
    reference = oracle(2 if "ndim=2" in spec else 1, 2, "ignore")
    code = measure_model(f"{spec},aggregate=sum", parts, 2, chunks=5)
    if spec.startswith("bdm"):
        expected = sum(reference.bdm(part) for part in taken)
    else:
        blocks = [part.size // 12 if part.ndim == 1 else math.prod(n // 4 for n in part.shape)
                  for part in taken]  # fmt: skip
        expected = sum(reference.ent(part) * n for part, n in zip(taken, blocks, strict=True))
        assert code.details["bits_per_block"] == pytest.approx(expected / sum(blocks), rel=1e-9)
    assert code.bits == pytest.approx(expected, rel=1e-9)
    assert code.bits != measure_model(spec, parts, 2).bits


def test_a_sum_over_tensors_is_merged_of_whole_tensors():
    estimator = get_estimator("qubd")
    whole, part = estimator.start_many([(8, 8), (8, 12)], 4), estimator.start((4, 8), 4)
    part.update(np.zeros(32, np.uint8))
    with pytest.raises(InputError, match="parts of a sum over tensors are whole tensors"):
        whole.merge(part)


def test_a_sum_saturates_later_than_pooled_blocks():
    parts = [content("random", (400, 400), 2, seed) for seed in range(40)]
    assert measure_model("bdm,ndim=2", parts, 2).saturated
    code = measure_model("bdm,ndim=2,aggregate=sum", parts, 2)
    assert not code.saturated
    assert code.details["share_seen"] < 0.2


def test_qubd_of_vectors():
    codes = content("random", (500,), 8)
    accumulator = get_estimator("qubd,ndim=1").start((500,), 8)
    accumulator.update(codes.astype(np.uint8))
    planes = [oracle(1, 2, "ignore").bdm(codes >> p & 1) for p in (2, 1, 0)]
    assert accumulator.finish().details["planes"] == pytest.approx(planes, rel=1e-9)


@pytest.mark.parametrize("shape", [(), (100,), (3, 100), (100, 3)])
def test_qubd_says_why_not(shape):
    with pytest.raises(NotApplicableError, match="matrix of at least 4 × 4"):
        get_estimator("qubd").start(shape, 256)


def test_convolution_kernels_are_flattened_to_first_and_rest():
    symbols = content("random", (8, 3, 3, 3), 2)
    assert (
        measure("bdm,ndim=2", symbols, 2).bits
        == measure("bdm,ndim=2", symbols.reshape(8, 27), 2).bits
    )


def test_windows_are_bdm_of_each_window():
    symbols = content("signs", (1000,), 2)
    code = measure("bdm,window=100", symbols, 2, chunks=7)
    each = [oracle(1, 2, "ignore").bdm(symbols[i : i + 100]) for i in range(0, 1000, 100)]
    assert code.bits == pytest.approx(sum(each), rel=1e-9)
    assert code.standard_error == pytest.approx(10 * np.std(each, ddof=1) / math.sqrt(10), rel=1e-9)


def test_square_windows_are_bdm_of_each_window():
    symbols = content("signs", (45, 70), 2)
    code = measure("bdm,ndim=2,window=16", symbols, 2, chunks=7)
    each = [
        oracle(2, 2, "ignore").bdm(symbols[i : i + 16, j : j + 16])
        for i in (0, 16)
        for j in (0, 16, 32, 48)
    ]
    assert code.degrees == 7
    assert code.details["bits_per_window"] == pytest.approx(np.mean(each), rel=1e-9)
    assert code.bits_per_weight == pytest.approx(np.mean(each) / 256, rel=1e-9)


@pytest.mark.parametrize(
    ("spec", "shapes", "windows"),
    [
        ("bdm,window=100", [(799,)], 7),
        ("bdm,window=100", [(150,), (30,)], 1),
        ("bdm,ndim=2,window=16", [(47, 47), (16, 16), (9,)], 5),
    ],
)
def test_a_mean_of_few_windows_is_refused(spec, shapes, windows):
    there = "is 1;" if windows == 1 else f"are {windows};"
    with pytest.raises(NotApplicableError, match=f"a mean takes 8 windows, and there {there}"):
        get_estimator(spec).start_many(shapes, 2)


def test_ctm_of_one_block_has_no_error():
    code = measure("ctm", content("random", (12,), 2), 2)
    assert math.isnan(code.standard_error)
    assert math.isnan(code.degrees)


def test_windows_and_ctm_do_not_saturate_but_bdm_does():
    small, large = (content("random", (n,), 2) for n in (60_000, 1_200_000))
    for spec in ("bdm,window=6000", "ctm"):
        ratio = measure(spec, large, 2).bits_per_weight / measure(spec, small, 2).bits_per_weight
        assert ratio == pytest.approx(1, abs=0.02)
    assert measure("bdm", small, 2).bits_per_weight > 10 * measure("bdm", large, 2).bits_per_weight
    assert measure("bdm", large, 2).saturated
    assert measure("bdm", large, 2).details["share_seen"] > SATURATED
    assert measure("bdm", small, 2).note == ""


def test_ctm_is_the_mean_over_blocks():
    symbols = content("signs", (1200,), 2)
    each = [oracle(1, 2, "ignore").bdm(symbols[i : i + 12]) for i in range(0, 1200, 12)]
    code = measure("ctm", symbols, 2)
    assert code.details["mean_ctm"] == pytest.approx(np.mean(each))
    assert code.bits == pytest.approx(sum(each))
    assert code.standard_error == pytest.approx(np.std(each, ddof=1) * 10, rel=1e-6)
    assert code.degrees == 99


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bdm,ndim=3", "ndim is 1 or 2"),
        ("bdm,boundary=wrap", "boundary is ignore, recursive or correlated"),
        ("bdm,shift=0", "at least 1"),
        ("bdm,window=5", "at least a block, 12"),
        ("bdm,window=50,boundary=recursive", "windows go with"),
        ("bdm,window=50,aggregate=sum", "a mean of their own"),
        ("qubd,aggregate=mean", "aggregate is sum or pooled"),
        ("qubd,ndim=0", "ndim is 1 or 2"),
    ],
)
def test_wrong_options(spec, message):
    with pytest.raises(InputError, match=message):
        get_estimator(spec)


def test_alphabets_without_a_table_name_those_with_one():
    with pytest.raises(NotApplicableError, match="2, 4, 5, 6, 9"):
        get_estimator("bdm").start((100,), 3)
    with pytest.raises(NotApplicableError, match="there is for 2"):
        get_estimator("bdm,ndim=2").start((10, 10), 4)
    with pytest.raises(NotApplicableError, match="1 to 16 bits"):
        get_estimator("qubd").start((10, 10), 2**32)


def test_empty_and_wrong_symbols():
    with pytest.raises(NotApplicableError, match="0 symbols"):
        kolmo.estimate(np.empty(0, np.float32), "bdm", "sign")
    accumulator = get_estimator("bdm").start((12,), 2)
    with pytest.raises(InputError, match="symbol 2 is outside"):
        accumulator.update(np.full(12, 2, np.uint8))
    with pytest.raises(InputError, match="must be integers"):
        accumulator.update(np.zeros(12))


# --- conditional ----------------------------------------------------------------------------


def conditional_by_hand(x, y):
    """From pybdm's own counters."""
    reference = oracle(x.ndim, 2, "ignore")
    of_x, of_y = reference.decompose_and_count(x), reference.decompose_and_count(y)
    new = sum(ctm + math.log2(n) for (key, ctm), n in of_x.items() if (key, ctm) not in of_y)
    return new + sum(math.log2(n) for key, n in of_x.items() if key in of_y and of_y[key] != n)


@pytest.mark.parametrize("shape", [(600,), (40, 44)])
def test_conditional_bdm_follows_its_definition(shape):
    x, y = content("signs", shape, 2), content("sparse", shape, 2)
    assert conditional_bdm(x, y) == pytest.approx(conditional_by_hand(x, y), rel=1e-9)
    assert conditional_bdm(x, x) == 0
    disjoint = np.ones(shape, np.int64)
    if not (x.reshape(-1) == 1).all():
        assert (
            conditional_bdm(disjoint, 1 - disjoint)
            == measure(f"bdm,ndim={len(shape)}", disjoint, 2).bits
        )
    with pytest.raises(InputError, match="of one shape"):
        conditional_bdm(x, y[:-4])
    with pytest.raises(InputError, match=r"integers in \[0, 2\)"):
        conditional_bdm(x + 1, y)
