"""The compiled loop that counts blocks of signs, of which 64 are compared at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled, intrinsic, ir, overload, types

_RUN = 16 * 192  # numbers that fit the nearest cache, for two passes


@compiled
def count_sign_strings(
    bits: Array, magnitude: Any, last: Any, counts: Array, shift: int, shifted: Array, ends: Array
) -> bool:
    """Count the 12-blocks of the signs of numbers, given as integers that are positive where they
    are; returns whether one is NaN.

    With a ``shift`` of 1 to 11 the blocks that begin so many signs later are counted in
    ``shifted``, from pairs of neighbours; ``ends`` holds the first and the last block of all calls,
    -1 before the first.

    An integer stands for NaN if its bits in ``magnitude`` are over ``last``; these are of the dtype
    of ``bits``, which holds a multiple of 12. Three words of 64 signs are 16 blocks.
    """
    nan, left, back = False, np.uint64(52 + shift), np.uint64(12 - shift)
    if not bits.size:
        return nan
    if shift and ends[1] < 0:  # as if zeros came first, whose block is not counted
        ends[0], ends[1] = _block(bits, 0), 0
        shifted[ends[0] >> (12 - shift)] -= 1
    before = np.uint64(ends[1])
    for start in range(0, bits.size, _RUN):
        run = bits[start : start + _RUN]
        for i in range(run.size):
            nan = nan | ((run[i] & magnitude) > last)
        whole = run.size // 192 * 192
        for i in range(0, whole, 192):
            a, b, c = sign_word(run, i), sign_word(run, i + 64), sign_word(run, i + 128)
            _count_blocks(a, b, c, counts)
            if shift:
                one = (before << left) | (a >> back)
                two, three = (a << left) | (b >> back), (b << left) | (c >> back)
                _count_blocks(one, two, three, shifted)
                before = c
        for i in range(whole, run.size, 12):
            block = _block(run, i)
            counts[block] += 1
            if shift:
                shifted[((before << np.uint64(shift)) | (block >> back)) & np.uint64(4095)] += 1
                before = block
    if shift:
        ends[1] = before & np.uint64(4095)
    return nan


@compiled(inline=True)
def _count_blocks(a: Any, b: Any, c: Any, counts: Array) -> None:
    """Count the 16 blocks of 12 bits of three words, the first one highest."""
    low = np.uint64(4095)
    for right in range(52, 0, -12):
        counts[(a >> np.uint64(right)) & low] += 1
    counts[((a << np.uint64(8)) | (b >> np.uint64(56))) & low] += 1
    for right in range(44, 0, -12):
        counts[(b >> np.uint64(right)) & low] += 1
    counts[((b << np.uint64(4)) | (c >> np.uint64(60))) & low] += 1
    for right in range(48, -1, -12):
        counts[(c >> np.uint64(right)) & low] += 1


@compiled(inline=True)
def _block(bits: Array, start: int) -> Any:
    """The signs of 12 numbers, the first one highest."""
    block = np.uint64(0)
    for i in range(start, start + 12):
        block = (block << np.uint64(1)) | np.uint64(bits[i] > 0)
    return block


# --- 64 signs at once -----------------------------------------------------------------------


def sign_word(bits: Array, start: int) -> Any:
    """Which of the 64 integers from ``start`` on are positive: a bit each, the first one highest.

    >>> hex(sign_word(np.arange(64, dtype=np.int8) - 60, 0)), hex(sign_word(np.ones(64), 0))
    ('0x7', '0xffffffffffffffff')
    """
    return np.packbits(bits[start : start + 64] > 0).view(">u8").astype(np.uint64)[0]


@overload(sign_word, strict=False)
def _compiled_sign_word(bits: Any, start: Any) -> Any:
    return lambda bits, start: _sign_word(bits, start)


def _type_sign_word(typing: Any, bits: Any, start: Any) -> Any:
    """The comparison of 64 numbers as one of vectors, whose result is the bits of a word: compilers
    do not find that out from a loop."""
    return types.uint64(bits, types.intp), _write_sign_word


def _write_sign_word(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    kind = signature.args[0]
    array = context.make_array(kind)(context, builder, arguments[0])
    numbers = ir.VectorType(ir.IntType(kind.dtype.bitwidth), 64)
    place = builder.bitcast(builder.gep(array.data, [arguments[1]]), numbers.as_pointer())
    loaded = builder.load(place, align=kind.dtype.bitwidth // 8)
    positive = builder.icmp_signed(">", loaded, ir.Constant(numbers, None))
    return builder.bitreverse(builder.bitcast(positive, ir.IntType(64)))


_sign_word: Any = intrinsic(_type_sign_word)
