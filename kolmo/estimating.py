"""estimate: the code length of one array."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.opening import open_source
from kolmo.estimators.base import Checked, CodeLength, Estimator, get_estimator
from kolmo.estimators.sweep import Sweep
from kolmo.execution import in_parts
from kolmo.quantize import Quantizer, SymbolCoder, get_quantizer, side_bits

_CHUNK = 1 << 20
"""Weights that are measured at once: few enough to stay in a core's cache."""


def estimate(
    array: NDArray[Any], estimator: str | Estimator, quantizer: str | Quantizer = "native"
) -> CodeLength:
    """The code length of one array.

    Parameters
    ----------
    array : ndarray of floats, integers or booleans, any shape
    estimator, quantizer : spec or object

    Returns
    -------
    CodeLength
        In bits; its ``kind`` says whether it is a bound or an estimate.

    Raises
    ------
    NotApplicableError
        If the estimator cannot take this quantizer's symbols, or this shape.
    NotExpressibleError
        If the array holds values that the quantizer has no symbol for.

    Examples
    --------
    >>> import kolmo
    >>> kolmo.estimate(np.zeros(8000, np.float32), "gzip:9").kind
    'bound'
    """
    tensor = open_source({"array": np.asarray(array)})["array"]
    quantize, measure = get_quantizer(quantizer), get_estimator(estimator)
    coder = quantize.fit(tensor)
    accumulator = measure.start(tensor.shape, coder.alphabet)
    grain = measure.grain([tensor.shape], coder.alphabet) if coder.elementwise else None
    if grain is None:
        for symbols in coder.symbols(tensor):
            accumulator.update(symbols)
    else:
        work = partial(_measure_part, tensor, coder, measure)
        for part in in_parts(work, tensor.numel, grain):
            accumulator.merge(part)
    return accumulator.finish().with_side(side_bits(coder, tensor))


def _measure_part(
    tensor: WeightTensor, coder: SymbolCoder, estimator: Estimator, part: slice
) -> Checked:
    """An accumulator that has taken a part of a tensor."""
    taker = estimator.start_part(tensor.shape, coder.alphabet, part.start, part.stop)
    sweep = Sweep(tensor.dtype, [(coder, [taker.inner])])
    for start in range(part.start, part.stop, _CHUNK):
        sweep.update(tensor.load(start, min(start + _CHUNK, part.stop)))
    sweep.finish()
    if sweep.errors[0]:
        raise sweep.errors[0]
    taker.took(part.stop - part.start)
    return taker
