"""The quantizer of lossy files: levels that were chosen for their cost, on grids of any step."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kolmo import specs
from kolmo.checkpoints.base import WeightTensor
from kolmo.errors import InputError
from kolmo.quantize.base import Quantizer, SymbolCoder, get_quantizer
from kolmo.quantize.native import Native
from kolmo.quantize.placed import whole_numbers
from kolmo.quantize.scaled_grid import ScaledGrid, grid_of
from kolmo.symbols import Alphabet

_NATIVE = Native()
_WIDEST = 1 << 24  # levels on one side of zero, at most


@dataclasses.dataclass(frozen=True, eq=False)
class LossyGrid(ScaledGrid):
    """The grid of one tensor; its levels are any, not the nearest ones."""

    def parameters(self) -> list[float]:
        return [float(self.alphabet.size // 2), *super().parameters()]

    @classmethod
    def of(cls, half: int, grid: ScaledGrid) -> LossyGrid:
        """A grid with the levels −half to half."""
        fields = {each.name: getattr(grid, each.name) for each in dataclasses.fields(grid)}
        return cls(**{**fields, "alphabet": Alphabet(2 * half + 1)})


@dataclasses.dataclass(frozen=True)
class Lossy(Quantizer):
    """What a file holds that `kolmo.curve` or `kolmo.simplify` made.

    Each tensor has a grid of its own, or none and is kept as it is. A file's quantizer is of this
    class; it cannot be asked for, since it says nothing of how levels are chosen.

    Attributes
    ----------
    distortion : float
        Σ(w − ŵ)² / Σw² over all weights of the file, against the source.
    """

    distortion: float
    name = "lossy"
    value_field = "distortion"
    summary = "levels chosen for their cost on grids of any step: what lossy files hold"

    def __post_init__(self) -> None:
        if not 0 <= self.distortion < float("inf"):
            raise InputError(f"lossy: the distortion is not negative, not {self.distortion}")

    def alphabet(self, dtype: np.dtype[Any]) -> Alphabet:
        raise InputError(_NOT_ASKED)

    def fit(self, tensor: WeightTensor) -> SymbolCoder:
        raise InputError(_NOT_ASKED)

    def _restore(self, dtype: np.dtype[Any], parameters: Sequence[float]) -> SymbolCoder:
        if not parameters:
            return _NATIVE.restore(dtype, [])
        (half,) = whole_numbers(parameters[:1], _WIDEST)
        return LossyGrid.of(half, grid_of(Alphabet(2 * half + 1), parameters[1:]))


_NOT_ASKED = (
    "lossy says how a file was made, not how to quantize; a lossy file is verified on its own, and "
    "kolmo.simplify makes one"
)


def quantizer_of(spec: str) -> Quantizer:
    """The quantizer that a container names.

    >>> quantizer_of("lossy:0.25").distortion, str(quantizer_of("symmetric:4"))
    (0.25, 'symmetric:4')
    """
    name, value, options = specs.parse(spec)
    if name == Lossy.name:
        made = specs.build(Lossy, spec, value, options)
        assert isinstance(made, Lossy)
        return made
    return get_quantizer(spec)
