"""Runs on Dask: workers read their own byte ranges, and send counts and code lengths only."""

from __future__ import annotations

import importlib
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kolmo.errors import InputError, KolmoError, MissingExtraError

PATIENCE = 60.0
"""Seconds that a cluster may be without workers: until the first comes, or the lost come back."""

LOOK = 2.0
"""Seconds between two looks at the workers that there are."""

ANSWER = 30.0
"""Seconds within which a scheduler must answer at first."""

_RETRIES = 3  # of a job that fails, as reading from far storage does now and then

_DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
"""What workers of this machine begin with: Ctrl-C is meant for the run, which ends them."""


@contextmanager
def dask_executor(where: str) -> Iterator[Executor]:
    """An executor on a Dask cluster.

    Parameters
    ----------
    where : str
        The address of a scheduler (``tcp://host:8786``, ``host:8786``), the path of its scheduler
        file (``….json``), or ``local`` or ``local:N``: N processes of this machine, as many as
        cores by default, which end with the run.

    Raises
    ------
    MissingExtraError
        Without Dask.
    KolmoError
        If no scheduler answers.
    """
    client = _connect(where)
    try:
        yield client.get_executor(retries=_RETRIES, pure=False)
    finally:
        client.close()
        if _is_local(where):
            client.cluster.close()


def _connect(where: str) -> Any:
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise MissingExtraError("Dask", "distributed", "dask") from error
    if _is_local(where):
        return distributed.Client(_local(where, distributed))
    address = _address(Path(where)) if where.endswith(".json") else where
    try:
        return distributed.Client(address, timeout=ANSWER)
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error) or "no answer"
        raise KolmoError(f"there is no Dask scheduler at {address} ({reason})") from None


def _address(file: Path) -> str:
    """The address that a scheduler has written into its file."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise KolmoError(f"{file}: this is no file of a Dask scheduler ({reason})") from None


def _is_local(where: str) -> bool:
    return where == "local" or where.startswith("local:")


def _local(where: str, distributed: Any) -> Any:
    number = where.partition(":")[2] or "0"
    if not number.isdecimal():
        raise InputError(f"--dask local:N takes a number of processes, not {number!r}")
    import dask

    # By default Dask has workers give back freed memory at once: every chunk is of fresh pages.
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)
    with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
        return distributed.LocalCluster(
            n_workers=int(number) or None,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
            preload=[_DEAF],
        )


# --- the workers of a cluster ---------------------------------------------------------------


class Crew:
    """Counts the threads of a cluster's workers, which come and go while a run goes on.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._threads = 0
        self._seen = time.monotonic()
        self._next = self._seen

    def __call__(self) -> int:
        """Threads that there are, at least 1: a cluster that grows with its tasks is given some.

        Raises
        ------
        KolmoError
            If there was no worker for `PATIENCE` seconds, or the scheduler has gone.
        """
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LOOK
            self._threads = self._count()
            self._seen = now if self._threads else self._seen
            if now - self._seen > PATIENCE:
                raise KolmoError(f"the Dask cluster has had no workers for {PATIENCE:.0f} seconds")
        return max(1, self._threads)

    def _count(self) -> int:
        try:
            return sum(self._client.nthreads().values())
        except (OSError, TimeoutError) as error:
            raise KolmoError(f"the Dask scheduler does not answer any more ({error})") from None


def crew_of(executor: Executor) -> Crew | None:
    """The crew of an executor that a Dask client gave; None of any other."""
    client = getattr(executor, "_client", None)
    return Crew(client) if hasattr(client, "nthreads") else None
