"""Arrays of other libraries, such as JAX, TensorFlow or CuPy: what has ``__array__`` or
``__dlpack__``. They are turned into numpy's when they are read, and not before."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.files import native
from kolmo.errors import InputError


def is_foreign(value: Any) -> bool:
    """Whether it is an array of another library than numpy and torch."""
    if isinstance(value, (np.ndarray, np.generic, type)) or hasattr(value, "untyped_storage"):
        return False
    has_values = hasattr(value, "__array__") or hasattr(value, "__dlpack__")
    return has_values and hasattr(value, "shape") and hasattr(value, "dtype")


def foreign_tensor(name: str, value: Any) -> WeightTensor:
    """A lazy tensor over an array of another library.

    >>> class Theirs:
    ...     shape, dtype = (2,), np.dtype("f4")
    ...     def __array__(self, dtype=None, copy=None): return np.ones(2, "f4")
    >>> foreign_tensor("w", Theirs()).read().tolist()
    [1.0, 1.0]
    """

    def load(start: int, stop: int) -> NDArray[Any]:
        return native(_as_numpy(name, value).reshape(-1)[start:stop])

    shape = tuple(int(side) for side in value.shape)
    return WeightTensor(name, shape, _dtype(name, value).newbyteorder("="), load)


def _dtype(name: str, value: Any) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(getattr(value.dtype, "as_numpy_dtype", value.dtype))
    except TypeError:  # a dtype of the library's own
        dtype = _as_numpy(name, value).dtype
    return dtype


def _as_numpy(name: str, value: Any) -> NDArray[Any]:
    try:
        if hasattr(value, "__array__"):
            return np.asarray(value)
        return np.from_dlpack(value)
    except Exception as error:  # each library raises errors of its own
        library = type(value).__module__.partition(".")[0]
        raise InputError(
            f"array {name!r} of {library} cannot be turned into numpy's ({type(error).__name__}); "
            f"convert it by numpy.asarray first"
        ) from None
