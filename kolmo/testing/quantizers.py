"""What every quantizer promises: symbols of one alphabet, and a coder that can be made again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import array_tensor
from kolmo.errors import NotApplicableError, NotExpressibleError
from kolmo.testing import access
from kolmo.testing.access import Quantizer
from kolmo.testing.cases import DTYPES, FORMATS, WeightCase
from kolmo.testing.checks import Suite, require
from kolmo.testing.promises import (
    require_refused,
    require_spec,
    require_summary,
    require_value,
)

SHAPES = ((), (0,), (1,), (3, 0), (5, 3), (7, 4, 3))
CONSTANT, ODD = ("ones", "zeros"), ("extremes", "any bits")

GRID = [WeightCase(dtype, shape, "normal") for dtype in DTYPES for shape in SHAPES]
GRID += [
    WeightCase(dtype, shape, content)
    for dtype in DTYPES
    for shape in ((), (5, 3))
    for content in CONSTANT
]
WIDE = [
    WeightCase(dtype, (40,), content) for dtype in DTYPES for content in ("extremes", "any bits")
]
UNUSUAL = [
    WeightCase(dtype, (30,), content) for dtype in FORMATS for content in ("a NaN", "an infinity")
]
ALL = [*GRID, *WIDE, *UNUSUAL]
LARGE = WeightCase("float32", ((1 << 20) + 101,))  # more than a sample

SUITE = Suite[Quantizer](access.get_quantizer)


def check_quantizer(quantizer: str | Quantizer) -> None:
    """Check that a quantizer keeps the contract of quantizers.

    Parameters
    ----------
    quantizer : str or Quantizer
        A spec, or a quantizer whose class is registered.

    Raises
    ------
    ContractError
        For the first promise that it breaks, with the case for which it does.

    Examples
    --------
    >>> check_quantizer("symmetric:5")
    """
    SUITE.run(quantizer)


def quantizer_checks() -> list[tuple[str, Callable[[Any], None]]]:
    """The checks of `check_quantizer`, one by one: names, and functions of a quantizer or spec.

    Examples
    --------
    >>> [name for name, _ in quantizer_checks()][:2]
    ['its spec prints back as it parses', 'it is a value: frozen, hashable, picklable']
    """
    return SUITE.named()


def encode(quantizer: Quantizer, case: WeightCase) -> tuple[Any, NDArray[Any]] | None:
    """The coder of a case's weights and their symbols; None where they cannot be expressed."""
    try:
        coder = quantizer.fit(case.tensor())
        return coder, coder.encode(case.weights())
    except NotApplicableError as error:
        require(case.dtype in str(error), f"its refusal does not name {case.dtype}: {error}")
    except NotExpressibleError as error:
        require("'w'" in str(error), f"its refusal does not name the tensor: {error}")
        may = case.content not in ("normal", *CONSTANT)
        require(may, f"it refuses finite weights: {error}")
    return None


# --- what it is -----------------------------------------------------------------------------


@SUITE.check("its spec prints back as it parses")
def _spec(quantizer: Quantizer, case: str) -> None:
    require_spec(quantizer, access.get_quantizer, access.quantizer_class)


@SUITE.check("it is a value: frozen, hashable, picklable")
def _value(quantizer: Quantizer, case: str) -> None:
    require_value(quantizer)


@SUITE.check("it says what it is")
def _words(quantizer: Quantizer, case: str) -> None:
    require_summary(quantizer)


# --- symbols --------------------------------------------------------------------------------


@SUITE.check("symbols are in the alphabet, in the shape of the weights", ALL)
def _symbols(quantizer: Quantizer, case: WeightCase) -> None:
    found = encode(quantizer, case)
    if found is None:
        return
    coder, symbols = found
    require(symbols.shape == case.shape, f"symbols of shape {symbols.shape}")
    dtype = coder.alphabet.container
    require(symbols.dtype == dtype, f"symbols of dtype {symbols.dtype}, not {dtype}")
    largest = int(symbols.max(initial=0))
    require(largest < coder.alphabet.size, f"symbol {largest} of {coder.alphabet}")


@SUITE.check("the alphabet depends on the dtype alone", ALL)
def _alphabet(quantizer: Quantizer, case: WeightCase) -> None:
    found = encode(quantizer, case)
    if found is None:
        return
    coder, promised = found[0], quantizer.alphabet(case.weights().dtype)
    require(coder.alphabet == promised, f"{coder.alphabet}, where {promised} was said")


@SUITE.check("it refuses NaN and infinities in words, or expresses them", UNUSUAL)
def _unusual(quantizer: Quantizer, case: WeightCase) -> None:
    """A value that decodes to another one, a NaN to a number, is not expressed."""
    found = encode(quantizer, case)
    if found is None:
        return
    coder, symbols = found
    back = _as_numbers(coder.decode(symbols))
    wrong = np.isnan(_as_numbers(case.weights())) != np.isnan(back)
    require(not wrong.any(), "a NaN decodes to a number, or a number to a NaN")


@SUITE.check("equal weights have equal symbols", ALL)
def _constant(quantizer: Quantizer, case: WeightCase) -> None:
    found = encode(quantizer, case)
    if found is None or case.content not in CONSTANT:
        return
    used = np.unique(found[1])
    require(used.size <= 1, f"a constant tensor has the symbols {used.tolist()}")


