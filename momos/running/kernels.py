"""Products of inputs with a layer of motifs: looked up and added.

An input is cut into blocks of *s*; the products of a block with all 256 motifs are its table, and
an output is the sum over blocks of the entries that its indices name. So a layer of n outputs and
d inputs takes 256·d multiplications rather than n·d, and d/s additions an output.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled, intrinsic, types
from momos.running import shuffles

_HALF = 1 << 23  # added to a quantized product, so that none is negative
_RUN = 256  # blocks whose bytes 16-bit sums hold
STRIP = shuffles.STRIP
_PLAIN = 8  # tables at a time, 8 KB, where there are no shuffles


@intrinsic
def _code_of_is_quick(context: Any) -> Any:
    """Whether this processor looks up bytes in registers; known when the code is compiled."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.boolean, shuffles.has_shuffles(context))

    return types.boolean(), generate


@intrinsic
def _code_of_add_up(
    context: Any, indices: Any, at: Any, stride: Any, tables: Any, first: Any, last: Any, sums: Any
) -> Any:
    """See `momos.running.shuffles.generate_sums`; nothing where there are no shuffles."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if shuffles.has_shuffles(context):
            plain = _with_data(context, builder, signature, arguments)
            shuffles.generate_sums(builder, *plain)
        return context.get_dummy_value()

    return types.void(indices, at, stride, tables, first, last, sums), generate


@intrinsic
def _code_of_tabulate(
    context: Any, inputs: Any, at: Any, size: Any, motifs: Any, factor: Any, tables: Any, table: Any
) -> Any:
    """See `momos.running.shuffles.generate_tables`; nothing where there are no shuffles."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if shuffles.has_shuffles(context):
            plain = _with_data(context, builder, signature, arguments)
            shuffles.generate_tables(builder, *plain)
        return context.get_dummy_value()

    return types.void(inputs, at, size, motifs, factor, tables, table), generate


