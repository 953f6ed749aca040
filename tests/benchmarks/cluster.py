"""A 70 B checkpoint on a cluster, simulated: makespan, bytes moved, and where more workers stop to
help.

Run: python -m tests.benchmarks.cluster [--storage GB/s] [--link GB/s] [--task MS] [--workers N ...]

The model is of 141 GB in bfloat16. Its measurements are cut into jobs as a run cuts them:

* stripes of large tensors, and whole small ones, for all measurements whose parts add up;
* one job for each tensor and measurement that needs its symbols in order;
* one stream of all tensors for each such measurement at model scope, which nothing can divide.

What a job computes is expected from the shipped rates, on the machine where they were measured.
Reading goes on beside computing. Readers share the storage's bandwidth fairly, and a worker has a
link of its own; the scheduler hands out one task after the other. Longest jobs start first. What
workers send back is weighed by pickling real accumulators and code lengths.
"""

import argparse
import collections
import dataclasses
import functools
import math
import pickle

import numpy as np

from kolmo.analysis import make_plan, measurements_of
from kolmo.checkpoints.base import array_tensor
from kolmo.errors import NotApplicableError
from kolmo.options import Settings
from kolmo.planning.words import duration
from kolmo.rates import measuring, reading
from kolmo.symbols import Alphabet
from tests.benchmarks.generate import BF16, LLAMA_70B

STRIPE = 1 << 24  # weights
HELD = 1 << 26  # weights up to which a tensor is not cut
TASK = 4096  # bytes that tell a worker what to do: a pickled tensor's place, specs, a seed

PLANS = {
    "default": {},
    "default, --scope tensor": {"scope": "tensor"},
    "-q sign -e bdm": {"quantizers": ["sign"], "estimators": ["bdm"]},
    "-q symmetric:8 -e kt": {"quantizers": ["symmetric:8"], "estimators": ["kt"]},
}


@dataclasses.dataclass(frozen=True)
class Job:
    """Seconds of one core, bytes that it reads, bytes that it sends back."""

    kind: str
    seconds: float
    read: int
    back: int


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Bytes a second of the storage and of a worker's link; seconds that a task costs the
    scheduler."""

    storage: float
    link: float
    task: float


@dataclasses.dataclass(frozen=True)
class Ran:
    makespan: float
    busy: float
    """Share of the workers' time in which they compute."""
    stored: float
    """Share of the storage's bandwidth that is used."""


# --- jobs -----------------------------------------------------------------------------------


def jobs_of(options):
    """The jobs of a plan for the 70 B model."""
    settings = Settings(**options)
    plan = make_plan(settings, measurements_of(settings, 0))
    shapes = list(LLAMA_70B.shapes().values())
    adding = [m for m in plan.measurements if part_bytes(m)]
    ordered = [m for m in plan.measurements if not part_bytes(m)]
    for shape in shapes if adding else ():
        yield from stripes(shape, adding)
    for measurement in ordered:
        if plan.tensor_scope:
            for shape in shapes:
                yield from whole("tensor", measurement, [shape])
        if plan.model_scope:
            yield from whole("stream", measurement, shapes)


def stripes(shape, measurements):
    """Jobs whose parts add up; of a large tensor, quantizers are fitted to it first."""
    numel = math.prod(shape)
    step = STRIPE if numel > HELD else max(1, numel)
    fits = {m.quantizer for m in measurements if m.quantizer.name not in ("native", "sign")}
    if numel > HELD and fits:
        yield Job("fit", reading(2 * numel).seconds * 2, 2 * numel, 1024)
    back = sum(map(part_bytes, measurements))
    for start in range(0, numel, step):
        size = min(step, numel - start)
        seconds = sum(computing(m, size, measurements) for m in measurements)
        yield Job("stripe", seconds, 2 * size, back)


def whole(kind, measurement, shapes):
    """One job for tensors one after the other, unless the estimator refuses them."""
    alphabet = measurement.quantizer.alphabet(BF16)
    try:
        measurement.estimator.start_many(shapes, alphabet)
    except NotApplicableError:
        return
    seconds = sum(computing(measurement, math.prod(s), [measurement]) for s in shapes)
    yield Job(kind, seconds, 2 * sum(map(math.prod, shapes)), 1024)


@functools.lru_cache(None)
def _computing(measurement, numel, sharing):
    price = measuring(measurement.estimator, measurement.quantizer, "bfloat16", numel, sharing)
    return price.seconds


def computing(measurement, numel, beside):
    return _computing(measurement, numel, sum(m.quantizer == measurement.quantizer for m in beside))


