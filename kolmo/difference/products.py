"""Products of thin matrices without a library's threads.

A library's large product starts threads, which then wait in loops for the next one and so take the
cores from the threads of a run. Here it is a compiled loop, and vectors are made orthogonal by the
small matrix of their inner products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.difference.factors import Factors

Floats = NDArray[np.float64]

_ZERO = 1e-14  # share of the largest square below which a direction is none


def times(left: Any, right: Any) -> Any:
    """left · right.

    >>> times(np.ones((2, 1 << 17)), np.ones((1 << 17, 1))).tolist()
    [[131072.0], [131072.0]]
    """
    from kolmo.difference.kernels_fitted import multiply

    into = np.zeros((len(left), right.shape[1]))
    left, right = (np.ascontiguousarray(side, np.float64) for side in (left, right))
    multiply(left, right, into)
    return into


def symmetric(matrix: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues of a small symmetric matrix in rising order, and its eigenvectors as columns.

    >>> symmetric(np.array([[2.0, 1], [1, 2]]))[0].round(9).tolist()
    [1.0, 3.0]
    """
    from kolmo.difference.kernels_fitted import diagonalize

    left, vectors = np.array(matrix, np.float64), np.eye(len(matrix))
    diagonalize(left, vectors)
    order = np.argsort(np.diagonal(left), kind="stable")
    return np.diagonal(left)[order], vectors[order].T


def orthonormal(vectors: Floats) -> Floats:
    """An orthonormal basis of what some vectors span, both of shape (r, n).

    Of independent vectors it is the nearest basis, in their order (Löwdin 1950); otherwise r is
    less.

    >>> orthonormal(np.array([[3.0, 0], [6, 0]])).round(9).tolist()
    [[1.0, 0.0]]
    """
    for _ in range(2):  # the first leaves the rounding errors of the squares
        lengths = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
        vectors = vectors[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
        squares, mixed = symmetric(times(vectors, vectors.T.copy()))
        kept = squares > squares.max(initial=0) * _ZERO
        scaled = mixed[:, kept] / np.sqrt(squares[kept])
        vectors = times(scaled @ mixed.T if kept.all() else scaled.T, vectors)
    return vectors


def balanced(u: Floats, v: Floats) -> Factors:
    """The same product from orthogonal factors, like singular vectors; u and v have the shapes
    (rows, r) and (columns, r)."""
    (inverse_u, root_u), (inverse_v, root_v) = map(_rooted, (u, v))
    left, values, right = np.linalg.svd(root_u @ root_v.T)
    root = np.sqrt(values)
    return Factors(times(u, inverse_u @ left * root), times(v, inverse_v @ right.T * root), values)


def _rooted(vectors: Floats) -> tuple[Floats, Floats]:
    """Matrices by which vectors become orthonormal, and by which these become the vectors."""
    squares, mixed = symmetric(times(vectors.T.copy(), vectors))
    root = np.sqrt(np.maximum(squares, 0))
    inverse = np.where(
        squares > squares.max(initial=0) * _ZERO**2, 1 / np.where(root > 0, root, 1), 0
    )
    return mixed * inverse, root[:, None] * mixed.T
