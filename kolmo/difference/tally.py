"""The codes of a difference that follow from counts, in one pass over both tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.chances import Chance, all_of, kt
from kolmo.difference.digits import digits_of_counts
from kolmo.difference.stripes import Stripe, Weights
from kolmo.dtypes import bits_of
from kolmo.floats import bit_patterns, exponents, is_float, mantissa_bits, ordered

Arrays = NDArray[Any]


class ChangeMask:
    """Which entries of a matrix changed: how many in each row."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._numel = int(np.prod(shape, dtype=object))
        self._nested = len(shape) > 1 and self._numel > 0
        self._columns = self._numel // shape[0] if self._nested else 1
        self._rows = np.zeros(shape[0] if self._nested else 1, np.int64)

    def update(self, row: int, mask: Arrays) -> None:
        """Take rows, flat, the first of which has this number, or a part of one."""
        if not self._nested:
            self._rows[0] += np.count_nonzero(mask)
        elif mask.size < self._columns:
            self._rows[row] += np.count_nonzero(mask)
        else:
            table = mask.reshape(-1, self._columns)
            self._rows[row : row + len(table)] += np.count_nonzero(table, axis=1)

    @property
    def ones(self) -> int:
        return int(self._rows.sum())

    @property
    def share(self) -> float:
        return self.ones / self._numel

    @property
    def bits(self) -> int:
        """By a KT code, or first of the rows that changed, then of the entries in those rows; one
        bit says which."""
        flat = _binary(self.ones, self._numel).word_bits
        if not self._nested:
            return 1 + flat
        touched = int(np.count_nonzero(self._rows))
        rows = _binary(touched, self._rows.size)
        nested = all_of([rows, _binary(self.ones, touched * self._columns)])
        return 1 + min(flat, nested.word_bits)


def _binary(ones: int, size: int) -> Chance:
    return kt(np.array([size - ones, ones]))


class DifferenceTally:
    """Differences, exclusive ors and changed entries of bit patterns, counted stripe by stripe."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._dtype, self._most = dtype, 8 * dtype.itemsize
        self.mask = ChangeMask(shape)
        self._counts = np.zeros((3, _contexts(dtype), 65, 4), np.int64)
        self._values = np.zeros((1, 65, 4), np.int64)
        self._zero = int(np.atleast_1d(ordered(np.zeros(1, dtype)))[0])

    def update(self, stripe: Stripe) -> dict[str, Arrays]:
        """The symbols of the stripe: those of the tuned weights, of the difference, and of the
        exclusive or."""
        before, after = bit_patterns(stripe.base), bit_patterns(stripe.tuned)
        contexts = _context(stripe.base, before)
        if np.array_equal(before, after):
            return self._unchanged(after, contexts)
        difference, xor = np.empty_like(after), np.empty_like(after)
        top, mask = _order(self._dtype)
        self._count(before, after, contexts, top, mask, self._zero,
                    self._counts, self._values, difference, xor)  # fmt: skip
        self.mask.update(stripe.row, difference != 0)
        return {"alone": after, "difference": difference, "xor": xor}

    @property
    def _count(self) -> Any:
        from kolmo.difference import kernels

        wide = {4: kernels.tally_32, 8: kernels.tally_64}
        return wide.get(self._dtype.itemsize, kernels.tally)

    def _unchanged(self, after: Arrays, contexts: Arrays) -> dict[str, Arrays]:
        """The symbols of a stripe in which all patterns are equal."""
        self._counts[:2, :, 0, 0] += np.bincount(contexts, minlength=self._counts.shape[1])
        none = np.zeros_like(after)
        return {"alone": after, "difference": none, "xor": none}

    def bits(self) -> dict[str, int]:
        """The bits of each code."""
        which = self.mask.bits
        difference, xor, changed = map(self._digits, self._counts)
        return {
            "changed": which + changed,
            "replaced": which + digits_of_counts(self._values, self._most).word_bits,
            "difference": difference,
            "xor": xor,
        }

    def _digits(self, counts: Arrays) -> int:
        """With the base's exponent as the context, or without; one bit says which."""
        plain = digits_of_counts(counts.sum(axis=0, keepdims=True), self._most)
        return 1 + min(plain.word_bits, digits_of_counts(counts, self._most).word_bits)


def _contexts(dtype: np.dtype[Any]) -> int:
    """How many contexts `exponents` has of a dtype."""
    if is_float(dtype):
        return int(1 << (bits_of(dtype) - mantissa_bits(dtype) - _signed(dtype)))
    return 2 if dtype.kind == "b" else 66  # of uint64, rounded up to 2^64


def _context(base: Weights, patterns: Arrays) -> Arrays:
    """`exponents`, of floats in the patterns' own dtype."""
    if not is_float(base.dtype):
        return exponents(base)
    one = patterns.dtype.type
    high = patterns >> one(mantissa_bits(base.dtype))
    return np.asarray(high & one(_contexts(base.dtype) - 1))


def _signed(dtype: np.dtype[Any]) -> bool:
    return dtype.name != "float8_e8m0fnu"


def _order(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The bit of the sign, 0 of numbers that are in the order of their patterns; and all bits."""
    bits = bits_of(dtype)
    return (1 << (bits - 1) if is_float(dtype) and _signed(dtype) else 0), (1 << bits) - 1
