"""The experiments: known values, false positives, power. Each comes in pieces that run anywhere."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from kolmo.calibration.base import Shape, Weights
from kolmo.calibration.objects import FAMILIES, known_object
from kolmo.calibration.probes import Trial, naturals
from kolmo.calibration.ranks import ALPHA, binomial_band, wilson_interval
from kolmo.errors import InputError
from kolmo.measure import Measurement
from kolmo.nulls import get_null
from kolmo.quantize import get_quantizer

Row = dict[str, Any]
Outcome = tuple[list[Row], dict[str, str]]
"""Rows, and what went wrong, by the spec of the estimator that failed."""


@dataclasses.dataclass(frozen=True)
class Noise:
    """Weights without structure that are exchangeable with the draws of a null.

    ``shuffled`` moves the weights of any independent noise: exact. ``row-shuffled`` and
    ``column-shuffled`` move them within lines alone, so that each line has a mean and a scale of
    its own here, which the null must not take for structure: exact. ``uniform`` draws symbols, and
    the noise is uniform over the same: exact. ``gaussian`` takes mean and standard deviation from
    the object itself, which then lies closer to them than a draw does: the rank is uniform only
    nearly, and the rate is measured rather than promised.
    """

    null: str
    exact: bool
    shape: Shape = (16, 32)

    def weights(self, trial: int, seed: int, quantizer: str) -> Weights:
        """The noise of a trial, float32; of the uniform null for this quantizer's alphabet."""
        random = np.random.default_rng((seed, trial, *self.null.encode()))
        if self.null == "uniform":
            size = get_quantizer(quantizer).alphabet(np.dtype(np.float32)).size
            drawn = random.integers(size, size=self.shape) - (size - 1) / 2
            return drawn.astype(np.float32)
        drawn = random.normal(size=self.shape)
        if self.null in _LINES:
            lines = _LINES[self.null](self.shape)
            drawn = drawn * random.uniform(0.5, 2, lines) + random.normal(0, 0.5, lines)
        return drawn.astype(np.float32)


_LINES: dict[str, Callable[[Shape], Shape]] = {
    "row-shuffled": lambda shape: (shape[0], 1),
    "column-shuffled": lambda shape: (1, shape[1]),
}
"""The shape of one number for each line that a null keeps the weights of."""

NOISES: dict[str, Noise] = {
    "shuffled": Noise("shuffled", exact=True),
    "row-shuffled": Noise("row-shuffled", exact=True),
    "column-shuffled": Noise("column-shuffled", exact=True),
    "uniform": Noise("uniform", exact=True),
    "gaussian": Noise("gaussian", exact=False),
}
"""The noise that each null is tested with."""


