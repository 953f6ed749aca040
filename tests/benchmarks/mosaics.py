"""Mosaics on Fashion-MNIST: sampled, learned, pruned, quantized; accuracy against file size.

``python tests/benchmarks/mosaics.py FOLDER [--out DIR] [--seeds N]``: FOLDER holds the four idx
files. An MLP 784-256×4-10, 10 epochs, batch 128, cosine. The published method and quantization-
aware training at their authors' settings (AdamW 3e-4, weight decay 1e-2); learned mosaics, their
pruned rival and a dense baseline of their own at AdamW 1e-3, weight decay .1. Finished runs in DIR
are used again. Some two minutes a run and core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import momos
from momos.studies import StudyConfig
from momos.training import TrainConfig

SAMPLED = {"bits": (4,), "capacities": (0.01, 0.05, 0.10)}
LEARNED = {"rates": (1.5, 3.0, 6.0, 12.0, 20.0), "sparsities": (0.95, 0.98, 0.99)}


def studies(folder: str, seeds: tuple[int, ...]) -> dict[str, StudyConfig]:
    train = TrainConfig(data="fashion-mnist", folder=folder, epochs=10)
    tuned = TrainConfig(
        data="fashion-mnist", folder=folder, epochs=10, learning_rate=1e-3, weight_decay=0.1
    )
    return {
        "published": StudyConfig(train, seeds, draws=1, **SAMPLED),
        "learned": StudyConfig(tuned, seeds, bits=(), capacities=(), draws=1, **LEARNED),
    }


def rows(result: momos.StudyResult, name: str) -> list[dict[str, object]]:
    return [
        {
            "study": name,
            "arm": run.arm,
            "seed": run.seed,
            "test_accuracy": run.metrics["test_accuracy"],
            "file_rac": run.metrics.get("file_rac"),
            "nominal_rac": 32 / run.metrics["nominal_bits_per_weight"],
            "seconds": run.metrics.get("seconds"),
        }
        for run in result.runs
        if run.arm != "init"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--out", default="out/mosaics")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args()
    found = []
    for name, config in studies(given.folder, tuple(given.seeds)).items():
        result = momos.study(config, Path(given.out) / name, threads=1)
        found += rows(result, name)
    table = pd.DataFrame(found)
    table.to_csv(Path(given.out) / "mosaics.csv", index=False, float_format="%.5g")
    columns = ["test_accuracy", "file_rac", "nominal_rac", "seconds"]
    groups = table.groupby(["study", "arm"], sort=False)[columns]
    print(groups.mean().join(groups.std()[["test_accuracy"]], rsuffix="_sd").to_string())


if __name__ == "__main__":
    main()
