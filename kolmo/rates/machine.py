"""How fast this machine is, against the one where the table of rates was measured."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import numpy as np
import zstandard

from kolmo import __version__

_SIZE = 1 << 18
_RUNS = 5


def machine_name() -> str:
    """What tells machines of different speed apart, and versions whose loops differ."""
    return f"kolmo {__version__}, {_processor()}, {os.cpu_count()} cores"


def workload_seconds() -> float:
    """CPU seconds of a fixed workload like that of estimators: sort, count, compress; some 40 ms in
    all, the best of a few runs."""
    return min(_timed() for _ in range(_RUNS))


def _timed() -> float:
    numbers = (np.arange(_SIZE, dtype=np.uint32) * np.uint32(2654435761)) >> np.uint32(9)
    began = time.thread_time()
    np.sort(numbers)
    np.bincount(numbers & 0xFF)
    zstandard.ZstdCompressor(level=3).compress(numbers.tobytes())
    return time.thread_time() - began


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model n"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
