"""Rates of this machine: the shipped ones, corrected by what runs took."""

from __future__ import annotations

import functools
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_path

from kolmo.errors import InputError
from kolmo.estimators.base import Estimator
from kolmo.files import read_sealed, sealed, write_text
from kolmo.nulls import Null
from kolmo.quantize import Quantizer
from kolmo.rates.machine import machine_name, workload_seconds
from kolmo.rates.work import Price, drawing, hashing, measuring, reading, shipped

MEMORY = 60.0
"""Seconds of work that count: what was observed longer ago has faded by e."""

PRIOR = 0.02
"""Seconds of work for which the shipped rate stands, so that a first observation of microseconds
moves little."""


class Rates:
    """Expected seconds of work on this machine, learned as runs go; safe for threads.

    Parameters
    ----------
    path : Path, optional
        The file that keeps what is learned, ``rates.json`` in the user's cache folder by default.
        Where it cannot be read, is damaged, or is another machine's or version's, learning begins
        anew; where it cannot be written, what is learned stays in memory.

    Attributes
    ----------
    factor : float
        How much longer this machine takes than the one where the shipped rates were measured.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or user_cache_path("kolmo") / "rates.json"
        self._lock = threading.Lock()
        kept = self._kept()
        self._changed = kept is None
        self.factor: float
        self._sums: dict[str, tuple[float, float]]
        self.factor, self._sums = kept or (workload_seconds() / shipped()["workload"], {})

    def seconds(self, price: Price) -> float:
        """Seconds of one core that some work takes."""
        return price.seconds * self.factor * self._correction(price.key)

    def observe(self, price: Price, seconds: float) -> None:
        """Take what some work took, in seconds of one core.

        The correction of its kind is Σ seconds / Σ expected seconds, sums in which every second of
        work counts the same and the last minute's count most: so totals are right, however many
        small tensors there are.
        """
        expected = price.seconds * self.factor
        if not (math.isfinite(seconds) and seconds >= 0 and expected > 0):
            return
        with self._lock:
            fading = math.exp(-expected / MEMORY)
            took, expectation = self._sums.get(price.key, (PRIOR, PRIOR))
            self._sums[price.key] = (fading * took + seconds, fading * expectation + expected)
            self._changed = True

    def save(self) -> None:
        """Keep what was learned, for the next run; in silence where nothing can be written."""
        with self._lock:
            if not self._changed:
                return
            sums = {key: list(pair) for key, pair in self._sums.items()}
            self._changed = False
        kept = {"machine": machine_name(), "factor": self.factor, "sums": sums}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, sealed(kept))
        except (InputError, OSError):
            return

    def _correction(self, key: str) -> float:
        took, expected = self._sums.get(key, (1.0, 1.0))
        return took / expected

    def _kept(self) -> tuple[float, dict[str, tuple[float, float]]] | None:
        """What the file holds; None if that is of no use."""
        kept = read_sealed(self.path)
        if kept is None or kept["machine"] != machine_name():
            return None
        return kept["factor"], {key: (took, exp) for key, (took, exp) in kept["sums"].items()}


@functools.cache
def shared_rates() -> Rates:
    """The rates of this process, read at first use."""
    return Rates()


def expected_seconds(
    estimator: str | Estimator,
    quantizer: str | Quantizer,
    dtype: np.dtype[Any] | str,
    numel: int,
    null: str | Null | None = None,
    sharing: int = 1,
) -> float:
    """Seconds of one core for a measurement of a tensor: symbols made, and measured.

    Parameters
    ----------
    estimator, quantizer : spec or object
    dtype : numpy.dtype or str
        That of the weights, its name, or the form of a quantized tensor (``4-bit GPTQ``).
    numel : int
    null : spec or object, optional
        With it, of one draw of it.
    sharing : int
        Measurements that take the same symbols (and draws), which are made once for all.

    Examples
    --------
    >>> small = expected_seconds("kt", "sign", "bfloat16", 1_000_000)
    >>> large = expected_seconds("kt", "sign", "bfloat16", 100_000_000)
    >>> 0 < 10 * small < large
    True
    """
    rates = shared_rates()
    seconds = rates.seconds(measuring(estimator, quantizer, dtype, numel, sharing))
    if null is not None:
        seconds += rates.seconds(drawing(null, dtype, numel)) / sharing
    return seconds


def observe(
    estimator: str | Estimator,
    quantizer: str | Quantizer,
    dtype: np.dtype[Any] | str,
    numel: int,
    seconds: float,
    sharing: int = 1,
) -> None:
    """Take what `expected_seconds` foretold for weights as they are (`Rates.observe`)."""
    shared_rates().observe(measuring(estimator, quantizer, dtype, numel, sharing), seconds)


def reading_seconds(size: int) -> float:
    """Seconds of one core for reading so many bytes that lie in memory."""
    return shared_rates().seconds(reading(size))


def hashing_seconds(size: int) -> float:
    """Seconds of one core for hashing so many bytes."""
    return shared_rates().seconds(hashing(size))
