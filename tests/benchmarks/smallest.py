"""The smallest networks on Fashion-MNIST: accuracy against the bytes of the file.

``python -m tests.benchmarks.smallest FOLDER [--out DIR] [--seeds N ...] [--only TEXT]``: FOLDER
holds the four idx files. Finished runs in DIR are used again. Of each run the file that it wrote is
decoded by the decoders of ``tests/formats``, and evaluated on the test images by
``tests/plainnets.py``: neither shares a line with the trainer. Writes DIR/smallest.csv, and
DIR/mosaics.png with the rows of data/mosaics.csv beside them. The test
images choose nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd

import momos
from kolmo.report.figures.marks import MARKERS, PALETTE
from kolmo.report.figures.plots import save_figure, style
from momos.config import LearnedMosaic
from momos.lab.config import TrainConfig
from tests import plainnets
from tests.formats import kmo, mosaic

DENSE_BYTES = 4 * 400_906  # of the perceptron of data/mosaics.csv in float32

CONV = TrainConfig(
    data="fashion-mnist", model="convnet", plan="c8s2 c16s2 c32s2", learning_rate=6e-3,
    weight_decay=0.0, batch_size=256,
)  # fmt: skip
WIDE = dataclasses.replace(CONV, plan="c16s2 c32s2 c64s2")
LARGE = dataclasses.replace(CONV, plan="c32s2 c64s2 c128s2")
PERCEPTRON = TrainConfig(data="fashion-mnist", learning_rate=1e-3, weight_decay=0.0, batch_size=256)
WIDTHS = (32, 64, 128, 256)

# Published, on other data: bytes of the file, error in percent, where, from where.
ANCHORS = (
    (8_560, 1.9, "LeNet-300-100, MNIST", "Oktay et al. 2020"),
    (2_840, 1.0, "LeNet-5-Caffe, MNIST", "Oktay et al. 2020"),
    (1_520, 1.0, "LeNet-5-Caffe, MNIST", "MIRACLE, Havasi et al. 2019"),
    (101_000, 10.0, "VGG-16, CIFAR-10", "Oktay et al. 2020"),
    (128_000, 8.8, "ResNet-20-4, CIFAR-10", "Oktay et al. 2020"),
    (11_400, 13.5, "CIFAR-10", "µNAS, 2020"),
)


@dataclasses.dataclass(frozen=True)
class Arm:
    """A row of the figure: what it is called there, and its runs' settings."""

    family: str
    name: str
    config: TrainConfig


def learned(config: TrainConfig, rate: float, epochs: int) -> TrainConfig:
    grid = LearnedMosaic(bits=4, rate=rate, ramp=0.4)
    return dataclasses.replace(config, epochs=epochs, mosaic=grid)


def quantized(config: TrainConfig, epochs: int) -> TrainConfig:
    return dataclasses.replace(config, epochs=epochs, bits=3)


def arms() -> list[Arm]:
    small, wide = "convnet 8-16-32", "convnet 16-32-64"
    return [
        Arm(f"learned grid, {small}", "conv8-0.024", learned(CONV, 0.024, 30)),
        Arm(f"learned grid, {small}", "conv8-0.018", learned(CONV, 0.018, 30)),
        Arm(f"learned grid, {wide}", "conv16-0.006", learned(WIDE, 0.006, 24)),
        Arm("learned grid, perceptron of 400,906", "wide-0.006", learned(PERCEPTRON, 0.006, 40)),
        Arm("learned grid, perceptron of 400,906", "wide-0.01", learned(PERCEPTRON, 0.01, 40)),
        Arm("learned grid, convnet 32-64-128", "conv32-0.003", learned(LARGE, 0.003, 16)),
        Arm("QAT 3 bits, convnet 32-64-128", "qat-conv32", quantized(LARGE, 16)),
        Arm(f"QAT 3 bits, {small}", "qat-conv8", quantized(CONV, 30)),
        *(arm for width in WIDTHS for arm in narrow(width)),
    ]


def narrow(width: int) -> tuple[Arm, Arm]:
    """A perceptron of one hidden layer, with a price of bits and without."""
    config = dataclasses.replace(PERCEPTRON, layers=2, hidden=width, learning_rate=3e-3)
    return (
        Arm("learned grid, perceptrons 32 to 256", f"mlp{width}-0.004", learned(config, 0.004, 30)),
        Arm("QAT 3 bits, perceptrons 32 to 256", f"qat-mlp{width}", quantized(config, 30)),
    )


