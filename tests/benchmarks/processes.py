"""Commands in processes of their own: what they take, and what reading and hashing the same does.

No numpy here, nor where this is imported: a child's peak memory counts what its parent held when it
started.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_IMPORTS = "import numba, rich.table, kolmo.analysis, kolmo.cli.analyze, kolmo.report.terminal"

_READ = """
import mmap, os, sys, threading, time
from pathlib import Path
source, piece = Path(sys.argv[1]), 8 << 20
files = sorted(source.rglob("*.safetensors")) if source.is_dir() else [source]
spans = [(f, at) for f in files for at in range(0, f.stat().st_size, piece)]
def read(spans):
    buffer, opened = mmap.mmap(-1, piece), {}  # whole pages: some processors copy to them faster
    for file, at in spans:
        if file not in opened: opened[file] = os.open(file, os.O_RDONLY)
        os.preadv(opened[file], [buffer], at)
began = time.perf_counter()
threads = [threading.Thread(target=read, args=(spans[i::2],)) for i in range(2)]
[t.start() for t in threads]; [t.join() for t in threads]
print(time.perf_counter() - began)
"""

_HASH = """
import sys, threading, time
from pathlib import Path
import blake3
source, piece = Path(sys.argv[1]), 8 << 20
began = time.perf_counter()
for file in sorted(source.rglob("*.safetensors")) if source.is_dir() else [source]:
    blake3.blake3(max_threads=2).update_mmap(file).digest()
print(time.perf_counter() - began)
"""


@dataclasses.dataclass(frozen=True)
class Spent:
    """What a command took: seconds, and bytes above an idle interpreter's."""

    wall: float
    cpu: float
    memory: int
    output: str


class Failed(Exception):
    """A command failed; the message is its last line."""


def run(command: list[str], idle: int = 0) -> Spent:
    """Run a command to its end."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(command, stdout=out, stderr=err, env=_environment())
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        out.seek(0), err.seek(0)
        output, errors = out.read().decode(), err.read().decode()
    if child.returncode:
        raise Failed((errors.strip().splitlines() or [f"exit code {child.returncode}"])[-1])
    memory = used.ru_maxrss * 1024 - idle
    return Spent(wall, used.ru_utime + used.ru_stime, memory, output)


def _environment() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200"}


def run_and_kill(command: list[str], after: float) -> float:
    """Run a command, kill it after some seconds; its CPU seconds."""
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environment()
    )
    time.sleep(after)
    child.send_signal(signal.SIGKILL)
    _, _, used = os.wait4(child.pid, 0)
    child.returncode = -signal.SIGKILL
    return used.ru_utime + used.ru_stime


def idle_memory() -> int:
    """Peak memory of an interpreter that has imported what commands need, in bytes."""
    return run([sys.executable, "-c", _IMPORTS]).memory


def reading(source: Path) -> float:
    """Seconds for reading a checkpoint by two threads into warm buffers."""
    return float(run([sys.executable, "-c", _READ, str(source)]).output)


def hashing(source: Path) -> float:
    """Seconds for hashing a checkpoint by BLAKE3 on two threads."""
    return float(run([sys.executable, "-c", _HASH, str(source)]).output)
