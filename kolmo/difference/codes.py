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

A search costs no more than reading both tensors a few times, unless it is thorough: a general
compressor reads all symbols only where windows promise a shorter code (`kolmo.difference.streams`),
and factors are searched for only where a sample of rows and columns says that there can be any
(`kolmo.difference.gate`). ``not_tried`` in the details says which codes were not, and why.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.chances import kt
from kolmo.difference.fitted import fitted_code
from kolmo.difference.gate import SIDE, RankGate, RowSample
from kolmo.difference.lowrank import LIMIT, lowrank_code
from kolmo.difference.streams import DifferenceCode, SymbolStreams
from kolmo.difference.stripes import Stripe, Stripes
from kolmo.difference.tally import ChangeMask, DifferenceTally
from kolmo.estimators.base import Estimator
from kolmo.floats import bit_patterns, is_float, ordered, zigzag
from kolmo.symbols import Alphabet, Symbols

Arrays = NDArray[Any]

EXHAUSTIVE = 1 << 16
"""Weights of a matrix up to which factors are searched for exhaustively, once there can be any, in
checkpoints of few weights."""

FEW = 1 << 18
"""Weights of such a checkpoint at most: a search takes some 50 µs a weight."""

Tell = Callable[[float], None]
"""Takes the share of the work that is done."""


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
    codes: Sequence[DifferenceCode],
    possible: int,
    reason: str,
    changed: float,
    not_tried: Mapping[str, str],
) -> Choice:
    """The shortest of the codes, the first of equal ones; the choice among ``possible`` codes is
    counted. Its details hold the share of the entries that changed, and why codes were not
    tried."""
    best = min(codes, key=lambda code: code.bits)
    details = {**best.details, "changed": changed}
    if not_tried:
        details["not_tried"] = dict(sorted(not_tried.items()))
    chosen = DifferenceCode(best.name, best.bits + math.ceil(math.log2(possible)), details)
    alone = [code for code in codes if code.name.startswith("alone")]
    return Choice(chosen, min(alone, key=lambda code: code.bits, default=None), reason)


@dataclasses.dataclass(frozen=True)
class CodeSearch:
    """How codes are searched for: the estimators, whether those that are costly are tried on
    samples first, and the weights of a matrix up to which the search for factors is exhaustive; of
    a thorough one they are `LIMIT`, whatever a sample says."""

    estimators: Sequence[Estimator]
    tried: bool = True
    thorough: bool = False
    exhaustive: int = EXHAUSTIVE

    def among(self, numel: int) -> CodeSearch:
        """The search in a checkpoint of so many weights."""
        return self if numel <= FEW else dataclasses.replace(self, exhaustive=0)

    @property
    def manner(self) -> str:
        """A word for how codes are searched for, whatever the estimators."""
        if self.thorough:
            return "thorough delta"
        word = "delta" if self.tried else "delta as asked"
        return word if self.exhaustive else f"quick {word}"


def native_choice(stripes: Stripes, search: CodeSearch, tell: Tell) -> Choice:
    """The shortest code of the tuned bit patterns; of tensors that are not empty."""
    shape = stripes.shape or (1,)
    floats = Alphabet.of_dtype(stripes.dtype)
    numbers = Alphabet(floats.size)  # neither a difference nor an exclusive or is a float
    alphabets = {"alone": floats, "difference": numbers, "xor": numbers}
    streams = SymbolStreams(
        shape, alphabets, search.estimators, search.tried and not search.thorough
    )
    tally, sample = DifferenceTally(shape, stripes.dtype), RowSample(stripes.rows, stripes.columns)
    for stripe in stripes:
        streams.update(tally.update(stripe))
        sample.update(stripe.row, stripe.base.size, stripe.difference)
        tell(0.4 * (stripe.row + 1) / stripes.rows)
    if tally.mask.ones == 0:
        streams.forget(("difference", "xor"), "nothing changed")
    streams.finish()
    counted = {name: DifferenceCode(name, bits) for name, bits in tally.bits().items()}
    _feed_rest(stripes, streams, _shortest(streams, counted), {}, _native_symbols)
    tell(0.6)
    lowrank, reason = _lowrank(stripes, sample, search, tell)
    codes = [counted["changed"], counted["replaced"], *streams.of("alone")]
    for name in ("difference", "xor"):
        codes += [counted[name], *streams.of(name)]
    not_tried = {**streams.not_tried, **({"lowrank": reason} if reason else {})}
    possible = 3 * len(search.estimators) + 5
    return choose(
        [*codes, *lowrank], possible, streams.refused["alone"], tally.mask.share, not_tried
    )


