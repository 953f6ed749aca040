"""Runs fuzzers: here, or in processes of their own, of which each may die of an input."""

import dataclasses
import multiprocessing
import tempfile
import time
import warnings
from collections import Counter
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from tests.fuzz.kinds import MODULES, Result, fuzzers, result_of
from tests.fuzz.limits import SECONDS, limit_memory, limit_time, limited_memory

BATCH = 1000
"""Inputs of one process: enough that its start does not count."""


@dataclasses.dataclass
class Outcome:
    """What became of a fuzzer's inputs."""

    counts: Counter = dataclasses.field(default_factory=Counter)
    faults: dict[str, list[Result]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0  # of the processor's time

    def add(self, result):
        """Count what became of one input."""
        self.counts[result.what] += 1
        if result.what == "fault":
            self.faults.setdefault(result.kind, []).append(result)

    @property
    def inputs(self):
        """How many there were."""
        return self.counts.total()


def run(fuzzer, first, count, seconds=SECONDS):
    """The outcome of a fuzzer's inputs, of ``count`` seeds from ``first`` on, in this process."""
    outcome, began = Outcome(), time.process_time()
    prepare(fuzzer)
    with limited_memory():
        for seed in range(first, first + count):
            outcome.add(result_of(fuzzer, seed, seconds))
    outcome.seconds = time.process_time() - began
    return outcome


def prepare(fuzzer):
    """Let a fuzzer make its sound files, whose memory is not that of a reader."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fuzzer.make(Path(folder), np.random.default_rng(0))


# --- in processes ---------------------------------------------------------------------------


class Job:
    """A process that tries a fuzzer's inputs of some seeds, one after the other."""

    def __init__(self, name, seeds):
        self.name, self.seeds = name, seeds
        self.tried = 0
        self.pipe, there = _context().Pipe(duplex=False)
        self.process = _context().Process(target=_work, args=(name, seeds, there), daemon=True)
        self.process.start()
        there.close()

    def take(self, outcome):
        """Take what the process has told: whether there is more to come."""
        try:
            told = self.pipe.recv()
        except EOFError:
            self._end(outcome)
            return False
        if isinstance(told, Result):
            outcome.add(told)
            self.tried += 1
        else:
            outcome.seconds += told
        return True

    def _end(self, outcome):
        """Of a process that died note at which seed."""
        self.process.join()
        self.pipe.close()
        if self.tried < len(self.seeds):
            kind = f"the process ended by itself, code {self.process.exitcode}"
            outcome.add(Result(self.seeds[self.tried], "fault", kind, kind))
            self.tried += 1

    def rest(self):
        """The seeds that were not tried."""
        return self.seeds[self.tried :]


def _context():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fuzz.running", *MODULES])
    return context


def _work(name, seeds, pipe):
    fuzzer, began = fuzzers()[name], time.process_time()
    prepare(fuzzer)
    limit_memory()
    for seed in seeds:
        limit_time(4 * SECONDS)
        pipe.send(result_of(fuzzer, seed))
    pipe.send(time.process_time() - began)


def run_all(chosen, first, count, minutes, jobs, told):
    """The outcomes of fuzzers by name, each in turn: ``count`` inputs of each, or whole rounds of
    batches for so many minutes; ``told(name, outcome)`` is called as each batch ends."""
    outcomes = {fuzzer.name: Outcome() for fuzzer in chosen}
    stop = time.monotonic() + 60 * minutes if minutes else None
    queue, running = _batches(list(outcomes), first, count, stop), []
    batch = next(queue, None)
    while batch or running:
        while batch and len(running) < jobs:
            running.append(Job(*batch))
            batch = next(queue, None)
        ready = wait([job.pipe for job in running])
        for job in [job for job in running if job.pipe in ready]:
            if not job.take(outcomes[job.name]):
                running.remove(job)
                told(job.name, outcomes[job.name])
                if rest := job.rest():
                    running.append(Job(job.name, rest))
    return outcomes


def _batches(names, first, count, stop):
    """(fuzzer, seeds) of each process, lazily."""
    done = 0
    while (time.monotonic() < stop) if stop else (done < count):
        size = BATCH if stop else min(BATCH, count - done)
        for name in names:
            if stop is None or time.monotonic() < stop:
                yield name, range(first + done, first + done + size)
        done += size
