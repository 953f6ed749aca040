"""How far the weights that symbols stand for are from the weights themselves."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from kolmo.quantize.base import SymbolCoder, Weights
from kolmo.quantize.encoding import all_patterns, is_narrow, patterns_of
from kolmo.quantize.scales import PIECE
from kolmo.symbols import Symbols

_MANY = 1 << 14  # weights from which a loop pays that must be compiled or loaded


@dataclasses.dataclass(frozen=True)
class Distortion:
    """Sums over weights and the values that their symbols stand for; NaN where unknown.

    Attributes
    ----------
    error : float
        Σ(w − ŵ)².
    power : float
        Σw².

    Examples
    --------
    >>> Distortion(1.0, 8.0) + Distortion(2.0, 4.0)
    Distortion(error=3.0, power=12.0)
    """

    error: float = 0.0
    power: float = 0.0

    def __add__(self, other: Distortion) -> Distortion:
        return Distortion(self.error + other.error, self.power + other.power)


UNKNOWN = Distortion(math.nan, math.nan)


def distortion(coder: SymbolCoder, weights: Weights, symbols: Symbols, start: int) -> Distortion:
    """That of weights that lie together in the flat tensor, from a place on.

    >>> from kolmo.checkpoints import array_tensor
    >>> from kolmo.quantize import get_quantizer
    >>> w = np.float32([1, 0.75, -1])
    >>> coder = get_quantizer("symmetric:2").fit(array_tensor("w", w))
    >>> distortion(coder, w, coder.encode(w), 0)
    Distortion(error=0.0625, power=2.5625)
    """
    if coder.lossless:
        return Distortion()
    if not coder.restores:
        return UNKNOWN
    flat, codes = weights.reshape(-1), symbols.reshape(-1)
    if coder.elementwise and flat.size >= _MANY:
        if is_narrow(flat.dtype):
            return _by_counts(coder, flat)
        if flat.dtype in (np.float32, np.float64) and 4 * coder.alphabet.size <= flat.size:
            return _by_loop(coder, flat, codes)
    found = Distortion()
    for first in range(0, flat.size, PIECE):
        some = slice(first, first + PIECE)
        found += _plain(flat[some], coder.decode_at(codes[some], start + first))
    return found


def weighted(coder: SymbolCoder, values: Weights, counts: Weights) -> Distortion:
    """That of values which occur so many times, under a coder of single weights that restores.

    >>> from kolmo.checkpoints import array_tensor
    >>> from kolmo.quantize import get_quantizer
    >>> coder = get_quantizer("symmetric:2").fit(array_tensor("w", np.float32([1])))
    >>> weighted(coder, np.float32([0.75, 1]), np.array([2, 1]))
    Distortion(error=0.125, power=2.125)
    """
    if coder.lossless:
        return Distortion()
    return _plain(values, coder.decode(coder.encode(values)), counts)


def _plain(weights: Weights, restored: Weights, counts: Any = 1) -> Distortion:
    wide = weights.astype(np.float64)
    with np.errstate(all="ignore"):  # squares of the largest float64 are infinite
        error = np.square(wide - restored) * counts
        return Distortion(float(error.sum()), float((np.square(wide) * counts).sum()))


def _by_counts(coder: SymbolCoder, weights: Weights) -> Distortion:
    from kolmo.quantize import kernels

    patterns = patterns_of(weights)
    counts = np.zeros((2, 1 << 8 * patterns.itemsize), np.uint32)
    kernels.count_patterns(patterns, counts)
    times = counts.sum(axis=0)
    present = np.flatnonzero(times)
    return weighted(coder, all_patterns(weights.dtype)[present], times[present])


def _by_loop(coder: SymbolCoder, weights: Weights, symbols: Symbols) -> Distortion:
    from kolmo.quantize import kernels

    used = np.arange(int(symbols.max()) + 1, dtype=symbols.dtype)
    levels, sums = coder.decode(used).astype(np.float64), np.zeros(2)
    kernels.add_squares(np.ascontiguousarray(weights), symbols, levels, sums)
    return Distortion(float(sums[0]), float(sums[1]))
