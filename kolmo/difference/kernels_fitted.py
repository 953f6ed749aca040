"""The compiled passes of the fitted search for factors, row by row.

Products are written out here, in place of those of a library: its threads would wait in loops for
the next product, while the threads of a run use every core.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled

_TOGETHER = 8  # rows, or columns, whose equations are solved at once

# --- products ---------------------------------------------------------------------------------


@compiled(inline=True, fastmath=True)
def _less(weights: Array, vectors: Array, row: Array) -> None:
    """row −= weights · vectors, of shapes (r), (r, n) and (n); r is a multiple of four."""
    for k in range(0, vectors.shape[0], 4):
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        for j in range(row.size):
            row[j] -= (a * vectors[k, j] + b * vectors[k + 1, j]) + (
                c * vectors[k + 2, j] + d * vectors[k + 3, j]
            )


@compiled(inline=True, fastmath=True)
def _onto(vectors: Array, row: Array, into: Array) -> None:
    """into = vectors · row, of shapes (r, n), (n) and (r); r is a multiple of four."""
    for k in range(0, vectors.shape[0], 4):
        a = b = c = d = row.dtype.type(0)
        for j in range(row.size):
            a += vectors[k, j] * row[j]
            b += vectors[k + 1, j] * row[j]
            c += vectors[k + 2, j] * row[j]
            d += vectors[k + 3, j] * row[j]
        into[k], into[k + 1], into[k + 2], into[k + 3] = a, b, c, d


@compiled(inline=True, fastmath=True)
def _outwards(weights: Array, row: Array, into: Array) -> None:
    """into += weights ⊗ row, of shapes (r), (n) and (r, n)."""
    for k in range(into.shape[0]):
        a = weights[k]
        for j in range(row.size):
            into[k, j] += a * row[j]


@compiled(inline=True, fastmath=True)
def _squared(vectors: Array, size: int, into: Array) -> None:
    """into = vectors · vectorsᵀ, of the first ``size`` numbers of each: below the diagonal, and
    some above."""
    for k in range(vectors.shape[0]):
        for other in range(0, k + 1, 4):
            a = b = c = d = vectors.dtype.type(0)
            for j in range(size):
                a += vectors[other, j] * vectors[k, j]
                b += vectors[other + 1, j] * vectors[k, j]
                c += vectors[other + 2, j] * vectors[k, j]
                d += vectors[other + 3, j] * vectors[k, j]
            into[k, other], into[k, other + 1] = a, b
            into[k, other + 2], into[k, other + 3] = c, d


@compiled(fastmath=True)
def multiply(left: Array, right: Array, into: Array) -> None:
    """into += left · right, of shapes (m, k), (k, n) and (m, n)."""
    whole = left.shape[1] // 4 * 4
    for i in range(left.shape[0]):
        row = into[i]
        for k in range(0, whole, 4):
            a, b, c, d = left[i, k], left[i, k + 1], left[i, k + 2], left[i, k + 3]
            for j in range(row.size):
                row[j] += (a * right[k, j] + b * right[k + 1, j]) + (
                    c * right[k + 2, j] + d * right[k + 3, j]
                )
        for k in range(whole, left.shape[1]):
            a = left[i, k]
            for j in range(row.size):
                row[j] += a * right[k, j]


@compiled(inline=True)
def _solve(matrix: Array, right: Array, work: Array) -> None:
    """right = matrix⁻¹ · right by Cholesky's decomposition, of the lower triangle."""
    size, trace = right.size, 0.0
    for k in range(size):
        trace += matrix[k, k]
    ridge = 1e-7 * trace / size + 1e-300
    for k in range(size):
        for other in range(k + 1):
            total = np.float64(matrix[k, other])
            for i in range(other):
                total -= work[k, i] * work[other, i]
            if k == other:
                work[k, k] = math.sqrt(max(total + ridge, ridge))
            else:
                work[k, other] = total / work[other, other]
    for k in range(size):
        for i in range(k):
            right[k] -= work[k, i] * right[i]
        right[k] /= work[k, k]
    for k in range(size - 1, -1, -1):
        for i in range(k + 1, size):
            right[k] -= work[i, k] * right[i]
        right[k] /= work[k, k]


