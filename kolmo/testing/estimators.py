"""What every estimator promises: its spec, its figures, and that nothing but symbols moves a bit.

A check passes over a case that an estimator refuses (NotApplicableError, from ``start``). A check
of bounds passes over estimates.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from kolmo.errors import InputError, NotApplicableError
from kolmo.testing import access
from kolmo.testing.access import CodeLength, Estimator, measure, start
from kolmo.testing.cases import FORMATS, Case
from kolmo.testing.checks import Suite, require
from kolmo.testing.promises import (
    require_refused,
    require_spec,
    require_summary,
    require_value,
)

SHAPES = ((), (1,), (7,), (16,), (5, 6), (8, 12), (3, 4, 5), (24, 20))
ALPHABETS = (1, 2, 16, 255, 257, 65536, 65537, 2**32, 2**64)

GRID = [Case((shape,), alphabet) for shape in SHAPES for alphabet in ALPHABETS]
CONTENTS = [
    Case((shape,), alphabet, content)
    for shape in ((101,), (8, 12))
    for alphabet in (2, 255, 2**32)
    for content in ("constant", "uniform", "motifs", "like weights")
]
FLOATS = [Case(((9, 7), (13,)), 1 << bits, "like weights", name) for name, bits in FORMATS.items()]
SEVERAL = [Case(((8, 12), (0, 3), (), (24, 20), (5,)), alphabet) for alphabet in (2, 255, 2**32)]
SMALL = [Case(((8, 12),), alphabet) for alphabet in (2, 16, 255, 2**32)]
EMPTY = [
    Case(shapes, alphabet)
    for shapes in (((0,),), ((0, 4),), ((4, 0, 3), (0,)))
    for alphabet in (2, 255)
]
PARTS = [Case(((8, 12), (24, 20)), alphabet) for alphabet in (2, 255)]
EVERY = [
    *(Case(((length,),), alphabet) for alphabet, length in ((1, 3), (2, 7), (3, 4), (5, 3))),
    Case(((2, 4),), 2),
    Case(((2,), (2, 2)), 2),
    Case(((1,),), 256, format="float8_e4m3fn"),
]
UNIFORM = [Case(((16, 17),), alphabet, "uniform") for alphabet in (2, 16, 255, 1000)]

SEEDS = 8
TAIL = 40
"""Bits that uniform symbols may be saved: more happens with probability 2⁻⁴⁰ at most."""

SUITE = Suite[Estimator](access.get_estimator)


def check_estimator(estimator: str | Estimator) -> None:
    """Check that an estimator keeps the contract of estimators.

    Parameters
    ----------
    estimator : str or Estimator
        A spec, or an estimator whose class is registered.

    Raises
    ------
    ContractError
        For the first promise that it breaks, with the case for which it does.
    MissingExtraError
        If a package that it needs is not installed.

    Examples
    --------
    >>> check_estimator("kt")
    """
    SUITE.run(estimator)


def estimator_checks() -> list[tuple[str, Callable[[Any], None]]]:
    """The checks of `check_estimator`, one by one: names, and functions of an estimator or spec.

    Examples
    --------
    >>> name, check = estimator_checks()[0]
    >>> name
    'its spec prints back as it parses'
    >>> check("zstd:3@shuffle")
    """
    return SUITE.named()


# --- what it is -----------------------------------------------------------------------------


@SUITE.check("its spec prints back as it parses")
def _spec(estimator: Estimator, case: str) -> None:
    require_spec(estimator, access.get_estimator, access.estimator_class)


@SUITE.check("it is a value: frozen, hashable, picklable")
def _value(estimator: Estimator, case: str) -> None:
    require_value(estimator)


@SUITE.check("it says what it is")
def _words(estimator: Estimator, case: str) -> None:
    text, kinds = type(estimator).__doc__ or "", ("bound", "estimate")
    require(estimator.kind in kinds, f"its kind is {estimator.kind!r}, not one of {kinds}")
    require(any(kind in text for kind in kinds), "its docstring says neither bound nor estimate")
    require_summary(estimator)


# --- what it says ---------------------------------------------------------------------------


@SUITE.check("it measures some symbols")
def _useful(estimator: Estimator, case: str) -> None:
    for one in [*GRID, *FLOATS]:
        try:
            start(estimator, one)
            return
        except NotApplicableError:
            continue
    require(False, f"it refuses all of {len(GRID) + len(FLOATS)} objects, alphabets 1 to 2⁶⁴")


@SUITE.check("it measures every object or says why not", [*GRID, *CONTENTS, *FLOATS, *SEVERAL])
def _figures(estimator: Estimator, case: Case) -> None:
    code = measure(estimator, case)
    if isinstance(code, str):
        _require_reason(estimator, code)
        return
    require(0 <= code.bits < math.inf, f"{code.bits} bits")
    _require_all(code, case)
    raw = code.numel * access.symbol_bits(case.alphabet)
    require(code.raw_bits == raw, f"raw_bits is {code.raw_bits}, not {raw}")
    require(code.kind == estimator.kind, f"a figure of kind {code.kind!r}, not {estimator.kind!r}")
    require(code.sampled == 1, f"only {code.sampled} of an object this small are measured")
    require(isinstance(code.note, str), f"its note is {code.note!r}, no text")
    require(code.side_bits == 0, f"{code.side_bits} side bits, which a quantizer adds")
    _require_json(code)


def _require_all(code: CodeLength, case: Case) -> None:
    """All weights are described; of several tensors an estimate may leave some out, and says so."""
    if len(case.shapes) == 1 or code.kind == "bound":
        require(code.numel == case.numel, f"numel is {code.numel}, not {case.numel}")
        return
    require(0 <= code.numel <= case.numel, f"numel is {code.numel}, of {case.numel}")
    said = code.numel == case.numel or bool(code.note)
    require(said, f"it describes {code.numel} of {case.numel} weights, and no note says so")


def _require_reason(estimator: Estimator, reason: str) -> None:
    """A refusal speaks of the estimator or of what it needs."""
    named = estimator.name in reason or "symbols" in reason or "CTM" in reason
    require(named, f"its refusal names neither {estimator.name} nor symbols: {reason!r}")
    require("\n" not in reason, f"its refusal has more than one line: {reason!r}")


def _require_json(code: CodeLength) -> None:
    try:
        again = json.loads(json.dumps(dict(code.details), allow_nan=False))
    except (TypeError, ValueError) as error:
        require(False, f"details are not JSON-ready ({error}): {code.details!r}")
    require(again == code.details, f"details {code.details!r} are {again!r} after JSON")


@SUITE.check("nothing costs nothing", EMPTY)
def _nothing(estimator: Estimator, case: Case) -> None:
    code = measure(estimator, case)
    if not isinstance(code, str):
        found = (code.bits, code.numel, code.raw_bits)
        require(found == (0, 0, 0), f"bits, numel and raw_bits of nothing are {found}")


# --- nothing but symbols matters ------------------------------------------------------------


CHUNKED = [case for case in GRID if case.alphabet in (2, 16, 255, 2**32)]


@SUITE.check("chunks never change a bit", [*CHUNKED, *FLOATS])
def _chunks(estimator: Estimator, case: Case) -> None:
    whole = measure(estimator, case)
    for cuts in _cuts(case):
        require_same(measure(estimator, case, cuts=cuts), whole, f"cut at {cuts}")


def _cuts(case: Case) -> Iterator[list[int]]:
    """Some places, one of them twice; every place, where there are few."""
    random = np.random.default_rng(case.numel + case.alphabet % 1009)
    yield sorted(random.integers(0, case.numel + 1, 4).tolist())
    if case.numel < 20:
        yield list(range(1, case.numel))


@SUITE.check("tensors follow each other, and chunks may span them", SEVERAL)
def _several(estimator: Estimator, case: Case) -> None:
    whole = measure(estimator, case)
    cuts = [50, 97, 300]
    require_same(measure(estimator, case, cuts=cuts), whole, f"cut at {cuts}")


@SUITE.check("order does not matter, where that is claimed", [*SMALL, *SEVERAL, *FLOATS])
def _order(estimator: Estimator, case: Case) -> None:
    if estimator.order_free:
        moved = np.random.default_rng(1).permutation(case.symbols())
        require_same(measure(estimator, case, moved), measure(estimator, case), "in another order")


@SUITE.check("the array behind the symbols does not matter", SMALL)
def _arrays(estimator: Estimator, case: Case) -> None:
    symbols = case.symbols()
    whole = measure(estimator, case, symbols)
    spread = np.repeat(symbols, 2)[::2]
    require_same(measure(estimator, case, spread), whole, "as an array with gaps")
    for dtype in (">u4", "<u4", ">u8", np.int64, np.uint64):
        found = measure(estimator, case, symbols.astype(dtype))
        require_same(found, whole, f"as {np.dtype(dtype).str}")


@SUITE.check("the caller's array is read, not kept and not changed", SMALL)
def _buffers(estimator: Estimator, case: Case) -> None:
    whole, symbols = measure(estimator, case), case.symbols()
    if isinstance(whole, str):
        return
    accumulator, buffer = start(estimator, case), np.empty(24, symbols.dtype)
    for chunk in np.split(symbols, range(24, case.numel, 24)):
        buffer[:] = chunk
        accumulator.update(buffer)
        require(np.array_equal(buffer, chunk), "update changes the symbols that it is given")
        buffer[:] = 0
    require_same(accumulator.finish(), whole, "fed from one buffer that is written again")


@SUITE.check("accumulators do not disturb each other", SMALL)
def _side_by_side(estimator: Estimator, case: Case) -> None:
    pair = [case, dataclasses.replace(case, content="uniform")]
    alone = [measure(estimator, one) for one in pair]
    if any(isinstance(code, str) for code in alone):
        return
    fed = [start(estimator, one) for one in pair]
    for piece in range(4):
        for accumulator, one in zip(fed, pair, strict=True):
            accumulator.update(np.array_split(one.symbols(), 4)[piece])
    for accumulator, code in zip(fed, alone, strict=True):
        require_same(accumulator.finish(), code, "fed in turns with another one")


@SUITE.check("threads never change a bit", SMALL)
def _threads(estimator: Estimator, case: Case) -> None:
    whole = measure(estimator, case)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: measure(estimator, case), range(8)))
    for code in found:
        require_same(code, whole, "beside other threads")


@SUITE.check("parts merge into the whole, or the error says that they do not", PARTS)
def _merge(estimator: Estimator, case: Case) -> None:
    whole = measure(estimator, case)
    if isinstance(whole, str):
        return
    for order in ((0, 1), (1, 0)):
        try:
            merged = _merged(estimator, case, order)
        except InputError as error:
            require("merged" in str(error), f"its parts do not merge: {error}")
            return
        require_same(merged.finish(), whole, f"merged of its parts, in the order {order}")
    _require_foreign(estimator, case)


def _merged(estimator: Estimator, case: Case, order: tuple[int, int]) -> Any:
    """An accumulator that has taken two others, the second one pickled on its way."""
    merged, first, second = start(estimator, case), *(_fed(estimator, case, n) for n in order)
    merged.merge(first)
    merged.merge(pickle.loads(pickle.dumps(second)))
    return merged


def _fed(estimator: Estimator, case: Case, number: int) -> Any:
    """An accumulator that has taken one tensor."""
    part = start(estimator, dataclasses.replace(case, shapes=case.shapes[number : number + 1]))
    part.update(case.parts()[number])
    return part


def _require_foreign(estimator: Estimator, case: Case) -> None:
    """A part of another alphabet is refused."""
    other = dataclasses.replace(case, alphabet=case.alphabet + 1)
    try:
        part = _fed(estimator, other, 0)
    except NotApplicableError:
        return
    require_refused(lambda: start(estimator, case).merge(part), "a part of another alphabet")


def require_same(found: CodeLength | str, whole: CodeLength | str, how: str) -> None:
    """Two measurements are equal, whatever they say."""
    if isinstance(found, str) or isinstance(whole, str):
        require(found == whole, f"{how}: {found}; else {whole}")
        return
    names = [field.name for field in dataclasses.fields(CodeLength)]
    pairs = [(name, getattr(found, name), getattr(whole, name)) for name in names]
    said = [f"{name} is {one}, not {other}" for name, one, other in pairs if _differ(one, other)]
    require(not said, f"{how}: {'; '.join(said)}")


def _differ(one: Any, other: Any) -> bool:
    """Whether two values differ; one NaN is as good as another."""
    return bool(one != other and not (one != one and other != other))


# --- what it refuses ------------------------------------------------------------------------


@SUITE.check("wrong symbols are refused", SMALL)
def _wrong(estimator: Estimator, case: Case) -> None:
    if isinstance(measure(estimator, case), str):
        return
    symbols = case.symbols().astype(np.int64)
    for wrong in (-1, case.alphabet):
        symbols[-1] = wrong
        require_refused(lambda: measure(estimator, case, symbols), f"the symbol {wrong}")
    floats = np.zeros(case.numel)
    require_refused(lambda: measure(estimator, case, floats), "symbols that are floats")


@SUITE.check("as many symbols are taken as the shapes hold", SMALL)
def _count(estimator: Estimator, case: Case) -> None:
    if isinstance(measure(estimator, case), str):
        return
    symbols = case.symbols()
    require_refused(lambda: measure(estimator, case, symbols[:0]), "finish without any symbol")
    require_refused(lambda: measure(estimator, case, symbols[:-1]), "finish before all symbols")
    more = np.concatenate([symbols, symbols[:1]])
    require_refused(lambda: measure(estimator, case, more), "a symbol too many")


@SUITE.check("an alphabet of no symbols is refused")
def _no_alphabet(estimator: Estimator, case: str) -> None:
    for size in (0, -1):
        require_refused(partial(estimator.start_many, [(3,)], size), f"an alphabet of {size}")


# --- bounds ---------------------------------------------------------------------------------


@SUITE.check("a bound obeys Kraft's inequality", EVERY)
def _kraft(estimator: Estimator, case: Case) -> None:
    """Over all sequences of some shapes: no prefix code has shorter words."""
    if estimator.kind != "bound" or isinstance(measure(estimator, case), str):
        return
    lengths = [_bits(estimator, case, one) for one in _all_symbols(case)]
    total = math.fsum(2.0**-bits for bits in lengths)
    require(
        total <= 1,
        f"the words of all {len(lengths)} sequences add up to {total:.6g}, over 1: no decoder can "
        f"tell them apart (the shortest has {min(lengths)} bits)",
    )


@SUITE.check("a bound saves nothing of uniform symbols", UNIFORM)
def _no_free_lunch(estimator: Estimator, case: Case) -> None:
    """Of independent draws together: the product of their codes is a code."""
    if estimator.kind != "bound" or isinstance(measure(estimator, case), str):
        return
    draws = [dataclasses.replace(case, seed=seed) for seed in range(SEEDS)]
    bits = math.fsum(_bits(estimator, one, one.symbols()) for one in draws)
    least = SEEDS * case.numel * math.log2(case.alphabet)
    require(
        bits >= least - TAIL,
        f"seeds 0 to {SEEDS - 1} cost {bits:,.1f} bits in all, {least - bits:,.1f} under their "
        f"logarithm; a code saves over {TAIL} with probability 2^-{TAIL}",
    )


def _bits(estimator: Estimator, case: Case, symbols: Any) -> float:
    code = measure(estimator, case, symbols)
    require(not isinstance(code, str), f"it refuses some symbols of a shape: {code}")
    assert not isinstance(code, str)
    return code.bits


def _all_symbols(case: Case) -> Iterable[Any]:
    every = itertools.product(range(case.alphabet), repeat=case.numel)
    return (np.array(sequence, np.uint16) for sequence in every)
