"""The innermost loop of the nearest-motif search, as vector code.

A strip of 16 blocks is compared with a group of four motifs: the eight vectors of their costs stay
in registers for all values of a block, and each block's best costs for all motifs. The compiler
makes no such code of a plain loop (it keeps the costs in memory, behind masked stores), so the code
is written out here, in vectors of eight, which it splits where a processor has narrower ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kolmo.compiled import cgutils, ir

LANES, GROUP = 8, 4
STRIP = 2 * LANES
"""Blocks that are taken together; a tile holds a multiple of them."""

_FAST = ("contract", "reassoc", "nsz")
_INT, _LANE = ir.IntType(64), ir.IntType(32)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(_LANE, LANES)

Value = Any  # llvmlite's, which has no type hints


class _Code:
    """A builder with the few words that the loops are written in.

    Values are LLVM's: integers of 64 bits for places and counts, floats, and vectors of LANES.
    """

    def __init__(self, builder: Value) -> None:
        self.builder = builder

    @contextmanager
    def loop(self, start: Value, stop: Value, step: int) -> Iterator[Value]:
        """What is written inside runs for each index from start to below stop."""
        with cgutils.for_range_slice(self.builder, start, stop, _INT(step), _INT) as (index, _):
            yield index

    def add(self, a: Value, b: Value | int) -> Value:
        return self.builder.add(a, _INT(b) if isinstance(b, int) else b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.builder.mul(a, b)

    def place(self, data: Value, at: Value, kind: Value) -> Value:
        """The address of what begins at an element of an array, taken for a value of a kind."""
        return self.builder.bitcast(self.builder.gep(data, [at]), kind.as_pointer())

    def load(self, data: Value, at: Value, kind: Value) -> Value:
        """A value from there; vectors may begin at any element."""
        return self.builder.load(self.place(data, at, kind), align=4)

    def store(self, value: Value, data: Value, at: Value) -> None:
        """Write a value there."""
        self.builder.store(value, self.place(data, at, value.type), align=4)

    def variable(self, value: Value) -> Value:
        """Memory for a value that changes, which the compiler turns into a register."""
        return cgutils.alloca_once_value(self.builder, value)  # type: ignore[no-untyped-call]

    def all(self, scalar: Value, kind: Value) -> Value:
        """A vector whose lanes all hold the scalar."""
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, _LANE(0))
        lanes = ir.Constant(ir.VectorType(_LANE, LANES), [0] * LANES)
        return self.builder.shuffle_vector(first, first, lanes)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a · b + c, in one rounding where the processor has that: the bound allows for both."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=_FAST), c, flags=_FAST)

    def pick(self, a: Value, b: Value, x: Value, y: Value) -> Value:
        """x where a < b, else y."""
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), x, y)

    def lesser(self, a: Value, b: Value) -> Value:
        return self.pick(a, b, a, b)

    def larger(self, a: Value, b: Value) -> Value:
        return self.pick(a, b, b, a)


def generate_scan(types: tuple[Any, ...], context: Any, builder: Any, _: Any, values: Any) -> Any:
    """Code for `momos.nearest.kernels._scan`, which says what its arguments are.

    Numba calls it when it compiles a caller: ``types`` and ``values`` are the arguments' types and
    LLVM values, ``builder`` writes the code. Best costs are variables, loaded before the loop over
    motifs and stored after it, which the compiler keeps in registers.
    """
    tile, motifs, norms, first, last, best, second, chosen = (
        context.make_array(kind)(context, builder, value) if hasattr(kind, "ndim") else value
        for kind, value in zip(types, values, strict=True)
    )
    code = _Code(builder)
    size, width = (builder.extract_value(tile.shape, place) for place in (0, 1))
    states = [(best.data, _FLOATS), (second.data, _FLOATS), (chosen.data, _INTS)]
    with code.loop(_INT(0), width, STRIP) as strip:
        halves = [strip, code.add(strip, LANES)]
        kept = [
            [code.variable(code.load(data, half, kind)) for data, kind in states] for half in halves
        ]
        with code.loop(first, last, GROUP) as group:
            costs = _costs(code, tile.data, motifs.data, norms.data, size, width, group, halves)
            for state, four in zip(kept, costs, strict=True):
                _keep_best(code, state, four, group)
        for half, state in zip(halves, kept, strict=True):
            for (data, _), variable in zip(states, state, strict=True):
                code.store(builder.load(variable), data, half)
    return context.get_dummy_value()


def _costs(
    code: _Code, tile: Value, motifs: Value, norms: Value, size: Value, width: Value,
    group: Value, halves: list[Value],
) -> list[list[Value]]:  # fmt: skip
    """|m|² − 2 b·m of four motifs, for both halves of a strip; a list of four for each half.

    A tile's line holds one value of all blocks (times −2), so that eight blocks are one load; a
    motif's value is copied to all lanes. Four values are taken at each turn, for rows are filled
    up with zeros to a multiple of four.
    """
    members = [code.add(group, member) for member in range(GROUP)]
    rows = [code.mul(member, size) for member in members]
    starts = [code.all(code.load(norms, member, ir.FloatType()), _FLOATS) for member in members]
    costs = [[code.variable(start) for start in starts] for _ in halves]
    with code.loop(_INT(0), size, 4) as first:
        for value in (code.add(first, step) for step in range(4)):
            line = code.mul(value, width)
            blocks = [code.load(tile, code.add(line, half), _FLOATS) for half in halves]
            for member, row in enumerate(rows):
                motif = code.all(code.load(motifs, code.add(row, value), ir.FloatType()), _FLOATS)
                for half, block in zip(costs, blocks, strict=True):
                    cost = code.builder.load(half[member])
                    code.builder.store(code.multiply_add(block, motif, cost), half[member])
    return [[code.builder.load(cost) for cost in half] for half in costs]


def _keep_best(code: _Code, state: list[Value], costs: list[Value], group: Value) -> None:
    """Update the best and second cost, and the group chosen, by those of one more group.

    ``second`` is the least cost of any *other* group: the new group's least if it is not the best,
    else what was the best so far. Only groups are told apart, for all four are decided on exactly.
    """
    best, second, chosen = (code.builder.load(variable) for variable in state)
    least = code.lesser(code.lesser(costs[0], costs[1]), code.lesser(costs[2], costs[3]))
    number = code.all(code.builder.trunc(group, _LANE), _INTS)
    news = (
        code.lesser(least, best),
        code.lesser(code.larger(least, best), second),
        code.pick(least, best, number, chosen),
    )
    for variable, new in zip(state, news, strict=True):
        code.builder.store(new, variable)
