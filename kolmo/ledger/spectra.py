"""Singular values of matrices, and how many of them no shuffle of the same weights reaches.

A matrix of independent weights has singular values too; those of its shuffles say how large. Of
matrices whose weights are exchangeable one in 20 passes the largest of 19 shuffles by chance: it
has a singular value *above the shuffles* though there is nothing to see.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor

SHUFFLES = 19
"""Shuffles of a matrix: the fewest that one of 20 passes by chance."""

SIDE = 2048
"""Longest side of a matrix that is taken whole; of others so many rows or columns are drawn."""

AFFORDABLE = 0.5
"""Seconds of one core, as `expected_seconds` counts them on any machine, up to which the spectra of
a checkpoint are made without being asked for: some 500,000 weights in matrices."""

_SEED = 20_260_514
_STEPS = 24  # of Lanczos' iteration
_DIGITS = 6  # significant ones that are given: the last ones depend on the machine's library
_LEAST = 8  # of a side, below which there is no spectrum to speak of

Matrix = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Singular values σ of a matrix, in short.

    Attributes
    ----------
    singular_values : int
        How many there are: the shorter side of what was taken.
    effective_rank : float
        exp H(σ / Σσ), H the entropy in nats (Roy & Vetterli 2007).
    stable_rank : float
        Σσ² / max σ².
    above_shuffled : int
        Singular values above the largest one of any shuffle of the same weights.
    shuffles : int
    taken : float
        Share of the weights; below 1 rows, columns or both were drawn, and all else is of those.
    """

    singular_values: int
    effective_rank: float
    stable_rank: float
    above_shuffled: int
    shuffles: int
    taken: float


def is_matrix(tensor: WeightTensor) -> bool:
    """Whether it has a spectrum: two sides or more, the first against all others, none too short.

    >>> from kolmo.checkpoints import array_tensor
    >>> [is_matrix(array_tensor("w", np.zeros(shape))) for shape in ((8, 9), (99,), (16, 3, 3))]
    [True, False, True]
    """
    return len(tensor.shape) > 1 and min(_sides(tensor)) >= _LEAST


def expected_seconds(tensor: WeightTensor) -> float:
    """Seconds of one core that a spectrum takes, about.

    >>> from kolmo.checkpoints import array_tensor
    >>> 0.01 < expected_seconds(array_tensor("w", np.zeros((384, 384)))) < 1
    True
    """
    short, long = sorted(min(side, SIDE) for side in _sides(tensor))
    products = (1 + SHUFFLES) * (2.0 * short * short * long + 2.0 * _STEPS * short * short)
    return 8e-3 + (products + 12.0 * short**3) / 5e10 + 2e-8 * (1 + SHUFFLES) * short * long


def spectrum_of(
    tensor: WeightTensor, tell: Callable[[int], None] = lambda weights: None
) -> Spectrum | None:
    """The spectrum of a tensor as a matrix: its first axis against all others.

    None if it holds what is no finite number, or zeros alone.

    Examples
    --------
    >>> from kolmo.checkpoints import array_tensor
    >>> a, b, noise = (np.random.default_rng(n).normal(size=(96, 96)) for n in range(3))
    >>> low = spectrum_of(array_tensor("w", a[:, :4] @ b[:4] + 0.1 * noise))
    >>> low.above_shuffled, low.taken
    (4, 1.0)
    """
    random = np.random.default_rng([_SEED, *_sides(tensor)])
    matrix = _matrix(tensor, random)
    if not np.isfinite(matrix).all() or not matrix.any():
        return None
    if matrix.shape[0] > matrix.shape[1]:
        matrix = np.ascontiguousarray(matrix.T)
    matrix /= np.abs(matrix).max()
    squares = np.linalg.eigvalsh(matrix @ matrix.T)
    sigma = np.sqrt(np.maximum(squares, 0.0))
    coarse = matrix.astype(np.float32)  # twice as quick, and as good for a comparison
    largest, most = _largest(coarse), 0.0
    for _ in range(SHUFFLES):
        shuffled = random.permutation(coarse.ravel()).reshape(coarse.shape)
        most = max(most, _largest(shuffled))
        tell(0)
    above = int((squares > most).sum()) if largest > most else 0
    rank, stable = _effective_rank(sigma), float(squares.sum() / squares.max())
    taken = matrix.size / tensor.numel
    return Spectrum(sigma.size, _rounded(rank), _rounded(stable), above, SHUFFLES, taken)


def _sides(tensor: WeightTensor) -> tuple[int, int]:
    return tensor.shape[0], tensor.numel // max(1, tensor.shape[0])


def _matrix(tensor: WeightTensor, random: np.random.Generator) -> Matrix:
    """The matrix, or rows and columns of it that are drawn; read in one go, piece by piece."""
    rows, columns = (_drawn(side, random) for side in _sides(tensor))
    places = (rows[:, None] * _sides(tensor)[1] + columns).ravel()
    found, start = np.empty(places.size), 0
    for weights in tensor.chunks(reuse=True):
        first, last = np.searchsorted(places, [start, start + weights.size])
        found[first:last] = weights[places[first:last] - start]
        start += weights.size
    return found.reshape(rows.size, columns.size)


def _drawn(side: int, random: np.random.Generator) -> NDArray[np.int64]:
    whole = np.arange(side)
    return whole if side <= SIDE else np.sort(random.choice(side, SIDE, replace=False))


def _effective_rank(sigma: Matrix) -> float:
    shares = sigma[sigma > 0] / sigma.sum()
    return math.exp(-float((shares * np.log(shares)).sum()))


def _largest(matrix: NDArray[np.float32]) -> float:
    """The largest squared singular value, by the same number of Lanczos' steps for every matrix, so
    that those of shuffles and of the matrix itself are compared fairly."""
    product = (matrix @ matrix.T).astype(np.float64)
    size = len(product)
    steps = min(_STEPS, size)
    basis = np.zeros((steps + 1, size))
    basis[0] = np.random.default_rng(_SEED).normal(size=size)
    basis[0] /= math.sqrt(float(basis[0] @ basis[0]))
    diagonal, beside = np.zeros(steps), np.zeros(steps)
    for step in range(steps):
        following = product @ basis[step]
        diagonal[step] = following @ basis[step]
        following -= basis[: step + 1].T @ (basis[: step + 1] @ following)
        beside[step] = math.sqrt(float(following @ following))
        if beside[step] < 1e-12 * diagonal[0] or step + 1 == steps:
            steps = step + 1
            break
        basis[step + 1] = following / beside[step]
    small = np.diag(diagonal[:steps]) + np.diag(beside[: steps - 1], 1)
    return float(np.linalg.eigvalsh(small, UPLO="U")[-1])


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