@compiled(inline=True, fastmath=True)
def _solve_together(matrices: Array, right: Array) -> None:
    """As `_solve`, of some matrices at once, those of the last axis: of shapes (r, r, n) and
    (r, n)."""
    size = len(right)
    for b in range(_TOGETHER):
        trace = 0.0
        for k in range(size):
            trace += matrices[k, k, b]
        ridge = 1e-7 * trace / size + 1e-300
        for k in range(size):
            matrices[k, k, b] += ridge
    for k in range(size):
        for other in range(k + 1):
            row = matrices[k, other]
            for i in range(other):
                for b in range(_TOGETHER):
                    row[b] -= matrices[k, i, b] * matrices[other, i, b]
            for b in range(_TOGETHER):
                if k == other:
                    row[b] = 1 / math.sqrt(max(row[b], 1e-300))
                else:
                    row[b] *= matrices[other, other, b]
    for k in range(size):
        for i in range(k):
            for b in range(_TOGETHER):
                right[k, b] -= matrices[k, i, b] * right[i, b]
        for b in range(_TOGETHER):
            right[k, b] *= matrices[k, k, b]
    for k in range(size - 1, -1, -1):
        for i in range(k + 1, size):
            for b in range(_TOGETHER):
                right[k, b] -= matrices[i, k, b] * right[i, b]
        for b in range(_TOGETHER):
            right[k, b] *= matrices[k, k, b]


@compiled
def diagonalize(matrix: Array, vectors: Array) -> None:
    """Rotate a symmetric matrix until it is diagonal, and rows of vectors with it (Jacobi 1846)."""
    size = len(matrix)
    for _ in range(40):
        off = whole = 0.0
        for p in range(size):
            whole += matrix[p, p] * matrix[p, p]
            for q in range(p):
                off += matrix[p, q] * matrix[p, q]
        if off <= 1e-32 * whole:
            return
        for p in range(size):
            for q in range(p + 1, size):
                _rotate(matrix, vectors, p, q)


@compiled(inline=True)
def _rotate(matrix: Array, vectors: Array, p: int, q: int) -> None:
    """The rotation that makes one entry zero."""
    entry = matrix[p, q]
    if entry == 0.0:
        return
    apart = (matrix[q, q] - matrix[p, p]) / (2 * entry)
    tangent = 1 / (abs(apart) + math.sqrt(apart * apart + 1))
    if apart < 0:
        tangent = -tangent
    cosine = 1 / math.sqrt(tangent * tangent + 1)
    sine = tangent * cosine
    for k in range(len(matrix)):
        a, b = matrix[p, k], matrix[q, k]
        matrix[p, k], matrix[q, k] = cosine * a - sine * b, sine * a + cosine * b
        a, b = vectors[p, k], vectors[q, k]
        vectors[p, k], vectors[q, k] = cosine * a - sine * b, sine * a + cosine * b
    for k in range(len(matrix)):
        a, b = matrix[k, p], matrix[k, q]
        matrix[k, p], matrix[k, q] = cosine * a - sine * b, sine * a + cosine * b
    matrix[p, q] = matrix[q, p] = 0.0


# --- passes -----------------------------------------------------------------------------------


@compiled(inline=True, fastmath=True)
def _subtract(base: Array, tuned: Array, scale: Any, difference: Array) -> None:
    for j in range(base.size):
        difference[j] = tuned[j] * scale - base[j] * scale


@compiled(inline=True, fastmath=True)
def _half_step(form: Array, exponents: Array, row: Array) -> None:
    """Half the step of the dtype at each number of a row, in its place."""
    patterns = row.view(exponents.dtype)
    for j in range(row.size):
        patterns[j] &= exponents[0]
    for j in range(row.size):
        row[j] = max(row[j] * form[1], form[2])


@compiled(allocates=True, fastmath=True)
def measure(
    base: Array, tuned: Array, form: Array, exponents: Array, sums: Array
) -> None:  # fmt: skip
    """Add up the squares of the differences, of half the steps of the dtype at the tuned weights,
    and of half the steps at the differences.

    Parameters
    ----------
    base, tuned : (rows, columns)
    form : (3), of the same dtype
        The unit of differences, as its reciprocal; half a step of 1; the least half step.
    exponents : (1), unsigned
        The bits of the exponent in the patterns of that dtype.
    sums : float64 (3), added to
    """
    row = np.empty(base.shape[1], base.dtype)
    for i in range(base.shape[0]):
        _subtract(base[i], tuned[i], form[0], row)
        squares = halves = products = row.dtype.type(0)
        for j in range(row.size):
            squares += row[j] * row[j]
        _half_step(form, exponents, row)
        for j in range(row.size):
            products += row[j] * row[j]
            row[j] = tuned[i, j] * form[0]
        _half_step(form, exponents, row)
        for j in range(row.size):
            halves += row[j] * row[j]
        sums[0] += squares
        sums[1] += halves
        sums[2] += products


@compiled(allocates=True, fastmath=True)
def iterate(base: Array, tuned: Array, form: Array, basis: Array, u: Array, image: Array) -> None:
    """u = D · basisᵀ, (rows, r), and image += uᵀ · D, (r, columns), of the rows of the difference
    D."""
    row = np.empty(base.shape[1], base.dtype)
    for i in range(base.shape[0]):
        _subtract(base[i], tuned[i], form[0], row)
        _onto(basis, row, u[i])
        _outwards(u[i], row, image)


