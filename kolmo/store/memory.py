"""The memory of a run: results are looked up at once and written in batches, behind its back."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from kolmo.outcomes import Result
from kolmo.store.keys import ResultKey
from kolmo.store.store import Store

PAUSE = 0.2
"""Seconds that a result waits to be written, at most."""

MANY = 512
"""Results that wait, at most."""


_Found = TypeVar("_Found")


class RunMemory:
    """What a run recalls and keeps; safe to use from any thread.

    A thread of its own writes what has waited for a moment, so that a run that is killed loses no
    more than that. No trouble of the store reaches the run.

    Parameters
    ----------
    store : Store
        Closed with the memory.

    Attributes
    ----------
    recalled, kept : int
        How many results were found, and were given to be kept.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from kolmo.outcomes import Missing
    >>> from kolmo.store import open_store
    >>> key = ResultKey(bytes(32), bytes(32), "kt of sign")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "results.sqlite")
    ...     with RunMemory(open_store(file)) as memory:
    ...         memory.keep(key, Result(Missing("no blocks"), 0.5))
    ...     with RunMemory(open_store(file)) as memory:
    ...         (found,) = memory.recall([key]).values()
    >>> found.outcome.reason, memory.recalled
    ('no blocks', 1)
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.recalled = self.kept = 0
        self._waiting: dict[ResultKey, Result] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="kolmo-store", daemon=True)
        self._writer.start()

    def __enter__(self) -> RunMemory:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def path(self) -> Path | None:
        """The store's file."""
        return self._store.path

    def recall(self, keys: Iterable[ResultKey | None]) -> dict[ResultKey, Result]:
        """Those of these results that are known; a key that is None has none."""
        wanted = [key for key in keys if key is not None]
        with self._changed:
            waiting = {key: self._waiting[key] for key in wanted if key in self._waiting}
        found = self._safely(lambda: self._store.get(k for k in wanted if k not in waiting)) or {}
        with self._changed:
            self.recalled += len(waiting) + len(found)
        return {**waiting, **found}

    def keep(self, key: ResultKey | None, result: Result) -> None:
        """Keep a result, within a moment; under a key that is None it is not."""
        if key is None:
            return
        with self._changed:
            self._waiting[key] = result
            self.kept += 1
            self._changed.notify()

    def close(self) -> None:
        """Write what waits, and close the store."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join()
        self._safely(self._store.close)

    def _safely(self, action: Callable[[], _Found]) -> _Found | None:
        """The store itself warns of trouble; this holds even an error in its own code."""
        try:
            return action()
        except Exception as error:
            warnings.warn(f"the store of results failed: {error!r}", RuntimeWarning, stacklevel=3)
            return None

    def _write(self) -> None:
        """Write what waits, again and again; what another process held up is tried again."""
        while True:
            batch = self._next_batch()
            done = not batch or self._safely(lambda: self._store.put(batch)) is not False  # noqa: B023
            with self._changed:
                for key in batch if done else ():
                    if self._waiting.get(key) is batch[key]:
                        del self._waiting[key]
                if self._closing and not (done and self._waiting):
                    return

    def _next_batch(self) -> dict[ResultKey, Result]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            until = time.monotonic() + PAUSE
            while not self._closing and len(self._waiting) < MANY:
                if not self._changed.wait(until - time.monotonic()):
                    break
            return dict(self._waiting)
