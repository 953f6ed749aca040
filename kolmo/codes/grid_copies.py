"""Tensors that an earlier one of their unit gives: in another order of axes, with all signs turned,
or times a power of two."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kolmo.codes.forms import form_parts
from kolmo.codes.grid_pieces import Rebuild, Rewritten
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.codes.scans import scan_count, scanned
from kolmo.errors import InputError
from kolmo.symbols import Alphabet, Shape, Symbols

COPIED = 6
"""The way of these, as the first byte of a head has it."""

_LEAST = 64  # a copy of fewer weights saves too little
_SHARE = 100  # copies are less than one weight in so many: not worth a code of their own
_FACTORS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


class Copy(NamedTuple):
    """How a tensor follows from the part ``source`` of its unit: in the order of a scan, signs
    turned or not, times 2^``power``."""

    source: int
    scan: int
    turned: bool
    power: int

    def apply(self, symbols: Symbols, alphabet: Alphabet) -> Symbols:
        """The symbols of the tensor, from those of its source; in one axis.

        Zeros, subnormal numbers, infinities and what is no number have no power of two.

        Raises
        ------
        InputError
            If a product has an exponent that the format does not.
        """
        exponent_bits, mantissa_bits = _widths(alphabet)
        found = scanned(symbols, self.scan).reshape(-1).copy()
        whole = alphabet.container.type
        if self.power:
            largest = (1 << exponent_bits) - 1
            exponents = (found >> whole(mantissa_bits) & whole(largest)).astype(np.int64)
            normal = (exponents > 0) & (exponents < largest)
            products = exponents[normal] + self.power
            if products.size and not 0 < products.min() <= products.max() < largest:
                raise InputError("the code's powers of two are damaged")
            step = (products - exponents[normal]) * (1 << mantissa_bits)
            found[normal] += step.astype(alphabet.container)
        if self.turned:
            found ^= whole(1 << (exponent_bits + mantissa_bits))
        return found


def find_copies(parts: Sequence[Symbols], alphabet: Alphabet) -> dict[int, Copy]:
    """The parts that are copies, if they are a share of all that matters.

    >>> weights = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    >>> parts = [weights.view("u4"), np.ascontiguousarray(-weights.T / 4).view("u4")]
    >>> find_copies(parts, Alphabet(1 << 32, "float32"))
    {1: Copy(source=0, scan=1, turned=True, power=-2)}
    """
    known: dict[tuple[int, int], int] = {}
    found: dict[int, Copy] = {}
    for number, part in enumerate(parts):
        if part.size < _LEAST:
            continue
        source = known.setdefault((part.size, _digest(part, alphabet)), number)
        copy = _copy_of(source, parts[source], part, alphabet) if source != number else None
        if copy:
            found[number] = copy
    copied = sum(parts[number].size for number in found)
    return found if _SHARE * copied >= sum(part.size for part in parts) else {}


def _digest(part: Symbols, alphabet: Alphabet) -> int:
    """The same for whatever order, signs and powers of two: of mantissas alone."""
    mantissas = part.reshape(-1).astype(np.uint64) & np.uint64((1 << _widths(alphabet)[1]) - 1)
    mixed = (mantissas + np.uint64(1)) * _FACTORS[0]
    mixed = (mixed ^ mixed >> np.uint64(29)) * _FACTORS[1]
    return int(np.sum(mixed ^ mixed >> np.uint64(32), dtype=np.uint64))


def _copy_of(number: int, source: Symbols, part: Symbols, alphabet: Alphabet) -> Copy | None:
    for copy in _maybe(number, source, part.reshape(-1), alphabet):
        try:
            if np.array_equal(copy.apply(source, alphabet), part.reshape(-1)):
                return copy
        except InputError:
            continue
    return None


def _maybe(number: int, source: Symbols, part: Symbols, alphabet: Alphabet) -> Iterator[Copy]:
    """A copy of each scan, by the sign and the exponent of the largest number."""
    exponent_bits, mantissa_bits = _widths(alphabet)
    sign, infinite = 1 << (exponent_bits + mantissa_bits), (1 << exponent_bits) - 1 << mantissa_bits
    sizes = part & part.dtype.type(sign - 1)
    place = int(np.argmax(np.where(sizes < infinite, sizes, 0)))
    for scan in range(scan_count(source.shape)):
        here, there = int(part[place]), int(scanned(source, scan).reshape(-1)[place])
        power = ((here & sign - 1) >> mantissa_bits) - ((there & sign - 1) >> mantissa_bits)
        yield Copy(number, scan, bool((here ^ there) & sign), power)


def _widths(alphabet: Alphabet) -> tuple[int, int]:
    exponent_bits, mantissa_bits, *_ = form_parts(alphabet.format) or (0, 0)
    return exponent_bits, mantissa_bits


# --- as a way of the grid code ----------------------------------------------------------------


def copied(copy: Copy) -> Rewritten:
    """A tensor as nothing but the number of its source and what becomes of that."""
    folded = 2 * copy.power if copy.power >= 0 else -2 * copy.power - 1
    numbers = copy.source, 2 * copy.scan + copy.turned, folded
    return Rewritten(bytes([COPIED]) + b"".join(map(number_bytes, numbers)), [])


def read_copied(
    reader: Reader, shape: Shape, alphabet: Alphabet, before: Sequence[Shape]
) -> Rebuild:
    """Read the head of a copy, given the shapes of the parts before it."""
    source, (scan, turned) = reader.number(), divmod(reader.number(), 2)
    half, negative = divmod(reader.number(), 2)
    if source >= len(before) or math.prod(before[source]) != math.prod(shape):
        raise InputError("the code's copies are damaged: there is no such source")
    if scan >= scan_count(before[source]) or half >= 1 << _widths(alphabet)[0]:
        raise InputError("the code's copies are damaged")
    copy = Copy(source, scan, bool(turned), -half - 1 if negative else half)
    return Rebuild([], lambda its: copy.apply(its[0], alphabet).reshape(shape), source)
