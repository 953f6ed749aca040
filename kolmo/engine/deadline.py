"""A run that must end in time: which jobs may still begin."""

from __future__ import annotations

import time

from kolmo.engine.jobs import Job

_PRIOR = 0.2  # of all time, for which expectations stand before any work was seen


class Deadline:
    """The end of a run, and how much longer than expected its jobs take.

    Parameters
    ----------
    end : float
        By `time.monotonic`.
    workers : int
        Jobs that run side by side.

    Examples
    --------
    >>> Deadline(time.monotonic() - 1, 1).is_over
    True
    """

    def __init__(self, end: float, workers: int) -> None:
        self._end, self._workers = end, workers
        self._began = time.monotonic()
        self._prior = _PRIOR * max(0.0, end - self._began) * workers
        self._cost = 0.0

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def is_late(self, job: Job) -> bool:
        """Whether a job that began now would end too late."""
        return time.monotonic() + job.cost * self._pace >= self._end

    def ended(self, job: Job) -> None:
        """Note that a job is done."""
        self._cost += job.cost

    @property
    def _pace(self) -> float:
        """Seconds that a second of expected work takes, at least 1."""
        taken = (time.monotonic() - self._began) * self._workers
        seen = self._cost + self._prior
        return max(1.0, (taken + self._prior) / seen) if self._cost and seen else 1.0
