"""Describing a network by levels on grids: the weights ŵ that a lossy file holds exactly.

::

    weights ─ scaling × step ─► levels ─► ŵ, grids ─► container ─► certificate
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Role, WeightTensor, array_tensor
from kolmo.container.certificate import Certificate
from kolmo.container.packing import pack_state
from kolmo.container.state import Kept
from kolmo.execution import Progress, in_order
from kolmo.floats import is_float
from kolmo.lossy.feedback import Feedback, round_with_feedback
from kolmo.lossy.rounding import LONG, PLAIN_STEP, PRICE, Levels, code_lengths, round_matrix
from kolmo.lossy.scalings import Scaling
from kolmo.quantize import Native, SymbolCoder
from kolmo.quantize.base import not_expressible
from kolmo.quantize.lossy import Lossy, LossyGrid
from kolmo.quantize.octaves import octave_codes, octave_scales
from kolmo.quantize.scaled_grid import ScaledGrid
from kolmo.quantize.scales import Floats, matrix_shape
from kolmo.symbols import Alphabet

_WIDEST = 1 << 20  # levels on one side of zero, at most
_NATIVE = Native()


@dataclasses.dataclass(frozen=True, eq=False)
class OnGrid:
    """One tensor of a description.

    Attributes
    ----------
    values : ndarray
        ŵ, in the tensor's shape and dtype.
    grid : LossyGrid
    error, power : float
        Σ(w − ŵ)² and Σw².
    """

    values: NDArray[Any]
    grid: LossyGrid
    error: float
    power: float


@dataclasses.dataclass(frozen=True, eq=False)
class Description:
    """A network whose weights lie on grids.

    Attributes
    ----------
    step : float
        The one step that all scalings multiply.
    state : sequence of Kept
        What the file keeps, as in the source.
    tensors : mapping of str to OnGrid
        Those whose weights were changed, by name.
    """

    step: float
    state: Sequence[Kept]
    tensors: Mapping[str, OnGrid]

    @property
    def distortion(self) -> float:
        """Σ(w − ŵ)² / Σw² over all weights that lie on grids; 0 where all are 0."""
        power = sum(each.power for each in self.tensors.values())
        error = sum(each.error for each in self.tensors.values())
        return error / power if power else 0.0

    @cached_property
    def values(self) -> dict[str, NDArray[Any]]:
        """Every array of the state by name, ŵ in place of w."""
        return {kept.tensor.name: kept.tensor.read() for kept in self.changed}

    @cached_property
    def changed(self) -> list[Kept]:
        """The state with ŵ in place of w."""
        return [self._changed(kept) for kept in self.state]

    def _changed(self, kept: Kept) -> Kept:
        if kept.tensor.name not in self.tensors:
            return kept
        tensor = array_tensor(kept.tensor.name, self.tensors[kept.tensor.name].values)
        return dataclasses.replace(kept, tensor=tensor)

    def write(
        self,
        path: Path,
        preset: str,
        threads: int,
        progress: Progress | None,
        accept: Callable[[Path], None] = lambda _: None,
    ) -> Certificate:
        """The description as a container."""
        grids = {name: each.grid for name, each in self.tensors.items()}
        quantizer = _OnGrids(_short(self.distortion), grids)
        return pack_state(self.changed, path, quantizer, preset, threads, progress, accept)


@dataclasses.dataclass(frozen=True, eq=False)
class _OnGrids(Lossy):
    """The quantizer of one description, which knows every tensor's grid."""

    grids: Mapping[str, LossyGrid] = dataclasses.field(default_factory=dict, repr=False)

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        return self.grids.get(tensor.name) or _NATIVE.fit(tensor)

    def __str__(self) -> str:
        return str(Lossy(self.distortion))


def _short(number: float) -> float:
    """A distortion in six digits: more would say nothing, and take bytes."""
    return float(f"{number:.6g}")


def quantized(state: Sequence[Kept]) -> dict[str, WeightTensor]:
    """The tensors of a state that are described by levels: floating-point weights."""
    weights = (kept.tensor for kept in state if kept.role is Role.WEIGHT and kept.is_quantized)
    return {tensor.name: tensor for tensor in weights if is_float(tensor.dtype) and tensor.numel}


