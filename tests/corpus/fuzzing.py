"""Damages checkpoints in many ways and reads them: a KolmoError or weights may come of it, only.

    python -m tests.corpus.fuzzing --count 100000                      every format
    python -m tests.corpus.fuzzing GGUF ONNX --first 5000 --count 10   some, by seeds 5000 to 5009

makes inputs of the sound files of each format, by seeds; opens and reads each within `SECONDS` of
the processor's time and `MEMORY` bytes beyond what the program takes; and prints a table of the
inputs that were refused, that were read, and at which something else happened. Each fault is
printed with its seed, by which its input is made again; ``--keep FOLDER`` keeps those inputs.
"""

import argparse
import dataclasses
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import kolmo
from kolmo.errors import KolmoError
from tests.corpus.damage import mutated, pick
from tests.corpus.seeds import FORMATS, cases

MEMORY = 512 << 20
SECONDS = 5
MOST = 1 << 22  # weights that are read of one input


@dataclasses.dataclass
class Outcome:
    """What became of inputs: how many were refused and read, and the faults by seed."""

    refused: int = 0
    read: int = 0
    faults: dict[int, str] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0  # of the processor's time


class TooLongError(BaseException):
    """A reader took more of the processor's time than it may."""


def read(path):
    """Open a file or folder and read its weights, chunk by chunk."""
    found = kolmo.open_checkpoint(path)
    left = MOST
    for tensor in found.values():
        for chunk in tensor.chunks(1 << 16):
            left -= chunk.size
            if left < 0:
                return


def run(name, first, count, seconds=SECONDS, keep=None):
    """The outcome of a format's inputs, of ``count`` seeds from ``first`` on."""
    outcome, began = Outcome(), time.process_time()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy and zipfile warn about some of what they refuse
        sources = cases(name, Path(folder))
        others = [data for case in sources for file in case.files if (data := file.read_bytes())]
        with limited_memory():
            for seed in range(first, first + count):
                case = sources[seed % len(sources)]
                with damage(case, others, np.random.default_rng(seed)):
                    tried(case.path, seed, outcome, seconds)
                    if keep and seed in outcome.faults:
                        _copy(case, Path(keep) / f"{name} {seed}".replace("/", "-"))
    outcome.seconds = time.process_time() - began
    return outcome


@contextmanager
def damage(case, others, random):
    """One file of a checkpoint damaged, emptied or gone, for a while."""
    victim = pick(case.files, random)
    sound, chance = victim.read_bytes(), random.random()
    if chance < 0.01 and len(case.files) > 1:
        victim.unlink()
    else:
        victim.write_bytes(mutated(sound, others, random) if chance < 0.99 else b"")
    try:
        yield
    finally:
        victim.write_bytes(sound)


def tried(path, seed, outcome, seconds):
    """Read an input, and note what came of it."""
    try:
        with limited_time(seconds):
            read(path)
        outcome.read += 1
    except KolmoError as error:
        if len(str(error).splitlines()) == 1 and str(error).isprintable():
            outcome.refused += 1
        else:
            outcome.faults[seed] = f"a message that is no line: {str(error)!r}"
    except KeyboardInterrupt:
        raise
    except BaseException:
        outcome.faults[seed] = traceback.format_exc(limit=-6)


@contextmanager
def limited_time(seconds):
    """TooLongError after so many seconds of the processor's time."""

    def stop(*_):
        raise TooLongError(f"over {seconds} seconds")

    old = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def limit_memory(size=MEMORY):
    """Let this process take no more than so many bytes beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


@contextmanager
def limited_memory(size=MEMORY):
    """Let this process take no more than so many bytes beyond what it has, for a while."""
    old = resource.getrlimit(resource.RLIMIT_AS)
    limit_memory(size)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


def _copy(case, folder):
    home = case.path if case.path.is_dir() or len(case.files) == 1 else case.path.parent
    folder.mkdir(parents=True, exist_ok=True)
    copy = shutil.copytree if home.is_dir() else shutil.copy
    copy(home, folder / home.name)


def main():
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus.fuzzing")
    parser.add_argument("formats", nargs="*", help=f"of {', '.join(FORMATS)}; all if none is named")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1000, help="inputs of each format")
    parser.add_argument("--keep", help="a folder for inputs that show a fault")
    given = parser.parse_args()
    print(f"{'format':32}{'inputs':>10}{'refused':>10}{'read':>10}{'faults':>10}{'seconds':>10}")
    faults = 0
    for name in given.formats or FORMATS:
        found = run(name, given.first, given.count, keep=given.keep)
        numbers = (given.count, found.refused, found.read, len(found.faults))
        columns = "".join(f"{number:10,}" for number in numbers)
        print(f"{name:32}{columns}{found.seconds:10.1f}", flush=True)
        for seed, text in found.faults.items():
            print(f"{name}, seed {seed}:\n{text}", file=sys.stderr, flush=True)
        faults += len(found.faults)
    return faults > 0


if __name__ == "__main__":
    sys.exit(main())
