"""Codes of a tensor given its base, and the shortest of them.

``alone``       the tuned symbols themselves, as if there were no base
``difference``  the difference to the base, in the dtype's arithmetic
``xor``         the bit patterns of both, exclusive or
``changed``     which symbols changed, then by how much
``replaced``    which symbols changed, then what they are now
``lowrank``     factors of the difference, then the rest of the bit patterns

Native differences, and exclusive ors, are coded by each estimator and by the digits code; one bit
says whether the digits are conditioned on the base's exponent. Symbols of another quantizer are
coded by each estimator, changed symbols alone by a KT code. One bit says whether the changed
entries are listed one by one or row by row. The choice of the code costs log2 of the number of
codes, rounded up.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.chances import Chance, all_of, kt
from kolmo.difference.digits import digits
from kolmo.difference.lowrank import lowrank_code
from kolmo.errors import InputError, NotApplicableError
from kolmo.estimators.base import Estimator
from kolmo.floats import Weights, bit_patterns, exponents, ordered, zigzag
from kolmo.symbols import Alphabet, Symbols

Arrays = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class DifferenceCode:
    """One code of a tensor: its name, its bits, and details."""

    name: str
    bits: float
    details: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Choice:
    """The shortest code, the bits of the choice included, and the shortest without the base.

    Attributes
    ----------
    best : DifferenceCode
    alone : DifferenceCode or None
        None if no estimator takes the symbols.
    reason : str
        Why no estimator takes them.
    """

    best: DifferenceCode
    alone: DifferenceCode | None
    reason: str = ""


def choose(
    codes: Sequence[DifferenceCode], possible: int, reason: str, changed: NDArray[np.bool_]
) -> Choice:
    """The shortest of the codes, the first of equal ones; the choice among ``possible`` codes is
    counted. Its details hold the share of the entries that changed."""
    best = min(codes, key=lambda code: code.bits)
    details = {**best.details, "changed": float(changed.mean())}
    chosen = DifferenceCode(best.name, best.bits + math.ceil(math.log2(possible)), details)
    alone = [code for code in codes if code.name.startswith("alone")]
    return Choice(chosen, min(alone, key=lambda code: code.bits, default=None), reason)


def native_choice(base: Weights, tuned: Weights, estimators: Sequence[Estimator]) -> Choice:
    """The shortest code of the tuned bit patterns.

    Parameters
    ----------
    base, tuned : ndarrays of one shape, not empty, and one dtype
    """
    base, tuned = np.atleast_1d(base), np.atleast_1d(tuned)
    difference = zigzag(ordered(tuned) - ordered(base))
    xor = bit_patterns(tuned) ^ bit_patterns(base)
    floats = Alphabet.of_dtype(tuned.dtype)
    numbers = Alphabet(floats.size)  # neither a difference nor an exclusive or is a float
    alone, reason = _estimated("alone", bit_patterns(tuned), floats, estimators)
    codes = [
        *_changed(base, tuned, difference),
        *alone,
        _digits("difference", difference, base),
        *_estimated("difference", difference, numbers, estimators)[0],
        _digits("xor", xor, base),
        *_estimated("xor", xor, numbers, estimators)[0],
    ]
    lowrank = lowrank_code(base, tuned)
    if lowrank:
        codes.append(DifferenceCode("lowrank", lowrank.bits, _without_bits(lowrank)))
    return choose(codes, 3 * len(estimators) + 5, reason, difference != 0)


def symbol_choice(
    base: Symbols, tuned: Symbols, alphabet: Alphabet, estimators: Sequence[Estimator]
) -> Choice:
    """The shortest code of the symbols of a quantizer that rounds."""
    base, tuned = np.atleast_1d(base), np.atleast_1d(tuned)
    size = alphabet.size
    difference = (tuned.astype(np.int64) - base.astype(np.int64) + size // 2) % size
    alone, reason = _estimated("alone", tuned, alphabet, estimators)
    differing, _ = _estimated("difference", difference.astype(tuned.dtype), alphabet, estimators)
    changed = tuned != base
    values = np.bincount(tuned[changed].reshape(-1), minlength=size)
    word = kt(values).word_bits if changed.any() else 0
    replaced = DifferenceCode("replaced", mask_bits(changed) + word)
    return choose([*alone, *differing, replaced], 2 * len(estimators) + 1, reason, changed)


def mask_bits(mask: NDArray[np.bool_]) -> int:
    """Bits of a mask: by a KT code, or first of the rows that have a set entry, then of the entries
    in those rows; one bit says which.

    >>> mask = np.zeros((100, 100), bool)
    >>> mask[7] = True
    >>> mask_bits(mask)
    18
    """
    flat = _binary(mask).word_bits
    if mask.ndim < 2 or not mask.size:
        return 1 + flat
    table = mask.reshape(mask.shape[0], -1)
    rows = np.flatnonzero(table.any(axis=1))
    is_touched = np.isin(np.arange(len(table)), rows)
    nested = all_of([_binary(is_touched), _binary(table[rows])])
    return 1 + min(flat, nested.word_bits)


def _binary(mask: NDArray[np.bool_]) -> Chance:
    ones = int(np.count_nonzero(mask))
    return kt(np.array([mask.size - ones, ones]))


def _changed(base: Weights, tuned: Weights, difference: Arrays) -> Iterator[DifferenceCode]:
    mask = difference != 0
    which = mask_bits(mask)
    contexts = exponents(base)[mask]
    steps = difference[mask] - difference.dtype.type(1)
    yield DifferenceCode("changed", which + _digits_bits(steps, contexts))
    zero = ordered(np.zeros(1, tuned.dtype))
    values = zigzag(ordered(tuned)[mask] - zero)
    yield DifferenceCode("replaced", which + digits(values).word_bits)


def _digits(name: str, numbers: Arrays, base: Weights) -> DifferenceCode:
    return DifferenceCode(name, _digits_bits(numbers, exponents(base)))


def _digits_bits(numbers: Arrays, contexts: Arrays) -> int:
    return 1 + min(digits(numbers).word_bits, digits(numbers, contexts).word_bits)


def _without_bits(code: Any) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(code).items() if key != "bits"}


def _estimated(
    name: str, symbols: Arrays, alphabet: Alphabet, estimators: Sequence[Estimator]
) -> tuple[list[DifferenceCode], str]:
    """One code for each estimator that takes the symbols; the reason of the last that refused."""
    codes, reason = [], "no estimator was given"
    for estimator in estimators:
        try:
            accumulator = estimator.start(symbols.shape, alphabet)
        except NotApplicableError as error:
            reason = str(error)
            continue
        accumulator.update(symbols)
        code = accumulator.finish()
        if code.kind != "bound":
            raise InputError(f"{estimator}: is an estimate here; delta takes bounds only")
        codes.append(DifferenceCode(f"{name}, {estimator}", code.bits))
    return codes, reason
