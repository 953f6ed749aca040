"""The compiled passes of the search for factors, against numpy."""

import ml_dtypes
import numpy as np
import pytest

from kolmo.checkpoints.base import array_tensor
from kolmo.difference import kernels_fitted
from kolmo.difference.factors import Pair
from kolmo.difference.fitted import StepPath, _leading
from kolmo.difference.matrix import Difference
from kolmo.difference.products import balanced, orthonormal, symmetric, times
from kolmo.difference.stripes import Stripes, widened

BFLOAT16 = ml_dtypes.bfloat16
RANDOM = np.random.default_rng(0)


def update(rows=90, columns=120, rank=3, dtype=BFLOAT16):
    base = RANDOM.normal(0, 0.05, (rows, columns)).astype(dtype)
    product = RANDOM.normal(0, 0.01, (rows, rank)) @ RANDOM.normal(size=(rank, columns))
    return base, (base.astype(np.float64) + product).astype(dtype)


def difference(base, tuned):
    return Difference(Stripes(array_tensor("w", base), array_tensor("w", tuned)), 11)


# --- products ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(3, 70_000, 2), (70_000, 3, 2), (2, 3, 70_000), (200, 200, 90)])
def test_products_in_pieces_are_products(sides):
    left, right = RANDOM.normal(size=sides[:2]), RANDOM.normal(size=sides[1:])
    assert np.allclose(times(left, right), left @ right)


@pytest.mark.parametrize("size", [1, 2, 9, 40])
def test_eigenvectors_are_those_of_the_matrix(size):
    half = RANDOM.normal(size=(size, 2 * size))
    matrix = half @ half.T
    values, vectors = symmetric(matrix)
    assert np.allclose(values, np.linalg.eigvalsh(matrix))
    assert np.allclose(vectors * values @ vectors.T, matrix)


def test_a_basis_is_orthonormal_and_loses_what_depends():
    vectors = RANDOM.normal(size=(6, 50))
    vectors[4], vectors[5] = vectors[0] + vectors[1], 0
    basis = orthonormal(vectors)
    assert basis.shape == (4, 50)
    assert np.allclose(basis @ basis.T, np.eye(4))
    assert np.allclose(vectors @ basis.T @ basis, vectors)


def test_nothing_has_no_basis():
    assert orthonormal(np.zeros((3, 50))).shape == (0, 50)


@pytest.mark.parametrize("zero", [False, True])
def test_balanced_factors_have_the_same_product(zero):
    u, v = RANDOM.normal(size=(50, 3)), RANDOM.normal(size=(70, 3))
    u[:, 2] *= not zero
    found = balanced(u, v)
    assert np.allclose(found.u @ found.v.T, u @ v.T)
    assert np.allclose(found.values[: 3 - zero], np.linalg.svd(u @ v.T)[1][: 3 - zero])


@pytest.mark.parametrize("size", [4, 16])
def test_equations_solved_together_are_solved(size):
    """Those of each column, up to the ridge that keeps squares positive."""
    normal = np.empty((13, size * (size + 1) // 2))
    wanted, right = RANDOM.normal(size=(size, 13)), np.empty((size, 13))
    for j in range(13):
        half = RANDOM.normal(size=(size, 3 * size))
        matrix = half @ half.T
        normal[j], right[:, j] = matrix[np.tril_indices(size)], matrix @ wanted[:, j]
    found = np.zeros((size, 13))
    kernels_fitted.move(right, normal, np.zeros(13), np.zeros(size), found)
    assert np.allclose(found, wanted, atol=1e-4)


def test_a_path_of_linear_steps_leads_to_its_end():
    end, path, matrix = RANDOM.normal(size=(1, 4)), StepPath(), np.diag([0.9, 0.6, 0.3, 0.1])
    v = np.zeros((1, 4))
    for _ in range(6):
        v = path.ahead(v, end + (v - end) @ matrix)
    assert np.abs(v - end).max() < 1e-3 * np.abs(end).max()


# --- passes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [BFLOAT16, np.float16, np.float32, np.float64])
def test_energy_and_floors_are_those_of_the_pair(dtype):
    base, tuned = update(dtype=dtype)
    matrix, pair = difference(base, tuned), Pair.of(base, tuned)
    energy, halves, _ = sum(map(matrix.measure, matrix.parts())) * matrix.unit**2
    assert energy == pytest.approx(np.square(pair.difference).sum())
    assert halves == pytest.approx(np.square(pair.half).sum(), rel=1e-3)


def test_leading_vectors_are_singular_vectors():
    base, tuned = update()
    matrix = difference(base, tuned)
    found = _leading(matrix, 11)
    values, v = found.values, found.v
    _, exact, right = np.linalg.svd(tuned.astype(np.float64) - base.astype(np.float64))
    assert np.allclose(values[:3] * matrix.unit, exact[:3], rtol=1e-5)
    assert np.abs(v[:3] @ right[:3].T @ right[:3] - v[:3]).max() < 1e-3
    assert np.allclose(found.u[:, :3] @ v[:3] * matrix.unit, tuned.astype(float) - base, atol=1e-3)
    assert list(found.ranks) == [3]
    assert found.ranks[3]


@pytest.mark.parametrize(("dtype", "near"), [(np.float32, 1e-2), (np.float64, 1e-3)])
def test_a_step_of_rows_is_weighted_least_squares(dtype, near):
    """Up to the rounding of the sums of squares, and the ridge that keeps them positive."""
    base, tuned = (widened(w).astype(dtype) for w in update(20, 150))
    matrix = difference(*update())
    form, exponents = matrix.form.astype(dtype), np.array([np.inf], dtype)
    v = RANDOM.normal(size=(4, 150)).astype(dtype)
    u, right, rest = np.zeros((20, 4), dtype), np.zeros_like(v), np.zeros(150, dtype)
    normal = np.zeros((150, 10), dtype)
    patterns = exponents.view(f"u{exponents.itemsize}")
    heavy = dtype(0)  # all weights count
    kernels_fitted.fit(base, tuned, form, patterns, heavy, u, v, right, normal, rest)
    apart = (tuned - base) * form[0]

    def half(numbers):
        powers = np.where(numbers == 0, 0, np.exp2(np.frexp(numbers)[1] - 1.0))
        return np.maximum(powers * form[1], form[2])

    roots = 1 / (half(tuned * form[0]) + half(apart) + form[3])
    for i in range(20):
        across, wanted = ((part * roots[i]).T.astype(np.float64) for part in (v, apart[i]))
        exact = np.linalg.lstsq(across, wanted, rcond=None)[0]
        least, found = (np.square(wanted - across @ side).sum() for side in (exact, u[i]))
        assert found < (1 + near) * least
    error = apart - u @ v
    gradient = u.T @ (np.square(roots) * error)
    assert np.allclose(right, gradient, rtol=1e-2, atol=1e-3 * np.abs(gradient).max())
    assert not rest.any()
