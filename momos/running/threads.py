"""Shares of a layer's outputs, each on a thread of its own."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from kolmo.execution import cores


class _Helpers:
    """Threads that wait for work; a process that was forked has none of its parent's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def submit(self, share: Callable[[int, int], None], first: int, last: int) -> Future[None]:
        with self._lock:
            if self._pool is None or self._process != os.getpid():
                self._pool = ThreadPoolExecutor(max(1, cores() - 1), "momos")
                self._process = os.getpid()
            return self._pool.submit(share, first, last)


_helpers = _Helpers()


def in_shares(share: Callable[[int, int], None], count: int, step: int, threads: int) -> None:
    """Call ``share(first, last)`` for parts of [0, count) that begin at multiples of a step."""
    threads = max(1, min(threads, cores(), count // step))
    ends = [count * number // threads // step * step for number in range(threads)] + [count]
    own, *others = itertools.pairwise(ends)
    waiting = [_helpers.submit(share, *part) for part in others]
    share(*own)
    for future in waiting:
        future.result()
