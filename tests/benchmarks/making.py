"""What the objects of `objects` are made of: arrays of a kind from a random generator."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np

Random = np.random.Generator
Array = np.ndarray

ROWS, COLUMNS = SHAPE = 256, 512
BF16, E4M3, E5M2 = ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2
NF4 = [
    -1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0,
]  # fmt: skip


def weights(random: Random, shape: tuple[int, ...] = SHAPE, spread: float = 0.4) -> Array:
    """Weights as training leaves them: rows of different scale, tails a little heavy."""
    scale = 0.03 * np.exp(spread * random.standard_normal((shape[0],) + (1,) * (len(shape) - 1)))
    return np.float32(scale * random.standard_t(8, shape))


def truncated(array: Array, bits: int) -> Array:
    """Floats of 32 bits without their last bits."""
    return (array.view(np.uint32) >> bits << bits).view(np.float32)


def grid(
    random: Random, bits: int, group: int = 0, affine: bool = False, dtype: type = np.float32
) -> Array:
    """Weights rounded to a grid for the tensor (group 0), or for each group in a row."""
    blocks = weights(random).reshape(-1, group or ROWS * COLUMNS)
    levels = 2**bits - 1
    low = blocks.min(1, keepdims=True) if affine else -abs(blocks).max(1, keepdims=True)
    scale = np.float32((blocks.max(1, keepdims=True) - low if affine else -2 * low) / levels)
    zero = np.rint(-low / scale) if affine else levels // 2
    codes = np.clip(np.rint(blocks / scale) + zero, 0, levels)
    return ((codes - zero) * scale).astype(dtype).reshape(SHAPE)


def codebook(random: Random, table: Array, group: int = COLUMNS) -> Array:
    """Weights rounded to a table times the largest of each group."""
    blocks = weights(random).reshape(-1, group)
    largest = abs(blocks).max(1, keepdims=True)
    edges = (table[1:] + table[:-1]) / 2
    return np.float32(table[np.searchsorted(edges, blocks / largest)] * largest).reshape(SHAPE)


def clustered(random: Random, count: int) -> Array:
    """Weights rounded to the means of clusters: those between quantiles."""
    array = weights(random)
    ranks = array.ravel().argsort().argsort() * count // array.size
    means = np.bincount(ranks, array.ravel()) / np.bincount(ranks)
    return np.float32(means)[ranks].reshape(SHAPE)


def vectors(random: Random, count: int, width: int) -> Array:
    """Weights in vectors out of few: product quantization."""
    table = weights(random, (count, width), 0.2)
    return table[random.integers(count, size=ROWS * COLUMNS // width)].reshape(SHAPE)


def smooth(random: Random, shape: tuple[int, ...], axes: int, times: int = 2) -> Array:
    """Noise, averaged over neighbours along the last axes."""
    array = random.standard_normal(shape)
    for axis in range(-axes, 0):
        for _ in range(times):
            array = array + 0.5 * (np.roll(array, 1, axis) + np.roll(array, -1, axis))
    return np.float32(0.02 * array)


def gabor(random: Random, count: int, size: int) -> Array:
    """Filters of a first layer: waves under a bell, and a little noise."""
    y, x = np.mgrid[:size, :size] - size // 2
    angle, phase = random.uniform(0, np.pi, (2, count, 3, 1, 1))
    width, wave = random.uniform(1.5, 3, (2, count, 3, 1, 1))
    along = x * np.cos(angle) + y * np.sin(angle)
    bell = np.exp(-(x**2 + y**2) / (2 * width**2))
    noise = 0.01 * random.standard_normal((count, 3, size, size))
    return np.float32(0.2 * bell * np.cos(2 * along / wave + phase) + noise)


def damped(random: Random, rows: int = ROWS) -> Array:
    """Rows that are smooth: damped sines, as of state-space models."""
    time = np.arange(COLUMNS) / COLUMNS
    rate, phase = random.uniform(1, 8, (rows, 1)), random.uniform(0, 6.3, (rows, 1))
    return np.float32(
        np.exp(-rate * time) * np.sin(random.uniform(5, 60, (rows, 1)) * time + phase)
    )


def low_rank(random: Random, rank: int) -> Array:
    return weights(random, (ROWS, rank)) @ weights(random, (rank, COLUMNS)) * 10


def correlated(random: Random, rank: int = 40) -> Array:
    """An embedding: columns that depend on a few factors, rows of words by their frequency."""
    factors = random.standard_normal((ROWS * 2, rank)) @ random.standard_normal((rank, ROWS))
    norms = (1 + np.arange(ROWS * 2)[:, None]) ** 0.2
    return np.float32(0.01 * (factors + 2 * random.standard_normal(factors.shape)) / norms)


def copies(random: Random, change: Callable[[Random, Array], Array]) -> Array:
    """Rows of which three quarters are changed copies of others, in any order."""
    rows = weights(random, (ROWS // 4, COLUMNS), 0)
    copied = [change(random, rows) for _ in range(3)]
    return random.permutation(np.concatenate([rows, *copied]))


def pruned(random: Random, keep: Array, dtype: type = np.float32) -> Array:
    return np.where(keep, weights(random), 0).astype(dtype)


def two_of_four(random: Random) -> Array:
    blocks = weights(random).reshape(-1, 4)
    ranks = abs(blocks).argsort(1).argsort(1)
    return np.where(ranks >= 2, blocks, np.float32(0)).reshape(SHAPE)


def angles(positions: int, width: int) -> Array:
    return np.arange(positions)[:, None] / 10000 ** (np.arange(0, width, 2) / width)


def cosines(size: int) -> Array:
    """The matrix of the discrete cosine transform."""
    return np.float32(np.cos(np.pi / size * np.outer(np.arange(size), np.arange(size) + 0.5)))


def hadamard(size: int) -> Array:
    matrix = np.ones((1, 1), np.float32)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix / np.float32(np.sqrt(size))


def spectrogram(size: int) -> Array:
    """Windowed waves, as the layer that takes a spectrum has them."""
    wave = 2 * np.pi / size * np.outer(np.arange(size // 2 + 1), np.arange(size))
    return np.float32(np.hanning(size) * np.concatenate([np.cos(wave), -np.sin(wave)]))


def outliers(random: Random, dtype: type) -> Array:
    array = weights(random)
    array[:, random.choice(COLUMNS, 5, replace=False)] *= 30
    return array.astype(dtype)


def transformer(random: Random, dtype: type, width: int = 64) -> dict[str, Array]:
    """A whole network: embeddings, two layers, norms and biases."""
    arrays = {"embed.weight": weights(random, (400, width))}
    for layer in range(2):
        for name, rows in (("q", 1), ("k", 1), ("v", 1), ("o", 1), ("up", 4)):
            arrays[f"layers.{layer}.{name}.weight"] = weights(random, (rows * width, width))
            arrays[f"layers.{layer}.{name}.bias"] = weights(random, (rows * width,), 1)
        arrays[f"layers.{layer}.down.weight"] = weights(random, (width, 4 * width))
        arrays[f"layers.{layer}.norm.weight"] = 1 + weights(random, (width,))
    return {name: array.astype(dtype) for name, array in arrays.items()}


def mixed(random: Random) -> dict[str, Array]:
    """A state as it is saved: weights, norms of other dtype, buffers of integers and masks."""
    arrays = transformer(random, BF16)
    arrays |= {name: a.astype(np.float32) for name, a in arrays.items() if "norm" in name}
    mask = np.tril(np.ones((128, 128), bool))
    positions = np.arange(400, dtype=np.int64)[None]
    return {**arrays, "position_ids": positions, "mask": mask, "steps": np.int64(12000)}


def trained(random: Random, quantize: bool = False) -> dict[str, Array]:
    """A network that was trained for a while to tell noisy patterns apart."""
    patterns = random.standard_normal((10, 196))
    hidden = 0.05 * random.standard_normal((196, 128))
    out = 0.05 * random.standard_normal((128, 10))
    for _ in range(200):
        labels = random.integers(10, size=64)
        inputs = patterns[labels] + random.standard_normal((64, 196))
        active = np.maximum(inputs @ hidden, 0)
        scores = np.exp(np.minimum(active @ out, 30))
        error = scores / scores.sum(1, keepdims=True) - np.eye(10)[labels]
        back = (error @ out.T) * (active > 0)
        out -= 0.01 * (active.T @ error / 64)
        hidden -= 0.01 * (inputs.T @ back / 64)
    arrays = {"hidden.weight": np.float32(hidden.T), "out.weight": np.float32(out.T)}
    if not quantize:
        return arrays
    scales = {name: np.float32(abs(array).max() / 127) for name, array in arrays.items()}
    return {name: np.rint(array / scales[name]) * scales[name] for name, array in arrays.items()}
