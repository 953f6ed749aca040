"""The records code: symbols with structure other than that of weights, and its decoder.

::

    symbols ─ bits that vary ─► words ─ digits ─► decisions, mixed from contexts ─► arithmetic coder

Tables of positions, indices and masks, sorted numbers, bases, blocks that repeat: what is alike in
them is seldom the magnitude. Contexts are the digits of a symbol so far together with the symbols
before it, those above it, its column, what it would be if rows or columns went on as lines, and
the symbol that followed the longest earlier repeat of those before. Bits that are the same in all
symbols are left out. Symbols may be coded as differences, each from the one before.

All arithmetic is of integers, so that every machine reads what any other one writes.
docs/formats/codes.md specifies every decision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from kolmo.codes import kernels_records as kernels
from kolmo.codes.arithmetic import PLACE, last_bytes, new_coder
from kolmo.codes.base import register_code
from kolmo.codes.plain import flat, split
from kolmo.codes.tables import constants
from kolmo.errors import InputError
from kolmo.symbols import Alphabet, Shape, Symbols

Words = NDArray[np.int64]

_SPAN = 1 << 12  # words coded at a time, which bounds the output buffer
_WORST = 4  # most bytes of a decision
_SAMPLE = 1 << 12  # symbols on which differences are tried
_PLAIN, _DIFFERENCES = 0, 1
_SLOTS, _HEADS = (1 << 10, 1 << 20), (1 << 8, 1 << 20)  # least and most of them


class RecordsCode:
    """See the module.

    >>> symbols, alphabet = np.arange(10_000, dtype=np.uint32) // 3, Alphabet(1 << 32)
    >>> data = RecordsCode().encode([symbols], alphabet)
    >>> back = RecordsCode().decode(data, [(10_000,)], alphabet)[0]
    >>> len(data) < 100, np.array_equal(back, symbols)
    (True, True)
    """

    name = "records"
    number = 14

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return any(map(math.prod, shapes))

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        modes = [self._mode(part.reshape(-1), alphabet) for part in parts]
        return self._encode(parts, alphabet, modes)

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        width, sizes = alphabet.container.itemsize, [math.prod(shape) for shape in shapes]
        if len(data) < len(shapes) + 2 * width or not self.takes(shapes, alphabet):
            raise InputError("the code's head is damaged")
        modes, rest = data[: len(shapes)], data[len(shapes) :]
        varying, fixed = (int.from_bytes(rest[i * width :][:width], "little") for i in range(2))
        if max(modes) > _DIFFERENCES or varying & fixed or (varying | fixed) >> alphabet.bits:
            raise InputError("the code's head is damaged")
        stream = np.frombuffer(rest, np.uint8)[2 * width :].copy()
        coder = new_coder(stream, decoding=True)
        words = np.zeros(sum(sizes), np.int64)
        for state in _run(words, shapes, varying.bit_count(), coder, stream):
            if state["coder"][PLACE] > stream.size + 4:
                raise InputError("the code ends before its symbols do")
        words = _spread(words, varying) | np.uint64(fixed).astype(np.int64)
        ends = np.cumsum(sizes)[:-1]
        for mode, part in zip(modes, np.split(words, ends), strict=True):
            if mode == _DIFFERENCES:
                part[:] = _sums(part, alphabet.bits)
        if alphabet.bits < 64 and words.max() >= alphabet.size:
            raise InputError("the code names a symbol that is not in the alphabet")
        return split(words.astype(alphabet.container), shapes, alphabet)

    def _encode(self, parts: Sequence[Symbols], alphabet: Alphabet, modes: Sequence[int]) -> bytes:
        words = flat(parts, alphabet).astype(np.int64)
        for mode, part in zip(modes, np.split(words, _ends(parts)), strict=True):
            if mode == _DIFFERENCES:
                part[:] = _differences(part, alphabet.bits)
        varying = int(np.bitwise_or.reduce(words ^ words[0])) & ((1 << 64) - 1)
        fixed = int(words[0]) & ~varying & ((1 << 64) - 1)
        width, words = alphabet.container.itemsize, _gathered(words, varying)
        stream = np.empty(_WORST * 64 * _SPAN, np.uint8)
        coder = new_coder(stream, decoding=False)
        pieces = [bytes(modes), varying.to_bytes(width, "little"), fixed.to_bytes(width, "little")]
        for state in _run(
            words, [part.shape for part in parts], varying.bit_count(), coder, stream
        ):
            coder = state["coder"]
            pieces.append(stream[: coder[PLACE]].tobytes())
            coder[PLACE] = 0
        return b"".join([*pieces, last_bytes(coder)])

    def _mode(self, symbols: Symbols, alphabet: Alphabet) -> int:
        """How a tensor is coded: by what makes a sample shorter, where differences are few."""
        start = (symbols.size - min(symbols.size, _SAMPLE)) // 2
        sample = symbols[start : start + _SAMPLE]
        off = _differences(sample.astype(np.int64), alphabet.bits)
        if not sample.size or 2 * len(np.unique(off)) > len(np.unique(sample)):
            return _PLAIN
        return min(
            _PLAIN, _DIFFERENCES, key=lambda mode: len(self._encode([sample], alphabet, [mode]))
        )


def _run(
    words: Words,
    shapes: Sequence[Shape],
    bits: int,
    coder: NDArray[np.int64],
    stream: NDArray[np.uint8],
) -> Iterator[np.void]:
    """Encode words of so many bits, or decode into them; yields the state after each span."""
    state = kernels.new_state(constants(), bits, coder)
    digits = -(-bits // 4)
    slots = np.full(
        (_power(4 * digits * words.size, _SLOTS), kernels.SLOT), kernels.FRESH, np.uint32
    )
    heads = np.zeros((2, _power(words.size, _HEADS)), np.int32)
    begin = 0
    for shape in shapes:
        end = begin + math.prod(shape)
        table = kernels.Table(begin, *_strides(shape), bits)
        for first in range(begin, end if bits else begin, _SPAN):
            last = min(first + _SPAN, end)
            memory = kernels.Remembered(slots, heads)
            kernels.code_span(words, first, last, table, state, memory, stream)
            yield state
        begin = end


def _power(least: int, limits: tuple[int, int]) -> int:
    """The least power of two above a number, within limits."""
    return min(max(1 << least.bit_length(), limits[0]), limits[1])


def _strides(shape: Shape) -> tuple[int, int]:
    """How many words lie between a word and the one above, and the one in the slice before (of a
    matrix: two rows above)."""
    columns = max(1, shape[-1]) if shape else 1
    return columns, max(1, math.prod(shape[1:])) if len(shape) > 2 else 2 * columns


def _ends(parts: Sequence[Symbols]) -> NDArray[np.int64]:
    return np.cumsum([part.size for part in parts])[:-1]


# --- words ----------------------------------------------------------------------------------


def _differences(symbols: Words, bits: int) -> Words:
    """Each symbol less the one before, modulo 2^bits, small ones of either sign as small numbers.

    >>> _differences(np.array([5, 3, 3, 4]), 8).tolist()
    [10, 3, 0, 2]
    """
    unused = 64 - bits
    off = np.diff(symbols, prepend=0) << unused >> unused
    folded: Words = (off << 1 ^ off >> 63) & _mask(bits)
    return folded


def _sums(words: Words, bits: int) -> Words:
    """Undo `_differences`.

    >>> _sums(np.array([10, 3, 0, 2]), 8).tolist()
    [5, 3, 3, 4]
    """
    halves = words >> 1 & _mask(bits - 1)
    sums: Words = np.cumsum(halves ^ -(words & 1)) & _mask(bits)
    return sums


def _mask(bits: int) -> np.int64:
    return np.uint64((1 << bits) - 1).astype(np.int64)


def _gathered(words: Words, varying: int) -> Words:
    """The bits of words that vary, without gaps.

    >>> _gathered(np.array([0b1010, 0b0001]), 0b1011).tolist()
    [6, 1]
    """
    found = np.zeros_like(words)
    for place, (bit, count) in _runs(varying):
        found |= (words >> bit & _mask(count)) << place
    return found


def _spread(words: Words, varying: int) -> Words:
    """Undo `_gathered`.

    >>> _spread(np.array([6, 1]), 0b1011).tolist()
    [10, 1]
    """
    found = np.zeros_like(words)
    for place, (bit, count) in _runs(varying):
        found |= (words >> place & _mask(count)) << bit
    return found


def _runs(varying: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Runs of ones in a number: how many ones come before, where the run begins, its length.

    >>> list(_runs(0b11011))
    [(0, (0, 2)), (2, (3, 2))]
    """
    place = bit = 0
    while varying >> bit:
        if varying >> bit & 1:
            count = (~(varying >> bit) & (varying >> bit) + 1).bit_length() - 1
            yield place, (bit, count)
            place, bit = place + count, bit + count
        else:
            bit += 1


register_code(RecordsCode())
