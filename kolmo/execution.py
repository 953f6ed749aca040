"""How it runs: lanes on a pool of threads.

A lane is a sequence of jobs that run one after the other, in order, on whichever thread is free;
different lanes run side by side. One accumulator is fed by one lane, so that a result never
depends on the number of threads.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

Job = Callable[[], None]

BACKLOG = 32
"""Jobs that may wait or run at once; bounds the chunks in memory."""


class Lanes:
    """A pool of threads and the lanes on it, a context manager.

    Leaving it by an exception drops the jobs that have not started.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, "kolmo")
        self.room = threading.Semaphore(BACKLOG)
        self.dropped = False

    def __enter__(self) -> Lanes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.dropped = error is not None
        self._pool.shutdown(wait=True, cancel_futures=self.dropped)

    def lane(self) -> Lane:
        """A new lane."""
        return Lane(self)

    def drain(self) -> Iterator[None]:
        """Wait until every job is done; yields now and then, so that progress can be shown."""
        taken = 0
        while taken < BACKLOG:
            if self.room.acquire(timeout=0.1):
                taken += 1
            else:
                yield
        self.room.release(taken)

    def enter(self, run: Job) -> None:
        """Run this on a thread of the pool."""
        self._pool.submit(run)


class Lane:
    """Jobs in order; the first exception ends the lane and is kept in ``error``.

    Attributes
    ----------
    seconds : float
        Time that its jobs took.
    error : Exception or None
    """

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._jobs: deque[Job] = deque()
        self._lock = threading.Lock()
        self._running = False
        self.seconds = 0.0
        self.error: Exception | None = None

    def submit(self, job: Job) -> None:
        """Put a job at the lane's end; waits while too many jobs are under way."""
        self._lanes.room.acquire()
        with self._lock:
            self._jobs.append(job)
            if self._running:
                return
            self._running = True
        self._lanes.enter(self._run)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            began = time.perf_counter()
            try:
                if self.error is None and not self._lanes.dropped:
                    job()
            except Exception as error:
                self.error = error
            self.seconds += time.perf_counter() - began
            self._lanes.room.release()

    def _next(self) -> Job | None:
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            self._running = False
            return None