def describe(
    state: Sequence[Kept],
    scalings: Mapping[str, Scaling],
    step: float,
    threads: int,
    progress: Progress | None = None,
    *,
    price: float = PRICE,
) -> Description:
    """The levels that cost least, squared error and bits together, at a step.

    Parameters
    ----------
    state : sequence of Kept
    scalings : mapping of str to Scaling
        Of the tensors whose weights are to lie on grids; all others are kept as they are.
    step : float
        The larger, the shorter the description and the larger its error.
    threads : int
    progress : callable, optional
    price : float
        Of a bit, in squared steps.

    Raises
    ------
    InputError
        If a weight is NaN or infinite.
    """
    tensors = [kept.tensor for kept in state if kept.tensor.name in scalings]
    total, done = sum(tensor.numel for tensor in tensors), 0
    found: dict[str, OnGrid] = {}

    def one(tensor: WeightTensor) -> OnGrid:
        return describe_tensor(tensor, scalings[tensor.name], step, price)

    for tensor, described in in_order(one, tensors, threads):
        found[tensor.name] = described
        done += tensor.numel
        if progress:
            progress(done, total, "rounding")
    return Description(step, state, _with_copies(found, state))


def describe_tensor(
    tensor: WeightTensor, scaling: Scaling, step: float, price: float = PRICE
) -> OnGrid:
    """One tensor at a step; see `describe`."""
    matrix = tensor.read().astype(np.float64).reshape(matrix_shape(tensor.shape))
    if not np.isfinite(matrix).all():
        what = "NaN" if np.isnan(matrix).any() else "an infinity"
        raise not_expressible(tensor.name, what, Lossy.name)
    grid = _grid(scaling, step, matrix.shape)
    rows, columns = _relative(grid, matrix.shape)
    sizes = grid.step * rows[:, None] * columns
    scaled = np.divide(matrix, sizes, out=np.zeros_like(matrix), where=sizes > 0)
    feedback = scaling.feedback and scaling.feedback.in_units(rows, columns)
    levels = _rounded(scaled, feedback, price)
    half = _half(levels)
    own = LossyGrid.of(half, grid)
    values = own.decode((levels + half).astype(own.alphabet.container))
    kept = values.astype(tensor.dtype).reshape(tensor.shape)
    error = float(np.square(matrix - kept.astype(np.float64).reshape(matrix.shape)).sum())
    return OnGrid(kept, own, error, float(np.square(matrix).sum()))


def _rounded(scaled: Floats, feedback: Feedback | None, price: float) -> Levels:
    if feedback is None:
        levels = round_matrix(scaled, price)
    else:
        levels = round_with_feedback(scaled, feedback, code_lengths(scaled, price))
    return np.clip(levels, -_WIDEST, _WIDEST)


def _half(levels: Levels) -> int:
    """Levels on one side of zero: few different numbers, so that many tensors share an alphabet,
    and others where there is no trellis, so that units have tensors of one kind."""
    bits = int(np.abs(levels).max(initial=1)).bit_length()
    return (1 << bits) - 1 if len(levels) >= LONG else 1 << bits


def _grid(scaling: Scaling, step: float, shape: tuple[int, int]) -> ScaledGrid:
    """The grid of a tensor: its scales in eighths of an octave, all else in its step."""
    plain = 1.0 if shape[0] >= LONG else PLAIN_STEP
    rows = columns = np.empty(0, np.uint8)
    unit = plain * step
    if shape[0] > 1:
        rows, octave = octave_codes(scaling.rows)
        unit = math.ldexp(unit, octave)
    else:
        unit *= float(scaling.rows[0])
    if scaling.columns is not None:
        columns, octave = octave_codes(scaling.columns)
        unit = math.ldexp(unit, octave)
    size, places = float(np.float32(unit)), np.empty(0, np.int64)
    wide = max(1, shape[1])
    return ScaledGrid(Alphabet(1), wide, size, rows, columns, places, np.empty(0))


def _relative(grid: ScaledGrid, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """The scales of rows and columns."""
    rows = octave_scales(grid.rows) if grid.rows.size else np.ones(shape[0])
    columns = octave_scales(grid.scaled) if grid.scaled.size else np.ones(shape[1])
    return rows, columns


def _with_copies(found: dict[str, OnGrid], state: Sequence[Kept]) -> dict[str, OnGrid]:
    """With copies, which have the values of their originals, in their order or transposed."""
    for kept in state:
        original = found.get(kept.copy_of)
        if original is not None:
            same = original.values.shape == kept.tensor.shape
            copy = original if same else _transposed(original)
            found[kept.tensor.name] = dataclasses.replace(copy, error=0.0, power=0.0)
    return found


def _transposed(described: OnGrid) -> OnGrid:
    grid, values = described.grid, np.ascontiguousarray(described.values.T)
    columns = values.shape[1]
    turned = dataclasses.replace(grid, columns=columns, rows=grid.scaled, scaled=grid.rows)
    return dataclasses.replace(described, values=values, grid=turned)
