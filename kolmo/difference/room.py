"""Admission by bytes: what is under way at once holds no more memory than there is room for."""

from __future__ import annotations

import threading

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.shapes import array_shape
from kolmo.difference.codes import CodeSearch
from kolmo.difference.draws import drawing_memory
from kolmo.difference.lowrank import LIMIT
from kolmo.difference.stripes import HELD
from kolmo.estimators.base import Estimator
from kolmo.quantize import Native, Quantizer

MEMORY = 3 << 28
"""Bytes that all tensors under way may hold together."""

_WORKING = 1 << 27  # bytes of a tensor's stripes, their symbols, and what is counted of them
_USUAL = 1 << 26  # bytes of an accumulator that are part of it
_EXHAUSTIVE = 148  # bytes a weight of the exhaustive search for factors


def memory_of(
    tensor: WeightTensor, quantizer: Quantizer, search: CodeSearch, drawn: bool = False
) -> int:
    """Bytes that measuring a tensor holds, about.

    Parameters
    ----------
    tensor : WeightTensor
        The tuned one.
    quantizer : Quantizer
    search : CodeSearch
    drawn : bool
        Whether it is a draw of the null.
    """
    numel, native = tensor.numel, isinstance(quantizer, Native)
    held = min(2 * numel * tensor.dtype.itemsize, HELD)
    working = min(64 * numel, _WORKING)
    accumulators = sum(_beyond(each, tensor, quantizer) for each in search.estimators)
    most = LIMIT if search.thorough else search.exhaustive
    factors = _EXHAUSTIVE * numel if native and numel <= most else 0
    drawing = drawing_memory(tensor) if drawn else 0
    return held + working + (3 if native else 2) * accumulators + factors + drawing


def _beyond(estimator: Estimator, tensor: WeightTensor, quantizer: Quantizer) -> int:
    """Bytes that an accumulator holds beyond the usual."""
    alphabet = quantizer.alphabet(tensor.dtype)
    return max(0, estimator.working_memory([array_shape(tensor.shape)], alphabet) - _USUAL)


class Room:
    """So many bytes, of which those who work take their share.

    A share larger than the whole is the whole: its owner then works alone.

    >>> room = Room(100)
    >>> room.take(70, 0), room.take(70, 0)
    (True, False)
    >>> room.give_back(70)
    >>> room.take(700, 0)
    True
    """

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    def take(self, size: int, timeout: float) -> bool:
        """Wait for room, at most so many seconds; whether there was."""
        size = min(size, self._size)
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= size, timeout):
                return False
            self._free -= size
            return True

    def give_back(self, size: int) -> None:
        with self._changed:
            self._free += min(size, self._size)
            self._changed.notify_all()
