"""The study: the same model untrained, trained, quantized and as a mosaic, measured by kolmo.

::

    StudyConfig ─► runs (arm × seed, each trained once and kept) ─► kolmo ─► table ─► figures, page

Runs and measurements are kept in the output folder under a hash of all they depend on: an
interrupted study continues where it stopped, and a finished one trains and measures nothing again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kolmo
from kolmo.checkpoints.base import sha256
from kolmo.defaults import DEFAULT_MEASUREMENTS
from kolmo.execution import Progress
from kolmo.progress import Wanted, progress_bar
from kolmo.provenance import versions
from momos.lab.arms import StudyConfig, StudyResult, StudyRun
from momos.lab.results import combine, summarize, write_results
from momos.lab.training import TrainResult, save_mosaic, save_state, train
from momos.tensors import make_folder, write_whole

if TYPE_CHECKING:
    import pandas as pd

EXTRA_MEASUREMENTS: Mapping[str, tuple[str, ...]] = {"affine:8": ("qubd",)}
"""Estimators by quantizer that are measured besides kolmo's defaults."""


def study(
    config: StudyConfig | None = None,
    out: str | os.PathLike[str] = "out/study",
    *,
    threads: int | None = None,
    progress: Wanted = None,
) -> StudyResult:
    """Train every arm with every seed, measure all, write tables, figures and a page.

    Parameters
    ----------
    config : StudyConfig, optional
    out : path
        Folder of the results: ``results.parquet``, ``results.csv``, ``summary.csv``, figures as
        PNG, ``index.html``, ``checkpoints/`` with the mosaic files. Finished runs found there
        are used.
    threads : int, optional
        Threads that measure; results do not depend on it.
    progress : bool or callable, optional
        A bar where a terminal or a notebook is, by default; False for none; or
        ``progress(done, total, label)``, called now and then from this thread.

    Raises
    ------
    InputError
        If the folder cannot be written or the data cannot be read.
    """
    config, out = config or StudyConfig(), make_folder(out)
    with progress_bar(progress) as report:
        steps = _Steps(report, 2 * len(config.seeds) * (len(config.arms()) + 1))
        runs = [run for seed in config.seeds for run in _train_seed(config, seed, out, steps)]
        table = combine([(run, _measure(run, config.draws, out, threads, steps)) for run in runs])
    summary = summarize(table)
    paths = write_results(config, runs, table, summary, out)
    return StudyResult(config, runs, table, summary, paths)


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


# --- training ---------------------------------------------------------------------------------


def _train_seed(config: StudyConfig, seed: int, out: Path, steps: _Steps) -> Iterator[StudyRun]:
    for arm, shared in config.arms().items():
        wanted = dataclasses.replace(shared, seed=seed)
        names = ["init", arm] if arm == "trained" else [arm]
        key = _key("run", wanted.settings())
        runs = [_kept(out, name, seed, key) for name in names]
        if any(run is None for run in runs):
            result = train(wanted, progress=steps.part(f"train {arm}, seed {seed}"))
            runs = [_keep(result, name, out, key) for name in names]
        for run in runs:
            assert run is not None
            steps.step(f"trained {run.arm}, seed {seed}")
            yield run


def _record(out: Path, arm: str, seed: int) -> Path:
    return out / "runs" / f"{arm}-seed{seed}.json"


def _kept(out: Path, arm: str, seed: int, key: str) -> StudyRun | None:
    """The kept run; None if it was another one, or its files have changed."""
    record = _read_record(_record(out, arm, seed), key)
    if record is None:
        return None
    files = {name: out / "checkpoints" / name for name in record["files"]}
    if any(not p.is_file() or sha256(str(p)) != record["files"][n] for n, p in files.items()):
        return None
    checkpoint, *mosaic = files.values()
    return StudyRun(arm, seed, checkpoint, mosaic[0] if mosaic else None, record["metrics"])


def _keep(result: TrainResult, arm: str, out: Path, key: str) -> StudyRun:
    folder, seed, state = out / "checkpoints", result.config.seed, "best"
    metrics = {k: v for k, v in result.metrics.items() if not k.endswith("_test_accuracy")}
    if arm == "init":
        state, metrics = "init", {k: metrics[k] for k in ("weights", "nominal_bits_per_weight")}
    metrics["test_accuracy"] = result.metrics[f"{state}_test_accuracy"]
    files = [save_state(result, state, folder / f"{arm}-seed{seed}.safetensors")]
    if result.mosaic is not None:
        files.append(save_mosaic(result, folder / f"{arm}-seed{seed}.mosaic"))
    record = {
        "key": key,
        "files": {file.name: sha256(str(file)) for file in files},
        "metrics": metrics,
        "config": result.config.settings(),
        "history": result.history if state == "best" else [],
    }
    _write_record(_record(out, arm, seed), record)
    return StudyRun(arm, seed, files[0], files[1] if len(files) > 1 else None, metrics)


# --- measuring --------------------------------------------------------------------------------


def _measure(
    run: StudyRun, draws: int, out: Path, threads: int | None, steps: _Steps
) -> pd.DataFrame:
    """kolmo's table of a run, from its record if there is one."""
    import pandas as pd

    from kolmo.report.columns import COLUMNS
    from kolmo.report.table import normalize

    name = f"{run.arm}, seed {run.seed}"
    wanted = _measurements(run.arm)
    key = _key("measure", {"draws": draws, "measurements": wanted, "seed": run.seed}, run)
    path = out / "measured" / f"{run.arm}-seed{run.seed}.json"
    record = _read_record(path, key)
    if record is None:
        reports = [
            kolmo.analyze(
                run.checkpoint,
                quantizers=[quantizer],
                estimators=estimators,
                nulls=["shuffled"],
                draws=draws,
                scope="model",
                seed=run.seed,
                threads=threads,
                progress=steps.part(f"measure {name}", number, len(wanted)),
                name=run.arm,
            )
            for number, (quantizer, estimators) in enumerate(wanted.items())
        ]
        rows = [row for report in reports for row in json.loads(report.to_json())["table"]]
        record = {"key": key, "table": rows}
        _write_record(path, record)
    steps.step(f"measured {name}")
    return normalize(pd.DataFrame(record["table"], columns=COLUMNS))


def _measurements(arm: str) -> dict[str, list[str]]:
    """Estimators by quantizer: kolmo's defaults, the extra ones, and the arm's own levels."""
    wanted = {quantizer: list(specs) for quantizer, specs in DEFAULT_MEASUREMENTS.items()}
    for quantizer, specs in EXTRA_MEASUREMENTS.items():
        wanted.setdefault(quantizer, []).extend(specs)
    if arm.startswith("qat"):
        wanted.setdefault(f"symmetric:{arm.removeprefix('qat')}", ["kt", "mosaic"])
    return {quantizer: list(dict.fromkeys(specs)) for quantizer, specs in wanted.items()}


# --- records ----------------------------------------------------------------------------------


def _key(kind: str, settings: Mapping[str, Any], run: StudyRun | None = None) -> str:
    """A hash of everything that a result depends on, the code that makes it included."""
    parts = {"kind": kind, "settings": settings, "versions": versions(), "code": _code("momos")}
    if run is not None:
        parts["code"] = _code("kolmo")
        parts["checkpoint"] = sha256(str(run.checkpoint))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def _code(package: str) -> str:
    """A hash of a package's source files."""
    (folder,) = import_module(package).__path__
    files = sorted(Path(folder).rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _read_record(path: Path, key: str) -> dict[str, Any] | None:
    """The record that was written under this key; None without one."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("key") == key else None


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(record, indent=1).encode())
