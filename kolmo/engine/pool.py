"""Jobs on an executor: as many at once as there are workers, and as memory allows."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from itertools import islice
from typing import Any

from kolmo.checkpoints.files import kept_open
from kolmo.engine.cluster import crew_of
from kolmo.engine.deadline import Deadline
from kolmo.engine.jobs import Job
from kolmo.engine.meters import Meter, SharedMeter, Stopped
from kolmo.engine.processes import Processes
from kolmo.errors import KolmoError
from kolmo.execution import thread_count

MEMORY = 1152 << 20
"""Bytes that all jobs which run at once in this process may state to hold; a larger one runs alone.
They state what they hold at most, which is more than they come to hold together."""

LONG = 4.0
"""Seconds from which a job is a long one, which must not be the last to begin."""

WORTH = 4.0
"""Seconds of work on small tensors from which processes for it are worth their beginning."""

_PAUSE = 0.1  # seconds between two looks at the meters

Done = Callable[[Job, Any], Iterable[Job]]
"""Takes a job's result, and gives the jobs that can be done now."""

Tell = Callable[[float, Job | None], None]


class Queue:
    """Jobs that wait: short ones in their order, and long ones by falling cost.

    A long job begins as soon as all that waits would take the workers no longer than it alone, so
    that all of them end together; until then the short ones are done, whose results come early.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._short: deque[Job] = deque()
        self._long: list[Job] = []
        self.cost = 0.0  # of all jobs that wait
        self.fine_cost = 0.0  # of those on small tensors

    def __len__(self) -> int:
        return len(self._short) + len(self._long)

    def add(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._count(job, 1)
            (self._long if job.cost > LONG else self._short).append(job)
        self._long.sort(key=lambda job: -job.cost)

    def take(self, fits: Callable[[Job], bool]) -> Job | None:
        """The next job that fits: of the long ones any, of the short ones the first; or None."""
        for waiting in self._order():
            looked = waiting if waiting is self._long else [*islice(waiting, 1)]
            found = next((place for place, job in enumerate(looked) if fits(job)), None)
            if found is not None:
                job = waiting[found]
                del waiting[found]
                self._count(job, -1)
                return job
        return None

    @property
    def is_due(self) -> bool:
        """Whether a long job must begin, lest it be the last to end."""
        return bool(self._long) and self._long[0].cost * self.workers >= self.cost

    def drop(self, is_late: Callable[[Job], bool]) -> None:
        """Forget the jobs that would end too late."""
        kept = [job for job in (*self._short, *self._long) if not is_late(job)]
        self._short.clear()
        self._long.clear()
        self.cost = self.fine_cost = 0.0
        self.add(kept)

    def _count(self, job: Job, sign: int) -> None:
        self.cost += sign * job.cost
        self.fine_cost += sign * job.cost * job.is_fine

    def _order(self) -> Iterator[deque[Job] | list[Job]]:
        return iter((self._long, self._short) if self.is_due else (self._short, self._long))


@dataclasses.dataclass
class Pool:
    """An executor, and what it may do at once.

    Attributes
    ----------
    executor : concurrent.futures.Executor
    workers : int
        Jobs that it runs side by side.
    depth : int
        Jobs in its hands for each worker: more than one, where they are far, so that none waits.
    memory : int or None
        Bytes that the jobs in its hands may hold; None where they run on other machines.
    count : callable, optional
        Tells, whenever it is asked, the workers that there are now.
    processes : Executor, optional
        What runs jobs of many small tensors in the place of the threads, where they are worth it.
    """

    executor: Executor
    workers: int
    depth: int = 1
    memory: int | None = MEMORY
    count: Callable[[], int] | None = None
    processes: Executor | None = None
    _begun: bool = dataclasses.field(default=False, init=False)

    def run(
        self, jobs: Iterable[Job], done: Done, tell: Tell, deadline: Deadline | None = None
    ) -> None:
        """Do these jobs, and those that follow from their results.

        With a deadline jobs that would end behind it do not begin, and those that do are stopped.
        ``tell(seconds, job)`` is called now and then with the cost of what is done by now, and a
        job that is running, or None.

        Raises
        ------
        KolmoError
            If a job fails. Whatever ends the run, running jobs are stopped, the others dropped.
        """
        running: dict[Future[Any], tuple[Job, SharedMeter]] = {}
        queue, finished = Queue(self.workers), 0.0
        queue.add(jobs)
        try:
            while queue or running:
                self._recount(queue)
                if deadline:
                    queue.drop(deadline.is_late)
                    if deadline.is_over:
                        return
                self._fill(queue, running)
                under_way = sum(_share(*each) for each in running.values())
                tell(finished + under_way, next((job for job, _ in running.values()), None))
                ended, _ = wait(running, timeout=_PAUSE, return_when=FIRST_COMPLETED)
                for future in ended:
                    job, _ = running.pop(future)
                    if deadline:
                        deadline.ended(job)
                    finished += job.cost
                    queue.add(done(job, _result(job, future)))
        finally:
            self._stop(running)

    def _recount(self, queue: Queue) -> None:
        if self.count:
            self.workers = queue.workers = self.count()

    def _fill(self, queue: Queue, running: dict[Future[Any], tuple[Job, SharedMeter]]) -> None:
        while queue and len(running) < self.workers * self.depth:
            if queue.is_due and len(running) >= self.workers:
                return  # a long job waits behind no other, for it might stay there
            held = sum(job.memory for job, _ in running.values())
            job = queue.take(lambda job, held=held: self._fits(job, held))  # type: ignore[misc]
            if job is None:
                return
            _ = job.symbols  # which it remembers: not while an executor pickles it
            meter, executor = SharedMeter(), self._executor(job, queue)
            own = (meter,) if isinstance(executor, ThreadPoolExecutor) else ()
            running[executor.submit(run_job, job, *own)] = job, meter

    def _executor(self, job: Job, queue: Queue) -> Executor:
        """What runs a job: processes, if there is so much of its kind that they are worth it."""
        if self.processes is None or not job.is_fine:
            return self.executor
        self._begun = self._begun or queue.fine_cost + job.cost > WORTH
        return self.processes if self._begun else self.executor

    def _fits(self, job: Job, held: int) -> bool:
        return self.memory is None or not held or held + job.memory <= self.memory

    def _stop(self, running: dict[Future[Any], tuple[Job, SharedMeter]]) -> None:
        for future, (_, meter) in running.items():
            future.cancel()
            meter.stop()
        if self.processes:
            self.processes.shutdown(wait=False)
        if isinstance(self.executor, ThreadPoolExecutor):
            wait(running)


def run_job(job: Job, meter: Meter | None = None) -> Any:
    """What an executor runs."""
    with kept_open():
        return job.run(meter or Meter())


def _result(job: Job, future: Future[Any]) -> Any:
    try:
        return future.result()
    except (KolmoError, Stopped):
        raise
    except CancelledError:
        raise KolmoError(f"measuring {job.label} was given up by its executor") from None
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise KolmoError(f"measuring {job.label} failed: {reason}") from error


def _share(job: Job, meter: SharedMeter) -> float:
    """The cost of what a running job has done."""
    return job.cost * min(1.0, meter.taken / job.symbols) if job.symbols else 0.0


@contextmanager
def open_pool(executor: Executor | None, threads: int | None) -> Iterator[Pool]:
    """A pool on an executor, or on threads of its own, which end with it.

    An executor that is no pool of threads is taken to run jobs elsewhere: it is given twice as many
    as it has workers for, and cares for their memory itself. The workers of a Dask cluster are
    counted again and again.
    """
    if executor is None:
        number = thread_count(threads)
        with ThreadPoolExecutor(number, "kolmo") as own, Processes(number) as processes:
            yield Pool(own, number, processes=processes if number > 1 else None)
    elif isinstance(executor, ThreadPoolExecutor):
        yield Pool(executor, threads or executor._max_workers)
    elif threads is None and (crew := crew_of(executor)):
        yield Pool(executor, crew(), depth=2, memory=None, count=crew)
    else:
        workers = threads or getattr(executor, "_max_workers", None) or thread_count(None)
        yield Pool(executor, workers, depth=2, memory=None)
