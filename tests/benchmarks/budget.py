"""How often the interval of a sampled figure holds the exact one.

``python -m tests.benchmarks.budget [--trials 3] [--codes zstd:3,...] [--kinds ...]``: the exact
figure of every object is computed once, then estimated with the windows of many seeds, of the
lengths that a budget takes. Objects are layers of bfloat16, as many as a sample needs that is not
the whole. The kinds ``DESIGN`` were looked at while constants of `kolmo.estimators.sampled` were
chosen, ``HELD_OUT`` were not.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kolmo import get_estimator, get_quantizer, open_checkpoint
from kolmo.errors import NotApplicableError
from kolmo.estimators.base import CodeLength, Estimator
from kolmo.estimators.sampled import WORTH, Sampled
from kolmo.intervals import student_quantile
from kolmo.symbols import Alphabet

Tensors = list[NDArray[Any]]
Draw = np.random.Generator
Make = Callable[[Draw, float], Tensors]
"""A layer, at a depth from 0 to 1."""

SHAPES = [(2048, 512), (1024, 1024), (512,), (1024, 1024), (256, 512), (4096, 256)]
CODES = ("zstd:3", "zstd:9@shuffle", "gzip:6", "xz:1", "prequential", "context")


def iid(draw: Draw, depth: float = 0.0) -> Tensors:
    return [draw.standard_normal(shape, np.float32) for shape in SHAPES]


def smooth(draw: Draw, depth: float) -> Tensors:
    return [np.cumsum(tensor, axis=-1) / 16 for tensor in iid(draw)]


def mixed(draw: Draw, depth: float) -> Tensors:
    """Tensors of different laws: dense, sparse, constant, repeated rows."""
    dense, sparse, _, laplace, constant, rows = iid(draw)
    sparse *= draw.random(sparse.shape) < 0.1
    return [dense, sparse, draw.laplace(size=laplace.shape) / 3,
            np.ones_like(constant), np.repeat(rows[::8], 8, axis=0)]  # fmt: skip


def heavy_rows(draw: Draw, depth: float) -> Tensors:
    """Rows whose scales have heavy tails."""
    tensors = iid(draw)
    return [t * np.exp(draw.normal(size=(len(t), *[1] * (t.ndim - 1)))) for t in tensors]


def outlier_columns(draw: Draw, depth: float) -> Tensors:
    """One column in a hundred is thirty times as large."""
    return [t * np.where(draw.random(t.shape[-1]) < 0.01, 30, 1) for t in iid(draw)]


def trained(draw: Draw, depth: float) -> Tensors:
    """The trained model of this repository, its rows drawn again and again with some noise."""
    source = open_checkpoint(Path(__file__).parents[2] / "data/trained.safetensors")
    own = [t.load(0, t.numel).reshape(t.shape).astype(np.float32) for t in source.values()]
    made = []
    for tensor in [t.reshape(len(t), -1) for t in own if t.ndim > 1][:4]:
        rows = tensor[draw.integers(0, len(tensor), 1 + 1_200_000 // tensor.shape[1])]
        made.append(rows + 0.1 * rows.std() * draw.standard_normal(rows.shape, np.float32))
    return made


def low_rank(draw: Draw, depth: float) -> Tensors:
    """Rank 8, and some noise."""
    made = []
    for shape in [shape for shape in SHAPES if len(shape) > 1]:
        left, right = draw.normal(size=(shape[0], 8)), draw.normal(size=(8, shape[1]))
        made.append(left @ right + 0.1 * draw.standard_normal(shape, np.float32))
    return made


def pruned(draw: Draw, depth: float) -> Tensors:
    """Whole rows, and two of each four of the others, are zero; the more, the deeper."""
    made = [t for t in iid(draw) if t.ndim > 1]
    for tensor in made:
        fours = np.abs(tensor.reshape(-1, 4))
        fours[np.arange(len(fours))[:, None], np.argsort(fours, axis=1)[:, 2:]] = np.inf
        tensor[np.isfinite(fours).reshape(tensor.shape)] = 0
        tensor[draw.random(len(tensor)) < 0.6 * depth] = 0
    return made


def student(draw: Draw, depth: float) -> Tensors:
    """Heavy tails: three degrees of freedom."""
    return [draw.standard_t(3, size=shape) for shape in SHAPES]


def language(draw: Draw, depth: float) -> Tensors:
    """Scales by tensor and depth, some columns far larger, vectors about 1."""
    made = []
    for tensor in iid(draw):
        if tensor.ndim == 1:
            made.append(1 + 0.1 * tensor)
            continue
        columns = np.where(draw.random(tensor.shape[-1]) < 0.003, 12, 1)
        made.append(0.02 * (1 + 2 * depth) * tensor * columns * np.exp(draw.normal() / 2))
    return made


def levels(draw: Draw, depth: float) -> Tensors:
    """Values of four bits, with a scale for each group of 64."""
    made = []
    for tensor in iid(draw):
        groups = tensor.reshape(-1, 64)
        scale = np.abs(groups).max(axis=1, keepdims=True) / 7
        made.append((np.round(groups / scale) * scale).reshape(tensor.shape))
    return made


def rare_rows(draw: Draw, depth: float) -> Tensors:
    """Rows that fall off like the frequencies of words: few large, most nearly as they began."""
    return [t / (1 + np.arange(len(t)).reshape(-1, *[1] * (t.ndim - 1)) / 16) for t in iid(draw)]


DESIGN: dict[str, Make] = {
    "iid": iid, "smooth": smooth, "mixed": mixed, "heavy rows": heavy_rows,
    "outlier columns": outlier_columns, "trained": trained,
}  # fmt: skip
HELD_OUT: dict[str, Make] = {
    "low rank": low_rank, "pruned": pruned, "student": student, "language": language,
    "levels": levels, "rare rows": rare_rows,
}  # fmt: skip


def layers(make: Make, seed: int, numel: int) -> Tensors:
    """As many layers as have so many weights."""
    draw, found, size = np.random.default_rng(seed), [], 0
    count = math.ceil(numel / sum(math.prod(shape) for shape in SHAPES))
    while size < numel:
        for tensor in make(draw, min(1.0, len(found) / (5 * count))):
            found.append(tensor.astype(ml_dtypes.bfloat16))
            size += tensor.size
    return found


def measure(estimator: Estimator, symbols: list[NDArray[Any]], alphabet: Alphabet) -> CodeLength:
    started = estimator.start_many([s.shape for s in symbols], alphabet)
    for each in symbols:
        started.update(each.reshape(-1))
    return started.finish()


def coded(tensors: Tensors, quantizer: str) -> tuple[list[NDArray[Any]], Alphabet]:
    """The symbols of tensors."""
    found, made = [], get_quantizer(quantizer)
    checkpoint = open_checkpoint({str(i): tensor for i, tensor in enumerate(tensors)})
    for tensor in checkpoint.values():
        coder = made.fit(tensor)
        found.append(coder.load(tensor, 0, tensor.numel).reshape(tensor.shape))
    return found, made.alphabet(tensors[0].dtype)


def trials(
    base: Sampled, symbols: list[NDArray[Any]], alphabet: Alphabet, seeds: range
) -> Iterator[tuple[float, float, float, float]]:
    """Of each seed: relative deviation, relative standard error, t, and its critical value."""
    exact = measure(base.inner, symbols, alphabet).bits
    for seed in seeds:
        found = measure(dataclasses.replace(base, seed=seed), symbols, alphabet)
        assert found.standard_error > 0, "the object is measured whole"
        off = found.bits - exact
        yield (off / exact, found.standard_error / exact, off / found.standard_error,
               student_quantile(found.degrees))  # fmt: skip


def sample(code: str, options: argparse.Namespace) -> Sampled:
    base = Sampled.by(get_estimator(code), options.windows, 0)
    given = {"length": options.length, "warmup": options.warmup}
    return dataclasses.replace(base, **{name: value for name, value in given.items() if value})


def report(kind: str, make: Make, options: argparse.Namespace) -> list[bool]:
    held: list[bool] = []
    by_size: dict[int, list[Sampled]] = {}
    for code in options.codes.split(","):
        base = sample(code, options)
        by_size.setdefault(math.ceil(1.05 * WORTH * base.coded), []).append(base)
    for numel, bases in by_size.items():
        tensors = layers(make, options.object, numel)
        for quantizer in options.quantizers.split(","):
            symbols, alphabet = coded(tensors, quantizer)
            for base in bases:
                held += row(f"{kind:16} {quantizer:12} {base.inner!s:16}", base, symbols, alphabet,
                            range(options.trials))  # fmt: skip
    return held


def row(
    title: str, base: Sampled, symbols: list[NDArray[Any]], alphabet: Alphabet, seeds: range
) -> list[bool]:
    """One line of the table; whether each interval holds the exact figure."""
    began = time.process_time()
    try:
        rows = np.array(list(trials(base, symbols, alphabet, seeds)))
    except NotApplicableError as error:
        print(f"{title} refused: {error}", flush=True)
        return []
    inside = np.abs(rows[:, 2]) <= rows[:, 3]
    bias, error = 100 * rows[:, 0].mean(), 100 * rows[:, 1].mean()
    print(f"{title} {inside.sum():4} of {len(rows):4} inside; bias {bias:+.3f} %, "
          f"sd {100 * rows[:, 0].std():.3f} %, error {error:.3f} %; "
          f"{time.process_time() - began:.1f} s", flush=True)  # fmt: skip
    return list(inside)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--object", type=int, default=0, help="seed of the objects")
    parser.add_argument("--codes", default=",".join(CODES))
    parser.add_argument("--quantizers", default="symmetric:8,native")
    parser.add_argument("--kinds", default=",".join([*DESIGN, *HELD_OUT]))
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--length", type=int, help="of windows, instead of that of the code")
    parser.add_argument("--warmup", type=int)
    options = parser.parse_args()
    for title, kinds in (("design", DESIGN), ("held out", HELD_OUT)):
        chosen = {k: v for k, v in kinds.items() if k in options.kinds.split(",")}
        held = [inside for kind, make in chosen.items() for inside in report(kind, make, options)]
        if held:
            print(f"{title}: {sum(held)} of {len(held)} inside, {sum(held) / len(held):.1%}")


if __name__ == "__main__":
    main()
