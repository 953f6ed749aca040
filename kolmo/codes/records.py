"""The records code."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kolmo.codes import kernels_records as kernels
from kolmo.codes.arithmetic import PLACE, last_bytes, new_coder
from kolmo.codes.base import register_code
from kolmo.codes.context import _constants
from kolmo.codes.plain import flat, split
from kolmo.errors import InputError
from kolmo.symbols import Alphabet, Shape, Symbols


class RecordsCode:
    name = "records"
    number = 14

    def takes(self, shapes: Sequence[Shape], alphabet: Alphabet) -> bool:
        return any(map(math.prod, shapes))

    def encode(self, parts: Sequence[Symbols], alphabet: Alphabet) -> bytes:
        shapes = [part.shape for part in parts]
        words = flat(parts, alphabet).astype(np.uint64).view(np.int64)
        varying = int(np.bitwise_or.reduce(words ^ words[0]).view(np.uint64))
        base = int(words[0]) & ~varying & (2**64 - 1)
        width = alphabet.container.itemsize
        head = varying.to_bytes(width, "little") + base.to_bytes(width, "little")
        words = _gather(words, varying)
        stream = np.empty(words.size * varying.bit_count() * 3 + 64, np.uint8)
        coder = new_coder(stream, False)
        state = _run(words, shapes, varying.bit_count(), coder, stream)
        return head + stream[: state["coder"][PLACE]].tobytes() + last_bytes(state["coder"])

    def decode(self, data: bytes, shapes: Sequence[Shape], alphabet: Alphabet) -> list[Symbols]:
        width = alphabet.container.itemsize
        varying, base = int.from_bytes(data[:width], "little"), int.from_bytes(data[width : 2 * width], "little")
        stream = np.frombuffer(data[2 * width :], np.uint8).copy()
        words = np.zeros(sum(map(math.prod, shapes)), np.int64)
        _run(words, shapes, varying.bit_count(), new_coder(stream, True), stream)
        words = _scatter(words, varying) | np.uint64(base).astype(np.int64)
        return split(words.astype(alphabet.container), shapes, alphabet)


def _run(words, shapes, bits, coder, stream):
    state = kernels.new_state(_constants(), bits, coder)
    nibbles = -(-bits // 4)
    size = 1 << min(18, max(10, (words.size * nibbles * 8).bit_length()))
    slots = np.full((size, 16), kernels.FRESH, np.uint32)
    slots[:, 0] = 0
    heads = np.zeros((2, 1 << min(20, max(8, words.size.bit_length()))), np.int64)
    begin = 0
    for shape in shapes:
        numel = math.prod(shape)
        if numel and bits:
            table = kernels.Table(begin, *_strides(shape), bits)
            kernels.code_span(words, begin, begin + numel, table, state, kernels.Memory(slots, heads), stream)
        begin += numel
    return state


def _strides(shape: Shape) -> tuple[int, int]:
    columns = max(1, shape[-1] if shape else 1)
    return columns, math.prod(shape[1:]) if len(shape) > 2 else 2 * columns


def _gather(words, varying):
    if varying == (1 << varying.bit_length()) - 1:
        return words & varying if varying < 1 << 63 else words.copy()
    found = np.zeros_like(words)
    for to, bit in enumerate(b for b in range(64) if varying >> b & 1):
        found |= (words >> bit & 1) << to
    return found


def _scatter(words, varying):
    if varying == (1 << varying.bit_length()) - 1:
        return words
    found = np.zeros_like(words)
    for to, bit in enumerate(b for b in range(64) if varying >> b & 1):
        found |= (words >> to & 1) << bit
    return found


register_code(RecordsCode())
