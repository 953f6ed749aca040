"""Opening 100 GB of every format: bytes read, and memory beyond that of the program.

    python -m tests.benchmarks.opening

Each file is a hole of 100 GB behind a true header (`tests.giants`), opened in a process of its own
that has opened a small file of the same format before. Bytes are those of all calls that read, as
Linux counts them; memory is the growth of the peak of resident pages.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import kolmo
from tests.giants import GIANTS, bytes_read


def main() -> None:
    print(f"{'format':26s} {'weights':>15s} {'bytes read':>12s} {'memory':>10s}")
    for name in GIANTS:
        run = [sys.executable, "-m", "tests.benchmarks.opening", name]
        print(subprocess.run(run, capture_output=True, text=True, check=True).stdout, end="")


def measure(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "first", Path(folder) / "second"]
        for path in paths:
            weights = GIANTS[name](path)
        kolmo.open_checkpoint(paths[0])  # imports what a reader needs
        bytes_before, memory_before = bytes_read(), peak()
        assert kolmo.open_checkpoint(paths[1]).numel == weights
        read, memory = bytes_read() - bytes_before, peak() - memory_before
        print(f"{name:26s} {weights:15,d} {read:12,d} {memory:7,d} kB")


def peak() -> int:
    """The peak of resident memory in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    measure(sys.argv[1]) if sys.argv[1:] else main()
