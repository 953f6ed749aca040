"""Monitor: watches the weights of a network while it is trained.

::

    model ─► windows, copied ─► code length, and that of their shuffles ─► Reading ─► loggers
              the same at every step        only as often as a share of the time allows
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from kolmo.callbacks.cadence import Cadence
from kolmo.callbacks.lengths import Tested, against_shuffles
from kolmo.callbacks.loggers import logs_of, tell
from kolmo.callbacks.readings import Reading
from kolmo.callbacks.windows import watched
from kolmo.checkpoints.base import Checkpoint
from kolmo.errors import InputError
from kolmo.estimators.base import CodeLength, Estimator, get_estimator
from kolmo.measure import Measurement
from kolmo.outcomes import Missing
from kolmo.pvalues import is_significant
from kolmo.quantize import Quantizer, get_quantizer

if TYPE_CHECKING:
    import pandas as pd

QUANTIZER = "nmse:0.001,axis=tensor"
"""What is measured by default: each window at a grid that loses a thousandth of its energy, so that
steps are compared at equal distortion, whatever the scale of the weights is by then."""


class Monitor:
    """Bits a weight, share of the shuffle and a verdict, while a network is trained.

    The figures are those of a fixed sample of the weights, windows of at most ``weights`` weights
    in all (the whole of a smaller network): equal weights at a step give equal figures. They are a
    bound or an estimate for these weights, as the estimator is, and none for the rest.

    Training is the same, bit for bit, with a monitor and without: weights are only copied, no
    random number is taken from a generator of Python, NumPy or torch, no gradient is asked for. In
    distributed training the process of rank 0 alone measures, what lies there.

    Parameters
    ----------
    model : nn.Module
        Also one that is compiled, or wrapped for several processes.
    every : int
        Steps from one reading to the next, at least.
    share : float or None
        Share of the time that readings may take together: the first comes before the first step,
        and the second waits until both fit (`kolmo.callbacks.cadence`). None for a reading at every
        multiple of ``every``, whatever it takes.
    weights : int
        Weights that are watched, at most.
    quantizer, estimator : spec or object
    draws : int
        Shuffles at most: 39 reach a verdict at α = .05. Drawing ends with the first shuffle that is
        no longer than the weights, but not before nine are drawn. 0 for no test.
    log : callable, logger, or a list of these, optional
        Who is told of each reading: see `kolmo.callbacks.loggers`.
    seed : int
        Of windows and shuffles.

    Attributes
    ----------
    history : list of Reading
    cost_share : float
        Share of the time since the first reading that readings took.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(30, 20)
    >>> monitor = Monitor(model, every=100, share=None, draws=0)
    >>> for n in range(301):  # the training
    ...     reading = monitor.step(n)
    >>> [reading.step for reading in monitor.history], monitor.history[0].weights
    ([0, 100, 200, 300], 620)
    """

    def __init__(
        self,
        model: Any,
        *,
        every: int = 1,
        share: float | None = 0.01,
        weights: int = 1 << 14,
        quantizer: str | Quantizer = QUANTIZER,
        estimator: str | Estimator = "context",
        draws: int = 39,
        log: Any = None,
        seed: int = 0,
    ) -> None:
        for name, value in (("every", every), ("weights", weights), ("draws", draws + 1)):
            if value < 1:
                raise InputError(f"{name} is too small a number for a monitor")
        self._measurement = Measurement(get_quantizer(quantizer), get_estimator(estimator))
        self._model, self._every, self._weights = model, every, weights
        self._draws, self._seed, self._logs = draws, seed, logs_of(log)
        self._cadence, self._steps = Cadence(share), -1
        self.history: list[Reading] = []
        if _is_first():
            self.windows()  # which refuses what cannot be watched, before the training

    @property
    def cost_share(self) -> float:
        """Share of the time since the first reading that readings took."""
        return self._cadence.cost_share

    @property
    def table(self) -> pd.DataFrame:
        """The history as a table, a row for each reading."""
        import pandas as pd

        names = [field.name for field in dataclasses.fields(Reading)]
        return pd.DataFrame([dataclasses.astuple(c) for c in self.history], columns=names)

    def windows(self) -> Checkpoint:
        """The watched weights as they are now, a checkpoint that all of kolmo measures."""
        return watched(self._model, self._weights, self._seed)

    def step(self, number: int | None = None) -> Reading | None:
        """Tell of a step of the training; measures if a reading is due.

        Parameters
        ----------
        number : int, optional
            The number of the step, 0 before the first; without it, steps are counted from 0.

        Returns
        -------
        Reading or None
        """
        before, self._steps = self._steps, self._steps + 1 if number is None else number
        is_new = self._steps != before or not self.history
        due = is_new and self._steps % self._every == 0 and _is_first()
        return self.read(self._steps) if due and self._cadence.may_begin() else None

    def read(self, step: int) -> Reading:
        """Measure now, due or not."""
        with self._cadence.reading():
            windows = self.windows()
            if not self.history:
                self._warm_up(windows)
            began = time.perf_counter()
            found = against_shuffles(windows, self._measurement, self._draws, self._seed)
            seconds = time.perf_counter() - began
            reading = self._reading(step, windows.numel, found, seconds)
            self.history.append(reading)
            tell(self._logs, reading)
            longest = (self._draws + 1) / (len(found.draws) + 1)
            self._cadence.expected = longest * (time.perf_counter() - began)
        return reading

    def _warm_up(self, windows: Checkpoint) -> None:
        """Load the compiled loops, which takes a while once and is no part of a reading's time."""
        few = windows.holding([next(iter(windows.values()))], [])
        against_shuffles(few, self._measurement, min(1, self._draws), self._seed)

    def _reading(self, step: int, weights: int, found: Tested, seconds: float) -> Reading:
        outcome = found.outcome
        known = outcome if isinstance(outcome, CodeLength) else None
        share, spread = _share(known.bits, found.draws) if known else (math.nan, math.nan)
        return Reading(
            step,
            weights,
            known.bits_per_weight if known else math.nan,
            self._measurement.estimator.kind,
            share,
            spread,
            math.nan if found.p is None else found.p,
            len(found.draws),
            _verdict(found),
            str(self._measurement.quantizer),
            str(self._measurement.estimator),
            outcome.reason if isinstance(outcome, Missing) else found.why,
            seconds,
        )


def _share(bits: float, draws: tuple[float, ...]) -> tuple[float, float]:
    """Bits over the mean of the draws, and the standard deviation over them."""
    mean = statistics.fmean(draws) if draws else 0.0
    if not mean:
        return math.nan, math.nan
    spread = statistics.stdev(draws) if len(draws) > 1 else math.nan
    return bits / mean, bits / mean * spread / mean


def _verdict(found: Tested) -> str:
    if found.p is None:
        return "no test"
    if is_significant(found.p):
        return "structure"
    all_longer = found.p == 2 / (len(found.draws) + 1)
    return "undecided" if all_longer else "none"


def _is_first() -> bool:
    """Whether this is the only process of the training, or that of rank 0."""
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return True
    return bool(distributed.get_rank() == 0)
