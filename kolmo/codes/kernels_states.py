"""The states of a trellis, and the levels that indices stand for."""

from __future__ import annotations

from typing import NamedTuple

from kolmo.compiled import Array, compiled


class Trellis(NamedTuple):
    """A machine of states: which quantizer each uses, and where parities of indices lead."""

    quantizers: Array  # (states,)
    following: Array  # (states, 2)


@compiled(inline=True)
def index_of(level: int, odd: int) -> int:
    """The index of a level that the quantizer has; ``odd`` says that it is the second one."""
    if odd and level > 0:
        return (level + 1) >> 1
    if odd and level < 0:
        return -((1 - level) >> 1)
    return level >> 1


@compiled(inline=True)
def level_of(index: int, odd: int) -> int:
    """The level of an index: 2k of the first quantizer, 2k − sign(k) of the second one."""
    level = 2 * index
    if odd and index != 0:
        level += -1 if index > 0 else 1
    return level


@compiled
def find_starts(levels: Array, columns: int, trellis: Trellis, starts: Array) -> bool:
    """The first state of each column from which all of its levels can be reached, into ``starts``;
    False if there is none."""
    rows = levels.shape[0] // columns
    for column in range(columns):
        found = False
        for start in range(trellis.quantizers.shape[0]):
            if _is_reached(levels, column, rows, columns, trellis, start):
                starts[column] = start
                found = True
                break
        if not found:
            return False
    return True


@compiled(inline=True)
def _is_reached(
    levels: Array, column: int, rows: int, columns: int, trellis: Trellis, state: int
) -> bool:
    for row in range(rows):
        level, odd = levels[row * columns + column], trellis.quantizers[state]
        if level != 0 and (level & 1) != odd:
            return False
        state = trellis.following[state, index_of(level, odd) & 1]
    return True
