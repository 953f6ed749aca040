"""The bundled trainer of small networks: dense, quantized, or a mosaic.

::

    dataset ─► model ─► (fake quantization) ─► AdamW steps ─► (projection) ─► validation ─► best

The same configuration gives the same bits: a run has one thread and generators of its own, and
switches torch's deterministic algorithms on; afterwards all is as before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import torch

from kolmo.errors import InputError
from kolmo.execution import Progress
from kolmo.files import check_standing
from kolmo.progress import Wanted, progress_bar
from kolmo.replacing import write_atomically
from kolmo.specs import unknown
from momos.config import Unit
from momos.lab.config import TrainConfig
from momos.lab.datasets import load_dataset
from momos.lab.folder import RESUME, STEPS, begin, held, is_checkpoint
from momos.lab.loop import State, Training
from momos.mosaic.mosaic import Mosaic
from momos.tensors import make_folder, save_safetensors, write_whole

UNITS = get_args(Unit)
_DIGITS = 6  # of the number in a checkpoint's name, so that names sort as numbers do


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """Result of a run.

    Attributes
    ----------
    config : TrainConfig
    history : list of dict
        For each epoch its loss (mean over the training batches), the validation accuracy and,
        of an epoch that ended on a projection, its statistics.
    metrics : dict
        Test accuracy of the initial, best and last weights, the best epoch, the number of
        weights, the nominal bits a weight, seconds; of quantized weights and mosaics
        ``file_bytes``, of the shortest file; of a mosaic its description length and RAC,
        ``file_bits`` and ``file_rac`` of its whole file, and ``notes`` on what looks wrong.
    states : dict of str to state dict
        ``init``, ``best`` (by validation accuracy, the latest of equals) and ``last``: the weights
        that the forward pass sees, quantized ones under quantization-aware training; where there
        is an average, those that it sees of the average. The best of a learned mosaic is the last:
        its rate rises until then.
    mosaic : Mosaic or None
        Mosaic of the best weights (the latent ones, under quantization-aware training).
    file : tuple of str and bytes, or None
        The shortest file of the best weights, ``.kmo`` or ``.mosaic``, of a quantized run or a
        mosaic; its bytes are counted by ``file_bytes``.
    checkpoints : dict of str to Path
        The files written: ``init``, ``best``, ``last``, ``mosaic``, ``packed`` where that
        is shorter, and ``steps``, the folder of
        the checkpoints along training, if any were saved.
    """

    config: TrainConfig
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    states: dict[str, State]
    mosaic: Mosaic | None
    file: tuple[str, bytes] | None
    checkpoints: dict[str, Path]


def train(
    config: TrainConfig,
    out: str | os.PathLike[str] | None = None,
    *,
    save_every: int | None = None,
    save_unit: Unit = "epoch",
    save_to: str | os.PathLike[str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Wanted = None,
) -> TrainResult:
    """Train a model as configured.

    Parameters
    ----------
    config : TrainConfig
    out : path, optional
        Folder to write ``init``, ``best``, ``last`` ``.safetensors``, ``config.toml``,
        ``history.parquet``, ``metrics.json``, of a projected model ``weights.mosaic``, and
        ``weights.kmo`` where that is shorter, to;
        and, while it lasts, ``resume.pt`` after each epoch.
    save_every : int, optional
        Write a checkpoint to ``steps/`` there every so many epochs or steps, besides those of the
        initialization (0) and of the end: ``kolmo.trajectory(out)`` measures them. What is saved
        are the weights that the forward pass sees, and training is the same without.
    save_unit : {"epoch", "step"}
        What ``save_every`` counts.
    save_to : path, optional
        Another folder for these checkpoints than ``steps/``.
    resume : bool
        Continue after the last epoch that an interrupted run of the same configuration finished
        there; the result is the same, bit for bit. Without such a run, begin one.
    overwrite : bool
        Delete the files of another run that the folder holds, and no other file.
    progress : bool or callable, optional
        A bar where a terminal or a notebook is, by default; False for none; or
        ``progress(epoch, epochs, label)``, called after each epoch.

    Raises
    ------
    InputError
        If the data cannot be read, an option does not fit the model, the folder holds a run of
        another configuration, or the interrupted run was of one.
    KolmoError
        If the training diverges.

    Examples
    --------
    >>> from momos.config import SampledMosaic
    >>> config = TrainConfig(epochs=1, hidden=8, mosaic=SampledMosaic(motifs=4))
    >>> result = train(config)
    >>> [name for name in result.states], len(result.mosaic.motifs)
    (['init', 'best', 'last'], 4)
    """
    _check(out or save_to, save_every, save_unit, resume, overwrite)
    start = time.perf_counter()
    with held(out):
        dataset = load_dataset(config.data, config.folder)
        folder = None
        if out is not None:
            goes_on = resume and (Path(out) / RESUME).exists()
            folder = make_folder(out) if goes_on else begin(out, config, overwrite)
        along = Path(save_to) if save_to else folder / STEPS if folder else None
        with _deterministic(), progress_bar(progress) as report:
            run = Training(config, dataset)
            if folder and resume:
                run.load(folder / RESUME)
            steps = None
            if along and save_every:
                steps = _Steps(run, config, along, save_every, save_unit)
            _train(run, config, folder, steps, report)
            metrics = run.metrics()
        metrics["seconds"] = round(time.perf_counter() - start, 3)
        result = TrainResult(config, run.history, metrics, run.states, run.mosaic, run.file, {})
        files = {} if folder is None else _save(result, folder)
        if folder:
            (folder / RESUME).unlink(missing_ok=True)
        if along and steps:
            files["steps"] = along
        return dataclasses.replace(result, checkpoints=files)


def _check(
    out: str | os.PathLike[str] | None,
    save_every: int | None,
    save_unit: Unit,
    resume: bool,
    overwrite: bool,
) -> None:
    """InputError where what is asked of a run's folder does not fit."""
    if out is None and (resume or save_every is not None):
        what = "resume" if resume else "save checkpoints along training"
        raise InputError(f"to {what}, name the folder of the run")
    if resume and overwrite:
        raise InputError("a run is resumed or overwritten, not both")
    if save_unit not in UNITS:
        raise unknown("unit", save_unit, UNITS)
    if save_every is not None and save_every < 1:
        raise InputError(f"checkpoints are saved every 1 or more {save_unit}s, not {save_every}")


