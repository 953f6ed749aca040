"""What is measured where nothing else is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from kolmo.estimators.base import Estimator, get_estimator
from kolmo.estimators.sampled import FEWEST_WINDOWS, Sampled
from kolmo.measure import Left, Measurement
from kolmo.quantize import get_quantizer

DEFAULT_MEASUREMENTS: Mapping[str, tuple[str, ...]] = {
    "native": ("context", "pack:fast", "mosaic", "zstd:3@shuffle"),
    "nmse:0.001": ("context", "kt"),
    "sign": ("bdm", "kt"),
}
"""Default measurements: estimators by quantizer.

``native`` says what the weights take as they are, ``nmse:0.001`` at a distortion that is the same
for every checkpoint, so that their figures compare, ``sign`` what the field's block decomposition
method reads. The strongest bound comes first; ``pack:fast`` is what a quick container takes, so
that no figure of an analysis is looser than a file."""

OTHERWISE = ("context", "mosaic", "kt", "zstd:3")
"""Estimators of symbols of any other quantizer."""

WHOLE = 24_000_000
"""Weights of a checkpoint that `context` codes whole; of more it codes windows, and estimates."""

EACH = 1 << 22
"""Weights of a checkpoint whose tensors it codes one by one, besides all of them together."""


def default_estimators(quantizer: str, weights: int, seed: int = 0) -> list[Estimator]:
    """The estimators of a quantizer's symbols, of a checkpoint with so many weights.

    >>> [str(estimator) for estimator in default_estimators("nmse:0.001", 1 << 20)]
    ['context', 'kt']
    >>> [str(estimator) for estimator in default_estimators("nmse:0.001", 1 << 30)]
    ['sampled:context,length=16384', 'kt']
    """
    chosen = [get_estimator(spec) for spec in DEFAULT_MEASUREMENTS.get(quantizer, OTHERWISE)]
    return [
        Sampled.by(each, FEWEST_WINDOWS, seed) if _is_slow(each) and weights > WHOLE else each
        for each in chosen
    ]


def default_measurements(weights: int, seed: int = 0) -> list[Measurement]:
    """What is measured of a checkpoint with so many weights."""
    return [
        Measurement(get_quantizer(quantizer), estimator)
        for quantizer in DEFAULT_MEASUREMENTS
        for estimator in default_estimators(quantizer, weights, seed)
    ]


def left_out(measurements: list[Measurement], weights: int) -> list[Left]:
    """Those of which the tensors of a checkpoint have no figure of their own, for it would take as
    long again as that of all of them."""
    slow = [m for m in measurements if _is_slow(m.estimator)]
    return [Left(measurement, "tensor") for measurement in slow if weights > EACH]


def _is_slow(estimator: Estimator) -> bool:
    inner = estimator.inner if isinstance(estimator, Sampled) else estimator
    return inner.name == "context"
