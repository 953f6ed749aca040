"""Fast paths: from float32 weights in memory to block counts in one pass, on all threads.

They give the same bits as quantizing first and counting then (a test checks it), without an array
of symbols in between. Each thread counts its own part of the weights; counts add up in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import array_tensor
from kolmo.errors import NotExpressibleError
from kolmo.estimators.accumulators import BlockAccumulator, PlaneAccumulator
from kolmo.estimators.base import CodeLength, Estimator
from kolmo.estimators.bdm import BDM, CTM, BlockEntropy, QuBD
from kolmo.execution import in_parts
from kolmo.quantize import Affine, Quantizer, Sign, side_bits

Counts = NDArray[np.int64]


def fused_estimate(
    weights: NDArray[Any], quantizer: Quantizer, estimator: Estimator
) -> CodeLength | None:
    """The code length if there is a fast path for it, else None.

    Fast paths exist for contiguous float32 weights: under ``sign`` for block estimators in one
    dimension with boundary ignore; under ``affine:B``, B ≤ 8 without clipping, for ``qubd``.

    >>> weights = np.float32([[-1, 2, 3, 4]] * 4)
    >>> from kolmo.estimators import get_estimator
    >>> fused_estimate(weights, Sign(), get_estimator("bdm")).bits.__round__(3)
    29.689
    """
    if weights.dtype != np.float32 or not weights.flags.c_contiguous:
        return None
    if isinstance(quantizer, Sign) and isinstance(estimator, (BDM, CTM, BlockEntropy)):
        strings = estimator.ndim == 1 and estimator.boundary == "ignore"
        if strings and getattr(estimator, "window", None) is None:
            return _signs(weights, estimator)
    if isinstance(quantizer, Affine) and isinstance(estimator, QuBD):
        squares = estimator.ndim == 2 and quantizer.bits <= 8 and quantizer.clip == 100
        return _planes(weights, quantizer, estimator) if squares else None
    return None


def _signs(weights: NDArray[Any], estimator: BDM | CTM | BlockEntropy) -> CodeLength:
    from kolmo.estimators.kernels_fused import count_sign_strings

    accumulator = estimator.start(weights.shape, Sign().alphabet(weights.dtype)).inner
    assert isinstance(accumulator, BlockAccumulator)
    flat = weights.reshape(-1)

    def count(part: slice) -> tuple[Counts, bool]:
        counts = np.zeros(1 << 12, np.int64)
        return counts, count_sign_strings(flat[part].view(np.int32), counts)

    results = in_parts(count, flat.size, 12)
    if any(nan for _, nan in results):
        Sign().fit(array_tensor("array", weights)).encode(weights)  # raises the usual error
        raise NotExpressibleError("the weights hold NaN")
    accumulator.add_counts(np.sum([counts for counts, _ in results], axis=0))
    return accumulator.finish()


def _planes(weights: NDArray[Any], quantizer: Affine, estimator: QuBD) -> CodeLength:
    from kolmo.estimators.kernels_fused import count_affine_squares, extremes

    accumulator = estimator.start(weights.shape, quantizer.alphabet(weights.dtype)).inner
    assert isinstance(accumulator, PlaneAccumulator)
    flat = weights.reshape(-1)
    parts = in_parts(lambda part: extremes(flat[part]), flat.size)
    if not all(finite for _, _, finite in parts):
        quantizer.fit(array_tensor("array", weights))  # raises the usual error
        raise NotExpressibleError("the weights hold NaN or infinities")
    low = float(min(low for low, _, _ in parts))
    high = float(max(high for _, high, _ in parts))
    top = float((1 << quantizer.bits) - 1)
    step = (high - low) / top
    matrix = weights.reshape(weights.shape[0], -1)

    def count(part: slice) -> Counts:
        counts = np.zeros((8, 1 << 16), np.int64)
        count_affine_squares(matrix[part], low, step or 1.0, top, counts)
        return counts

    accumulator.add_counts(np.sum(_rows(count, matrix), axis=0))
    coder = quantizer.restore(weights.dtype, [low, high])
    return accumulator.finish().with_side(side_bits(coder, array_tensor("array", weights)))


def _rows(count: Callable[[slice], Counts], matrix: NDArray[Any]) -> list[Counts]:
    """Counts of parts of the rows; all parts but the last have a multiple of 4 rows."""
    columns = matrix.shape[1]
    return in_parts(
        lambda part: count(slice(part.start // columns, part.stop // columns)),
        matrix.size,
        4 * columns,
    )
