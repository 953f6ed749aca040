"""What every code promises: symbols come back, and damaged bytes are an error and no more."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from kolmo.errors import InputError, NotApplicableError
from kolmo.testing import access
from kolmo.testing.access import Code, CodeLength, decode, encode, is_taken, measure
from kolmo.testing.cases import FORMATS, Case
from kolmo.testing.checks import Suite, require, without_hanging

TWO = ((8, 60), (30, 8))
PLAIN = (
    (((5, 12), ()), "uniform"),
    (((4, 3, 20), (200,), (0, 3)), "few values"),
    (((30, 4),), "constant"),
    (TWO, "motifs"),
)

GRID = [
    Case(shapes, alphabet, content)
    for alphabet in (1, 2, 15, 255, 256, 300, 65536, 2**32, 2**64)
    for shapes, content in PLAIN
]
GRID += [
    Case(shapes, 1 << bits, content, name)
    for name, bits in FORMATS.items()
    for shapes, content in (*PLAIN[:3], (TWO, "like weights"))
]
ODD = [
    Case(shapes, alphabet, "few values", kind)
    for shapes in ((), ((0,),), ((),), ((1,),), ((7,), (101,)))
    for alphabet, kind in ((1, ""), (255, ""), (2**32, "float32"))
]
SOME = [
    Case(TWO, alphabet, content, kind)
    for alphabet, kind in ((5, ""), (255, ""), (65536, "bfloat16"), (2**32, "float32"))
    for content in ("motifs", "like weights")
]
DAMAGED = [*SOME, *(Case(TWO, alphabet, "constant") for alphabet in (255, 2**32))]
LARGE = [Case(((1 << 18,),), alphabet, "zeros and a one") for alphabet in (4, 2**32)]

TRIALS = 24
"""Damaged payloads that a decoder is given for each case."""

ROOM = 1 << 18
"""Bytes that a decoder may take beyond what it takes for sound data of as many symbols."""

SUITE = Suite[Code](access.find_code)


def check_code(code: str | int | Code) -> None:
    """Check that a code keeps the contract of codes.

    Parameters
    ----------
    code : str, int or Code
        A name, a number, or a registered code.

    Raises
    ------
    ContractError
        For the first promise that it breaks, with the case for which it does.

    Examples
    --------
    >>> check_code("raw")
    """
    SUITE.run(code)


def code_checks() -> list[tuple[str, Callable[[Any], None]]]:
    """The checks of `check_code`, one by one: names, and functions of a code, its name or number.

    Examples
    --------
    >>> code_checks()[0][0]
    'its name and number are its own'
    """
    return SUITE.named()


def encode_or_none(code: Code, case: Case) -> bytes | None:
    """A case's symbols as bytes; None where the code does not take them, or these ones."""
    if not is_taken(code, case):
        return None
    try:
        return encode(code, case)
    except NotApplicableError as error:
        require(bool(str(error)), "it refuses symbols and does not say why")
    return None


# --- what it is -----------------------------------------------------------------------------


@SUITE.check("its name and number are its own")
def _identity(code: Code, case: str) -> None:
    require(0 <= code.number < 256, f"its number is {code.number}, not one of 0 to 255")
    numbers = access.code_numbers()
    found = numbers.get(code.name)
    require(found == code.number, f"{code.name!r} is number {found}; is it registered?")
    same = [name for name, number in numbers.items() if number == code.number]
    require(same == [code.name], f"number {code.number} is that of {' and '.join(same)}")
    require(access.find_code(code.name) is code, f"another code is found by {code.name!r}")
    require(access.find_code(code.number) is code, f"another code is found by {code.number}")


# --- symbols and back -----------------------------------------------------------------------


@SUITE.check("symbols come back, or are refused in words", [*GRID, *ODD])
def _lossless(code: Code, case: Case) -> None:
    data = encode_or_none(code, case)
    if data is None:
        return
    require(isinstance(data, bytes), f"it encodes to {type(data).__name__}, not bytes")
    _require_symbols(decode(code, data, case), case)


def _require_symbols(found: Any, case: Case) -> None:
    _require_sound(found, case)
    for number, (part, sent) in enumerate(zip(found, case.parts(), strict=True)):
        wrong = np.flatnonzero(part.reshape(-1) != sent.reshape(-1))
        if wrong.size:
            at = int(wrong[0])
            was, now = int(sent.flat[at]), int(part.flat[at])
            require(False, f"tensor {number}, symbol {at} is {was} and comes back as {now}")


def _require_sound(found: Any, case: Case) -> None:
    """Arrays of the shapes, of the smallest dtype, of symbols that are in the alphabet."""
    shapes = [part.shape for part in found]
    require(shapes == list(case.shapes), f"arrays of shapes {shapes} come back")
    for part in found:
        dtype = access.container(case.alphabet)
        require(part.dtype == dtype, f"symbols come back as {part.dtype}, not {dtype}")
        largest = int(part.max(initial=0))
        require(largest < case.alphabet, f"symbol {largest} comes back, outside the alphabet")


