"""Execution: lanes on a pool of threads.

A lane is a sequence of jobs that run one after the other, in order, on any free thread; different
lanes run in parallel. One accumulator is fed by one lane, so that a result never depends on the
number of threads.
"""

from __future__ import annotations

import gc
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from kolmo.errors import InputError

Job = Callable[[], None]

BACKLOG = 32
"""Jobs that may wait or run at once; bounds the chunks in memory."""

_RARE = 100_000  # new objects between two searches for garbage
_TURN = 0.0002  # seconds that a thread may have Python while another one wants it


class Lanes:
    """A pool of threads and the lanes on it, a context manager.

    Leaving it by an exception drops the jobs that have not started.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads or cores(), "kolmo")
        self.room = threading.Semaphore(BACKLOG)
        self.dropped = False

    def __enter__(self) -> Lanes:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
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
        acquired = 0
        while acquired < BACKLOG:
            if self.room.acquire(timeout=0.1):
                acquired += 1
            else:
                yield
        self.room.release(acquired)

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


Progress = Callable[[int, int, str], None]
"""``progress(done, total, label)``, called now and then from the thread that began the work."""


class Stages:
    """One progress over several runs, one after the other, each of which tells its own.

    The first is given a share of the whole, and each of the others half of what is left then, for
    nobody knows how many there will be.

    >>> told = []
    >>> stages = Stages(lambda done, total, label: told.append(done / total), first=0.6)
    >>> for _ in range(3):
    ...     stages.next()(1, 1, "done")
    >>> [round(share, 2) for share in told]
    [0.6, 0.8, 0.9]
    """

    def __init__(self, progress: Progress, first: float) -> None:
        self._progress, self._behind, self._width = progress, 0.0, 0.0
        self._first = first

    def next(self) -> Progress:
        """The progress of the next run."""
        behind = self._behind + self._width
        self._width = (1 - behind) / 2 if behind else self._first
        self._behind = behind
        if self._width == 1:
            return self._progress
        return self._tell

    def _tell(self, done: int, total: int, label: str) -> None:
        share = self._behind + self._width * done / max(1, total)
        self._progress(round(share * 1_000_000), 1_000_000, label)


def no_progress(done: int, total: int, label: str) -> None:
    """Tells nobody."""


Item = TypeVar("Item")


Made = TypeVar("Made")


def in_order(
    make: Callable[[Item], Made], items: Sequence[Item], threads: int
) -> Iterator[tuple[Item, Made]]:
    """Each item with ``make(item)``, in order; ``threads`` threads work a few items ahead.

    >>> [made for _, made in in_order(abs, [-1, 2, -3], threads=2)]
    [1, 2, 3]
    """
    pool, ahead = ThreadPoolExecutor(threads, "kolmo"), deque[tuple[Item, "Future[Made]"]]()
    try:
        for item in items:
            ahead.append((item, pool.submit(make, item)))
            if len(ahead) > threads:
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_QUOTA = Path("/sys/fs/cgroup/cpu.max")


Value = TypeVar("Value")


class _Setting(Generic[Value]):
    """One of the interpreter's settings. Runs side by side, on several threads, change it once, and
    the last one to end restores what was set before."""

    def __init__(
        self,
        read: Callable[[], Value],
        write: Callable[[Value], None],
        wanted: Callable[[Value], Value],
    ) -> None:
        self._read, self._write, self._wanted = read, write, wanted
        self._lock, self._users, self._before = threading.Lock(), 0, read()

    @contextmanager
    def changed(self) -> Iterator[None]:
        """While this lasts it is what is wanted in the place of what it was."""
        with self._lock:
            if self._users == 0:
                self._before = self._read()
                self._write(self._wanted(self._before))
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._write(self._before)


def _rarer(threshold: tuple[int, int, int]) -> tuple[int, int, int]:
    often, older, oldest = threshold  # 0 where a program has turned it off
    return often and max(often, _RARE), older, oldest


_collections = _Setting(gc.get_threshold, lambda threshold: gc.set_threshold(*threshold), _rarer)
_turns = _Setting(sys.getswitchinterval, sys.setswitchinterval, lambda turn: min(turn, _TURN))


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let Python look rarely for garbage that refers to itself: of hundreds of thousands of results
    there is none, and each search walks through all of them.

    >>> before = gc.get_threshold()
    >>> with rare_collections(), rare_collections():
    ...     gc.get_threshold()[0]
    100000
    >>> gc.get_threshold() == before
    True
    """
    with _collections.changed():
        yield


@contextmanager
def short_turns() -> Iterator[None]:
    """Let a thread that comes back from a compiled loop have Python soon: it gives Python away for
    each of many short loops, and would wait for its turn after every one while another thread's
    Python goes on.

    >>> before = sys.getswitchinterval()
    >>> with short_turns():
    ...     round(sys.getswitchinterval(), 6)  # Python keeps whole microseconds
    0.0002
    >>> sys.getswitchinterval() == before
    True
    """
    with _turns.changed():
        yield


def cores() -> int:
    """How many threads can run at once: the processors that the process may use (`taskset`, batch
    systems), and no more than a container's share of processor time allows.

    >>> 1 <= cores() <= os.cpu_count()
    True
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return min(allowed, _share(_QUOTA))


def _share(quota: Path) -> int:
    """The processors that a control group's quota amounts to, rounded up; many without one."""
    try:
        microseconds, period = quota.read_text(encoding="ascii").split()
        return max(1, math.ceil(int(microseconds) / int(period)))
    except (OSError, ValueError):  # no control groups, or "max", no quota
        return 1 << 16


def thread_count(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise InputError(f"threads are at least 1, not {threads}")
    return threads or cores()


_LARGE = 1 << 17


_T = TypeVar("_T")


def in_parts(work: Callable[[slice], _T], size: int, unit: int = 1) -> list[_T]:
    """Results of work on parts of a range; a large range uses as many threads as cores.

    All parts but the last are a multiple of ``unit`` long. Their number depends on the machine, so
    that only results that add up exactly may be joined.
    """
    count = cores() if size >= _LARGE else 1
    width = max(unit, -(-size // count // unit) * unit)
    starts = range(0, size, width)
    parts = [slice(start, min(start + width, size)) for start in starts] or [slice(0, 0)]
    if len(parts) == 1:
        return [work(parts[0])]
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(work, parts))
