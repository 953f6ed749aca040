"""The study: the same model untrained, trained, quantized and as a mosaic, measured by kolmo.

::

    StudyConfig ─► runs (arm × seed, each trained once and kept, with checkpoints along training)
                     └─► kolmo ─► tables ─► sentences, figures, page

Runs and measurements are kept in the output folder under a hash of all they depend on: an
interrupted study continues where it stopped, and a finished one trains and measures nothing again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kolmo.execution import Progress
from kolmo.progress import Wanted, progress_bar
from momos.lab.arms import StudyConfig, StudyRun
from momos.lab.folder import begin_study, held
from momos.lab.measuring import finished_rows, followed_rows, is_followed
from momos.lab.outcome import StudyResult
from momos.lab.results import combine, combine_steps, summarize
from momos.lab.runs import train_runs
from momos.lab.words import findings
from momos.lab.writing import write_results

if TYPE_CHECKING:
    import pandas as pd


Measured = list[tuple[StudyRun, "pd.DataFrame"]]


def study(
    config: StudyConfig | None = None,
    out: str | os.PathLike[str] = "out/study",
    *,
    threads: int | None = None,
    workers: int = 1,
    overwrite: bool = False,
    progress: Wanted = None,
) -> StudyResult:
    """Train every arm with every seed, measure all, write tables, figures and a page.

    Parameters
    ----------
    config : StudyConfig, optional
    out : path
        Folder of the results: ``results`` (the finished checkpoints) and ``trajectory`` (those
        along training) as ``.parquet`` and ``.csv``, ``summary.csv``, ``findings.txt``, figures as
        PNG, ``index.html``, ``checkpoints/`` with the mosaic files. Finished runs found there are
        used.
    threads : int, optional
        Threads that measure; results do not depend on it.
    workers : int
        Processes that train; results do not depend on it. More than this one need a script whose
        call stands under ``if __name__ == "__main__":``, as all new processes in Python do.
    overwrite : bool
        Write there although the folder holds files of these names that no study wrote.
    progress : bool or callable, optional
        A bar where a terminal or a notebook is, by default; False for none; or
        ``progress(done, total, label)``, called now and then from this thread.

    Raises
    ------
    InputError
        If the folder cannot be written or the data cannot be read.
    """
    config = config or StudyConfig()
    with held(out), progress_bar(progress) as report:
        folder = begin_study(out, [config.train.folder] if config.train.folder else [], overwrite)
        return _study(config, folder, threads, workers, report)


def _study(
    config: StudyConfig, out: Path, threads: int | None, workers: int, report: Progress
) -> StudyResult:
    """What `study` does in a folder that nobody else writes to."""
    steps = _Steps(report, len(config.seeds) * (2 * len(config.arms()) + 1))
    runs = train_runs(config, out, workers, steps.step, steps.part)
    finished, followed = _measured(config, runs, out, threads, steps)
    table, trajectory = combine(finished), combine_steps(followed)
    summary = summarize(table)
    found = findings(trajectory, table, config)
    paths = write_results(config, runs, table, summary, trajectory, found, out)
    return StudyResult(config, runs, table, summary, trajectory, found, paths)


def _measured(
    config: StudyConfig, runs: list[StudyRun], out: Path, threads: int | None, steps: _Steps
) -> tuple[Measured, Measured]:
    """kolmo's tables of the finished checkpoints, and of those along training."""
    finished, followed = [], []
    for run in runs:
        name = f"measure {run.arm}, seed {run.seed}"
        finished.append((run, finished_rows(run, config, out, threads, steps.part(name, 0, 2))))
        if is_followed(run, config):
            rows = followed_rows(run, config, out, threads, steps.part(name, 1, 2))
            followed.append((run, rows))
        steps.step(f"measured {run.arm}, seed {run.seed}")
    return finished, followed


class _Steps:
    """Progress over all runs and measurements: each is one step, with parts of its own."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def part(self, name: str, number: int = 0, parts: int = 1) -> Progress:
        """Progress of one of the equal parts of the present step."""

        def report(done: int, total: int, label: str) -> None:
            share = (number + (done / total if total else 1)) / parts
            self._report(1000 * self._done + int(1000 * share), f"{name}: {label}")

        return report

    def step(self, label: str) -> None:
        self._done += 1
        self._report(1000 * self._done, label)

    def _report(self, done: int, label: str) -> None:
        self._progress(done, 1000 * self._total, label)