@SUITE.check("whether it takes symbols depends on shapes and alphabet alone", [*GRID, *ODD])
def _takes(code: Code, case: Case) -> None:
    """Where it says no, data that claim otherwise are an error or symbols, no more."""
    says = is_taken(code, case)
    require(isinstance(says, bool), f"takes() is {says!r}, not a bool")
    require(is_taken(code, case) == says, "takes() says one thing, then another")
    if not says:
        for data in (b"", b"\0", bytes(range(99))):
            _require_refused_or_sound(code, data, case)


@SUITE.check("the same symbols have the same bytes", SOME)
def _deterministic(code: Code, case: Case) -> None:
    data = encode_or_none(code, case)
    if data is None:
        return
    parts = case.parts()
    for part in parts:
        part.flags.writeable = False
    with ThreadPoolExecutor(2) as pool:
        others = list(pool.map(lambda _: encode(code, case, parts), range(2)))
    require(others == [data] * 2, "on other threads they have other bytes")


@SUITE.check("its length is the one that its estimator says", GRID)
def _length(code: Code, case: Case) -> None:
    """Of a code that names an estimator, in its attribute ``estimator``."""
    spec = getattr(code, "estimator", "")
    data = encode_or_none(code, case) if spec else None
    if data is None or not case.numel:
        return
    said = measure(access.get_estimator(spec), case)
    require(isinstance(said, CodeLength), f"{spec} refuses what it takes: {said}")
    assert isinstance(said, CodeLength)
    require(said.bits == 8 * len(data), f"{8 * len(data)} bits, and {spec} says {said.bits}")


# --- damaged bytes --------------------------------------------------------------------------


@SUITE.check("damaged bytes are an error, or symbols", DAMAGED)
def _damaged(code: Code, case: Case) -> None:
    """Cut, changed, moved, lengthened, of other symbols: InputError, or symbols of the alphabet."""
    data = encode_or_none(code, case)
    if data is None:
        return
    for number in range(TRIALS if data else 0):
        _require_refused_or_sound(code, damaged(data, number), case)
    for lie in (b"", b"\0", data + b"\0", data[::-1], bytes(200), b"\xff" * 200):
        _require_refused_or_sound(code, lie, case)
    for lied in _other_shapes(case):
        _require_refused_or_sound(code, data, lied)


def damaged(data: bytes, number: int) -> bytes:
    """A cut, some changed bytes, one flipped bit, or a piece moved: by the number, always alike.

    Parameters
    ----------
    data : bytes
        Of at least one byte.
    number : int
    """
    random, changed = np.random.default_rng(number), bytearray(data)
    place = int(random.integers(len(data)))
    if number % 4 == 0:
        del changed[place:]
    elif number % 4 == 1:
        changed[place] ^= 1 << int(random.integers(8))
    elif number % 4 == 2:
        for _ in range(int(random.integers(1, 6))):
            changed[int(random.integers(len(data)))] = int(random.integers(256))
    else:
        start = int(random.integers(len(data)))
        changed[place : place + 9] = data[start : start + int(random.integers(12))]
    return bytes(changed)


def _other_shapes(case: Case) -> Iterator[Case]:
    for shapes in ((), ((0,),), ((3,),), ((8, 61), (30, 8)), ((480, 1), (240,)), ((5000,),)):
        yield Case(shapes, case.alphabet, case.content, case.format)


def _require_refused_or_sound(code: Code, data: bytes, case: Case) -> None:
    def call() -> None:
        try:
            found = decode(code, data, case)
        except InputError:
            return
        except Exception as error:
            require(False, f"{type(error).__name__}: {error}")
        _require_sound(found, case)

    try:
        without_hanging(call)
    except AssertionError as error:
        shown = data[:40].hex() + ("…" if len(data) > 40 else "")
        require(False, f"decoding {len(data)} bytes, {shown}, as {case}: {error}")


@SUITE.check("a decoder takes memory by what it is told, not by what the data claim", LARGE)
def _memory(code: Code, case: Case) -> None:
    """Data of many symbols, decoded as few, take what sound data of few do; and data that are
    cut off take what sound ones of as many symbols do."""
    data = encode_or_none(code, case)
    few = Case(((100,),), case.alphabet, case.content)
    sound = encode_or_none(code, few)
    if data is None or sound is None:
        return
    _require_room(_peak(code, data, few), _peak(code, sound, few), data, few)
    cut = data[: len(data) // 2]
    _require_room(_peak(code, cut, case), _peak(code, data, case), cut, case)


def _require_room(found: int, sound: int, data: bytes, case: Case) -> None:
    require(
        found <= sound + 4 * len(data) + ROOM,
        f"{len(data):,} bytes of other symbols, or cut off, take {found:,} bytes of memory, "
        f"decoded as {case.numel:,} symbols; sound ones take {sound:,}",
    )


def _peak(code: Code, data: bytes, case: Case) -> int:
    """Bytes of memory at most; of a second try, for the first one may compile code."""
    peak = 0
    for _ in range(2):
        own = not tracemalloc.is_tracing()
        if own:
            tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        _require_refused_or_sound(code, data, case)
        peak = tracemalloc.get_traced_memory()[1] - before
        if own:
            tracemalloc.stop()
    return peak
