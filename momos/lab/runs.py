"""The runs of a study: each trained once and kept, several at a time if there are processes."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from kolmo.checkpoints.origins import sha256
from kolmo.execution import Progress, no_progress
from momos.lab.arms import INIT, StudyConfig, StudyRun
from momos.lab.config import TrainConfig
from momos.lab.records import key_of, read_record, write_record
from momos.lab.training import TrainResult, save_mosaic, save_state, train

Told = Callable[[str], None]
"""Told a line when a run is there."""


@dataclasses.dataclass(frozen=True)
class _Job:
    """One run: its arm, its seed, and where it is kept; the first arm brings the initialization."""

    arm: str
    config: TrainConfig
    every: int
    out: Path

    @property
    def key(self) -> str:
        return key_of("run", {**self.config.settings(), "save_every": self.every}, "momos")

    @property
    def arms(self) -> list[str]:
        return [INIT, self.arm] if self.arm == "dense" else [self.arm]

    def kept(self) -> list[StudyRun]:
        """The runs as they are kept; none if one was another, or its files have changed."""
        found = [_kept(self.out, arm, self.config.seed, self.key) for arm in self.arms]
        return [run for run in found if run] if all(found) else []

    def make(self, progress: Progress = no_progress) -> None:
        """Train, and keep what comes of it."""
        steps = self.out / "checkpoints" / f"{self.arm}-seed{self.config.seed}"
        shutil.rmtree(steps, ignore_errors=True)
        result = train(self.config, save_every=self.every, save_to=steps, progress=progress)
        for arm in self.arms:
            _keep(result, arm, steps, self.out, self.key)


def train_runs(
    config: StudyConfig, out: Path, workers: int, told: Told, part: Callable[[str], Progress]
) -> list[StudyRun]:
    """All runs of a study, in the order of seeds and arms.

    Parameters
    ----------
    workers : int
        Processes that train; 1 is this one.
    told : callable
        Called with a line after each run.
    part : callable
        Gives, for the name of a run, where to tell how far it is.
    """
    every = config.epochs_between()
    jobs = [
        _Job(arm, dataclasses.replace(shared, seed=seed), every, out)
        for seed in config.seeds
        for arm, shared in config.arms().items()
    ]
    missing = [job for job in jobs if not job.kept()]
    for job in jobs:
        if job not in missing:
            told(f"kept {job.arm}, seed {job.config.seed}")
    for job in _trained(missing, workers, part):
        told(f"trained {job.arm}, seed {job.config.seed}")
    return [run for job in jobs for run in job.kept()]


def _trained(jobs: list[_Job], workers: int, part: Callable[[str], Progress]) -> Iterator[_Job]:
    """Each job when it is done."""
    if workers < 2 or len(jobs) < 2:
        for job in jobs:
            job.make(part(f"train {job.arm}, seed {job.config.seed}"))
            yield job
        return
    # Processes that begin afresh: neither torch's threads nor numba's survive a fork.
    pool = ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), _ignore_interrupts)
    try:
        started = {pool.submit(job.make): job for job in jobs}
        for future in as_completed(started):
            future.result()
            yield started[future]
    finally:
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C ends the main process, which ends these; the runs they are at are kept."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


# --- kept -------------------------------------------------------------------------------------


def _record(out: Path, arm: str, seed: int) -> Path:
    return out / "runs" / f"{arm}-seed{seed}.json"


def _kept(out: Path, arm: str, seed: int, key: str) -> StudyRun | None:
    """The kept run; None if it was another one, or its files have changed."""
    record = read_record(_record(out, arm, seed), key)
    if record is None:
        return None
    files = {name: out / "checkpoints" / name for name in record["files"]}
    if any(not p.is_file() or sha256(str(p)) != record["files"][n] for n, p in files.items()):
        return None
    steps = {int(epoch): files[name] for epoch, name in record["steps"].items()}
    mosaic = files.get(f"{arm}-seed{seed}.mosaic")
    checkpoint = files[f"{arm}-seed{seed}.safetensors"]
    return StudyRun(arm, seed, checkpoint, mosaic, steps, record["metrics"])


def _keep(result: TrainResult, arm: str, along: Path, out: Path, key: str) -> None:
    folder, seed, state = out / "checkpoints", result.config.seed, "best"
    metrics = {k: v for k, v in result.metrics.items() if not k.endswith("_test_accuracy")}
    if arm == INIT:
        state, metrics = "init", {k: metrics[k] for k in ("weights", "nominal_bits_per_weight")}
    metrics["test_accuracy"] = result.metrics[f"{state}_test_accuracy"]
    files = [save_state(result, state, folder / f"{arm}-seed{seed}.safetensors")]
    if result.mosaic is not None and arm != INIT:
        files.append(save_mosaic(result, folder / f"{arm}-seed{seed}.mosaic"))
    steps = {int(path.stem.rpartition("-")[2]): path for path in sorted(along.iterdir())}
    steps = {epoch: path for epoch, path in steps.items() if (epoch == 0) == (arm == INIT)}
    files += steps.values()
    record: dict[str, Any] = {
        "key": key,
        "files": {file.relative_to(folder).as_posix(): sha256(str(file)) for file in files},
        "steps": {epoch: path.relative_to(folder).as_posix() for epoch, path in steps.items()},
        "metrics": metrics,
        "config": result.config.settings(),
        "history": result.history if state == "best" else [],
    }
    write_record(_record(out, arm, seed), record)