@SUITE.check("chunks give the symbols of the whole", [c for c in ALL if math.prod(c.shape) > 2])
def _chunks(quantizer: Quantizer, case: WeightCase) -> None:
    found = encode(quantizer, case)
    if found is None:
        return
    coder, symbols = found
    tensor, numel = case.tensor(), symbols.size
    pieces = [coder.load(tensor, at, min(at + 7, numel)) for at in range(0, numel, 7)]
    same = np.array_equal(np.concatenate(pieces), symbols.reshape(-1))
    require(same, "in chunks of 7 weights: other symbols")
    again = quantizer.fit(case.tensor()).encode(case.weights())
    require(np.array_equal(again, symbols), "fitted again: other symbols")


@SUITE.check("weights are read, and not changed", GRID)
def _reads(quantizer: Quantizer, case: WeightCase) -> None:
    found = encode(quantizer, case)
    if found is None:
        return
    weights = case.weights()
    weights.flags.writeable = False
    symbols = found[0].encode(weights)
    require(np.array_equal(symbols, found[1]), "of a read-only array: other symbols")


# --- and back -------------------------------------------------------------------------------


@SUITE.check("what symbols stand for has those symbols", ALL)
def _idempotent(quantizer: Quantizer, case: WeightCase) -> None:
    found = encode(quantizer, case)
    if found is None:
        return
    coder, symbols = found
    back = np.asarray(coder.decode(symbols))
    require(back.shape == case.shape, f"weights of shape {back.shape}")
    again = coder.encode(back)
    wrong = np.flatnonzero(again.reshape(-1) != symbols.reshape(-1))
    if wrong.size:
        at = int(wrong[0])
        was, now = int(symbols.flat[at]), int(again.flat[at])
        require(False, f"symbol {was} stands for {back.flat[at]!r}, whose symbol is {now}")


@SUITE.check("weights decode to the nearest value, where that is claimed", [*GRID, *WIDE])
def _nearest(quantizer: Quantizer, case: WeightCase) -> None:
    """Of the values that the tensor's symbols stand for, none is nearer."""
    found = encode(quantizer, case) if quantizer.nearest else None
    if found is None or not math.prod(case.shape):
        return
    weights, back = _as_numbers(case.weights()), _as_numbers(found[0].decode(found[1]))
    if not np.isfinite(weights).all():
        return
    with np.errstate(over="ignore"):
        errors = np.abs(back - weights)
        least = np.abs(np.unique(back) - weights[:, None]).min(axis=1)
    far = np.flatnonzero(errors > least + 1e-9 * np.abs(back).max())
    if far.size:
        at = int(far[0])
        require(False, f"{weights[at]!r} decodes to {back[at]!r}, {least[at]!r} away is another")


def _as_numbers(weights: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return np.asarray(weights).astype(np.float64).reshape(-1)


@SUITE.check("places do not matter, where that is claimed", [*GRID, LARGE])
def _places(quantizer: Quantizer, case: WeightCase) -> None:
    """Weights in another order give the same parameters, and their symbols in that order."""
    found = encode(quantizer, case) if quantizer.order_free else None
    if found is None:
        return
    order = np.random.default_rng(1).permutation(found[1].size)
    moved = case.weights().reshape(-1)[order]
    coder = quantizer.fit(array_tensor("w", moved.reshape(case.shape)))
    same = coder.parameters() == found[0].parameters()
    require(same, f"moved: {coder.parameters()}, not {found[0].parameters()}")
    require(np.array_equal(coder.encode(moved), found[1].reshape(-1)[order]), "other symbols")


@SUITE.check("symbols that are bit patterns are the weights' own", ALL)
def _bits(quantizer: Quantizer, case: WeightCase) -> None:
    weights = case.weights()
    name = quantizer.alphabet(weights.dtype).format
    if not name:
        return
    require(name == case.dtype and name in FORMATS, f"bit patterns of {name!r}")
    found = encode(quantizer, case)
    require(found is not None, "it refuses weights whose bit patterns it says its symbols are")
    assert found is not None
    coder, symbols = found
    require(symbols.tobytes() == weights.tobytes(), "symbols that are not the bit patterns")
    require(coder.decode(symbols).tobytes() == weights.tobytes(), "they decode to other weights")


@SUITE.check("a coder is made again from its parameters", ALL)
def _restore(quantizer: Quantizer, case: WeightCase) -> None:
    found = encode(quantizer, case)
    if found is None:
        return
    coder, symbols = found
    parameters = json.loads(json.dumps(coder.parameters(), allow_nan=False))
    again = quantizer.restore(case.weights().dtype, parameters)
    require(again.parameters() == parameters, f"{parameters} become {again.parameters()}")
    require(again.alphabet == coder.alphabet, f"another alphabet, {again.alphabet}")
    require(np.array_equal(again.encode(case.weights()), symbols), "it gives other symbols")
    same = again.decode(symbols).tobytes() == coder.decode(symbols).tobytes()
    require(same, "it gives other weights for the same symbols")


@SUITE.check("what a decoder must be told costs bits", ALL)
def _side_bits(quantizer: Quantizer, case: WeightCase) -> None:
    """A bit a parameter, at the least."""
    found = encode(quantizer, case)
    if found is None:
        return
    coder, dtype = found[0], case.weights().dtype
    bits, count = coder.side_bits(dtype), len(coder.parameters())
    require(isinstance(bits, int), f"{bits!r} side bits, no whole number")
    require(bits >= count, f"{bits} side bits for {count} parameters")


@SUITE.check("wrong parameters are refused", [WeightCase(dtype, (5, 3)) for dtype in DTYPES])
def _parameters(quantizer: Quantizer, case: WeightCase) -> None:
    dtype = case.weights().dtype
    for wrong in ([math.nan], [math.inf], [1.0] * 70_000):
        few = f"{len(wrong)} parameters, all {wrong[0]}"
        require_refused(partial(quantizer.restore, dtype, wrong), few)
