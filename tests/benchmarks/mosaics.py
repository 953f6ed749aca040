"""Mosaics on Fashion-MNIST: sampled, learned, pruned, quantized; accuracy against file size.

``python tests/benchmarks/mosaics.py FOLDER [--out DIR] [--seeds N ...]``: FOLDER holds the four idx
files; prints a table, writes DIR/mosaics.csv and DIR/mosaics.png. Finished runs in DIR are used
again; a run takes about a minute.

An MLP 784-256×4-10, 10 epochs, batch 128, cosine. The published method and quantization-aware
training at their authors' settings (AdamW 3e-4, weight decay 1e-2); learned mosaics, their pruned
rival and a dense baseline of their own at AdamW 1e-3, weight decay .1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import momos
from kolmo.report.figures.marks import MARKERS, PALETTE
from kolmo.report.figures.plots import save_figure, style
from momos.config import LearnedMosaic
from momos.lab.arms import StudyConfig
from momos.lab.config import TrainConfig

SAMPLED = {"bits": (4,), "capacities": (0.01, 0.05, 0.10), "every": 1}
SHARES = (0.95, 0.98, 0.99)
LEARNED = {"rates": (1.5, 3.0, 6.0, 12.0, 20.0), "zeros": SHARES, "sparsities": SHARES}
TERNARY = {"rates": (6.0, 10.0, 14.0)}

LABELS = {
    "momos": "sampled motifs, as published (s = 4)",
    "learned": "learned mosaic (s = 1, k = 5)",
    "learned3": "learned mosaic (s = 1, k = 3)",
    "zeros": "learned mosaic (k = 5), share of zeros given",
    "pruned": "magnitude pruning, ternary",
}


def studies(folder: str, seeds: tuple[int, ...]) -> dict[str, StudyConfig]:
    train = TrainConfig(data="fashion-mnist", folder=folder, epochs=10)
    tuned = TrainConfig(
        data="fashion-mnist", folder=folder, epochs=10, learning_rate=1e-3, weight_decay=0.1
    )
    return {
        "published": StudyConfig(train, seeds, rates=(), draws=1, **SAMPLED),
        "learned": StudyConfig(tuned, seeds, bits=(), capacities=(), draws=1, **LEARNED),
        "ternary": StudyConfig(
            tuned, seeds, bits=(), capacities=(), draws=1, learn=LearnedMosaic(motifs=3), **TERNARY
        ),
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
        }
        for run in result.runs
        if run.arm != "init"
    ]


def draw(summary: pd.DataFrame, path: Path) -> None:
    from matplotlib.figure import Figure

    summary = summary[summary["file_rac"].notna()]
    families = summary["arm"].str.partition("-")[0] + summary["study"].map({"ternary": "3"}).fillna(
        ""
    )
    with style():
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        axis = figure.subplots()
        for number, (family, points) in enumerate(summary.groupby(families, sort=False)):
            axis.errorbar(
                points["file_rac"],
                points["test_accuracy"],
                yerr=points["sd"].fillna(0),
                fmt=f"{MARKERS[number]}-",
                color=PALETTE[number],
                markersize=7,
                capsize=3,
                label=LABELS[str(family)],
            )
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel("compression against float32: bits of the weights / bits of the file")
        axis.set_ylabel("test accuracy")
        axis.set_title("Fashion-MNIST, MLP of 400,906 weights: mean and sd of the seeds")
        axis.legend(loc="lower left")
    save_figure(figure, path, overwrite=True)


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
    columns = ["test_accuracy", "file_rac", "nominal_rac"]
    groups = table.groupby(["study", "arm"], sort=False)[columns]
    summary = groups.mean()
    summary.insert(1, "sd", groups.std()["test_accuracy"])
    print(summary.to_string(float_format="%.4g"))
    draw(summary.reset_index(), Path(given.out) / "mosaics.png")


if __name__ == "__main__":
    main()
