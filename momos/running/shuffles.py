"""The two innermost loops of a mosaic layer as vector code, where a processor can look up bytes.

A table of 256 products is quantized to 24 bits and cut into three planes of 256 bytes. A plane fits
into four registers of 64 bytes, and two shuffles and a choice between them look up 64 outputs of it
at once (``vpermi2b``, AVX-512 VBMI). Bytes are added up as pairs in registers, which never reach
memory while up to 256 blocks are added. The compiler makes no such code of a plain loop.
"""

from __future__ import annotations

from typing import Any

from kolmo.compiled import ir

Value = Any  # llvmlite's, which has no type hints

LEVELS = 256  # entries of a table
PLANES = 3  # bytes of an entry
LANES = 64  # bytes of a register
STRIP = 2 * LANES
"""Outputs that are taken together; the sums of all stay in registers."""

_BYTE, _FLOAT = ir.IntType(8), ir.FloatType()
_LONG, _WORD = ir.IntType(64), ir.IntType(32)
_BYTES, _PAIRS = ir.VectorType(_BYTE, LANES), ir.VectorType(ir.IntType(16), LANES // 2)
_FLOATS = 16  # floats of a register
_VECTOR = ir.VectorType(_FLOAT, _FLOATS)
_SHUFFLE = "llvm.x86.avx512.vpermi2var.qi.512"


def has_shuffles(context: Value) -> bool:
    """Whether code that is compiled now may use these instructions."""
    _, _, features = context.codegen().magic_tuple()
    return "+avx512vbmi," in f"{features},"


class _Code:
    """A builder with the few words that the loops are written in."""

    def __init__(self, builder: Value) -> None:
        self.builder = builder

    def long(self, value: int) -> Value:
        return ir.Constant(_LONG, value)

    def place(self, data: Value, at: Value, kind: Value) -> Value:
        """The address of what begins at a byte of memory, taken for a value of a kind."""
        there = self.builder.gep(self.builder.bitcast(data, _BYTE.as_pointer()), [at])
        return self.builder.bitcast(there, kind.as_pointer())

    def load(self, data: Value, at: Value, kind: Value) -> Value:
        return self.builder.load(self.place(data, at, kind), align=1)

    def store(self, value: Value, data: Value, at: Value) -> None:
        self.builder.store(value, self.place(data, at, value.type), align=1)

    def all(self, kind: Value, value: float) -> Value:
        """A vector of one constant."""
        return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)

    def spread(self, value: Value) -> Value:
        """A vector of one float."""
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(_WORD, 0))
        order = ir.Constant(ir.VectorType(_WORD, _FLOATS), [ir.Constant(_WORD, 0)] * _FLOATS)
        return self.builder.shuffle_vector(first, undefined, order)

    def function(self, name: str, kind: Value, arguments: int) -> Value:
        known = self.builder.module.globals.get(name)
        made = ir.FunctionType(kind, [kind] * arguments)
        return known or ir.Function(self.builder.module, made, name)

    def loop(self, start: Value, stop: Value, first: list[Value], body: Any) -> list[Value]:
        """Values after ``body(index, values)`` has made new ones of them; it runs at least once."""
        builder, before = self.builder, self.builder.block
        inside, after = (builder.append_basic_block(name) for name in ("inside", "after"))
        builder.branch(inside)
        builder.position_at_end(inside)
        index = builder.phi(_LONG)
        index.add_incoming(start, before)
        values = [builder.phi(value.type) for value in first]
        for value, begin in zip(values, first, strict=True):
            value.add_incoming(begin, before)
        made = body(index, values)
        following = builder.add(index, self.long(1))
        index.add_incoming(following, builder.block)
        for value, new in zip(values, made, strict=True):
            value.add_incoming(new, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, stop), inside, after)
        builder.position_at_end(after)
        return list(made)


