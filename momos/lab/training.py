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
from typing import Any

import pandas as pd
import torch

from kolmo.errors import InputError
from kolmo.progress import Wanted, progress_bar
from momos.lab.config import TrainConfig
from momos.lab.datasets import load_dataset
from momos.lab.loop import State, Training
from momos.lab.settings import to_toml
from momos.mosaic.mosaic import Mosaic
from momos.tensors import make_folder, save_safetensors, write_whole

RESUME = "resume.pt"


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
        weights, the nominal bits a weight, seconds; of a mosaic its description length and RAC,
        ``file_bits`` and ``file_rac`` of its whole file, and ``notes`` on what looks wrong.
    states : dict of str to state dict
        ``init``, ``best`` (by validation accuracy, the latest of equals) and ``last``: the weights
        that the forward pass sees, quantized ones under quantization-aware training. The best of
        a learned mosaic is the last: its rate rises until then.
    mosaic : Mosaic or None
        Mosaic of the best weights (the latent ones, under quantization-aware training).
    checkpoints : dict of str to Path
        The files written: ``init``, ``best``, ``last``, ``mosaic``.
    """

    config: TrainConfig
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    states: dict[str, State]
    mosaic: Mosaic | None
    checkpoints: dict[str, Path]


def train(
    config: TrainConfig,
    out: str | os.PathLike[str] | None = None,
    *,
    resume: bool = False,
    progress: Wanted = None,
) -> TrainResult:
    """Train a model as configured.

    Parameters
    ----------
    config : TrainConfig
    out : path, optional
        Folder to write ``init``, ``best``, ``last`` ``.safetensors``, ``config.toml``,
        ``history.parquet``, ``metrics.json`` and, of a projected model, ``weights.mosaic`` to;
        and, while it lasts, ``resume.pt`` after each epoch.
    resume : bool
        Continue after the last epoch that an interrupted run of the same configuration finished
        there; the result is the same, bit for bit. Without such a run, begin one.
    progress : bool or callable, optional
        A bar where a terminal or a notebook is, by default; False for none; or
        ``progress(epoch, epochs, label)``, called after each epoch.

    Raises
    ------
    InputError
        If the data cannot be read, an option does not fit the model, or the interrupted run was
        of another configuration.
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
    start = time.perf_counter()
    dataset = load_dataset(config.data, config.folder)
    if resume and out is None:
        raise InputError("to resume, name the folder of the interrupted run")
    folder = None if out is None else make_folder(out)
    with _deterministic(), progress_bar(progress) as report:
        run = Training(config, dataset)
        if folder and resume:
            run.load(folder / RESUME)
        while not run.is_over:
            epoch = len(run.history) + 1
            run.epoch(epoch)
            if folder:
                run.save(folder / RESUME)
            accuracy = run.history[-1]["validation_accuracy"]
            report(epoch, config.epochs, f"validation accuracy {accuracy:.3f}")
        metrics = run.metrics()
    metrics["seconds"] = round(time.perf_counter() - start, 3)
    result = TrainResult(config, run.history, metrics, run.states, run.mosaic, {})
    files = {} if folder is None else _save(result, folder)
    if folder:
        (folder / RESUME).unlink(missing_ok=True)
    return dataclasses.replace(result, checkpoints=files)


def _save(result: TrainResult, folder: Path) -> dict[str, Path]:
    metrics = json.dumps(result.metrics, indent=1)
    write_whole(folder / "config.toml", to_toml(result.config).encode())
    write_whole(folder / "metrics.json", metrics.encode())
    pd.DataFrame(result.history).to_parquet(folder / "history.parquet", index=False)
    paths = {
        name: save_state(result, name, folder / f"{name}.safetensors") for name in result.states
    }
    if result.mosaic is not None:
        paths["mosaic"] = save_mosaic(result, folder / "weights.mosaic")
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
    """Write the mosaic of the best weights (the latent ones of quantization-aware training)."""
    if result.mosaic is None:
        raise InputError("the run had no mosaic to train, so there is no mosaic to save")
    latent = {"epoch": result.metrics["best_epoch"], "latent": result.config.bits is not None}
    return result.mosaic.save(path, latent)


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
