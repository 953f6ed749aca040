"""Cadence: when the next reading may begin, so that all of them take a small share of the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kolmo.errors import InputError


class Cadence:
    """Checks begin only where, with what the next one may take, all of them together have taken at
    most a share of the time since the first.

    So the share holds at the end of each reading but the first, as long as none takes longer than
    its forerunner said that one may; if one does, the next waits until the share holds again.

    Parameters
    ----------
    share : float or None
        In (0, 1]; None of readings that may always begin.
    clock : callable
        Seconds.

    Attributes
    ----------
    spent : float
        Seconds that readings took.
    expected : float
        Seconds that the next one may take; the first is not foreseen.
    """

    def __init__(
        self, share: float | None = 0.01, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if share is not None and not 0 < share <= 1:
            raise InputError(f"share is a share of the time, in (0, 1], not {share}")
        self.share, self._clock = share, clock
        self._began: float | None = None
        self.spent = self.expected = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the first reading began."""
        return 0.0 if self._began is None else self._clock() - self._began

    @property
    def cost_share(self) -> float:
        """The share of the time since the first reading that readings took; 0 before it."""
        return self.spent / self.elapsed if self.elapsed else 0.0

    def may_begin(self) -> bool:
        """Whether a reading may begin now."""
        if self.share is None:
            return True
        return self.spent + self.expected <= self.share * self.elapsed

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While a reading lasts."""
        start = self._clock()
        self._began = start if self._began is None else self._began
        try:
            yield
        finally:
            self.spent += self._clock() - start
