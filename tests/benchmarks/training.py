"""Training time of learned mosaics: python -m tests.benchmarks.training [FOLDER]

FOLDER holds the four idx files of Fashion-MNIST; MNIST-1D, which is generated, where none is given
(a smaller model, hence a larger share of what every step costs at any size). An MLP 256×4-10,
batches of 128, everything that `momos.train` does. The arms run in turn, several times; ratios are
of one turn, their median and range over turns.
"""

import dataclasses
import statistics
import sys
import time

import momos
from momos.config import LearnedMosaic
from momos.lab.config import TrainConfig

TURNS = 3
ARMS = {
    "dense": None,
    "rate 6": LearnedMosaic(rate=6.0),
    "zeros .95": LearnedMosaic(sparsity=0.95, rate=0.1),
    "zeros .95, rate 3": LearnedMosaic(sparsity=0.95, rate=3.0),
}


def main(folder: str | None = None) -> None:
    data = {"data": "fashion-mnist", "folder": folder} if folder else {"data": "mnist1d"}
    train = TrainConfig(**data, epochs=5 if folder else 20, learning_rate=1e-3, weight_decay=0.1)
    arms = {name: dataclasses.replace(train, mosaic=mosaic) for name, mosaic in ARMS.items()}
    for config in arms.values():  # compile
        momos.train(dataclasses.replace(config, epochs=1))
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(TURNS):
        for name, config in arms.items():
            began = time.perf_counter()
            momos.train(config)
            seconds[name].append(time.perf_counter() - began)
    print(f"{'arm':20} {'seconds':>8} {'× dense':>8} {'range':>12}")
    for name, times in seconds.items():
        ratios = [one / dense for one, dense in zip(times, seconds["dense"], strict=True)]
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        print(f"{name:20} {min(times):8.2f} {statistics.median(ratios):8.2f} {spread:>12}")


if __name__ == "__main__":
    main(*sys.argv[1:])
