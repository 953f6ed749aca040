"""How far a job has come, told while it runs, and how a run that ends early stops it."""

from __future__ import annotations

import threading


class Stopped(Exception):
    """The run has ended, and what this job would find is wanted no more."""


class Meter:
    """Counts symbols that accumulators have taken; a job on another machine tells only its end."""

    def add(self, symbols: int) -> None:
        """So many more symbols were taken; `Stopped` is raised if the run has ended."""


class SharedMeter(Meter):
    """The meter of a job in this process, which the run reads while the job goes on.

    >>> meter = SharedMeter()
    >>> meter.add(3)
    >>> meter.taken
    3
    """

    def __init__(self) -> None:
        self.taken = 0
        self._stop = threading.Event()

    def add(self, symbols: int) -> None:
        self.taken += symbols
        if self._stop.is_set():
            raise Stopped

    def stop(self) -> None:
        """End the job at its next chunk."""
        self._stop.set()