@compiled(allocates=True, fastmath=True)
def fit(
    base: Array,
    tuned: Array,
    form: Array,
    exponents: Array,
    heavy: Any,
    u: Array,
    v: Array,
    right: Array,
    normal: Array,
    rest: Array,
) -> int:
    """One step of each row of u to the least sum of (error / bound)², and what one of v needs.

    Few weights bear nearly all of the second derivatives, those with the closest bounds. Only
    these, whose squares weigh ``heavy`` or more, are multiplied out; the others count as if vectors
    were orthogonal.

    Parameters
    ----------
    base, tuned, form, exponents
        As of `measure`.
    u, v : (rows, r), (r, columns)
        r is a multiple of four; u is moved.
    right : (r, columns), added to
        The gradient.
    normal : (columns, r (r + 1) / 2), added to
        The second derivatives of heavy weights, row by row of the lower triangle.
    rest : (columns), added to
        The sum of the other weights.

    Returns
    -------
    int
        Errors that were less than half a step before.
    """
    rank, columns = v.shape
    one = v.dtype.type(1)
    rows = np.empty((5, columns), v.dtype)
    roots, places, chosen = rows[4], np.empty(columns + 1, np.int64), np.empty_like(v)
    pairs = np.empty(rank * (rank + 1) // 2, v.dtype)
    error, half, bound, weights = rows[0], rows[1], rows[2], rows[3]
    matrix, work = np.empty((rank, rank), v.dtype), np.empty((rank, rank))
    step, gradient = np.empty(rank), np.empty(rank, v.dtype)
    energies = np.zeros(rank)
    for k in range(rank):
        for j in range(columns):
            energies[k] += v[k, j] * v[k, j]
        energies[k] /= columns
    hits = 0
    for i in range(base.shape[0]):
        _subtract(base[i], tuned[i], form[0], error)
        for j in range(columns):
            half[j], bound[j] = tuned[i, j] * form[0], error[j]
        _half_step(form, exponents, half)
        _half_step(form, exponents, bound)
        for j in range(columns):
            bound[j] += half[j] + form[3]
            weights[j] = one / (bound[j] * bound[j])
        _less(u[i], v, error)
        for j in range(columns):
            hits += abs(error[j]) < half[j]
        size, light = 0, one - one
        for j in range(columns):
            places[size] = j
            size += weights[j] >= heavy
        for j in range(columns):
            part = weights[j] if weights[j] < heavy else one - one
            light += part
            rest[j] += part
        for s in range(size):
            roots[s] = math.sqrt(weights[places[s]])
        for k in range(rank):
            for s in range(size):
                chosen[k, s] = roots[s] * v[k, places[s]]
        _squared(chosen, size, matrix)
        for k in range(rank):
            matrix[k, k] += light * energies[k]
        for j in range(columns):
            half[j] = weights[j] * error[j]
        _onto(v, half, gradient)
        for k in range(rank):
            step[k] = gradient[k]
        _solve(matrix, step, work)
        for k in range(rank):
            gradient[k] = step[k]
            u[i, k] += gradient[k]
        _less(gradient, v, error)
        place = 0
        for k in range(rank):
            for other in range(k + 1):
                pairs[place] = u[i, k] * u[i, other]
                place += 1
        for s in range(size):
            weight, sums = weights[places[s]], normal[places[s]]
            for place in range(pairs.size):
                sums[place] += weight * pairs[place]
        for j in range(columns):
            weights[j] *= error[j]
        _outwards(u[i], weights, right)
    return hits


@compiled(allocates=True)
def move(
    right: Array, normal: Array, rest: Array, energies: Array, v: Array
) -> None:  # fmt: skip
    """The step of v, (r, columns), by what `fit` added up, of which ``right`` has that shape too;
    ``energies`` are the mean squares of the vectors of u."""
    rank, columns = v.shape
    steps, matrices = np.empty((rank, _TOGETHER)), np.empty((rank, rank, _TOGETHER))
    for first in range(0, columns, _TOGETHER):
        for b in range(_TOGETHER):
            j, place = min(first + b, columns - 1), 0
            for k in range(rank):
                steps[k, b] = right[k, j]
                for other in range(k + 1):
                    matrices[k, other, b] = normal[j, place]
                    place += 1
                matrices[k, k, b] += rest[j] * energies[k]
        _solve_together(matrices, steps)
        for b in range(min(_TOGETHER, columns - first)):
            for k in range(rank):
                v[k, first + b] += steps[k, b]
