"""estimate: the code length of one array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.opening import open_source
from kolmo.estimators.base import CodeLength, Estimator, get_estimator
from kolmo.estimators.fused import fused_estimate
from kolmo.quantize import Quantizer, get_quantizer, side_bits


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
    fast = fused_estimate(np.asarray(array), quantize, measure)
    if fast is not None:
        return fast
    coder = quantize.fit(tensor)
    accumulator = measure.start(tensor.shape, coder.alphabet)
    for symbols in coder.symbols(tensor):
        accumulator.update(symbols)
    return accumulator.finish().with_side(side_bits(coder, tensor))
