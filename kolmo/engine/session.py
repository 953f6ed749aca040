"""Several checkpoints measured as one run: one queue of jobs, one progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from kolmo.engine.deadline import Deadline
from kolmo.engine.jobs import Job
from kolmo.engine.pool import Pool
from kolmo.engine.run import Run
from kolmo.execution import Progress
from kolmo.measure import Measurement
from kolmo.outcomes import Result
from kolmo.rates import shared_rates

_SCALE = 1_000_000  # units of progress a second of expected work


Each = Callable[[str, str, Mapping[Measurement, Result]], None]
"""``each(checkpoint, tensor, results)``: the figures of a tensor, as soon as they are known."""


def measure_all(
    runs: Mapping[str, Run],
    pool: Pool,
    progress: Progress,
    each: Each | None = None,
    deadline: Deadline | None = None,
) -> None:
    """Measure everything. Whatever ends it early leaves what is done in the runs' results; what a
    deadline leaves out is marked there."""
    session = _Session(runs, progress, each)
    try:
        pool.run(session.jobs(), session.take, session.tell, deadline)
    finally:
        shared_rates().save()
    for run in runs.values() if deadline else ():
        run.ended = "the budget ended before it"
    progress(1, 1, "done")


class _Session:
    """Knows which run each job is of, and how much there is to do."""

    def __init__(self, runs: Mapping[str, Run], progress: Progress, each: Each | None) -> None:
        self._runs, self._progress, self._each = runs, progress, each
        self._owners: dict[Job, str] = {}
        self._cost = 0.0  # of all jobs that are known by now
        self._weights = sum(run.numel for run in runs.values())
        self._bytes = sum(run.size for run in runs.values())
        self._began = time.monotonic()

    def jobs(self) -> Iterator[Job]:
        for name, run in self._runs.items():
            yield from self._own(name, run.jobs())

    def take(self, job: Job, found: Any) -> Iterable[Job]:
        name = self._owners.pop(job)
        following = list(self._own(name, self._runs[name].take(job, found)))
        if self._each:
            for tensor, results in self._runs[name].news():
                self._each(name, tensor, results)
        return following

    def tell(self, done: float, job: Job | None) -> None:
        total = max(self._cost + sum(run.to_come for run in self._runs.values()), 1 / _SCALE)
        label = f"{self._label(job)} ({self._how_far(done / total)})" if job else ""
        self._progress(round(done * _SCALE), round(total * _SCALE), label)

    def _how_far(self, share: float) -> str:
        """Weights and bytes of this share of the work, and weights a second."""
        rate = share * self._weights / max(time.monotonic() - self._began, 1e-3)
        done = f"{share * self._bytes / 1e9:.3g} of {self._bytes / 1e9:.3g} GB"
        return f"{done}, {rate / 1e6:.3g} M weights/s"

    def _own(self, name: str, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            self._owners[job] = name
            self._cost += job.cost
            yield job

    def _label(self, job: Job) -> str:
        return f"{self._owners[job]}: {job.label}" if job in self._owners else job.label
