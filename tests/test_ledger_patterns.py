"""Rules that make tensors, and what tensors are to each other."""

import ml_dtypes
import numpy as np
import pytest

from kolmo.checkpoints import array_tensor
from kolmo.ledger.facts import find_facts
from kolmo.ledger.relations import candidates, relation_of

SQUARE = np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32)
LOW = np.finfo(np.float32).min


def sinusoids(rows, columns, turns):
    places = np.arange(rows)[:, None] * 10_000 ** -np.arange(0, 1, 2 / columns)
    both = [np.sin(places), np.cos(places)]
    table = np.stack(both, -1).reshape(rows, columns) if turns else np.concatenate(both, 1)
    return table.astype(np.float32)


PATTERNS = {
    "constant": [np.ones(7, np.float32), np.zeros((3, 3), bool), np.full((2, 2), np.nan)],
    "range": [
        np.arange(512)[None],
        np.arange(2000, dtype=np.float16),
        np.linspace(-1, 1, 1000, dtype=np.float32),
        5 - 3 * np.arange(9.0),
    ],
    "identity": [np.eye(9, dtype=np.float32)],
    "diagonal": [np.diag(SQUARE[0])],
    "lower triangular mask": [
        np.tri(9, dtype=bool),
        np.tril(np.ones((1, 1, 9, 9), np.float32)),
        np.tril(np.ones((9, 9), np.float32), -1),
        np.triu(np.full((9, 9), -np.inf, np.float32), 1),
        np.triu(np.full((9, 9), LOW), 1),
    ],
    "upper triangular mask": [
        np.triu(np.ones((9, 9), np.float32)),
        np.tril(np.full((9, 9), -1e9, np.float32), -1),
    ],
    "lower triangular": [np.tril(SQUARE)],
    "upper triangular": [np.triu(SQUARE)],
    "sinusoids": [sinusoids(100, 64, True), sinusoids(512, 64, False),
                  sinusoids(300, 32, False).astype(np.float16)],
    "symmetric": [SQUARE + SQUARE.T],
    "antisymmetric": [SQUARE - SQUARE.T],
    "": [
        SQUARE,
        SQUARE[:2, :2],
        np.where(np.eye(40, k=1), SQUARE, np.tril(SQUARE)),  # all but a diagonal
        np.where(np.arange(81).reshape(9, 9) == 71, 2, np.tri(9)),
        np.append(np.arange(99.0), 50),
        np.array([1, 2, np.nan, 4]),
        np.zeros(0, np.float32),
        np.random.default_rng(0).integers(0, 2, size=(9, 9)).astype(np.float32),
    ],
}  # fmt: skip
CASES = [(pattern, weights) for pattern, some in PATTERNS.items() for weights in some]


@pytest.mark.parametrize(("pattern", "weights"), CASES)
def test_patterns(pattern, weights):
    assert find_facts(array_tensor("w", weights)).facts.pattern == pattern


@pytest.mark.parametrize("weights", [np.tril(SQUARE), SQUARE + SQUARE.T, np.arange(99.0)])
def test_a_rule_is_believed_only_if_every_weight_obeys_it(weights):
    broken = weights.copy()
    broken.flat[-41] += 1000  # of a matrix, above the diagonal
    assert find_facts(array_tensor("w", broken)).facts.pattern == ""


# --- relations --------------------------------------------------------------------------------

A, B = np.random.default_rng(1).normal(size=(2, 60, 70)).astype(np.float32)

RELATIONS = {
    "copy": (A.copy(), 1.0),
    "negated": (-A, -1.0),
    "scaled": ((np.float32(0.3) * A), 0.3),
    "rounded": (A.astype(np.float16), 1.0),
    "alike": (0.99 * A + 0.01 * B, 0.99),
}


@pytest.mark.parametrize("relation", RELATIONS)
def test_relations(relation):
    weights, factor = RELATIONS[relation]
    found = relation_of(array_tensor("w", weights), array_tensor("a", A))
    assert (found.relation, found.of) == (relation, "a")
    assert found.factor == pytest.approx(factor, abs=1e-3)
    exact = np.corrcoef(weights.ravel().astype(np.float64), A.ravel().astype(np.float64))[0, 1]
    assert found.correlation == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(
    "weights", [B, A + 0.1 * B, A[::-1].copy(), np.where(np.arange(70) == 3, A + 1, A)]
)
def test_what_is_not_alike_has_no_relation(weights):
    assert relation_of(array_tensor("w", weights.astype(np.float32)), array_tensor("a", A)) is None


def candidates_of(*arrays):
    tensors = [array_tensor(str(n), array) for n, array in enumerate(arrays)]
    return list(candidates(tensors, [find_facts(tensor).sketch for tensor in tensors]))


def test_candidates_are_of_one_shape_and_the_first_of_equal_ones():
    assert candidates_of(A, B, A, A.T.copy(), A, -B) == [(2, 0), (4, 0), (5, 1)]
    assert candidates_of(A, -A, A) == [(1, 0), (2, 0)]  # near 1 rather than near −1


def test_constants_and_tiny_tensors_are_not_compared():
    assert candidates_of(np.ones(99, np.float32), np.ones(99, np.float32)) == []
    assert candidates_of(A[0, :15], A[0, :15]) == []


def test_layers_trained_apart_are_no_candidates():
    random = np.random.default_rng(2)
    norms = [1 + 0.1 * random.normal(size=384) for _ in range(50)]
    assert candidates_of(*norms) == []


def test_copies_across_dtypes_are_found():
    assert candidates_of(A, A.astype(ml_dtypes.bfloat16)) == [(1, 0)]