def usual_nulls() -> list[str]:
    """The nulls of `NOISES` that are registered.

    >>> "shuffled" in usual_nulls()
    True
    """

    def is_known(null: str) -> bool:
        try:
            get_null(null)
        except InputError:
            return False
        return True

    return [null for null in NOISES if is_known(null)]


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of an experiment: what it needs travels with it, what it found are plain rows."""

    estimators: tuple[str, ...]
    seed: int
    first: int
    last: int

    part: ClassVar[str]

    def run(self) -> list[Row]:
        """Rows; counts of those that are otherwise alike add up over the pieces."""
        raise NotImplementedError

    def _ties(self, trial: int, measurement: Measurement, name: str) -> np.random.Generator:
        what = zlib.crc32(f"{name} {measurement.quantizer} {measurement.estimator}".encode())
        return np.random.default_rng((self.seed, trial, what))


def run_piece(piece: Piece) -> Outcome:
    """The outcome of a piece; if an estimator fails, the others still give their rows."""
    try:
        return piece.run(), {}
    except Exception as error:
        if len(piece.estimators) == 1:
            return [], {piece.estimators[0]: f"{type(error).__name__}: {error}"}
    alone = [run_piece(dataclasses.replace(piece, estimators=(e,))) for e in piece.estimators]
    rows, failed = zip(*alone, strict=True)
    return [row for found in rows for row in found], {k: v for f in failed for k, v in f.items()}


def describe(label: str, measurement: Measurement) -> Row:
    """A measurement as columns: the spec as given, and with its layout and options."""
    return {
        "label": label,
        "estimator": str(measurement.estimator),
        "quantizer": str(measurement.quantizer),
    }


# --- false positives --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class FalsePositives(Piece):
    """How often each estimator sees structure in noise, in trials first to last."""

    null: str = "shuffled"
    repeated: bool = False
    part = "false positives"

    def run(self) -> list[Row]:
        noise, null = NOISES[self.null], get_null(self.null)
        measurements = naturals(self.estimators, "symmetric:4")
        found = np.zeros((len(measurements), 2), int)
        for trial in range(self.first, self.last):
            trials: dict[str, Trial] = {}
            for place, measurement in enumerate(measurements.values()):
                spec = str(measurement.quantizer) if self.null == "uniform" else ""
                if spec not in trials:
                    weights = noise.weights(trial, self.seed, spec or "sign")
                    trials[spec] = Trial(f"trial {trial}", weights, null, self.seed)
                ties = self._ties(trial, measurement, self.null)
                found[place] += trials[spec].is_seen(measurement, ties)
        return [
            {
                **describe(label, measurement),
                "null": self.null,
                "exact": noise.exact,
                "repeated": self.repeated,
                "shape": _shape(noise.shape),
                "trials": self.last - self.first,
                "rejections": int(seen),
                "strict_rejections": int(strictly),
            }
            for (label, measurement), (seen, strictly) in zip(
                measurements.items(), found, strict=True
            )
        ]


def false_positive_row(row: Row) -> Row:
    """The row with the rate added, and whether it lies in the band."""
    trials, seen = row["trials"], row["rejections"]
    low, high = binomial_band(trials)
    return {
        **row,
        "rate": seen / trials,
        "strict_rate": row["strict_rejections"] / trials,
        "band_low": low / trials,
        "band_high": high / trials,
        "within": low <= seen <= high and row["strict_rejections"] <= high,
    }


# --- power ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Power(Piece):
    """How often each estimator distinguishes a family's typical object from its null."""

    family: str = "coin"
    shape: Shape = (16, 16)
    part = "power"

    def run(self) -> list[Row]:
        cls = FAMILIES[self.family]
        null, measurements = get_null(cls.null), naturals(self.estimators, cls.quantizer)
        found = np.zeros(len(measurements), int)
        for trial in range(self.first, self.last):
            thing = known_object(self.family, None, self.shape, _seed(self.seed, trial))
            whole = Trial(f"trial {trial}", thing.weights(), null, self.seed)
            for place, measurement in enumerate(measurements.values()):
                ties = self._ties(trial, measurement, self.family)
                found[place] += whole.is_seen(measurement, ties)[0]
        return [
            {
                "family": self.family,
                "grade": cls.typical,
                "null": cls.null,
                **describe(label, measurement),
                "shape": _shape(self.shape),
                "numel": math.prod(self.shape),
                "trials": self.last - self.first,
                "rejections": int(seen),
            }
            for (label, measurement), seen in zip(measurements.items(), found, strict=True)
        ]


def power_row(row: Row) -> Row:
    """The row with the power and its 99 % interval added."""
    low, high = wilson_interval(row["rejections"], row["trials"])
    power = row["rejections"] / row["trials"]
    return {**row, "power": power, "power_low": low, "power_high": high}


def sees(rejections: int, trials: int) -> str:
    """✓ in nine of ten trials or more; ✗ no more often than chance explains; – in between.

    Chance: the binomial 99.99 % band, wide because there are some hundred pairs to be judged.

    >>> sees(50, 50), sees(20, 50), sees(3, 50)
    ('✓', '–', '✗')
    """
    if rejections >= 0.9 * trials:
        return "✓"
    return "✗" if rejections <= binomial_band(trials, ALPHA, 0.9999)[1] else "–"


# --- known values -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class KnownValues(Piece):
    """Bits of every grade of a family, beside the known value, for seeds first to last."""

    family: str = "coin"
    shape: Shape = (64, 64)
    part = "known values"

    def run(self) -> list[Row]:
        cls = FAMILIES[self.family]
        measurements = naturals(self.estimators, cls.quantizer)
        rows: list[Row] = []
        for seed in range(self.first, self.last):
            for grade in cls.grades:
                thing = known_object(self.family, grade, self.shape, _seed(self.seed, seed))
                trial = Trial(self.family, thing.weights(), None, self.seed)
                for label, measurement in measurements.items():
                    signs = str(measurement.quantizer) == "sign"
                    known = thing.known_sign_bits if signs else thing.known_bits
                    rows.append(
                        {
                            "family": self.family,
                            "grade": float(grade),
                            "seed": seed,
                            "shape": _shape(self.shape),
                            "numel": thing.numel,
                            **describe(label, measurement),
                            "kind": measurement.estimator.kind,
                            "exact": cls.exact,
                            "known_bits": known,
                            "bits": trial.bits(measurement),
                        }
                    )
        return rows


def known_row(row: Row) -> Row:
    """The row with the ratio of its bits to the known ones added."""
    return {**row, "ratio": row["bits"] / row["known_bits"]}


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _seed(seed: int, trial: int) -> int:
    """The seed of an object: different for every run; ``trial`` is below a million."""
    return 1_000_000 * seed + trial
