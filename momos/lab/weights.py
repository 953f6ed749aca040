"""Plain facts about weights that explain a code length: trailing zeros, the largest weight."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.opening import open_source


def weight_facts(path: str | os.PathLike[str]) -> dict[str, float]:
    """What bits depend on besides structure, means over all weights of a float32 checkpoint.

    ``zero_tail``: trailing zero bits of the 23 of a mantissa, 23 of a zero; random mantissas have 1
    on average, for half of them end on a one. ``peak``: the largest
    weight of a tensor in standard deviations, which a quantizer that is scaled by it depends on.

    Examples
    --------
    >>> import tempfile
    >>> from safetensors.numpy import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"w": np.float32([1.0, -1.5, 0.0, 3.0])}, f"{folder}/w.safetensors")
    ...     weight_facts(f"{folder}/w.safetensors")["zero_tail"]
    22.5
    """
    arrays = [tensor.read() for tensor in open_source(path).values()]
    arrays = [array for array in arrays if array.dtype == np.float32 and array.size]
    if not arrays:
        return {"zero_tail": np.nan, "peak": np.nan}
    sizes = [array.size for array in arrays]
    return {
        "zero_tail": float(np.average([_zero_tail(array) for array in arrays], weights=sizes)),
        "peak": float(np.average([_peak(array) for array in arrays], weights=sizes)),
    }


def _zero_tail(array: NDArray[np.float32]) -> float:
    mantissas = array.reshape(-1).view(np.uint32) & 0x7FFFFF
    lowest = mantissas & -mantissas.astype(np.int64)
    tails = np.where(mantissas == 0, 23, np.log2(np.maximum(lowest, 1)))
    return float(tails.mean())


def _peak(array: NDArray[np.float32]) -> float:
    deviation = array.std(dtype=np.float64)
    return float(np.abs(array).max() / deviation) if deviation else 1.0
