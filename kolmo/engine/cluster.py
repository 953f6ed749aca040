"""Runs on Dask: workers read their own byte ranges, and send counts and code lengths only."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from kolmo.errors import InputError, KolmoError, MissingExtraError

_RETRIES = 3  # of a job whose worker was lost
_PATIENCE = "30s"  # for a scheduler to answer


@contextmanager
def dask_executor(where: str) -> Iterator[tuple[Executor, int]]:
    """An executor on a Dask cluster, and the jobs that it runs side by side.

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
        If no scheduler answers, or it has no workers.
    """
    client = _connect(where)
    try:
        workers = sum(client.nthreads().values())
        if not workers:
            raise KolmoError(f"the Dask scheduler at {where} has no workers")
        yield client.get_executor(retries=_RETRIES, pure=False), workers
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
    address = {"scheduler_file": where} if where.endswith(".json") else {"address": where}
    try:
        return distributed.Client(**address, timeout=_PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error) or "no answer"
        raise KolmoError(f"there is no Dask scheduler at {where} ({reason})") from None


def _is_local(where: str) -> bool:
    return where == "local" or where.startswith("local:")


def _local(where: str, distributed: Any) -> Any:
    number = where.partition(":")[2] or "0"
    if not number.isdecimal():
        raise InputError(f"--dask local:N takes a number of processes, not {number!r}")
    return distributed.LocalCluster(
        n_workers=int(number) or None,
        threads_per_worker=1,
        dashboard_address=None,
        silence_logs=logging.ERROR,
    )
