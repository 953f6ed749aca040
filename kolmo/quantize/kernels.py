"""The compiled inner loops of the quantizers: from weights to symbols, and what that loses."""

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


@compiled(fastmath=True)
def add_squares(weights: Array, symbols: Array, levels: Array, sums: Array) -> None:
    """Add to two sums the squares of the errors, and those of the weights.

    A symbol stands for the level of its number. The order of addition is left to the compiler, so
    that last digits depend on the machine.
    """
    error, power = 0.0, 0.0
    for i in range(weights.size):
        weight = np.float64(weights[i])
        away = weight - levels[symbols[i]]
        error += away * away
        power += weight * weight
    sums[0] += error
    sums[1] += power


@compiled
def count_patterns(patterns: Array, counts: Array) -> None:
    """Count bit patterns (unsigned) in two tables by turns, which wait less for each other."""
    whole = patterns.size // 2 * 2
    for i in range(0, whole, 2):
        counts[0, patterns[i]] += 1
        counts[1, patterns[i + 1]] += 1
    for i in range(whole, patterns.size):
        counts[0, patterns[i]] += 1
