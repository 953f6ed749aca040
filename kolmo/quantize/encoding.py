"""Ways from weights to symbols that are quick for many weights, and give the bits of the plain way.

Weights of at most 16 bits have at most 65,536 patterns, so that a coder whose symbols depend on
single weights is a table. Grids have a compiled loop for float32 and float64.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kolmo.floats import bit_patterns, is_float
from kolmo.symbols import Alphabet, Symbols

Weights = NDArray[Any]

_MANY = 1 << 14  # weights from which a table pays, or a loop that must be compiled or loaded


# --- tables of all patterns -------------------------------------------------------------------


def is_narrow(dtype: np.dtype[Any]) -> bool:
    """Whether a table can hold the symbols of all bit patterns of a dtype.

    >>> is_narrow(np.dtype(np.float16)), is_narrow(np.dtype(np.float32))
    (True, False)
    """
    return dtype.itemsize <= 2


def patterns_of(weights: Weights) -> NDArray[Any]:
    """The bytes of narrow weights in memory, as unsigned integers."""
    return np.ascontiguousarray(weights).reshape(-1).view(f"u{weights.dtype.itemsize}")


def all_patterns(dtype: np.dtype[Any]) -> Weights:
    """The weights of all bit patterns of a narrow dtype, in order."""
    return np.arange(1 << 8 * dtype.itemsize, dtype=f"u{dtype.itemsize}").view(dtype)


class PlainCoder(Hashable, Protocol):
    """A coder whose symbols depend on single weights."""

    def encode_plainly(self, weights: Weights) -> Symbols:
        """The symbols of weights, however many they are."""
        ...


def by_table(coder: PlainCoder, weights: Weights) -> Symbols | None:
    """The symbols of many narrow weights; None if these are few, or not narrow."""
    if weights.size < _MANY or not is_narrow(weights.dtype) or not weights.dtype.isnative:
        return None
    return _through(_table(coder, weights.dtype), weights)


def _through(table: NDArray[Any], weights: Weights) -> NDArray[Any]:
    """What a table holds for each of the weights."""
    from kolmo.quantize import kernels

    patterns = patterns_of(weights)
    if weights.size < _MANY:
        return np.asarray(table[patterns]).reshape(weights.shape)
    found = np.empty(weights.size, table.dtype)
    kernels.look_up(patterns, table, found)
    return found.reshape(weights.shape)


@lru_cache(maxsize=8)
def _table(coder: PlainCoder, dtype: np.dtype[Any]) -> Symbols:
    with np.errstate(all="ignore"):  # patterns that the weights do not have may be no numbers
        return coder.encode_plainly(all_patterns(dtype))


# --- grids ------------------------------------------------------------------------------------


def on_grid(weights: Weights, low: float, step: float, shift: int, alphabet: Alphabet) -> Symbols:
    """(w − low) / step, rounded half to even, plus shift, clipped to the alphabet; in float64."""
    top = alphabet.size - 1
    if weights.size >= _MANY and weights.dtype in (np.float32, np.float64):
        return _on_grid_compiled(weights, low, step, shift, alphabet)
    scaled = weights.astype(np.float64)
    scaled -= low
    scaled /= step
    np.rint(scaled, out=scaled)
    scaled += shift
    np.clip(scaled, 0, top, out=scaled)
    return scaled.astype(alphabet.container)


def _on_grid_compiled(
    weights: Weights, low: float, step: float, shift: int, alphabet: Alphabet
) -> Symbols:
    from kolmo.quantize import kernels

    symbols, top = np.empty(weights.size, alphabet.container), float(alphabet.size - 1)
    flat = np.ascontiguousarray(weights).reshape(-1)
    kernels.round_to_grid(flat, float(low), float(step), float(shift), top, symbols)
    return symbols.reshape(weights.shape)


# --- signs and extremes, from bit patterns ----------------------------------------------------

_IEEE = ("float16", "bfloat16", "float32", "float64")
_RUN = 1 << 16  # weights that fit a near cache, for several passes


@lru_cache
def has_signs(dtype: np.dtype[Any]) -> bool:
    """Whether `as_signed` knows the signs of a dtype: floats of IEEE 754 and signed integers."""
    return dtype.isnative and (dtype.kind == "i" or dtype.name in _IEEE)


def as_signed(weights: Weights) -> NDArray[Any] | None:
    """Signed integers that are positive where the weights are, of their shape.

    The sign is the highest bit of the floats of IEEE 754, and only +0 has the pattern 0. None of
    the dtypes that are neither such floats nor signed integers.

    >>> as_signed(np.float16([-1, -0.0, 0, 2])).tolist()
    [-17408, -32768, 0, 16384]
    """
    if not has_signs(weights.dtype):
        return None
    signed = weights.dtype.kind == "i"
    return weights if signed else bit_patterns(weights).view(f"i{weights.dtype.itemsize}")


@lru_cache
def last_number(dtype: np.dtype[Any]) -> int:
    """The greatest of the integers of `as_signed` that stands for no NaN: of floats infinity.

    >>> hex(last_number(np.dtype(np.float16))), last_number(np.dtype(np.int8))
    ('0x7c00', 127)
    """
    if dtype.kind == "i":
        return int(np.iinfo(dtype).max)
    return int(np.array([np.inf], dtype).view(f"i{dtype.itemsize}")[0])


def has_nan(weights: Weights) -> bool:
    """Whether a float is NaN; signalling NaNs raise no warning.

    >>> has_nan(np.float32([1, np.nan])), has_nan(np.float32([1, np.inf])), has_nan(np.int8([1]))
    (True, False, False)
    """
    if not is_float(weights.dtype) or not weights.size:
        return False
    if weights.size < _MANY and weights.dtype.name in _IEEE:
        return math.isnan(_plain_range(weights)[1])
    with np.errstate(invalid="ignore"):
        return bool(np.isnan(_extremes(weights)).any())


def finite_range(weights: Weights) -> tuple[float, float] | None:
    """Least and greatest of some weights; None if one is infinite or NaN.

    >>> finite_range(np.float16([0.5, -2])), finite_range(np.float16([1, np.inf]))
    ((-2.0, 0.5), None)
    """
    if weights.dtype.kind in "iub":
        return float(weights.min()), float(weights.max())
    if weights.size < _MANY and weights.dtype.name in _IEEE:
        low, high = _plain_range(weights)
        return (low, high) if math.isfinite(low) and math.isfinite(high) else None
    with np.errstate(invalid="ignore"):
        few = _extremes(weights).astype(np.float64) + 0.0  # which of two zeros says nothing
    return (float(few.min()), float(few.max())) if np.isfinite(few).all() else None


def _plain_range(weights: Weights) -> tuple[float, float]:
    """Least and greatest of a few floats of IEEE 754; NaN twice if one is NaN."""
    with np.errstate(invalid="ignore"):
        wide = weights if weights.dtype == np.float64 else weights.astype(np.float32)
        return float(wide.min()) + 0.0, float(wide.max()) + 0.0  # which of two zeros says nothing


def _extremes(weights: Weights) -> Weights:
    """Weights among which are the least, the greatest, and any NaN or infinity."""
    signed = as_signed(weights)
    if signed is not None:
        return _extreme_patterns(signed.reshape(-1)).view(weights.dtype)
    if not is_narrow(weights.dtype):
        return weights
    order, ranks = _ranking(weights.dtype)
    found = _through(ranks, weights)
    return all_patterns(weights.dtype)[order[[found.min(), found.max()]]]


def _extreme_patterns(signed: NDArray[Any]) -> NDArray[Any]:
    """The patterns of the extremes of floats of IEEE 754.

    Patterns of positive numbers are in the order of the numbers, those of negative ones in the
    reverse order; as signed integers all negative ones come first, as unsigned integers last.
    """
    unsigned, top = signed.view(f"u{signed.itemsize}"), 1 << (8 * signed.itemsize - 1)
    runs = [slice(start, start + _RUN) for start in range(0, signed.size, _RUN)]
    found = [extreme for run in runs for extreme in (signed[run].max(), unsigned[run].max())]
    patterns = np.array([int(extreme) % (2 * top) for extreme in found], unsigned.dtype)
    if patterns.min() >= top or patterns.max() < top:  # all of one sign, of which these are one end
        patterns = np.append(patterns, unsigned.min())
    return patterns


@lru_cache
def _ranking(dtype: np.dtype[Any]) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """The patterns of a narrow dtype in the order of their values, NaN last, and their ranks."""
    with np.errstate(invalid="ignore"):
        order = np.argsort(all_patterns(dtype).astype(np.float64), kind="stable")
    ranks = np.empty(order.size, f"u{dtype.itemsize}")
    ranks[order] = np.arange(order.size)
    return order, ranks
