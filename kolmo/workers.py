"""Processes that work for this one: they begin afresh, leave signals to it, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from kolmo.errors import KolmoError

_LEFT = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]
"""Signals of a terminal, which all processes in it get: this one decides what they mean."""


@contextmanager
def process_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of so many processes; leaving it by an error drops what has not begun.

    Neither torch's threads nor numba's survive a fork, so that each begins afresh.

    Raises
    ------
    KolmoError
        If one of them was killed.
    """
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    try:
        with _held_back():
            pool.submit(os.getpid)  # which begins them all
        yield pool
    except BrokenProcessPool:
        raise KolmoError(
            "a process that worked for this one was killed; where memory ran out, fewer at once "
            "need less. What is done is kept, and the same command goes on"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _held_back() -> Iterator[None]:
    """Signals of a terminal wait meanwhile, where the system can let them: processes that are
    started inside have not begun to leave them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _begin() -> None:
    """In such a process: leave the signals, and end when the one it works for has ended, which may
    have been killed and could not say so."""
    for number in _LEFT:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