def row(arm: Arm, seed: int, folder: str, out: Path, test: tuple[np.ndarray, np.ndarray]) -> dict:
    config = dataclasses.replace(arm.config, seed=seed, folder=folder)
    path = out / f"{arm.name}-seed{seed}"
    if not (path / "metrics.json").exists():
        momos.train(config, path, overwrite=True)
    metrics = json.loads((path / "metrics.json").read_text())
    suffix = metrics["file_kind"]
    content = (path / f"weights{suffix}").read_bytes()
    read = {".kmo": kmo.read_weights, ".mosaic": mosaic.read_weights}[suffix]
    patterns = {name: bits for name, (_, bits) in read(content).items()}
    weights = {
        name: np.asarray(bits, np.uint32).view(np.float32) for name, bits in patterns.items()
    }
    plan = config.plan if config.model == "convnet" else None
    return {
        "family": arm.family,
        "arm": arm.name,
        "seed": seed,
        "weights": metrics["weights"],
        "validation_accuracy": metrics["best_validation_accuracy"],
        "test_accuracy": plainnets.accuracy(weights, *test, plan),
        "trainer_says": metrics["best_test_accuracy"],
        "bytes": len(content),
        "seconds": metrics["seconds"],
    }


def perceptron_rows() -> pd.DataFrame:
    """The rows of data/mosaics.csv as bytes of files."""
    table = pd.read_csv(Path(__file__).parents[2] / "data" / "mosaics.csv")
    table = table[table["file_rac"].notna() & (table["study"] != "ternary")]
    kinds = {"momos": "sampled motifs", "learned": "learned motifs", "pruned": "pruned, ternary"}
    family = table["arm"].str.partition("-")[0].map(kinds)
    return table.assign(
        family=family + ", perceptron of 400,906",
        arm=table["study"] + table["arm"],
        bytes=DENSE_BYTES / table["file_rac"],
    )[family.notna()]


def draw(table: pd.DataFrame, path: Path) -> None:
    from matplotlib.figure import Figure

    groups = table.groupby(["family", "arm"], sort=False)[["bytes", "test_accuracy"]]
    points = groups.mean().join(groups.std().add_suffix("_sd")).reset_index()
    with style():
        figure = Figure(figsize=(11, 4.8), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        for number, (family, some) in enumerate(points.groupby("family", sort=False)):
            ordered = some.sort_values("bytes")
            left.errorbar(
                ordered["bytes"], ordered["test_accuracy"],
                xerr=ordered["bytes_sd"].fillna(0), yerr=ordered["test_accuracy_sd"].fillna(0),
                fmt=f"{MARKERS[number % len(MARKERS)]}-", color=PALETTE[number % len(PALETTE)],
                markersize=6, capsize=2, label=str(family),
            )  # fmt: skip
        left.set_ylim(0.84, None)
        left.set_ylabel("test accuracy")
        left.set_title("Fashion-MNIST: mean and sd of the seeds")
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=7)
        for number, (size, error, where, source) in enumerate(ANCHORS):
            right.plot(size, 100 - error, MARKERS[number], label=f"{where}: {source}")
        right.set_title("Published, on other data")
        right.set_ylabel("test accuracy, percent")
        right.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=7)
        for axis in (left, right):
            axis.set_xscale("log")
            axis.set_xlabel("bytes of the file")
    save_figure(figure, path, overwrite=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--out", default="out/smallest", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--finished", action="store_true", help="train nothing, only measure")
    parser.add_argument("--only", default="", help="arms with this in their name")
    given = parser.parse_args()
    test = plainnets.fashion_mnist_test(Path(given.folder))
    found = []
    for arm in arms():
        for seed in given.seeds if given.only in arm.name else ():
            if given.finished and not (given.out / f"{arm.name}-seed{seed}/metrics.json").exists():
                continue
            found.append(row(arm, seed, given.folder, given.out, test))
            print(json.dumps(found[-1]), flush=True)
    table = pd.DataFrame(found)
    table.to_csv(given.out / "smallest.csv", index=False, float_format="%.5g")
    figures = ["weights", "validation_accuracy", "test_accuracy", "bytes"]
    groups = table.groupby("arm", sort=False)[figures]
    print(groups.mean().join(groups.std().add_suffix(" sd")).to_string(float_format="%.5g"))
    draw(pd.concat([table, perceptron_rows()]), given.out / "mosaics.png")


if __name__ == "__main__":
    main()
