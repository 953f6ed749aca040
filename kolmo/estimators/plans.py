"""Which of the tensors that are measured have blocks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kolmo.errors import NotApplicableError
from kolmo.symbols import Shape, Symbols

Matrix = tuple[int, int]


def flattened(shape: Shape) -> Matrix:
    """The shape as a matrix, its first axis × all others; (0, 0) of one dimension."""
    return (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (0, 0)


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """Which of the tensors have blocks at all.

    ``sizes`` of all tensors in order, ``taken`` whether each is measured; ``matrices`` are the
    shapes of those, flattened to two dimensions; ``before`` the symbols ahead of them, of a part
    of a string.
    """

    sizes: tuple[int, ...]
    taken: tuple[bool, ...]
    matrices: tuple[Matrix, ...]
    before: int = 0

    @classmethod
    def of(cls, estimator: Any, shapes: Sequence[Shape], least: int) -> BlockPlan:
        sizes = tuple(math.prod(shape) for shape in shapes)
        if estimator.ndim == 1:
            most = max(sizes, default=0) if estimator.aggregate == "sum" else sum(sizes)
            if most < least:
                raise NotApplicableError(
                    f"{estimator}: {most} symbols hold no whole block of {least}"
                )
            return cls(sizes, (True,) * len(sizes), ())
        flat = [flattened(shape) for shape in shapes]
        taken = tuple(min(matrix) >= least for matrix in flat)
        if not any(taken):
            described = f"shape {list(shapes[0])}" if len(shapes) == 1 else "none of the tensors"
            raise NotApplicableError(
                f"{estimator}: needs a matrix of at least {least} × {least}; {described} is not "
                f"(ndim=1 takes any)"
            )
        return cls(sizes, taken, tuple(m for m, t in zip(flat, taken, strict=True) if t))

    @classmethod
    def of_part(
        cls, estimator: Any, shape: Shape, least: int, start: int, stop: int, before: int
    ) -> BlockPlan:
        """The plan of the weights [start, stop) of a tensor, which nothing keeps from having no
        block: the whole that it is a part of has some."""
        sizes = (stop - start,)
        if estimator.ndim == 1:
            return cls(sizes, (True,), (), before + start)
        rows, columns = flattened(shape)
        if min(rows, columns) < least:
            return cls(sizes, (False,), ())
        return cls(sizes, (True,), (((stop - start) // columns, columns),))

    @property
    def singles(self) -> list[BlockPlan]:
        """A plan for each measured tensor that has symbols."""
        if not self.matrices:
            return [BlockPlan((size,), (True,), ()) for size in self.sizes if size]
        return [BlockPlan((math.prod(m),), (True,), (m,)) for m in self.matrices]

    @property
    def numel(self) -> int:
        return sum(size for size, taken in zip(self.sizes, self.taken, strict=True) if taken)

    def windows(self, side: int) -> int:
        """How many whole windows there are: strings of this length, or squares of this side."""
        if not self.matrices:
            return self.numel // side
        return sum((rows // side) * (columns // side) for rows, columns in self.matrices)

    @property
    def note(self) -> str:
        left = [size for size, taken in zip(self.sizes, self.taken, strict=True) if not taken]
        if not sum(left):
            return ""
        return f"leaves out {len(left)} tensors that are no matrices ({sum(left):,} weights)"


class Taken:
    """Passes on the symbols of the tensors that are measured."""

    def __init__(self, plan: BlockPlan) -> None:
        self._left = [[size, taken] for size, taken in zip(plan.sizes, plan.taken, strict=True)]
        self._all = all(plan.taken)
        self._tensor = 0

    def select(self, symbols: Symbols) -> Symbols:
        if self._all:
            return symbols
        pieces = []
        while symbols.size:
            size, taken = self._left[self._tensor]
            piece, symbols = symbols[:size], symbols[size:]
            self._left[self._tensor][0] -= piece.size
            if self._left[self._tensor][0] == 0:
                self._tensor += 1
            if taken and piece.size:
                pieces.append(piece)
        return np.concatenate(pieces) if pieces else symbols[:0]
