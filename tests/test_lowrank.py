"""The low-rank code: factors decode to the symbols, parts are prefix-free, rank is found."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kolmo
from kolmo.codes.lengths import integer_bits, kt_log2, word_bits
from kolmo.errors import NotApplicableError
from kolmo.estimators import get_estimator, lowrank
from kolmo.estimators.factors import Shifted, leading, vector_bits
from kolmo.estimators.lowrank import LIMIT, _codes, _Factors
from kolmo.quantize import get_quantizer

RANDOM = np.random.default_rng(0)


def low_rank(rows, columns, rank, noise=0.0, seed=0):
    random = np.random.default_rng(seed)
    product = random.normal(size=(rows, rank)) @ random.normal(size=(rank, columns))
    return product + noise * random.normal(size=(rows, columns))


def symbols_of(weights, quantizer="symmetric:8"):
    tensor = kolmo.open_checkpoint({"w": weights})["w"]
    coder = get_quantizer(quantizer).fit(tensor)
    return coder.encode(weights), coder.alphabet.size


# --- vectors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "length"), [(1, 6), (3, 4), (15, 2), (400, 1)])
def test_vectors_obey_kraft(most, length):
    numbers = range(-most, most + 1)
    lengths = [vector_bits(np.array(v)) for v in itertools.product(numbers, repeat=length)]
    assert sum(2.0**-bits for bits in lengths) <= 1


@pytest.mark.parametrize("spread", [0.3, 1, 10, 1e3, 1e8])
def test_normal_vectors_cost_about_their_entropy(spread):
    numbers = np.rint(RANDOM.normal(0, spread, 4000)).astype(np.int64)
    counts = np.unique(numbers, return_counts=True)[1]
    plug_in = 4000 * np.log2(4000) - float((counts * np.log2(counts)).sum())
    continuous = 4000 * np.log2(spread * np.sqrt(2 * np.pi * np.e))
    expected = continuous if spread > 5 else plug_in
    assert vector_bits(numbers) == pytest.approx(expected, rel=0.01, abs=60)


def test_a_large_matrix_is_never_a_matrix_of_floats(monkeypatch):
    """Its products are summed part by part, and the code is the same but for rounding."""
    symbols, size = symbols_of(low_rank(210, 340, 3, noise=0.05))
    dense = min(_codes(symbols.reshape(210, 340), size), key=lambda code: code.bits)
    monkeypatch.setattr(lowrank, "DENSE", 1000)
    monkeypatch.setattr("kolmo.estimators.factors._PART", 5000)
    parted = min(_codes(symbols.reshape(210, 340), size), key=lambda code: code.bits)
    assert parted.rank == dense.rank == 3
    assert parted.bits == pytest.approx(dense.bits, rel=1e-3)


def test_shifted_products_are_those_of_the_matrix(monkeypatch):
    monkeypatch.setattr("kolmo.estimators.factors._PART", 64)
    symbols = RANDOM.integers(0, 255, (37, 20)).astype(np.uint8)
    right, left = RANDOM.normal(size=(20, 3)), RANDOM.normal(size=(37, 4))
    shifted, matrix = Shifted(symbols, 100.0), symbols - 100.0
    assert np.allclose(shifted @ right, matrix @ right)
    assert np.allclose(shifted.T @ left, matrix.T @ left)
    assert shifted.energy == np.square(matrix).sum()


@pytest.mark.parametrize(("rows", "columns"), [(5, 9), (300, 40), (40, 300), (260, 300)])
def test_leading_factors_are_those_of_the_decomposition(rows, columns):
    matrix = low_rank(rows, columns, 4, noise=0.01)
    u, values, v = leading(matrix, 4)
    assert values == pytest.approx(np.linalg.svd(matrix, compute_uv=False)[:4])
    assert np.allclose((u * values) @ v.T, matrix, atol=0.2)
    assert (u.max(axis=0) >= -u.min(axis=0)).all()


# --- the code of a matrix ---------------------------------------------------------------------


@given(
    st.integers(1, 4),
    st.sampled_from([2, 5, 255, 65535]),
    st.integers(0, 1000),
    st.sampled_from([0.3, 2.0, 40.0]),
)
def test_a_decoder_exists(rank, alphabet, seed, step):
    """From the integers alone, with plain Python's arithmetic, and the residual."""
    random = np.random.default_rng(seed)
    symbols = random.integers(0, alphabet, (7, 9)).astype(np.uint16)
    u, values, v = leading(symbols - symbols.mean(), rank)
    factors = _Factors.rounded(u, np.maximum(values, 1e-3), v, step)
    assert factors.exact
    products = [
        [
            sum(m * a * b for m, a, b in zip(factors.multipliers.tolist(), x, y, strict=True))
            for y in factors.b.tolist()
        ]
        for x in factors.a.tolist()
    ]
    said = np.array([[(p + 2**15) // 2**16 for p in row] for row in products])
    assert np.array_equal(factors.product(0, 7), said)
    residual = (symbols.astype(np.int64) - said) % alphabet
    assert np.array_equal((residual + factors.product(0, 7)) % alphabet, symbols)
    code = factors.code(symbols, alphabet)
    assert np.array_equal(code.counts, np.bincount(residual.reshape(-1), minlength=alphabet))


def test_bits_are_those_of_the_parts():
    symbols, alphabet = symbols_of(low_rank(60, 80, 3, 0.2))
    codes = list(_codes(symbols, alphabet))
    best = min(codes, key=lambda code: code.bits)
    found = kolmo.estimate(low_rank(60, 80, 3, 0.2), "lowrank", "symmetric:8")
    assert found.bits - found.side_bits == best.side_bits + word_bits(kt_log2(best.counts))
    assert found.details == {"ranks": [3], "factor_bits": best.side_bits}
    assert best.rank == 3
    assert {code.side_bits > 3 * (60 + 80) for code in codes if code.rank >= 3} == {True}


@pytest.mark.parametrize("quantizer", ["symmetric:8", "symmetric:4", "affine:8"])
@pytest.mark.parametrize(("rank", "noise"), [(1, 0.3), (4, 0.1), (8, 1.0)])
def test_rank_is_found(quantizer, rank, noise):
    weights = low_rank(200, 240, rank, noise)
    code, kt = (kolmo.estimate(weights, e, quantizer) for e in ("lowrank", "kt"))
    assert code.details["ranks"][0] - rank in (0, int(quantizer == "affine:8"))  # an offset is one
    assert code.bits < (0.9 if noise < 1 else 0.99) * kt.bits


def test_a_rank_8_matrix_costs_far_less_than_its_shuffle():
    weights = low_rank(256, 256, 8)
    shuffled = np.random.default_rng(1).permutation(weights.reshape(-1)).reshape(256, 256)
    found, null = (kolmo.estimate(w, "lowrank", "affine:8") for w in (weights, shuffled))
    assert found.bits < 0.5 * null.bits
    assert null.details["ranks"] == [0]


@pytest.mark.parametrize("shape", [(), (7,), (3, 50), (20, 3), (40, 5, 7)])
def test_it_is_at_most_kt_and_a_bit_a_tensor(shape):
    weights = np.random.default_rng(2).normal(size=shape)
    code, kt = (kolmo.estimate(weights, e, "symmetric:4") for e in ("lowrank", "kt"))
    assert code.bits == kt.bits + integer_bits(0)
    assert code.details["ranks"] == [0]


@pytest.mark.parametrize("quantizer", ["sign", "symmetric:8", "affine:16"])
def test_matrices_of_less_than_full_rank_are_no_trouble(quantizer):
    """Singular values that are 0, or nearly: constant tensors, few rows that differ."""
    few = np.zeros((50, 60))
    few[[3, 7]] = np.random.default_rng(4).normal(size=(2, 60))
    tiny = np.full((30, 40), 0.5) + 1e-12 * few[:30, :40]
    for weights in (few, np.zeros((9, 9)), np.eye(40), tiny):
        code, kt = (kolmo.estimate(weights, e, quantizer) for e in ("lowrank", "kt"))
        assert code.bits <= kt.bits + integer_bits(0)


def test_kernels_of_convolutions_are_matrices():
    weights = low_rank(64, 3 * 3 * 32, 2, 0.05).reshape(64, 32, 3, 3)
    code, kt = (kolmo.estimate(weights, e, "symmetric:8") for e in ("lowrank", "kt"))
    assert code.details["ranks"] == [2]
    assert code.bits < 0.7 * kt.bits


def test_models_have_a_rank_for_each_tensor_and_one_residual():
    parts = [low_rank(60, 50, 2), np.random.default_rng(3).normal(size=(50, 40)), np.ones(9)]
    symbols = [symbols_of(part)[0] for part in parts]
    shapes = [part.shape for part in parts]
    flat = np.concatenate([s.reshape(-1) for s in symbols])
    codes = []
    for chunks in (1, 5):
        accumulator = get_estimator("lowrank").start_many([(0, 4), *shapes], 255)
        for chunk in np.array_split(flat, chunks):
            accumulator.update(chunk)
        codes.append(accumulator.finish())
    assert codes[0] == codes[1]
    assert codes[0].details["ranks"] == [2, 0, 0]


def test_it_says_why_not():
    with pytest.raises(NotApplicableError, match="quantize first"):
        get_estimator("lowrank").start((3, 3), 2**32)
    with pytest.raises(NotApplicableError, match="over its limit"):
        get_estimator("lowrank").start((LIMIT, 2), 2)
    with pytest.raises(NotApplicableError, match="a side of which is short, would take"):
        get_estimator("lowrank").start((1 << 20, 60), 2)
