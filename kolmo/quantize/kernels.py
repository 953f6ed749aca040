"""The compiled inner loops of the quantizers: from weights to symbols, nothing in between."""

from __future__ import annotations

import numpy as np

from kolmo.compiled import Array, compiled


@compiled
def look_up(patterns: Array, table: Array, symbols: Array) -> None:
    """Write the symbol of each bit pattern (unsigned), which the table holds for all of them."""
    for i in range(patterns.size):
        symbols[i] = table[patterns[i]]


@compiled
def round_to_grid(
    weights: Array, low: float, step: float, shift: float, top: float, symbols: Array
) -> None:
    """Write the numbers of the levels that are nearest to the weights.

    A symbol is (weight − low) / step, rounded half to even, plus ``shift``, clipped to [0, top], in
    float64. The detour by int32 is what the compiler's vectors can do.
    """
    for i in range(weights.size):
        scaled = np.rint((np.float64(weights[i]) - low) / step) + shift
        symbols[i] = np.int32(min(max(scaled, 0.0), top))
