"""Tensors that are there already: copies of others of the file, negated, scaled, or averages.

::

    sketches of all tensors of a shape ─ correlation near ±1 ─► candidates ─ read again ─► relation

A sketch is 128 weights of a tensor; which tensors are alike is judged by all weights. Averages of
weights (EMA, SWA) and states of one training lie so close to each other that one costs little once
the other is known; a measure that counts both takes that for structure.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.floats import is_float, mantissa_bits
from kolmo.ledger.facts import CHUNK, Sketch

ALIKE = 0.999
"""Correlation of all weights from which two tensors are called alike."""

_CANDIDATE = 0.99  # of their sketches
_TOGETHER = 512  # tensors that are compared with all before them at once


@dataclasses.dataclass(frozen=True)
class Relation:
    """What a tensor is to one that comes before it.

    Attributes
    ----------
    relation : str
        ``copy`` (every weight is equal), ``negated``, ``rounded`` (in another dtype), ``scaled``
        (by one factor, as exactly as the dtype can write it), ``alike`` (correlation at least
        .999: an average, or another state of the same training).
    of : str
        The name of the other.
    correlation : float
        Of their weights.
    factor : float
        By which the other's weights are multiplied, by least squares.
    """

    relation: str
    of: str
    correlation: float
    factor: float


def candidates(
    tensors: Sequence[WeightTensor], sketches: Sequence[Sketch]
) -> Iterator[tuple[int, int]]:
    """Places of tensors, each with the earlier one of its shape that its sketch is most like.

    Tensors are compared if both are of a shape and have a sketch that is not constant.

    >>> from kolmo.checkpoints import array_tensor
    >>> a, b = np.random.default_rng(0).normal(size=(2, 99)).astype(np.float32)
    >>> tensors = [array_tensor(str(n), w) for n, w in enumerate([a, b, -a, b])]
    >>> list(candidates(tensors, [tensor.load(0, 99) for tensor in tensors]))
    [(2, 0), (3, 1)]
    """
    shapes: dict[tuple[int, ...], list[int]] = {}
    for place, tensor in enumerate(tensors):
        if sketches[place].size:
            shapes.setdefault(tensor.shape, []).append(place)
    found = [pair for places in shapes.values() for pair in _alike(places, sketches)]
    yield from sorted(found)


def _alike(places: Sequence[int], sketches: Sequence[Sketch]) -> Iterator[tuple[int, int]]:
    if len(places) < 2:
        return
    rows = np.stack([_normalized(sketches[place]) for place in places])
    for first in range(0, len(places), _TOGETHER):
        some = rows[first : first + _TOGETHER]
        correlations = some @ rows[: first + len(some)].T
        for number, row in enumerate(correlations, start=first):
            before = row[:number]
            if before.size and np.abs(before).max() >= _CANDIDATE:
                yield places[number], places[_nearest(before)]


def _nearest(correlations: NDArray[np.float32]) -> int:
    """The first of those that are nearest to 1, or −1 if none is near 1."""
    signed = correlations if correlations.max() >= _CANDIDATE else -correlations
    return int(np.argmax(signed >= signed.max() - 1e-6))


def _normalized(sketch: Sketch) -> NDArray[np.float32]:
    """The sketch less its mean, of length 1; zeros if it is constant."""
    centred = sketch.astype(np.float64) - sketch.mean(dtype=np.float64)
    length = math.sqrt(float(centred @ centred))
    unit: NDArray[np.float32] = (centred / (length or 1.0)).astype(np.float32)
    return unit


def relation_of(
    tensor: WeightTensor, other: WeightTensor, tell: Callable[[int], None] = lambda weights: None
) -> Relation | None:
    """What a tensor is to another one of its shape; None if they are not alike.

    >>> from kolmo.checkpoints import array_tensor
    >>> weights = np.random.default_rng(0).normal(size=999).astype(np.float32)
    >>> relation_of(array_tensor("b", 3 * weights), array_tensor("a", weights)).relation
    'scaled'
    """
    sums, equal, negated = np.zeros(5), tensor.dtype == other.dtype, True
    for start in range(0, tensor.numel, CHUNK):
        stop = min(start + CHUNK, tensor.numel)
        mine, others = tensor.load(start, stop), other.load(start, stop)
        equal = equal and np.array_equal(mine.view(np.uint8), others.view(np.uint8))
        x, y = mine.astype(np.float64), others.astype(np.float64)
        negated = negated and np.array_equal(x, -y)
        with np.errstate(invalid="ignore", over="ignore"):
            sums += [x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()]
        tell(2 * (stop - start))
    return _judged(other, tensor, sums, equal, negated)


def _judged(
    other: WeightTensor, tensor: WeightTensor, sums: NDArray[np.float64], equal: bool, negated: bool
) -> Relation | None:
    if equal:
        return Relation("copy", other.name, 1.0, 1.0)
    x, y, xx, yy, xy = map(float, sums)
    numel = tensor.numel
    spread = (xx - x * x / numel) * (yy - y * y / numel)
    if not math.isfinite(spread) or spread <= 0:
        return None
    correlation = max(-1.0, min(1.0, (xy - x * y / numel) / math.sqrt(spread)))
    if negated:
        return Relation("negated", other.name, correlation, -1.0)
    factor = xy / yy
    if tensor.dtype != other.dtype and _is_scaled(tensor, other, 1.0):
        return Relation("rounded", other.name, correlation, 1.0)
    if _is_scaled(tensor, other, factor):
        return Relation("scaled", other.name, correlation, factor)
    return Relation("alike", other.name, correlation, factor) if correlation >= ALIKE else None


def _is_scaled(tensor: WeightTensor, other: WeightTensor, factor: float) -> bool:
    """Whether each weight is the other's times the factor, as exactly as the dtype can write it."""
    if not is_float(tensor.dtype) or not is_float(other.dtype):
        return False
    room = 2.0 ** (1 - min(mantissa_bits(tensor.dtype), mantissa_bits(other.dtype)))
    for start in range(0, tensor.numel, CHUNK):
        stop = min(start + CHUNK, tensor.numel)
        x = tensor.load(start, stop).astype(np.float64)
        y = factor * other.load(start, stop).astype(np.float64)
        if not (np.abs(x - y) <= room * np.abs(y)).all():
            return False
    return True