def symbol_choice(
    stripes: Stripes,
    encode: Callable[[Stripe], tuple[Symbols, Symbols]],
    alphabet: Alphabet,
    search: CodeSearch,
    tell: Tell,
) -> Choice:
    """The shortest code of the symbols of a quantizer that rounds; ``encode`` gives those of a
    stripe's base and tuned weights."""
    shape = stripes.shape or (1,)
    alphabets = {"alone": alphabet, "difference": alphabet}
    streams = SymbolStreams(
        shape, alphabets, search.estimators, search.tried and not search.thorough
    )
    samples = {name: RowSample(stripes.rows, stripes.columns) for name in alphabets}
    mask, values = ChangeMask(shape), np.zeros(alphabet.size, np.int64)
    symbols_of = partial(_symbols, encode, alphabet.size)
    for stripe in stripes:
        symbols = symbols_of(stripe)
        streams.update(symbols)
        for name, sample in samples.items():
            sample.update(stripe.row, stripe.base.size, symbols[name].__getitem__)
        is_changed = symbols["difference"] != alphabet.size // 2
        mask.update(stripe.row, is_changed)
        values += np.bincount(symbols["alone"][is_changed], minlength=alphabet.size)
        tell(0.5 * (stripe.row + 1) / stripes.rows)
    streams.finish()
    word = kt(values).word_bits if mask.ones else 0
    replaced = DifferenceCode("replaced", mask.bits + word)
    gates = {name: sample.gate(centred=True) for name, sample in samples.items()}
    _feed_rest(stripes, streams, _shortest(streams, {"replaced": replaced}), gates, symbols_of)
    codes = [*streams.of("alone"), *streams.of("difference"), replaced]
    possible = 2 * len(search.estimators) + 1
    return choose(codes, possible, streams.refused["alone"], mask.share, streams.not_tried)


def _shortest(streams: SymbolStreams, counted: Mapping[str, DifferenceCode]) -> dict[str, float]:
    """By stream, the bits that a further code has to be under: those of the shortest code so far,
    and of the weights alone those of the shortest code alone."""
    alone = min((code.bits for code in streams.of("alone")), default=math.inf)
    least = min([alone, *(code.bits for code in [*streams.codes.values(), *counted.values()])])
    return {name: alone if name == "alone" else least for name in streams.refused}


def _feed_rest(
    stripes: Stripes,
    streams: SymbolStreams,
    shortest: Mapping[str, float],
    gates: Mapping[str, RankGate],
    symbols_of: Callable[[Stripe], Mapping[str, Arrays]],
) -> None:
    """A second pass, for the estimators that promise a shorter code."""
    if streams.choose(shortest, gates):
        for stripe in stripes:
            streams.update(symbols_of(stripe))
        streams.finish()


def _native_symbols(stripe: Stripe) -> dict[str, Arrays]:
    difference = zigzag(ordered(stripe.tuned) - ordered(stripe.base))
    after = bit_patterns(stripe.tuned)
    return {"alone": after, "difference": difference, "xor": after ^ bit_patterns(stripe.base)}


def _symbols(
    encode: Callable[[Stripe], tuple[Symbols, Symbols]], size: int, stripe: Stripe
) -> dict[str, Arrays]:
    base, tuned = encode(stripe)
    difference = (tuned.astype(np.int64) - base.astype(np.int64) + size // 2) % size
    return {"alone": tuned, "difference": difference.astype(tuned.dtype)}


def _lowrank(
    stripes: Stripes, sample: RowSample, search: CodeSearch, tell: Tell
) -> tuple[list[DifferenceCode], str]:
    """The low-rank code, if there is one, and else the reason that there is none."""
    if not is_float(stripes.dtype) or len(stripes.shape) < 2 or min(stripes.sides) < SIDE:
        return [], ""
    exhaustive = search.thorough and stripes.numel <= LIMIT
    gate = RankGate() if exhaustive else sample.gate()
    if gate.reason:
        return [], gate.reason
    if exhaustive or stripes.numel <= search.exhaustive:
        found = lowrank_code(*stripes.read())
    else:
        found = fitted_code(stripes, gate.rank, lambda share: tell(0.6 + 0.4 * share))
    if found is None:
        return [], "no rank is promising"
    return [DifferenceCode("lowrank", found.bits, _without_bits(found))], ""


def mask_bits(mask: NDArray[np.bool_]) -> int:
    """Bits of a mask: by a KT code, or first of the rows that have a set entry, then of the entries
    in those rows; one bit says which.

    >>> mask = np.zeros((100, 100), bool)
    >>> mask[7] = True
    >>> mask_bits(mask)
    18
    """
    whole = ChangeMask(mask.shape)
    whole.update(0, mask.reshape(-1))
    return whole.bits


def _without_bits(code: Any) -> dict[str, Any]:
    return {key: value for key, value in dataclasses.asdict(code).items() if key != "bits"}
