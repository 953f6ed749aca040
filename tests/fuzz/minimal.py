"""The smallest input found that shows a fault of the same kind."""

import multiprocessing
import shutil
from pathlib import Path

import numpy as np

from tests.fuzz.kinds import fuzzers, result_at
from tests.fuzz.limits import limit_memory
from tests.fuzz.running import prepare

TRIALS = 1000
SLOW_TRIALS = 30  # of inputs that take all their time


def keep(name, result, folder):
    """Put the input of a fault into a folder, shrunk, with its seed and what it does.

    It runs in a process of its own, as the input may end whoever reads it.
    """
    target = Path(folder) / _file_name(f"{name} {result.seed}")
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_keep, args=(name, result, target))
    process.start()
    process.join()
    return target


def _file_name(text):
    return "".join(letter if letter.isalnum() or letter in " -_." else "-" for letter in text)


def _keep(name, result, target):
    fuzzer = fuzzers()[name]
    shutil.rmtree(target, ignore_errors=True)
    (target / "input").mkdir(parents=True)
    path = fuzzer.make(target / "input", np.random.default_rng(result.seed))
    head = f"{name}, seed {result.seed}, opened at {path.relative_to(target)}:\n"
    (target / "fault.txt").write_text(head + result.text, errors="backslashreplace")
    if result.kind.startswith("the process"):
        return  # each trial would end this one
    prepare(fuzzer)
    limit_memory()
    slow = result.kind.startswith("TooLong")
    shrink(fuzzer, path, target / "input", result.kind, SLOW_TRIALS if slow else TRIALS)


def shrink(fuzzer, path, folder, kind, trials=TRIALS):
    """Leave of the files in a folder what shows a fault of this kind."""
    left = iter(range(trials))

    def shows():
        return result_at(fuzzer, path).kind == kind

    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        data = file.read_bytes()
        file.unlink()
        if not shows():
            file.write_bytes(_smallest(data, file, shows, left))


def _smallest(data, file, shows, left):
    """The bytes without the pieces that the fault does not need, and with zeros in those of which
    it needs only the number; pieces of a half, a quarter, and so on."""
    for emptied in (lambda piece: b"", lambda piece: bytes(len(piece))):
        size = len(data)
        while size := size // 2:
            at = 0
            while at < len(data):
                piece = data[at : at + size]
                new = data[:at] + emptied(piece) + data[at + size :]
                if new != data and next(left, None) is None:
                    return data
                file.write_bytes(new)
                if new != data and shows():
                    data = new
                else:
                    at += size
    return data
