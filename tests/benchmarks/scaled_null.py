"""False alarms of the null ``scaled``: how often matrices of scales and noise alone cost less than
all of its draws.

Run: python -m tests.benchmarks.scaled_null [TRIALS]

Each family has r_i c_j × independent noise, or what else has no structure but its scales. A trial
is one matrix of 32 × 48 and 39 draws; an alarm is a figure below 39 of 39 draws, p ≤ .025 on this
side. Prints the table of docs/nulls.md.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor, array_tensor
from kolmo.engine.feeding import hold
from kolmo.estimators import get_estimator
from kolmo.nulls import Source, Weights, get_null
from kolmo.quantize import get_quantizer

SHAPE = (32, 48)
DRAWS = 39
MEASURED = (
    ("kt", "symmetric:8"),
    ("context", "symmetric:8"),
    ("context", "nmse:0.001,axis=tensor"),
)


def _scales(random: Generator, size: int, spread: float = 0.7) -> NDArray[np.float64]:
    return np.exp(spread * random.normal(size=size))


def _outer(random: Generator, noise: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = noise.shape
    return noise * _scales(random, rows)[:, None] * _scales(random, columns)


def _mixture(random: Generator) -> NDArray[np.float64]:
    wide = random.random(SHAPE) < 0.1
    return random.normal(size=SHAPE) * np.where(wide, 5, 1)


FAMILIES: dict[str, Callable[[Generator], NDArray[np.float64]]] = {
    "normal": lambda random: random.normal(size=SHAPE),
    "rows × normal": lambda random: random.normal(size=SHAPE) * _scales(random, SHAPE[0])[:, None],
    "rows × columns × normal": lambda random: _outer(random, random.normal(size=SHAPE)),
    "rows × columns × Student t(3)": lambda random: _outer(random, random.standard_t(3, SHAPE)),
    "rows × columns × uniform": lambda random: _outer(random, random.uniform(-1, 1, SHAPE)),
    "rows × columns × mixture of scales": lambda random: _outer(random, _mixture(random)),
    "rows × columns × normal, half of them 0": lambda random: _outer(
        random, random.normal(size=SHAPE) * (random.random(SHAPE) < 0.5)
    ),
    "rows × columns × normal, 8 × 6": lambda random: _outer(random, random.normal(size=(8, 6))),
}


def bits(source: Source, shape: tuple[int, ...], estimator: str, quantizer: str) -> float:
    """The bits of a tensor or a draw."""
    coded = source.coded(get_quantizer(quantizer))
    measure = get_estimator(estimator)
    assert source.drawn is not None
    accumulator = measure.start(shape, get_quantizer(quantizer).alphabet_of(source.drawn))
    for symbols in coded.chunks:
        accumulator.update(symbols)
    return accumulator.finish().with_side(coded.side_bits or 0).bits


def figures(tensor: WeightTensor, null: str, draws: int, measured: Any) -> Iterator[list[float]]:
    """For each measurement the tensor's bits, and those of its draws."""
    made, sources = get_null(null), [Weights(tensor)]
    for number in range(draws):
        source = made.draw(tensor, number, 0)
        assert isinstance(source, Weights)
        sources.append(dataclasses.replace(source, tensor=hold(source.tensor)))
    for estimator, quantizer in measured:
        yield [bits(source, tensor.shape, estimator, quantizer) for source in sources]


def alarms(family: str, trials: int, null: str = "scaled", measured: Any = MEASURED) -> list[int]:
    """How many trials a figure is below all draws, for each measurement."""
    found = [0] * len(measured)
    for trial in range(trials):
        random = np.random.default_rng((trial, *family.encode()))
        tensor = array_tensor(f"w{trial}", FAMILIES[family](random).astype(np.float32))
        for number, (actual, *drawn) in enumerate(figures(tensor, null, DRAWS, measured)):
            found[number] += actual < min(drawn)
    return found


def main(trials: int) -> None:
    heads = [f"`{estimator}`, `{quantizer}`" for estimator, quantizer in MEASURED]
    print(f"| {trials} trials each | {' | '.join(heads)} |")
    print("|---" * (len(heads) + 1) + "|")
    for family in FAMILIES:
        found = alarms(family, trials, measured=MEASURED)
        print(f"| {family} | {' | '.join(f'{n / trials:.1%}' for n in found)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
