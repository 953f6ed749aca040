"""A lossy file of integer arithmetic alone: levels that obey trellises, on grids of any step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kolmo.checkpoints.base import Role, array_tensor
from kolmo.container.state import Kept
from kolmo.lossy.describing import Description, OnGrid
from kolmo.quantize.lossy import LossyGrid
from kolmo.quantize.scaled_grid import ScaledGrid
from kolmo.symbols import Alphabet
from tests.golden.sources import Array, integers, smooth
from tests.trellises import obeying

NONE = np.empty(0, np.uint8)


def description() -> Description:
    """Weights with and without a trellis, with scales and without, of two dtypes; some that are
    kept as they are; and a buffer."""
    found = dict(tensors())
    kept = [Kept(array_tensor(name, each.values), Role.WEIGHT) for name, each in found.items()]
    exact = Kept(array_tensor("norm", smooth(9, 5).astype(np.float32)), Role.WEIGHT)
    buffer = Kept(array_tensor("steps", np.array(1234)), Role.BUFFER)
    return Description(0.25, [*kept, exact, buffer], found)


def tensors() -> Iterator[tuple[str, OnGrid]]:
    rows, columns = integers(60, 30, 1).astype(np.uint8), integers(18, 20, 2).astype(np.uint8)
    yield "dense", described(obeying(bell(60, 18, 4.0)), 15, 0.25, rows, columns)
    kernels = obeying(bell(40, 12, 9.0, 3), 3, integers(12, 8, 4))
    yield "kernels", described(kernels, 31, 0.0078125, rows[:40], NONE, (40, 3, 2, 2))
    yield "bias", described(bell(1, 30, 6.0, 5), 16, 0.5, NONE, NONE, (30,))


def bell(height: int, width: int, size: float, seed: int = 0) -> Array:
    return np.rint(size * smooth(height * width, seed)).astype(np.int64).reshape(height, width)


def described(
    levels: Array, half: int, step: float, rows: Array, columns: Array, shape: tuple[int, ...] = ()
) -> OnGrid:
    """Levels on a grid; a quarter of their power counts as error."""
    places = np.empty(0, np.int64)
    uniform = ScaledGrid(Alphabet(1), levels.shape[1], step, rows, columns, places, np.empty(0))
    grid = LossyGrid.of(half, uniform)
    values = grid.decode((levels + half).astype(grid.alphabet.container))
    dtype = np.float16 if len(shape) == 1 else np.float32
    return OnGrid(values.astype(dtype).reshape(shape or levels.shape), grid, 1.0, 4.0)