@functools.lru_cache(None)
def part_bytes(measurement):
    """Bytes of a pickled accumulator of a million weights; 0 where parts do not add up."""
    side = 1024
    weights = np.random.default_rng(0).normal(0, 0.02, (side, side)).astype(BF16)
    tensor = array_tensor("w", weights)
    coder = measurement.quantizer.fit(tensor)
    alphabet = Alphabet.of(measurement.quantizer.alphabet(BF16))
    accumulator = measurement.estimator.start((side, side), alphabet)
    if measurement.estimator.grain([(side, side)], alphabet) is None:
        return 0
    for symbols in coder.symbols(tensor):
        accumulator.update(symbols)
    return len(pickle.dumps(accumulator.inner))


# --- the simulation -------------------------------------------------------------------------


def simulate(jobs, workers, cluster):
    """Run jobs, the longest first: from event to event, with bandwidth shared anew at each.

    A job alone takes the longer of computing and reading; it wants a bandwidth for which reading is
    no brake, and where it is given less it goes as much slower.
    """
    alone = [max(job.seconds, job.read / cluster.link) for job in jobs]
    waiting = sorted(range(len(jobs)), key=lambda number: alone[number])
    left, demand = np.full(workers, np.inf), np.zeros(workers)
    now, handed, free = 0.0, 0.0, list(range(workers))
    while waiting or len(free) < workers:
        if waiting and free and handed <= now:
            number, worker = waiting.pop(), free.pop()
            left[worker], demand[worker] = alone[number], jobs[number].read / alone[number]
            handed = now + cluster.task
            continue
        speed = np.ones(workers)
        given = shared(demand, cluster.storage)
        np.divide(given, demand, out=speed, where=demand > 0)
        ending = left / speed
        step = float(ending.min())
        if waiting and free:
            step = min(step, handed - now)
        now += step
        left -= step * speed
        for worker in np.flatnonzero(left <= 1e-9):
            left[worker], demand[worker] = np.inf, 0.0
            free.append(int(worker))
    return Ran(
        now,
        sum(job.seconds for job in jobs) / (workers * now),
        sum(job.read for job in jobs) / (cluster.storage * now),
    )


def shared(demand, most):
    """What each reader is given: all that it wants, or an equal share of what others leave."""
    if demand.sum() <= most:
        return demand
    rising = np.sort(demand)
    before = np.cumsum(rising) - rising
    levels = (most - before) / np.arange(len(rising), 0, -1)
    level = levels[np.argmax(rising >= levels)]
    return np.minimum(demand, level)


# --- the table ------------------------------------------------------------------------------


def limit(jobs, workers, cluster, ran):
    """What the makespan is near to: the bound that is largest."""
    bounds = {
        "workers": sum(max(j.seconds, j.read / cluster.link) for j in jobs) / workers,
        "storage": sum(job.read for job in jobs) / cluster.storage,
        "the longest job": max(max(j.seconds, j.read / cluster.link) for j in jobs),
        "the scheduler": len(jobs) * cluster.task,
    }
    return max(bounds, key=bounds.__getitem__)


def describe(name, jobs):
    counts = collections.Counter(job.kind for job in jobs)
    kinds = ", ".join(f"{count:,} {kind} jobs" for kind, count in counts.items())
    whole, longest = total(jobs, "seconds"), max(job.seconds for job in jobs)
    print(f"\n### `{name}`\n")
    print(f"{kinds}; {duration(whole)} of one core, the longest job {duration(longest)}.")
    print(f"Read: {total(jobs, 'read') / 1e9:,.0f} GB. ", end="")
    to, back = len(jobs) * TASK, total(jobs, "back")
    print(f"To workers: {to / 1e6:,.0f} MB; back: {back / 1e6:,.0f} MB.\n")


def total(jobs, field):
    return sum(getattr(job, field) for job in jobs)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cluster")
    parser.add_argument("--storage", type=float, default=10.0)
    parser.add_argument("--link", type=float, default=1.0)
    parser.add_argument("--task", type=float, default=1.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64, 128, 256])
    chosen = parser.parse_args()
    cluster = Cluster(chosen.storage * 1e9, chosen.link * 1e9, chosen.task / 1e3)
    for name, options in PLANS.items():
        jobs = list(jobs_of(options))
        describe(name, jobs)
        print("| workers | makespan | speed-up | computing | storage in use | bound by |")
        print("|---|---|---|---|---|---|")
        one = simulate(jobs, 1, cluster).makespan
        for workers in chosen.workers:
            ran = simulate(jobs, workers, cluster)
            print(
                f"| {workers} | {duration(ran.makespan)} | {one / ran.makespan:.1f} × "
                f"| {ran.busy:.0%} | {ran.stored:.0%} | {limit(jobs, workers, cluster, ran)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
