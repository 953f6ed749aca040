"""Cases: symbols and weights that subjects are tried on, each made from a few words."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import ml_dtypes
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor, array_tensor
from kolmo.symbols import Shape, Symbols, container

FORMATS = {
    "float8_e4m3fn": 8,
    "float8_e5m2": 8,
    "float16": 16,
    "bfloat16": 16,
    "float32": 32,
    "float64": 64,
}
"""Bits of each floating-point format whose bit patterns symbols can be."""

DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    *FORMATS,
)
"""What checkpoints store."""


# --- symbols --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """Symbols of some tensors; the same words always make the same symbols.

    Attributes
    ----------
    shapes : tuple of shapes
    alphabet : int
    content : str
        One of `CONTENTS`.
    format : str
        The floating-point format whose bit patterns they are; empty if they are not.
    seed : int
    """

    shapes: tuple[Shape, ...]
    alphabet: int
    content: str = "repeats"
    format: str = ""
    seed: int = 0

    def __str__(self) -> str:
        one = len(self.shapes) == 1
        shapes = f"shape {self.shapes[0]}" if one else f"shapes {list(self.shapes)}"
        kind = f" of {self.format}" if self.format else ""
        return f"{shapes}, alphabet {self.alphabet:,}{kind}, {self.content}, seed {self.seed}"

    @property
    def numel(self) -> int:
        return sum(map(math.prod, self.shapes))

    def symbols(self) -> Symbols:
        """All of them, flat."""
        random = np.random.default_rng(self.seed)
        drawn = _CONTENTS[self.content](random, self)
        return np.asarray(drawn).astype(container(self.alphabet))

    def parts(self) -> list[Symbols]:
        """One array a tensor, in its shape."""
        pieces = np.split(self.symbols(), np.cumsum([math.prod(shape) for shape in self.shapes]))
        return [piece.reshape(shape) for piece, shape in zip(pieces, self.shapes, strict=False)]


def _uniform(random: Generator, case: Case) -> NDArray[Any]:
    return random.integers(0, case.alphabet, case.numel, np.uint64)


def _repeats(random: Generator, case: Case) -> NDArray[Any]:
    drawn = random.geometric(0.2, case.numel) % min(case.alphabet, 2**40)
    drawn[case.numel // 2 :] = drawn[: case.numel - case.numel // 2]
    return drawn


def _motifs(random: Generator, case: Case) -> NDArray[Any]:
    motifs = random.integers(0, case.alphabet, (3, 20), np.uint64)
    return motifs[random.integers(0, 3, -(-case.numel // 20))].reshape(-1)[: case.numel]


def _few(random: Generator, case: Case) -> NDArray[Any]:
    return random.integers(0, case.alphabet, 3, np.uint64)[random.integers(0, 3, case.numel)]


def _weights(random: Generator, case: Case) -> NDArray[Any]:
    normal = random.normal(0, 0.05, case.numel)
    if case.format:
        return normal.astype(case.format).view(container(case.alphabet))
    middle = (min(case.alphabet, 2**32) - 1) / 2
    return np.clip(np.rint(middle + 5 * normal * middle), 0, 2 * middle)


def _constant(random: Generator, case: Case) -> NDArray[Any]:
    return np.full(case.numel, case.alphabet - 1, np.uint64)


def _last_one(random: Generator, case: Case) -> NDArray[Any]:
    drawn = np.zeros(case.numel, np.uint64)
    drawn[-1:] = 1
    return drawn


_CONTENTS = {
    "uniform": _uniform,
    "repeats": _repeats,
    "motifs": _motifs,
    "few values": _few,
    "like weights": _weights,
    "constant": _constant,
    "zeros and a one": _last_one,
}

CONTENTS = tuple(_CONTENTS)
"""Independent symbols; skewed ones, half of which repeat; blocks of few motifs; three symbols;
bit patterns of normal weights; the last symbol alone; zeros, and a one at the end."""


# --- weights --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class WeightCase:
    """A tensor of weights; the same words always make the same weights.

    Attributes
    ----------
    dtype : str
        As a checkpoint names it.
    shape : tuple of int
    content : str
        One of `WEIGHTS`.
    seed : int
    """

    dtype: str
    shape: Shape
    content: str = "normal"
    seed: int = 0

    def __str__(self) -> str:
        return f"dtype {self.dtype}, shape {self.shape}, {self.content}, seed {self.seed}"

    def weights(self) -> NDArray[Any]:
        dtype = np.dtype(self.dtype)
        random, numel = np.random.default_rng(self.seed), math.prod(self.shape)
        drawn = np.asarray(_WEIGHTS[self.content](random, numel, dtype))
        return drawn.astype(dtype).reshape(self.shape)

    def tensor(self) -> WeightTensor:
        return array_tensor("w", self.weights())


def _normal(random: Generator, numel: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    normal = random.normal(0, 1 if dtype.name in FORMATS else 30, numel)
    return normal.clip(0) if dtype.kind in "ub" else normal


def _extremes(random: Generator, numel: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.name in FORMATS:
        info = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
        few = [info.min, info.max, info.tiny, -info.smallest_subnormal, dtype.type(-0.0)]
    else:
        few = [0, 1] if dtype.kind == "b" else [np.iinfo(dtype).min, np.iinfo(dtype).max, 0]
    return np.resize(np.array(few, dtype), numel)


def _bits(random: Generator, numel: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "b":
        return random.integers(0, 2, numel)
    return random.integers(0, 256, (numel, dtype.itemsize), np.uint8).view(dtype).reshape(-1)


def _holding(value: float) -> Any:
    def draw(random: Generator, numel: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        weights = random.normal(size=numel)
        weights[numel // 2 : numel // 2 + 1] = value
        return weights

    return draw


_WEIGHTS = {
    "normal": _normal,
    "ones": lambda random, numel, dtype: np.ones(numel),
    "zeros": lambda random, numel, dtype: np.zeros(numel),
    "extremes": _extremes,
    "any bits": _bits,
    "a NaN": _holding(math.nan),
    "an infinity": _holding(math.inf),
}

WEIGHTS = tuple(_WEIGHTS)
