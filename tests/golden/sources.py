"""Weights made of integer arithmetic alone, so that they are the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FLOATS = (
    *(np.float16, np.float32, np.float64),
    *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
)
INTEGERS = (
    *(np.int8, np.int16, np.int32, np.int64),
    *(np.uint8, np.uint16, np.uint32, np.uint64),
)


def integers(size: int, below: int, seed: int = 0) -> NDArray[np.int64]:
    """Independent and uniform in [0, below)."""
    return np.random.default_rng(seed).integers(0, below, size)


def smooth(size: int, seed: int = 0) -> Array:
    """Weights in a bell around zero, up to ±1: sums of four uniform numbers of 16 bits."""
    drawn = np.random.default_rng(seed).integers(0, 1 << 16, (size, 4))
    centred: Array = drawn.sum(axis=1) - 2 * 0xFFFF
    return centred / float(1 << 17)


def dtypes() -> dict[str, Array]:
    """A matrix of each dtype, and shapes that are none: all of finite numbers."""
    floats = {np.dtype(d).name: smooth(120).reshape(10, 12).astype(d) for d in FLOATS}
    whole = {np.dtype(d).name: integers(120, 100).reshape(10, 12).astype(d) for d in INTEGERS}
    return {
        **floats,
        **whole,
        "bool": integers(60, 2).reshape(6, 10).astype(bool),
        "scalar": np.array(0.75, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "convolution": smooth(3 * 4 * 5 * 5, 1).reshape(3, 4, 5, 5).astype(np.float32),
        "zeros": np.zeros((8, 16), np.float32),
    }


def special() -> dict[str, Array]:
    """Infinities, NaNs with a payload, a negative zero and a subnormal number."""
    bits = np.array([0x7FC00001, 0xFF800000, 0x80000000, 1, 0x3F800000], np.uint32)
    return {"special": bits.view(np.float32)}


def large() -> dict[str, Array]:
    """More weights than a sample of two windows has, of a scale that changes halfway."""
    weights = smooth(180_000, 2)
    weights[90_000:] *= 8
    return {"w": weights.reshape(360, 500).astype(np.float32)}


def words(count: int, known: int) -> dict[str, Array]:
    """A text of words, each one of so many."""
    random = np.random.default_rng(1)
    each = [bytes(random.integers(97, 123, n, np.uint8)) for n in random.integers(3, 9, known)]
    text = b" ".join(each[number] for number in random.integers(0, known, count))
    return {"w": np.frombuffer(text, np.uint8)}


def tiles(motifs: int, width: int, shape: tuple[int, int], seed: int = 3) -> Array:
    """A matrix of blocks, few of which are distinct."""
    blocks = smooth(motifs * width, seed).reshape(motifs, width).astype(np.float32)
    numbers = integers(shape[0] * shape[1] // width, motifs, seed)
    return blocks[numbers].reshape(shape)


def repeated() -> dict[str, Array]:
    """A tensor, and the same one with a few weights more: cheap ones, for they count upwards."""
    counted = (np.arange((1 << 18) + 5000) // 50).astype(np.uint16)
    return {"a": counted, "b": np.append(counted, [7, 8, 9]).astype(np.uint16)}


def rolling() -> dict[str, Array]:
    """Rows that run on smoothly, and kernels that do."""
    rows = smooth(80 * 50, 8).reshape(80, 50).cumsum(axis=1).cumsum(axis=1)
    kernels = smooth(30 * 12 * 9, 9).reshape(30, 12, 3, 3).cumsum(axis=3).cumsum(axis=2)
    return {"rows": rows.astype(np.float32), "kernels": kernels.astype(np.float32)}


def copies() -> dict[str, Array]:
    """Tensors that are equal, of one shape and of another."""
    first = smooth(200, 4).astype(np.float32)
    return {"first": first, "again": first.copy(), "reshaped": first.reshape(10, 20).copy()}


def dictionaries() -> dict[str, Array]:
    """Tensors each of which has blocks of its own."""
    return {f"layer {n}": tiles(20, 3, (60, 30), seed=10 + n) for n in range(3)}


def scaled() -> dict[str, Array]:
    """The same blocks of 16-bit numbers in every tensor, at a scale of its own."""
    half = tiles(16, 4, (40, 40)).astype(np.float16).astype(np.float32)
    return {f"layer {n}": half * np.float32(1 + n / 7) for n in range(3)}


def grids() -> dict[str, Array]:
    """Integers times a step for each row, or each group of 32; and mantissas that end in zeros."""
    levels = (integers(1920, 15, 5).reshape(20, 96) - 7).astype(np.float32)
    rows = levels / np.arange(3, 23, dtype=np.float32)[:, None]
    groups = levels.reshape(60, 32) * smooth(60, 6).astype(np.float32)[:, None]
    short = smooth(960, 7).astype(np.float32).view(np.uint32) >> 9 << 9
    return {"rows": rows, "groups": groups.reshape(20, 96), "short": short.view(np.float32)}


def moved() -> dict[str, Array]:
    """A matrix, and others that are it: transposed, negative, twice and half as large."""
    first = smooth(70 * 60, 11).reshape(70, 60).astype(np.float32)
    return {
        "first": first,
        "transposed": np.ascontiguousarray(2 * first.T),
        "negative": -first,
        "halves": np.ascontiguousarray(-first.T / 2),
    }


def sparse() -> dict[str, Array]:
    """Weights nine in ten of which are 0."""
    kept = integers(1 << 16, 10, 12) == 0
    return {"w": (smooth(1 << 16, 12) * kept).reshape(256, 256).astype(np.float32)}


SYNTHETIC: Mapping[str, Callable[[], dict[str, Array]]] = {
    "constant": lambda: {"w": np.full((30, 5), -1.5, np.float32)},
    "raw": lambda: {"w": integers(200, 256).astype(np.uint8)},
    "deflate": lambda: {"w": np.resize(integers(3, 256).astype(np.uint8), 16)},
    "zstd": lambda: {"w": np.resize(integers(3, 1 << 32).astype(np.uint32), 500)},
    "xz": lambda: {"w": (np.arange(200) ** 2).astype(np.uint16)},
    "brotli": lambda: words(1000, 400),
    "bz2": lambda: words(300, 30),
    "repeat": repeated,
    "grid": grids,
    "rolling": rolling,
    "copies": copies,
    "dictionaries": dictionaries,
    "scaled": scaled,
    "moved": moved,
    "sparse": sparse,
    "dtypes": lambda: {**dtypes(), **special()},
}
"""Checkpoints by name: the first nine have the name of the code that is shortest for them."""