def _with_data(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """The arguments, with the address of an array's data in place of the array."""
    return [
        context.make_array(kind)(context, builder, value).data
        if isinstance(kind, types.Array)
        else value
        for kind, value in zip(signature.args, arguments, strict=True)
    ]


# As other functions call them: without the context, which numba adds.
_is_quick: Any = _code_of_is_quick
_add_up: Any = _code_of_add_up
_tabulate: Any = _code_of_tabulate


@compiled
def is_quick() -> bool:
    """Whether this processor can `multiply_quickly`."""
    return bool(_is_quick())


@compiled(allocates=True)
def multiply_quickly(
    inputs: Array, motifs: Array, indices: Array, scales: Array, bias: Array, outputs: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """Write the outputs first to below last of each row of inputs; by sums of integers.

    Parameters
    ----------
    inputs : float32, shape (m, B·s), contiguous
    motifs : float32, shape (s, 256), contiguous
    indices : uint8, shape (B, n), contiguous
    scales, bias : float32, shape (n,)
    outputs : float32, shape (m, n)
    """
    blocks, size = len(indices), len(motifs)
    tables = np.empty((blocks, shuffles.PLANES, shuffles.LEVELS), np.uint8)
    sums = np.empty((2, shuffles.PLANES, 2, 32), np.uint16)
    totals = np.empty(STRIP, np.int64)
    edge = np.zeros((STRIP, STRIP), np.uint8)
    longest = _longest(motifs)
    for row in range(len(inputs)):
        bound = _bound(inputs[row], size) * longest
        if not bound < np.inf:  # NaN compares false
            outputs[row, first:last] = np.nan
            continue
        factor = np.float32((_HALF - 2) / bound) if bound > 0 else np.float32(0)
        for block in range(blocks):
            _tabulate(inputs[row], block * size, size, motifs, factor, tables, block)
        step = 1 / np.float64(factor) if factor > 0 else 0.0
        for start in range(first, last, STRIP):
            _sum_strip(indices, start, tables, sums, totals, edge)
            for o in range(start, min(start + STRIP, last)):
                outputs[row, o] = totals[o - start] * step * scales[o] + bias[o]


@compiled(allocates=True)
def _longest(motifs: Array) -> float:
    """The largest norm of a motif."""
    squares = np.zeros(shuffles.LEVELS, np.float32)
    for i in range(len(motifs)):
        for j in range(shuffles.LEVELS):
            squares[j] += motifs[i, j] * motifs[i, j]
    return float(np.sqrt(np.float64(squares.max())))


@compiled(allocates=True)
def _bound(inputs: Array, size: int) -> float:
    """A bound on the norms of the blocks; no product of a block with a motif is larger than its
    norm times the motif's, so that none leaves the 24 bits."""
    largest = np.float32(0)
    for start in range(0, len(inputs), size):
        squares = np.float32(0)
        for i in range(start, start + size):
            squares += inputs[i] * inputs[i]
        if not squares <= largest:  # NaN stays
            largest = squares
            if largest != largest:
                break
    return float(np.sqrt(np.float64(largest)) * 1.0001)


@compiled(allocates=True)
def _sum_strip(
    indices: Array, start: int, tables: Array, sums: Array, totals: Array, edge: Array
) -> None:
    """Write to ``totals`` the sums of the quantized products of outputs ``start`` and after."""
    blocks, outputs = indices.shape
    flat = indices.reshape(-1)
    totals[:] = -np.int64(blocks) * _HALF
    reaching = len(flat) - STRIP - start  # a strip is read whole: later rows would end too late
    inside = 0 if reaching < 0 else min(blocks, reaching // outputs + 1)
    for block in range(0, inside, _RUN):
        end = min(block + _RUN, inside)
        _add_up(flat, block * outputs + start, outputs, tables, block, end, sums)
        _carry(sums, totals)
    for block in range(inside, blocks, STRIP):
        end = min(block + STRIP, blocks)
        for b in range(block, end):
            for o in range(min(STRIP, outputs - start)):
                edge[b - block, o] = indices[b, start + o]
        _add_up(edge.reshape(-1), 0, STRIP, tables, block, end, sums)
        _carry(sums, totals)


@compiled(allocates=True)
def _carry(sums: Array, totals: Array) -> None:
    """Add 16-bit sums of bytes to whole sums."""
    for half in range(2):
        for lane in range(32):
            for odd in range(2):
                low, middle = np.int64(sums[half, 0, odd, lane]), np.int64(sums[half, 1, odd, lane])
                high = np.int64(sums[half, 2, odd, lane])
                totals[64 * half + 2 * lane + odd] += low + (middle << 8) + (high << 16)


@compiled(allocates=True)
def multiply_plainly(
    inputs: Array, motifs: Array, indices: Array, scales: Array, bias: Array, outputs: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """`multiply_quickly` on any processor, by sums of floats in the order of the blocks."""
    blocks, size = len(indices), len(motifs)
    tables = np.zeros((_PLAIN, shuffles.LEVELS), np.float32)
    sums = np.empty(last - first, np.float32)
    none = np.zeros(last - first, np.uint8)
    for row in range(len(inputs)):
        sums[:] = 0
        for block in range(0, blocks, _PLAIN):
            count = min(_PLAIN, blocks - block)
            tables[count:] = 0
            for number in range(count):
                _products(inputs[row], (block + number) * size, size, motifs, tables[number])
            _add_eight(indices, block, count, first, none, tables, sums)
        for o in range(first, last):
            outputs[row, o] = sums[o - first] * scales[o] + bias[o]


@compiled(fastmath=True, allocates=True)
def _products(inputs: Array, start: int, size: int, motifs: Array, table: Array) -> None:
    """The products of a block of inputs with all motifs."""
    value = inputs[start]
    for j in range(shuffles.LEVELS):
        table[j] = value * motifs[0, j]
    for i in range(1, size):
        value = inputs[start + i]
        for j in range(shuffles.LEVELS):
            table[j] += value * motifs[i, j]


@compiled(allocates=True)
def _add_eight(
    indices: Array, block: int, count: int, first: int, none: Array, tables: Array, sums: Array
) -> None:
    """Add the entries of up to eight blocks to each output's sum, which is so read but once."""
    last = first + len(sums)
    a = indices[block, first:last]
    b = indices[block + 1, first:last] if count > 1 else none
    c = indices[block + 2, first:last] if count > 2 else none
    d = indices[block + 3, first:last] if count > 3 else none
    e = indices[block + 4, first:last] if count > 4 else none
    f = indices[block + 5, first:last] if count > 5 else none
    g = indices[block + 6, first:last] if count > 6 else none
    h = indices[block + 7, first:last] if count > 7 else none
    for o in range(len(sums)):
        sums[o] += ((tables[0, a[o]] + tables[1, b[o]]) + (tables[2, c[o]] + tables[3, d[o]])) + (
            (tables[4, e[o]] + tables[5, f[o]]) + (tables[6, g[o]] + tables[7, h[o]])
        )


@compiled(allocates=True)
def expand(indices: Array, motifs: Array, scales: Array, first: int, weights: Array) -> None:
    """Write the weights of the rows ``first`` and after: motifs × scales.

    ``weights`` has shape (rows, B·s); the others are as in `multiply_quickly`.
    """
    size, rows = len(motifs), motifs.T.copy()
    for start in range(0, len(weights), 16):  # a tile of rows, so that indices are read in order
        for block in range(len(indices)):
            for o in range(start, min(start + 16, len(weights))):
                motif, scale = rows[indices[block, first + o]], scales[first + o]
                weight = weights[o, block * size : (block + 1) * size]
                for i in range(size):
                    weight[i] = motif[i] * scale
