"""How cases are handed to subjects, and where subjects are found: known here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from kolmo.codes.base import CODES, Code, code_numbers, get_code
from kolmo.errors import NotApplicableError
from kolmo.estimators.base import (
    ESTIMATORS,
    CodeLength,
    Estimator,
    estimator_class,
    get_estimator,
)
from kolmo.quantize import Quantizer, get_quantizer, quantizer_class
from kolmo.quantize.base import QUANTIZERS
from kolmo.registry import Registry
from kolmo.symbols import Alphabet, Shape, Symbols, container, symbol_bits
from kolmo.testing.cases import Case

__all__ = [
    "Code",
    "CodeLength",
    "Estimator",
    "Quantizer",
    "Shape",
    "Symbols",
    "code_numbers",
    "container",
    "decode",
    "encode",
    "estimator_class",
    "find_code",
    "get_code",
    "get_estimator",
    "get_quantizer",
    "is_taken",
    "measure",
    "quantizer_class",
    "registered",
    "start",
    "symbol_bits",
]


def registered(subject: Any) -> AbstractContextManager[None]:
    """An estimator's or a quantizer's class, or a code, is known by its name in a ``with`` block.

    What is installed registers itself (`kolmo.testing` says how); this is for tests.

    Raises
    ------
    InputError
        If the name, or a code's number, is taken.
    """
    registry: Registry[Any] = CODES
    if isinstance(subject, type):
        registry = ESTIMATORS if issubclass(subject, Estimator) else QUANTIZERS
    return registry.lent(subject)


def start(estimator: Estimator, case: Case) -> Any:
    """An accumulator for the tensors of a case."""
    return estimator.start_many(case.shapes, symbols_of(case))


def measure(
    estimator: Estimator, case: Case, symbols: Symbols | None = None, cuts: Sequence[int] = ()
) -> CodeLength | str:
    """The code length of a case's symbols, or of others, cut there; or why there is none."""
    try:
        accumulator = start(estimator, case)
    except NotApplicableError as error:
        return str(error)
    flat = (case.symbols() if symbols is None else symbols).reshape(-1)
    for chunk in np.split(flat, cuts):
        accumulator.update(chunk)
    length: CodeLength = accumulator.finish()
    return length


def symbols_of(case: Case) -> Alphabet:
    """What the symbols of a case are."""
    return Alphabet(case.alphabet, case.format)


def find_code(which: str | int | Code) -> Code:
    """The code of a name or a number; a code is returned as it is."""
    return get_code(which) if isinstance(which, str | int) else which


def is_taken(code: Code, case: Case) -> bool:
    """Whether a code says that it takes symbols like a case's."""
    return code.takes(case.shapes, symbols_of(case))


def encode(code: Code, case: Case, parts: Sequence[Symbols] | None = None) -> bytes:
    """A case's symbols, or these, as bytes."""
    return code.encode(case.parts() if parts is None else parts, symbols_of(case))


def decode(code: Code, data: bytes, case: Case) -> list[Symbols]:
    """Bytes as symbols of a case's shapes and alphabet."""
    return code.decode(data, case.shapes, symbols_of(case))
