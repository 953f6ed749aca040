"""Rounding with error feedback: what a level is wrong by is put right by the weights after it.

::

    importance of rows and columns ─► triangular factors ─► errors so far × factors ─► next level

Where the loss of an error E is tr(A E B Eᵀ), it is a weighted sum of squares of (L E Mᵀ)ᵢⱼ with L
and M unit lower triangular. All errors of rows above and columns to the left are known once i, j
is rounded, so each weight is rounded to cancel what they add. This is the feedback of GPTQ (Frantar
et al., ICLR 2023), in columns, and in rows as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError
from kolmo.lossy import kernels_feedback as kernels
from kolmo.lossy.rounding import CodeLengths
from kolmo.quantize.scales import Floats

_BLOCK = 32  # columns whose errors are fed forward by one product of matrices
_BEYOND = 16  # levels more on either side than twice those that weights have


@dataclasses.dataclass(frozen=True, eq=False)
class Feedback:
    """How errors of rows above, and of columns before, are put right.

    Attributes
    ----------
    rows : float64 (n, n) or None
        Unit lower triangular; None where rows do not depend on each other.
    columns : float64 (d, d) or None
    """

    rows: Floats | None = None
    columns: Floats | None = None

    def in_units(self, rows: Floats, columns: Floats) -> Feedback:
        """The same for errors in units of the scales of rows and columns.

        Parameters
        ----------
        rows : float64 (n,)
        columns : float64 (d,)
        """
        return Feedback(_in_units(self.rows, rows), _in_units(self.columns, columns))


def _in_units(factor: Floats | None, scales: Floats) -> Floats | None:
    return None if factor is None else factor * scales / scales[:, None]


def unit_factor(moments: Floats) -> tuple[Floats, Floats]:
    """The factors of H = Lᵀ diag(w) L, with L unit lower triangular.

    Parameters
    ----------
    moments : float64 (d, d)
        Symmetric and positive definite.

    Returns
    -------
    factor : float64 (d, d)
    weights : float64 (d,)
        The importance of each place once all after it make up for its error as well as they can.

    Raises
    ------
    InputError
        If the moments are not positive definite.

    Examples
    --------
    >>> factor, weights = unit_factor(np.array([[2.0, 1.0], [1.0, 1.0]]))
    >>> factor.tolist(), weights.tolist()
    ([[1.0, 0.0], [1.0, 1.0]], [1.0, 1.0])
    """
    try:
        lower = np.linalg.cholesky(moments[::-1, ::-1])[::-1, ::-1]
    except np.linalg.LinAlgError:
        raise InputError(
            f"feedback: moments of {len(moments)} columns are not positive definite; damp them more"
        ) from None
    roots = np.diag(lower)
    return np.ascontiguousarray((lower / roots).T), roots**2


def round_with_feedback(
    weights: Floats, feedback: Feedback, lengths: CodeLengths
) -> NDArray[np.int64]:
    """Cheap levels of a matrix, each of which makes up for the errors before it.

    Parameters
    ----------
    weights : float64 (n, d)
        In units of the step: divided by it and by the scales of rows and columns.
    feedback : Feedback
        In the same units (`Feedback.in_units`).
    lengths : CodeLengths
        What levels cost, and the price of a bit.

    Returns
    -------
    int64 (n, d)

    Examples
    --------
    Errors in the two columns add up, so the second is rounded against the error of the first:

    >>> from kolmo.lossy.rounding import code_lengths
    >>> lengths = dataclasses.replace(code_lengths(np.full((1, 2), 0.4)), price=0.0)
    >>> alike = Feedback(columns=np.array([[1.0, 0.0], [1.0, 1.0]]))
    >>> round_with_feedback(np.full((1, 2), 0.4), alike, lengths).tolist()
    [[0, 1]]
    """
    if not weights.size:
        return np.zeros(weights.shape, np.int64)
    return _round_fed(weights, feedback, _wider(lengths))


def _wider(lengths: CodeLengths) -> CodeLengths:
    """Code lengths of twice as many levels: what is fed may take weights beyond the largest."""
    more = lengths.bits.shape[2] // 2 + _BEYOND
    bits = np.pad(lengths.bits, ((0, 0), (0, 0), (more, more)), mode="edge")
    return dataclasses.replace(lengths, bits=bits)


def _round_fed(weights: Floats, feedback: Feedback, lengths: CodeLengths) -> NDArray[np.int64]:
    finer = 1 if lengths.has_trellis else 2  # a level without a trellis is two of its steps
    values = np.ascontiguousarray(weights.T) * finer
    columns, count = values.shape
    levels, errors = np.empty(values.shape, np.int64), np.zeros(values.shape)
    across = feedback.columns
    for first in range(0, columns, _BLOCK):
        last = min(first + _BLOCK, columns)
        fed = np.zeros((last - first, count))
        if across is not None and first:
            fed = across[first:last, :first] @ errors[:first]
        for number in range(first, last):
            own = fed[number - first]
            if across is not None:
                own = own + across[number, first:number] @ errors[first:number]
            _round_column(values[number], own, feedback.rows, lengths, number, levels[number])
            errors[number] = levels[number] - values[number]
    return np.ascontiguousarray(levels.T) // finer


def _round_column(
    values: Floats,
    fed: Floats,
    rows: Floats | None,
    lengths: CodeLengths,
    number: int,
    levels: NDArray[np.int64],
) -> None:
    """Write the levels of a column in the units of the trellis."""
    if rows is None:
        levels[:] = lengths.fine(values - fed, number)
        return
    kernels.round_fed(
        *(values, fed, rows, lengths.classes(number), lengths.bits),
        *(lengths.price, lengths.trellis, levels, np.zeros(values.shape)),
    )
