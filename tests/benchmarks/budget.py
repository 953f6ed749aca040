"""How often the interval of a sampled figure holds the exact one.

``python -m tests.benchmarks.budget [--trials 20] [--codes zstd:3,...] [--kinds ...]``: the exact
figure of every object is computed once, then estimated with the windows of many seeds. The kinds
``DESIGN`` were looked at while constants of `kolmo.estimators.sampled` were chosen, ``HELD_OUT``
were not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kolmo import get_estimator, get_quantizer, open_checkpoint
from kolmo.errors import NotApplicableError
from kolmo.estimators.base import CodeLength, Estimator
from kolmo.estimators.sampled import Sampled
from kolmo.intervals import student_quantile
from kolmo.symbols import Alphabet

Tensors = list[NDArray[np.float32]]
Draw = np.random.Generator
SHAPES = [(2048, 512), (1024, 1024), (512,), (1024, 1024), (256, 512), (4096, 256)]
CODES = ("zstd:3", "zstd:9@shuffle", "xz:1", "gzip:6", "prequential", "context")


def iid(draw: Draw) -> Tensors:
    return [draw.normal(size=shape).astype(np.float32) for shape in SHAPES]


def smooth(draw: Draw) -> Tensors:
    return [np.cumsum(draw.normal(size=shape), axis=-1).astype(np.float32) / 16 for shape in SHAPES]


def mixed(draw: Draw) -> Tensors:
    """Tensors of different laws: dense, sparse, constant, repeated rows."""
    dense, sparse, _, laplace, constant, rows = iid(draw)
    sparse *= draw.random(sparse.shape) < 0.1
    return [dense, sparse, draw.laplace(size=laplace.shape).astype(np.float32) / 3,
            np.ones_like(constant), np.repeat(rows[::8], 8, axis=0)]  # fmt: skip


def heavy_rows(draw: Draw) -> Tensors:
    """Rows whose scales have heavy tails."""
    tensors = iid(draw)
    return [t * np.exp(draw.normal(size=(len(t), *[1] * (t.ndim - 1)))) for t in tensors]


def outlier_columns(draw: Draw) -> Tensors:
    """One column in a hundred is thirty times as large."""
    return [t * np.where(draw.random(t.shape[-1]) < 0.01, 30, 1).astype(np.float32)
            for t in iid(draw)]  # fmt: skip


def trained(draw: Draw) -> Tensors:
    """The trained model of this repository, its rows drawn again and again with some noise."""
    source = open_checkpoint(Path(__file__).parents[2] / "data/trained.safetensors")
    own = [t.load(0, t.numel).reshape(t.shape).astype(np.float32) for t in source.values()]
    found = [t.reshape(len(t), -1) for t in own if t.ndim > 1]
    made = []
    for tensor in found:
        rows = tensor[draw.integers(0, len(tensor), 1 + 1_200_000 // tensor.shape[1])]
        made.append((rows + 0.1 * rows.std() * draw.normal(size=rows.shape)).astype(np.float32))
    return made[:4]


DESIGN: dict[str, Callable[[Draw], Tensors]] = {"iid": iid, "smooth": smooth, "mixed": mixed}
HELD_OUT: dict[str, Callable[[Draw], Tensors]] = {
    "heavy rows": heavy_rows, "outlier columns": outlier_columns, "trained": trained,
}  # fmt: skip


def measure(
    estimator: Estimator, symbols: list[NDArray[np.uint8]], alphabet: Alphabet
) -> CodeLength:
    started = estimator.start_many([s.shape for s in symbols], alphabet)
    for each in symbols:
        started.update(each.reshape(-1))
    return started.finish()


def coded(tensors: Tensors, quantizer: str) -> tuple[list[NDArray[np.uint8]], Alphabet]:
    """The symbols of tensors."""
    found, made = [], get_quantizer(quantizer)
    checkpoint = open_checkpoint({str(i): t.astype(np.float32) for i, t in enumerate(tensors)})
    for tensor in checkpoint.values():
        coder = made.fit(tensor)
        found.append(coder.load(tensor, 0, tensor.numel).reshape(tensor.shape))
    return found, made.alphabet(np.dtype(np.float32))


def trials(
    code: str, tensors: Tensors, quantizer: str, seeds: range, length: int, warmup: int
) -> Iterator[tuple[float, float, float, float]]:
    """Of each seed: relative deviation, relative standard error, t, and its critical value."""
    symbols, alphabet = coded(tensors, quantizer)
    exact = measure(get_estimator(code), symbols, alphabet).bits
    base = Sampled.by(get_estimator(code), 64, 0)
    for seed in seeds:
        sampled = Sampled(base.of, 64, length, warmup, seed, base.layout)
        found = measure(sampled, symbols, alphabet)
        assert found.standard_error > 0, "the object is measured whole"
        off = found.bits - exact
        yield (off / exact, found.standard_error / exact, off / found.standard_error,
               student_quantile(found.degrees))  # fmt: skip


def report(kind: str, make: Callable[[Draw], Tensors], options: argparse.Namespace) -> list[bool]:
    held: list[bool] = []
    tensors = make(np.random.default_rng(options.object))
    for quantizer in options.quantizers.split(","):
        for code in options.codes.split(","):
            if quantizer == "native" and code == "prequential":
                continue
            began = time.process_time()
            seeds = range(options.trials)
            try:
                rows = np.array(list(trials(code, tensors, quantizer, seeds, options.length,
                                            options.warmup)))  # fmt: skip
            except NotApplicableError as error:
                print(f"{kind:16} {quantizer:12} {code:16} refused: {error}", flush=True)
                continue
            inside = np.abs(rows[:, 2]) <= rows[:, 3]
            held += inside.tolist()
            bias, error = 100 * rows[:, 0].mean(), 100 * rows[:, 1].mean()
            print(f"{kind:16} {quantizer:12} {code:16} {inside.sum():4} of {len(rows):4} inside; "
                  f"bias {bias:+.3f} %, sd {100 * rows[:, 0].std():.3f} %, error {error:.3f} %; "
                  f"{time.process_time() - began:.1f} s", flush=True)  # fmt: skip
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--object", type=int, default=0, help="seed of the objects")
    parser.add_argument("--codes", default=",".join(CODES))
    parser.add_argument("--quantizers", default="symmetric:8,native")
    parser.add_argument("--kinds", default=",".join([*DESIGN, *HELD_OUT]))
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--warmup", type=int, default=6144)
    options = parser.parse_args()
    for title, kinds in (("design", DESIGN), ("held out", HELD_OUT)):
        chosen = {k: v for k, v in kinds.items() if k in options.kinds.split(",")}
        held = [inside for kind, make in chosen.items() for inside in report(kind, make, options)]
        if held:
            print(f"{title}: {sum(held)} of {len(held)} inside, {sum(held) / len(held):.1%}")


if __name__ == "__main__":
    main()