def _train(
    run: Training,
    config: TrainConfig,
    folder: Path | None,
    steps: _Steps | None,
    progress: Progress,
) -> None:
    """All epochs; after each what is needed to resume, and how far it is."""
    while not run.is_over:
        epoch = len(run.history) + 1
        run.epoch(epoch, steps.after_step if steps else lambda: None)
        if steps:
            steps.after_epoch(epoch, run.is_over)
        if folder:
            run.save(folder / RESUME)
        accuracy = run.history[-1]["validation_accuracy"]
        progress(epoch, config.epochs, f"validation accuracy {accuracy:.3f}")


class _Steps:
    """The checkpoints along training: the initialization, every so many, and the end."""

    def __init__(
        self, run: Training, config: TrainConfig, folder: Path, every: int, unit: Unit
    ) -> None:
        self._run, self._config, self._folder = run, config, folder
        self._every, self._unit = every, unit
        self._save(run.states["init"], 0, projected=False)

    def after_step(self) -> None:
        if self._unit == "step" and self._run.step % self._every == 0:
            self._save(self._run.seen_state(), self._run.step, self._run.is_projected)

    def after_epoch(self, epoch: int, is_last: bool) -> None:
        if is_last or (self._unit == "epoch" and epoch % self._every == 0):
            number = epoch if self._unit == "epoch" else self._run.step
            self._save(self._run.states["last"], number, self._run.is_projected)

    def _save(self, state: State, number: int, projected: bool) -> None:
        metadata = {
            self._unit: number,
            "projected": projected,
            "quantized_bits": self._config.bits if number else None,
            "config": self._config.settings(),
        }
        path = self._folder / f"{self._unit}-{number:0{_DIGITS}d}.safetensors"
        check_standing(path, own=is_checkpoint)
        save_safetensors(path, state, metadata)


def _save(result: TrainResult, folder: Path) -> dict[str, Path]:
    metrics = json.dumps(result.metrics, indent=1)
    write_whole(folder / "metrics.json", metrics.encode())
    history = pd.DataFrame(result.history)
    write_atomically(folder / "history.parquet", lambda f: history.to_parquet(f, index=False))
    paths = {
        name: save_state(result, name, folder / f"{name}.safetensors") for name in result.states
    }
    if result.mosaic is not None:
        paths["mosaic"] = save_mosaic(result, folder / "weights.mosaic")
    if result.file is not None and result.file[0] == ".kmo":
        paths["packed"] = write_whole(folder / "weights.kmo", result.file[1])
    return paths


def save_state(result: TrainResult, name: str, path: Path) -> Path:
    """Write the ``init``, ``best`` or ``last`` weights, with metadata.

    ``projected``: whether they were taken right after a projection. ``quantized_bits``: bits of
    quantized weights.
    """
    config, trained = result.config, name != "init"
    last = result.history[-1]
    epochs = {"init": 0, "best": result.metrics["best_epoch"], "last": last["epoch"]}
    is_mosaic = name == "best" or last["projected"] or config.is_learned
    metadata = {
        "epoch": epochs[name],
        "projected": config.mosaic is not None and trained and is_mosaic,
        "quantized_bits": config.bits if trained else None,
        "config": config.settings(),
    }
    return save_safetensors(path, result.states[name], metadata)


def save_mosaic(result: TrainResult, path: Path) -> Path:
    """Write the mosaic of the best weights (the latent ones of quantization-aware training).

    Without metadata, so that the file is as long as ``file_bits`` says; the run's other files say
    all that there is to say.
    """
    if result.mosaic is None:
        raise InputError("the run had no mosaic to train, so there is no mosaic to save")
    return result.mosaic.save(path, overwrite=True)  # its folder is the run's own


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    """Deterministic algorithms and one thread inside; the former settings afterwards."""
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)  # sums are split by threads, so their number changes the last bits
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        torch.set_num_threads(threads)
