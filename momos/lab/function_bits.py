"""Function bits of a study's networks: the shortest file at which each keeps its validation loss.

The test images play no part in it: what is tuned, here the steps of grids, is tuned on validation.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch.nn.functional import cross_entropy

from kolmo.checkpoints.opening import open_source
from kolmo.execution import Progress
from kolmo.lossy.function import SameFunction
from momos.lab.arms import StudyConfig, StudyRun
from momos.lab.datasets import Dataset, Split, load_dataset
from momos.lab.loop import Training
from momos.lab.records import key_of, read_record, write_record

TOLERANCE = "1%"
"""Of the validation loss."""


def function_row(
    run: StudyRun, config: StudyConfig, out: Path, threads: int | None, progress: Progress
) -> dict[str, Any]:
    """The row of kolmo's table, from its record if there is one."""
    settings = {"train": config.train.settings(), "tolerance": TOLERANCE}
    path = out / "measured" / f"{run.arm}-seed{run.seed}-function.json"
    key = key_of("function", settings, "kolmo", [run.checkpoint])
    record = read_record(path, key)
    if record is None:
        dataset = load_dataset(config.train.data, config.train.folder)
        record = {"key": key, "row": _measure(run, config, dataset, threads, progress)}
        write_record(path, record)
    row: dict[str, Any] = record["row"]
    return row


def _measure(
    run: StudyRun, config: StudyConfig, dataset: Dataset, threads: int | None, progress: Progress
) -> dict[str, Any]:
    plain = dataclasses.replace(config.train, seed=run.seed)
    model = Training(plain, dataset).model
    model.load_state_dict(safetensors.torch.load(run.checkpoint.read_bytes()))

    def loss(network: torch.nn.Module) -> float:
        return validation_loss(network, dataset.validation)

    same = SameFunction(loss, TOLERANCE, threads=threads, progress=progress)
    return same.row(run.arm, None, model, open_source(model))


def validation_loss(model: torch.nn.Module, part: Split) -> float:
    """The mean cross-entropy in nats, the same whatever the threads of torch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            batches = zip(
                torch.split(torch.from_numpy(part.images), _IMAGES),
                torch.split(torch.from_numpy(part.labels), _IMAGES),
                strict=True,
            )
            total = sum(
                float(cross_entropy(model(images).double(), labels, reduction="sum"))
                for images, labels in batches
            )
    finally:
        torch.set_num_threads(threads)
    return total / len(part)


_IMAGES = 10_000  # evaluated at a time, so that memory is bounded
