"""The context code as an estimator: the length of what `kolmo.codec.context` writes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kolmo.errors import NotApplicableError
from kolmo.estimators.base import (
    Accumulator,
    CodeLength,
    Estimator,
    Shape,
    Symbols,
    container,
    register,
    symbol_bits,
)

PART = 1 << 22
"""Weights of a table that are coded at a time, as whole rows; what they taught is kept."""


@register
@dataclasses.dataclass(frozen=True)
class Context(Estimator):
    """The adaptive context-mixing code of `kolmo.codec.context`; a bound: it is 8 × the bytes that
    the coder writes, and they decode.

    What is predicted are zeros, exponents, leading mantissa bits and signs, from row and column
    magnitudes, neighbours, kernel taps, matches (mirrored ones too), recent tails of the column and
    the zeros that a narrower format leaves (after Mahoney, Florida Tech CS-2005-16). Model scope
    lets what one tensor taught serve the next. Native symbols are split as floats of their width:
    16 bits as ``float16`` or, with ``brain=true``, as bfloat16.

    >>> from kolmo import estimate
    >>> weights = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    >>> code = estimate(weights, "context")
    >>> code.kind, round(code.bits_per_weight)
    ('bound', 27)
    """

    name = "context"
    kind = "bound"
    summary = "adaptive mixing of row, column, neighbour and match contexts; the strongest"

    def _start(self, shapes: Sequence[Shape], alphabet: int) -> Accumulator:
        from kolmo.codec.context import INTEGERS

        if alphabet > INTEGERS and alphabet != 1 << 64:
            raise NotApplicableError(f"context: an alphabet of {alphabet:,} symbols is too large")
        return _ContextAccumulator(shapes, alphabet)
