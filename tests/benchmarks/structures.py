"""Which estimator sees which structure: bits of a matrix in parts of its shuffles' mean bits.

Prints the Markdown table of docs/choosing.md. Bold is what shuffles do not reach: more than five
of their standard deviations, and .1 %, below their mean.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import kolmo

SIDE, DRAWS, SEED = 256, 9, 0
Matrix = NDArray[np.float32]
MEASURES = {
    "`kt`": ("kt", "symmetric:8"),
    "`zstd`": ("zstd:19", "symmetric:8"),
    "`context`": ("context", "symmetric:8"),
    "`predictive`": ("predictive", "symmetric:8"),
    "`linear`": ("linear", "symmetric:8"),
    "`mosaic`": ("mosaic", "symmetric:8"),
    "`lowrank`": ("lowrank", "symmetric:8"),
    "`planes`": ("planes", "symmetric:8"),
    "`prequential`": ("prequential", "symmetric:8"),
    "`bdm` (signs)": ("bdm", "sign"),
    "`bdm,ndim=2` (signs)": ("bdm,ndim=2", "sign"),
    "`qubd`": ("qubd", "affine:8"),
}


def structures(random: np.random.Generator) -> Iterator[tuple[str, Matrix]]:
    """Names and matrices; all but the first two have structure."""
    normal = random.standard_normal
    plain, row = normal((SIDE, SIDE)), np.exp(0.7 * normal((SIDE, 1)))
    half, low = normal((SIDE // 2, SIDE)), normal((SIDE, 4)) @ normal((4, SIDE)) / 2
    yield "independent normal weights", plain
    yield "the same, half of them zero at random", plain * (random.random((SIDE, SIDE)) < 0.5)
    yield "rows of different scale", plain * row
    yield "columns of different scale", plain * row.T
    yield "rank 4", low
    yield "rank 4 and as much noise", low + plain
    yield "rows twice", np.repeat(half, 2, axis=0)
    yield "rows twice, some negated", np.repeat(half, 2, axis=0) * random.choice([-1, 1], (SIDE, 1))
    yield "rows twice, 10 % noise", np.repeat(half, 2, axis=0) + 0.1 * plain
    yield "rows, each a permutation of one", random.permuted(np.tile(plain[0], (SIDE, 1)), axis=1)
    yield "symmetric", np.triu(plain) + np.triu(plain, 1).T
    yield "circulant", plain[0][np.subtract.outer(np.arange(SIDE), np.arange(SIDE))]
    yield "Kronecker product", np.kron(normal((16, 16)), normal((16, 16)))
    yield "2 of each 4 are zero", plain * _two_of_four(random)
    yield "smooth surface", _smooth(random)
    yield "orthogonal", np.linalg.qr(plain)[0]


def _two_of_four(random: np.random.Generator) -> NDArray[np.bool_]:
    fours = np.tile([True, True, False, False], (SIDE**2 // 4, 1))
    return random.permuted(fours, axis=1).reshape(SIDE, SIDE)


def _smooth(random: np.random.Generator) -> NDArray[np.float64]:
    at = np.arange(SIDE) / SIDE
    waves = random.integers(1, 6, size=(8, 2))
    phases = random.random(8)
    angles = waves @ np.stack(np.meshgrid(at, at)).reshape(2, -1) + phases[:, None]
    return np.cos(2 * np.pi * angles).sum(axis=0).reshape(SIDE, SIDE)


def ratio(estimator: str, quantizer: str, matrix: Matrix) -> str:
    random = np.random.default_rng(SEED)
    shuffles = (random.permutation(matrix.ravel()).reshape(SIDE, SIDE) for _ in range(DRAWS))
    drawn = [kolmo.estimate(shuffle, estimator, quantizer).bits for shuffle in shuffles]
    mean, actual = float(np.mean(drawn)), kolmo.estimate(matrix, estimator, quantizer).bits
    seen = actual < min(mean - 5 * float(np.std(drawn, ddof=1)), 0.999 * mean)
    text = f"{actual / mean:.3f}".removeprefix("0")
    return f"**{text}**" if seen else text


def main() -> None:
    print(f"| structure | {' | '.join(MEASURES)} |\n|---|{'---|' * len(MEASURES)}")
    for name, matrix in structures(np.random.default_rng(SEED)):
        cells = (ratio(*spec, matrix.astype(np.float32)) for spec in MEASURES.values())
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
