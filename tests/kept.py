"""Results to keep, one for each number, known without the store."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

from kolmo.estimators.base import CodeLength
from kolmo.outcomes import Missing, Result
from kolmo.store import ResultKey


def key(number, label="kt of sign"):
    return ResultKey(number.to_bytes(32, "big"), (1 << 200 | number).to_bytes(32, "big"), label)


def result(number):
    code = CodeLength(
        number / 7,
        number,
        32 * number,
        "bound",
        {"phrases": number},
        standard_error=0.5,
        degrees=7,
        squared_error=0.25,
        squared_weights=8.0,
    )
    return Result(code, number / 3) if number % 5 else Result(Missing(f"no {number}"), 0.0)


def results(first, last):
    return {key(number): result(number) for number in range(first, last)}


@contextmanager
def store_folder():
    """A folder in memory, where there is one: writing to the disk is not waited for there."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)
