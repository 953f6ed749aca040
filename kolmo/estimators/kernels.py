"""The compiled inner loops of the estimators, nothing else.

These are plain loops over flat arrays, compiled when first called (`kolmo.compiled`); they hold no
lock, so that lanes run in parallel. Callers allocate, check and interpret.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled

# --- counting symbols -----------------------------------------------------------------------


@compiled
def count_symbols(symbols: Array, even: Array, odd: Array) -> None:
    """Add symbols (unsigned) to two tables, those at even places and those at odd ones.

    Each table has a place for each of the alphabet. With a single one the same symbol twice in a
    row has to wait for its own count.
    """
    whole = symbols.size // 2 * 2
    for i in range(0, whole, 2):
        even[symbols[i]] += np.uint32(1)
        odd[symbols[i + 1]] += np.uint32(1)
    for i in range(whole, symbols.size):
        even[symbols[i]] += np.uint32(1)


@compiled
def count_words(
    words: Array, first: int, step: int, low: Array, middle: Array, high: Array
) -> None:
    """Add the words of 32 bits at first, first + step, ... to tables of their lowest byte, the one
    above, and the upper half."""
    for i in range(first, words.size, step):
        word, byte = words[i], np.uint32(255)
        low[word & byte] += np.uint32(1)
        middle[(word >> np.uint32(8)) & byte] += np.uint32(1)
        high[word >> np.uint32(16)] += np.uint32(1)


@compiled
def count_planes(symbols: Array, counts: Array) -> None:
    """Add the bytes of symbols (unsigned), the lowest first, to the counts of their byte-plane;
    ``counts`` has shape (planes, 256)."""
    for i in range(symbols.size):
        for p in range(counts.shape[0]):
            counts[p, (np.uint64(symbols[i]) >> np.uint64(8 * p)) & np.uint64(255)] += 1


# --- blocks of the block decomposition method -----------------------------------------------


@compiled
def rename_codes(codes: Array, length: int, bits: int, renamed: Array) -> None:
    """Rename the symbols of each block in order of first appearance: the first becomes 0.

    ``codes`` holds a block of ``length`` symbols in each entry, ``bits`` bits a symbol, the first
    the highest; ``renamed``, of the same size, is written. The names given so far fit in a word, 4
    bits a symbol, so that the loop works in registers.
    """
    mask = (1 << bits) - 1
    for i in range(codes.size):
        names, seen, known, result = 0, 0, 0, 0
        for place in range(length - 1, -1, -1):
            symbol = (codes[i] >> (place * bits)) & mask
            if not (seen >> symbol) & 1:
                seen |= 1 << symbol
                names |= known << (4 * symbol)
                known += 1
            result = (result << bits) | ((names >> (4 * symbol)) & 15)
        renamed[i] = result


@compiled
def count_strings(bits: Array, start: int, shift: int, counts: Array) -> int:
    """Count the 12-blocks of 0/1 symbols that begin at start, start + shift, ...; returns where
    the first incomplete one would begin."""
    while start + 12 <= bits.size:
        code = 0  # the first bit is the highest
        for i in range(12):
            code = (code << 1) | bits[start + i]
        counts[code] += 1
        start += shift
    return start


@compiled
def slide_strings(bits: Array, counts: Array) -> None:
    """Count the 12-blocks of 0/1 symbols at every place; each code is made from the one before."""
    code = 0
    for i in range(min(11, bits.size)):
        code = (code << 1) | bits[i]
    for i in range(11, bits.size):
        code = ((code << 1) | bits[i]) & 4095
        counts[code] += 1


@compiled
def encode_strings(
    symbols: Array, start: int, shift: int, length: int, bits: int, codes: Array
) -> None:
    """Write the codes of the blocks at start, start + shift, ..., until ``codes`` is full.

    A code holds ``length`` symbols of ``bits`` bits each, the first the highest.
    """
    for b in range(codes.size):
        code = np.int64(0)
        for i in range(length):
            code = (code << bits) | np.int64(symbols[start + b * shift + i])
        codes[b] = code


@compiled
def count_quaternary(symbols: Array, start: int, shift: int, counts: Array) -> int:
    """Count the 12-blocks of symbols 0 to 3; returns where the first incomplete one would begin.

    A multiplication gathers the 2 bits of each of 4 bytes into one byte, the first highest: its
    partial products never meet.
    """
    gather = np.uint64(0x40100401)
    while start + 12 <= symbols.size:
        block = symbols[start : start + 12]
        code = np.uint64(0)
        for i in range(3):
            word = np.uint64(0)
            for k in range(4):
                word |= np.uint64(block[4 * i + k]) << np.uint64(8 * k)
            byte = ((word * gather) >> np.uint64(24)) & np.uint64(255)
            code = (code << np.uint64(8)) | byte
        counts[code] += 1
        start += shift
    return start


@compiled
def encode_quaternary(symbols: Array, start: int, shift: int, codes: Array) -> None:
    """Write the codes of the 12-blocks of symbols 0 to 3, gathered as in `count_quaternary`."""
    gather = np.uint64(0x40100401)
    for b in range(codes.size):
        block = symbols[start + b * shift : start + b * shift + 12]
        code = np.uint64(0)
        for i in range(3):
            word = np.uint64(0)
            for k in range(4):
                word |= np.uint64(block[4 * i + k]) << np.uint64(8 * k)
            byte = ((word * gather) >> np.uint64(24)) & np.uint64(255)
            code = (code << np.uint64(8)) | byte
        codes[b] = code


@compiled(allocates=True)
def radix_sort(codes: Array, scratch: Array) -> None:
    """Sort codes below 2^24 in place, by their lower and then their upper 12 bits.

    Both digits are counted in one pass. The first sort writes to ``scratch``, of the same size, the
    second back to ``codes``; both are stable, so that the second keeps the order of the first.
    """
    counts = np.zeros((2, 4096), np.int64)
    for i in range(codes.size):
        counts[0, codes[i] & 4095] += 1
        counts[1, codes[i] >> 12] += 1
    for digit in range(2):
        places = counts[digit]
        places[:] = np.cumsum(places) - places
        source, target = (codes, scratch) if digit == 0 else (scratch, codes)
        for i in range(source.size):
            key = (source[i] >> (12 * digit)) & 4095
            target[places[key]] = source[i]
            places[key] += 1


@compiled
def run_lengths(ordered: Array, codes: Array, counts: Array) -> int:
    """Write the distinct codes of sorted ones, and their counts; returns how many are distinct."""
    n = 0
    for i in range(ordered.size):
        if n > 0 and codes[n - 1] == ordered[i]:
            counts[n - 1] += 1
        else:
            codes[n] = ordered[i]
            counts[n] = 1
            n += 1
    return n


@compiled
def rename_quaternary(codes: Array, steps: Array, renamed: Array) -> None:
    """Rename 12-blocks of symbols 0 to 3, four symbols at a step.

    A block is a code of 24 bits. The state is the names given so far; ``steps[state, symbols]``,
    of four symbols, holds the next state, shifted by 8, and the renamed symbols.
    """
    for i in range(codes.size):
        state, renamed[i] = 0, 0
        for place in range(16, -1, -8):
            step = steps[state, (codes[i] >> place) & 255]
            state = step >> 8
            renamed[i] = (renamed[i] << 8) | (step & 255)


@compiled
def nonzero_counts(counts: Array, first: int, codes: Array, nonzero: Array) -> int:
    """Write the codes whose count is not 0, and the counts; returns how many.

    ``first`` is the code of the first count. Most counts of a large table are 0: eight are or-ed
    together, and passed over if the result is 0.
    """
    n = 0
    for start in range(0, counts.size, 8):
        eight = counts[start : start + 8]
        any_count = eight[0]
        for i in range(1, eight.size):
            any_count |= eight[i]
        if any_count != 0:
            for i in range(eight.size):
                if eight[i] != 0:
                    codes[n] = first + start + i
                    nonzero[n] = eight[i]
                    n += 1
    return n


@compiled
def gather_values(codes: Array, table: Array, missing: float, values: Array) -> int:
    """Write the values of codes, ``missing`` where the table has NaN; returns how many are NaN."""
    replaced = 0
    for i in range(codes.size):
        value = table[codes[i]]
        if math.isnan(value):
            value = missing
            replaced += 1
        values[i] = value
    return replaced


@compiled
def count_squares(bits: Array, row_step: int, column_step: int, side: int, counts: Array) -> None:
    """Count the side × side squares of a 0/1 matrix that begin at multiples of the steps.

    A square's code is its bits in row-major order, the first the highest.
    """
    for i in range(0, bits.shape[0] - side + 1, row_step):
        for j in range(0, bits.shape[1] - side + 1, column_step):
            code: Any = 0
            for r in range(side):
                for c in range(side):
                    code = (code << 1) | bits[i + r, j + c]
            counts[code] += 1


@compiled
def count_plane_squares(symbols: Array, counts: Array) -> None:
    """Count the 4 × 4 squares of each of the 8 bit-planes of a matrix of bytes.

    Two rows of a square are 8 bytes; transposing their 8 × 8 bits gives, plane by plane, a byte
    with one bit of each (Warren, Hacker's Delight, 7-3). ``counts[p]`` is for plane p, bit p.
    """
    for i in range(0, symbols.shape[0] - 3, 4):
        for j in range(0, symbols.shape[1] - 3, 4):
            top = _planes_of(symbols, i, j)
            bottom = _planes_of(symbols, i + 2, j)
            for p in range(8):
                shift = np.uint64(8 * p)
                high = (top >> shift) & np.uint64(255)
                low = (bottom >> shift) & np.uint64(255)
                counts[p, (high << np.uint64(8)) | low] += 1


@compiled(inline=True)
def _planes_of(symbols: Array, i: int, j: int) -> Any:
    """Byte p of the result holds bit p of the 2 × 4 symbols at (i, j), the first one highest.

    Eight bytes are an 8 × 8 matrix of bits; it is transposed by swapping single bits, then 2 × 2
    blocks, then 4 × 4 blocks across the diagonal.
    """
    x = np.uint64(0)
    for r in range(2):
        for c in range(4):
            x = (x << np.uint64(8)) | np.uint64(symbols[i + r, j + c])
    t = (x ^ (x >> np.uint64(7))) & np.uint64(0x00AA00AA00AA00AA)
    x = x ^ t ^ (t << np.uint64(7))
    t = (x ^ (x >> np.uint64(14))) & np.uint64(0x0000CCCC0000CCCC)
    x = x ^ t ^ (t << np.uint64(14))
    t = (x ^ (x >> np.uint64(28))) & np.uint64(0x00000000F0F0F0F0)
    return x ^ t ^ (t << np.uint64(28))


@compiled(allocates=True)
def score_windows(
    bits: Array, rows: int, columns: int, side: int, ctm: Array, scores: Array
) -> None:
    """BDM (boundary ignore) of each rows × columns window of a 0/1 matrix, row-major.

    Blocks are 4 × 4 where ``side`` is 4; where it is 12 they are 1 × 12 (strings: one row).
    ``ctm`` has the value of each block by its code; ``scores`` is written, one a window.
    """
    height = 4 if side == 4 else 1
    counts = np.zeros(ctm.size, np.int64)
    codes = np.empty((rows // height) * (columns // side), np.int64)
    w = 0
    for top in range(0, bits.shape[0] - rows + 1, rows):
        for left in range(0, bits.shape[1] - columns + 1, columns):
            n = 0
            for i in range(top, top + rows - height + 1, height):
                for j in range(left, left + columns - side + 1, side):
                    code = 0
                    for r in range(height):
                        for c in range(side):
                            code = (code << 1) | bits[i + r, j + c]
                    counts[code] += 1
                    codes[n] = code
                    n += 1
            # BDM sums over distinct blocks: the first occurrence is scored and its count set to 0,
            # so that later ones are passed over and the table is clean for the next window.
            total = 0.0
            for k in range(n):
                if counts[codes[k]] > 0:
                    total += ctm[codes[k]] + math.log2(counts[codes[k]])
                    counts[codes[k]] = 0
            scores[w] = total
            w += 1
