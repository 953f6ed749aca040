"""How much the outputs of a network change with its weights, and how rounding makes use of it.

::

    gradients' second moments ─► R of rows, C of columns ─► triangular factors ─► steps, feedback

An error E of a matrix changes the outputs of an example by a squared distance near tr(R E C Eᵀ):
the Kronecker-factored approximation (Martens & Grosse, ICML 2015), of gradients of whole examples.
Errors that a weight makes at several positions of one example add up before they are squared, so
that the gradients of positions alone (E[xxᵀ] of a layer's inputs) miss most of what counts.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from kolmo.lossy.feedback import Feedback, unit_factor
from kolmo.lossy.moments import GradientMoments
from kolmo.quantize.scales import Floats

DAMPING = 0.1
"""Of the mean importance, added to all: what the examples did not show.

Of .02, .04, .08 and .15, a sentence encoder that is shown 400 sentences needs 1.72, 1.64, 1.61 and
1.62 bits a weight for embeddings with a cosine of .95 to its own."""

_NEIGHBOURS = 500  # rows on either side that tell how often a row is used that was hardly seen
_SELDOM = 2  # uses of rows that tell how much one use counts
_TRUST = 0.3  # uses that they count for
_FLOOR = 0.02  # of the mean of all rows, added to that of neighbours


@dataclasses.dataclass(frozen=True, eq=False)
class Sensitivity:
    """What an error E of a matrix costs: tr(R E C Eᵀ).

    That is the squared distance of an example's outputs, on average over examples.

    Attributes
    ----------
    rows : float64 (n, n) or (n,)
        R, or its diagonal where all else is taken as 0.
    columns : float64 (d, d) or (d,)
        C, of mean diagonal 1.
    """

    rows: Floats
    columns: Floats

    @classmethod
    def of(cls, moments: GradientMoments) -> Sensitivity:
        """The sensitivity of gradients with these moments.

        Where a matrix has more rows than are looked at in pairs, such as a table of embeddings,
        those that examples hardly used are as important as their neighbours make likely: tokens
        are mostly numbered by how frequent they are.
        """
        rows = moments.rows
        if rows.ndim == 1 and not moments.uses.all():
            rows = shrunk(rows, moments.uses)
        mean = _diagonal(moments.columns).mean()
        return cls(rows / len(moments.columns), moments.columns / mean)

    def factors(self, damping: float = DAMPING) -> SensitivityFactors:
        """What rounding needs: importance of rows and columns, and how errors are put right.

        Parameters
        ----------
        damping : float
            Of the mean importance, added to that of each row and column.

        Raises
        ------
        InputError
            If damping is too small for the moments, which then cannot be factored.
        """
        rows, row_weights = _factor(self.rows, damping)
        columns, column_weights = _factor(self.columns, damping)
        return SensitivityFactors(row_weights, column_weights, Feedback(rows, columns))


@dataclasses.dataclass(frozen=True, eq=False)
class SensitivityFactors:
    """A sensitivity, factored.

    Attributes
    ----------
    rows : float64 (n,)
        The importance of each row, once those below it make up for its errors.
    columns : float64 (d,)
        The same of columns: the error at i, j costs rows[i] · columns[j] times its square.
    feedback : Feedback
        How they make up for it, in units of the weights.
    """

    rows: Floats
    columns: Floats
    feedback: Feedback

    def scales(self) -> tuple[Floats, Floats]:
        """Scales r of rows and c of columns of the steps that lose the same for each bit."""
        return 1 / np.sqrt(self.rows), 1 / np.sqrt(self.columns)


def shrunk(rows: Floats, uses: NDArray[np.int64]) -> Floats:
    """Importance of rows, of which those seldom used have that which their neighbours make likely.

    The number of uses is taken as Poisson's, with a prior of Gamma's law about the mean of the
    rows around.

    Parameters
    ----------
    rows : float64 (n,)
        The sum of what each row's uses count.
    uses : int64 (n,)
        In how many batches a row was used.

    Returns
    -------
    float64 (n,)
        With about the same sum.

    Examples
    --------
    >>> shrunk(np.array([8.0, 4.0, 0.0, 0.0]), np.array([2, 1, 0, 0])).round(2).tolist()
    [6.61, 3.74, 0.86, 0.86]
    """
    seldom = (uses > 0) & (uses <= _SELDOM)
    seen = seldom if seldom.any() else uses > 0
    one = rows[seen].sum() / uses[seen].sum()
    counts = rows / one
    ends = np.concatenate([[0.0], np.cumsum(counts)])
    at = np.arange(len(rows))
    first, last = np.maximum(at - _NEIGHBOURS, 0), np.minimum(at + _NEIGHBOURS + 1, len(rows))
    near = (ends[last] - ends[first]) / (last - first) + _FLOOR * counts.mean()
    likely: Floats = one * (counts + _TRUST) / (1 + _TRUST / near)
    return likely


def _diagonal(moments: Floats) -> Floats:
    return np.diag(moments) if moments.ndim == 2 else moments


def _factor(moments: Floats, damping: float) -> tuple[Floats | None, Floats]:
    if moments.ndim == 1:
        return None, moments + damping * moments.mean()
    mean = _diagonal(moments).mean()
    return unit_factor(moments + damping * mean * np.eye(len(moments)))