def generate_sums(
    builder: Value, indices: Value, at: Value, stride: Value, tables: Value, first: Value,
    last: Value, sums: Value,
) -> None:  # fmt: skip
    """Add up the table entries of a strip of outputs over the blocks first to below last.

    The index of block b and output o is byte ``at + (b − first)·stride + o`` of ``indices``, the
    tables of block b are bytes 768·b on. ``sums`` are 16-bit sums of bytes, of shape (2 registers
    of outputs, 3 planes, even and odd, 32); at most 257 blocks fit into them.
    """
    code = _Code(builder)
    shuffle, even = code.function(_SHUFFLE, _BYTES, 3), code.all(_PAIRS, 255)
    half = LANES * 2

    def add_block(block: Value, values: list[Value]) -> list[Value]:
        row = builder.add(at, builder.mul(builder.sub(block, first), stride))
        table = builder.mul(block, code.long(PLANES * LEVELS))
        chosen = [
            code.load(indices, builder.add(row, code.long(start)), _BYTES)
            for start in range(0, STRIP, LANES)
        ]
        upper = [builder.icmp_signed("<", index, ir.Constant(_BYTES, None)) for index in chosen]
        parts = [
            code.load(tables, builder.add(table, code.long(start)), _BYTES)
            for start in range(0, PLANES * LEVELS, LANES)
        ]
        made = []
        for index, is_upper in zip(chosen, upper, strict=True):
            for a, b, c, d in (parts[4 * plane :][:4] for plane in range(PLANES)):
                below = builder.call(shuffle, [a, index, b])
                above = builder.call(shuffle, [c, index, d])
                found = builder.bitcast(builder.select(is_upper, above, below), _PAIRS)
                made += [builder.and_(found, even), builder.lshr(found, code.all(_PAIRS, 8))]
        return [builder.add(old, new) for old, new in zip(values, made, strict=True)]

    zeros = [ir.Constant(_PAIRS, None)] * (STRIP // LANES * PLANES * 2)
    for number, value in enumerate(code.loop(first, last, zeros, add_block)):
        code.store(value, sums, code.long(number * half // 2))


def generate_tables(
    builder: Value, inputs: Value, at: Value, size: Value, motifs: Value, factor: Value,
    tables: Value, table: Value,
) -> None:  # fmt: skip
    """Write the three planes of one block: its products with all motifs × factor + 2²³, rounded.

    The block is floats ``at`` to ``at + size`` of ``inputs``; ``motifs`` has shape (size, 256).
    """
    code = _Code(builder)
    fused = code.function("llvm.fma.v16f32", _VECTOR, 3)
    chunks = range(0, LEVELS, _FLOATS)

    def add_value(number: Value, values: list[Value]) -> list[Value]:
        place = builder.mul(builder.add(at, number), code.long(4))
        value = code.spread(code.load(inputs, place, _FLOAT))
        row = builder.mul(number, code.long(4 * LEVELS))
        motif = [code.load(motifs, builder.add(row, code.long(4 * c)), _VECTOR) for c in chunks]
        return [builder.call(fused, [value, m, v]) for m, v in zip(motif, values, strict=True)]

    zeros = [ir.Constant(_VECTOR, None)] * len(chunks)
    sums = code.loop(code.long(0), size, zeros, add_value)
    scale, bias = code.spread(factor), code.all(_VECTOR, 8388608.5)
    words, narrow = ir.VectorType(_WORD, _FLOATS), ir.VectorType(_BYTE, _FLOATS)
    start = builder.mul(table, code.long(PLANES * LEVELS))
    for chunk, total in zip(chunks, sums, strict=True):
        entry = builder.fptosi(builder.call(fused, [total, scale, bias]), words)
        for plane in range(PLANES):
            byte = builder.trunc(builder.lshr(entry, code.all(words, 8 * plane)), narrow)
            code.store(byte, tables, builder.add(start, code.long(plane * LEVELS + chunk)))
