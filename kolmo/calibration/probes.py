"""The measurements of a calibration: every estimator, with the quantizer that is natural for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from kolmo.calibration.ranks import DRAWS, is_seen
from kolmo.checkpoints.base import WeightTensor, array_tensor
from kolmo.errors import NotApplicableError
from kolmo.estimators import estimator_names, get_estimator
from kolmo.estimators.base import Estimator
from kolmo.estimators.entropy import Entropy
from kolmo.estimators.mdl import OrderZero
from kolmo.measure import Measurement, Variant
from kolmo.nulls import Null
from kolmo.quantize import get_quantizer
from kolmo.symbols import Alphabet, Symbols

# Variants worth a line of their own; and a dictionary of 256 KB, not one of 64 MB, for small files.
_SPECS = {
    "bdm": ("bdm", "bdm,ndim=2"),
    "ctm": ("ctm", "ctm,ndim=2"),
    "block-entropy": ("block-entropy", "block-entropy,ndim=2"),
    "xz": ("xz:0",),
}
_BLIND_TO_ORDER = (OrderZero, Entropy)


def all_estimators() -> list[str]:
    """Specs of every registered estimator, plugins too.

    >>> {"bdm", "bdm,ndim=2", "kt"} <= set(all_estimators())
    True
    """
    return [spec for name in estimator_names() for spec in _SPECS.get(name, (name,))]


def natural(estimator: str | Estimator, quantizer: str) -> Measurement | None:
    """The estimator with its natural quantizer, for objects that are made for ``quantizer``.

    This is ``quantizer`` itself if the estimator takes its symbols (packed for a compressor if they
    are bits), the grid of ``affine`` for ``qubd``, which is defined by the bit-planes of that grid,
    else ``sign``; None if no quantizer fits.

    >>> measurement = natural("bdm", "symmetric:4")
    >>> str(measurement.quantizer)
    'sign'
    """
    made = get_estimator(estimator)
    wished = quantizer.replace("symmetric", "affine") if made.name == "qubd" else quantizer
    for spec in dict.fromkeys((wished, "sign")):
        candidate = get_quantizer(spec)
        fitting = _packed(made) if spec == "sign" else made
        try:
            fitting.start((16, 16), candidate.alphabet(np.dtype(np.float32)))
        except NotApplicableError:
            continue
        return Measurement(candidate, fitting)
    return None


def _packed(estimator: Estimator) -> Estimator:
    """The estimator with eight bits packed into a byte, unless a layout was given."""
    if getattr(estimator, "layout", None) != "bytes":
        return estimator
    return dataclasses.replace(estimator, layout="packed")  # type: ignore[call-arg]


def naturals(estimators: Sequence[str], quantizer: str) -> dict[str, Measurement]:
    """The measurements of all estimators that apply, by the specs as given."""
    fitting = {spec: natural(spec, quantizer) for spec in estimators}
    return {spec: measurement for spec, measurement in fitting.items() if measurement is not None}


class Trial:
    """One object and the draws of one of its nulls; symbols and lengths are made when needed."""

    def __init__(self, name: str, weights: np.ndarray, null: Null | None, seed: int) -> None:
        self._tensor: WeightTensor = array_tensor(name, weights)
        self._null, self._seed = null, seed
        self._symbols: dict[tuple[int | None, str], tuple[Symbols, Alphabet]] = {}
        self._lengths: dict[tuple[Estimator, Alphabet, bytes], float] = {}

    def bits(self, measurement: Measurement, draw: int | None = None) -> float:
        """Bits of the object, or of a draw of its null; NaN where the estimator cannot take it."""
        symbols, alphabet = self._encode(measurement, draw)
        estimator = measurement.estimator
        if not isinstance(estimator, _BLIND_TO_ORDER):
            return self._measure(estimator, symbols, alphabet)
        counts = np.bincount(symbols, minlength=alphabet.size).tobytes()
        key = (estimator, alphabet, counts)
        if key not in self._lengths:
            self._lengths[key] = self._measure(estimator, symbols, alphabet)
        return self._lengths[key]

    def is_seen(self, measurement: Measurement, ties: np.random.Generator) -> tuple[bool, bool]:
        """The rank test, `is_seen`; an object without a code length is not seen."""
        actual = self.bits(measurement)
        if actual != actual:
            return False, False
        return is_seen(actual, self._draws(measurement), ties)

    def _draws(self, measurement: Measurement) -> Iterator[float]:
        return (self.bits(measurement, draw) for draw in range(DRAWS))

    def _encode(self, measurement: Measurement, draw: int | None) -> tuple[Symbols, Alphabet]:
        key = (draw, str(measurement.quantizer))
        if key not in self._symbols:
            variant = Variant() if draw is None else Variant(self._null, draw)
            source = variant.source(self._tensor, self._seed)
            chunks = list(source.coded(measurement.quantizer).chunks)
            flat = np.concatenate([chunk.reshape(-1) for chunk in chunks])
            self._symbols[key] = flat, measurement.quantizer.alphabet(self._tensor.dtype)
        return self._symbols[key]

    def _measure(self, estimator: Estimator, symbols: Symbols, alphabet: Alphabet) -> float:
        try:
            accumulator = estimator.start(self._tensor.shape, alphabet).inner
        except NotApplicableError:
            return float("nan")
        accumulator.update(symbols)
        return round(
            float(accumulator.finish().bits), 6
        )  # sums of equal terms differ in the last bits
