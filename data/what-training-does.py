"""What training does to the bits of a network, by four definitions: makes what-training-does.csv.

Two tasks: addition modulo 59, with weight decay (three seeds) and without (two), where a network
first learns the examples by heart, and only with decay the rule; and Fashion-MNIST (two). The first
seed is followed along training, of the others there are the start, a step between, and the end.
``python data/what-training-does.py FOLDER``: FOLDER holds the four idx files of Fashion-MNIST.
Some 20 minutes of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import tempfile
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import kolmo
from momos.lab.datasets import load_dataset

PRIME = 59
SEEDS = (0, 1, 2)
MEASURED = 5_000  # examples of a part at most that its loss and its accuracy are of
OUT = Path(__file__).with_suffix(".csv")

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Task:
    """Examples, and how a network learns them.

    Attributes
    ----------
    inputs, labels : dict of str to ndarray
        By part: ``train``, and ``validation``, which no step of training sees.
    sizes : tuple of int
        Inputs and outputs of each layer.
    steps : tuple of int
        After which the network is measured.
    decay, rate : float
        Of AdamW.
    batch : int, optional
        Examples a step, drawn without replacement; all of them where it is not given.
    """

    name: str
    seed: int
    inputs: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]
    decay: float
    rate: float
    batch: int | None = None

    @property
    def tolerance(self) -> float:
        """One percent of the loss of guessing, in nats."""
        return 0.01 * math.log(self.sizes[-1])


def addition(seed: int, decay: float) -> Task:
    """(a + b) mod 59 of one-hot pairs, half of which are trained on."""
    pairs = np.stack(np.meshgrid(range(PRIME), range(PRIME), indexing="ij"), -1).reshape(-1, 2)
    order = np.random.default_rng(seed).permutation(len(pairs))
    parts = dict(zip(("train", "validation"), np.array_split(order, 2), strict=True))
    coded = np.eye(PRIME, dtype=np.float32)[pairs].reshape(len(pairs), -1)
    return Task(
        f"addition, weight decay {decay:g}",
        seed,
        {name: coded[part] for name, part in parts.items()},
        {name: pairs[part].sum(1) % PRIME for name, part in parts.items()},
        (2 * PRIME, 128, 128, PRIME),
        (0, 100, 400, 1600, 4000) if seed == SEEDS[0] else (0, 100, 4000),
        decay,
        3e-3,
    )


def fashion(seed: int, folder: str) -> Task:
    found = load_dataset("fashion-mnist", folder)
    parts = {"train": found.train, "validation": found.validation}
    return Task(
        "Fashion-MNIST",
        seed,
        {name: part.images for name, part in parts.items()},
        {name: part.labels for name, part in parts.items()},
        (784, 64, 64, 10),
        (0, 200, 1000, 8000) if seed == SEEDS[0] else (0, 1000, 8000),
        0.01,
        1e-3,
        batch=256,
    )


def batches(task: Task) -> Iterator[Any]:
    """The rows of each step, without an end."""
    random, count = np.random.default_rng(task.seed), len(task.labels["train"])
    while task.batch is None:
        yield slice(None)
    while True:
        order = random.permutation(count)
        yield from (order[n : n + task.batch] for n in range(0, count - task.batch, task.batch))


def train(task: Task) -> Iterator[tuple[int, Arrays]]:
    """The network after each of the steps."""
    torch.manual_seed(task.seed)
    layers = [torch.nn.Linear(*pair) for pair in pairwise(task.sizes)]
    x, y = torch.from_numpy(task.inputs["train"]), torch.from_numpy(task.labels["train"])
    weights = [p for layer in layers for p in layer.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=task.rate, weight_decay=task.decay, betas=(0.9, 0.98))
    for step, rows in zip(range(max(task.steps) + 1), batches(task), strict=False):
        if step in task.steps:
            yield (
                step,
                {
                    f"{n}.{name}": p.detach().numpy().copy()
                    for n, layer in enumerate(layers)
                    for name, p in layer.named_parameters()
                },
            )
        values = x[rows]
        for n, layer in enumerate(layers):
            values = layer(values if n == 0 else torch.relu(values))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(values, y[rows]).backward()
        optimizer.step()


def outputs(network: Arrays, inputs: np.ndarray) -> np.ndarray:
    values = inputs
    for n in range(len(network) // 2):
        values = values if n == 0 else np.maximum(values, 0)
        values = values @ network[f"{n}.weight"].T + network[f"{n}.bias"]
    return values.astype(np.float64)


def loss(task: Task, part: str, network: Arrays) -> float:
    """Cross-entropy in nats."""
    values, labels = outputs(network, task.inputs[part][:MEASURED]), task.labels[part][:MEASURED]
    values -= values.max(axis=1, keepdims=True)
    own = values[np.arange(len(values)), labels]
    return float((np.log(np.exp(values).sum(axis=1)) - own).mean())


def accuracy(task: Task, part: str, network: Arrays) -> float:
    guesses = outputs(network, task.inputs[part][:MEASURED]).argmax(axis=1)
    return float((guesses == task.labels[part][:MEASURED]).mean())


def measured(task: Task) -> Iterator[dict[str, Any]]:
    """A row for each step and definition."""
    start: Arrays = {}
    for step, network in train(task):
        start = start or network
        facts = {"task": task.name, "seed": task.seed, "step": step, "weights": sum(
            array.size for array in network.values())}  # fmt: skip
        for part in ("train", "validation"):
            facts[f"{part}_loss"] = loss(task, part, network)
            facts[f"{part}_accuracy"] = accuracy(task, part, network)
        for row in definitions(task, start, network):
            yield facts | row
        print(*facts.values(), flush=True)


def definitions(task: Task, start: Arrays, network: Arrays) -> Iterator[dict[str, Any]]:
    plain = kolmo.analyze(
        network, quantizers=["native"], estimators=["kt"], scope="model", nulls=[], threads=1
    )
    yield {"definition": "lossless", "bits": plain.table["bits"].min()}
    shuffled = kolmo.analyze(
        network, quantizers=["symmetric:8"], estimators=["context", "lowrank"], scope="model",
        nulls=["shuffled"], draws=39, threads=1,
    ).table  # fmt: skip
    best = shuffled.loc[shuffled["bits"].idxmin()]
    least = shuffled["null_bits"].min()
    yield {"definition": "of its shuffle", "bits": best["bits"], "share": best["bits"] / least}
    for part, name, base in (
        ("train", "function", None),
        ("train", "added", start),
        ("validation", "function", None),
    ):
        evaluate = functools.partial(loss, task, part)
        with tempfile.TemporaryDirectory() as folder:
            found = kolmo.learned_difference(
                base, network, Path(folder) / "network.kmo", evaluate=evaluate,
                tolerance=task.tolerance, threads=1, progress=False,
            )  # fmt: skip
        yield {"definition": f"{name}, {part} loss", "bits": found.bits, "form": found.form}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="the four idx files of Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--only", default="", help="tasks with this in their name")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    tasks = chain(
        (addition(seed, 1.0) for seed in given.seed or SEEDS),
        (addition(seed, 0.0) for seed in given.seed or SEEDS[:2]),
        (fashion(seed, given.folder) for seed in given.seed or SEEDS[:2]),
    )
    for task in tasks:
        rows += measured(task) if given.only in task.name else ()
        pd.DataFrame(rows).to_csv(given.out, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
