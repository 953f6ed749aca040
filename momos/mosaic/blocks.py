"""How a model's tensors are cut into blocks, and joined again.

Each tensor is flattened in row-major order and cut into blocks of *s* values, its last block
padded with zeros; a block never crosses a tensor's border (arXiv 2602.14896).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.codes.mosaic import index_table
from kolmo.errors import InputError
from kolmo.symbols import Shape

Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Partition:
    """The blocks of tensors.

    Attributes
    ----------
    shapes : mapping of str to tuple of int
        Shape of each tensor, by name, in checkpoint order.
    block_size : int
        Values a block, *s*.

    Examples
    --------
    >>> partition = Partition({"weight": (2, 3), "bias": (2,)}, block_size=4)
    >>> partition.count, partition.numel
    (3, 8)
    >>> tensors = {"weight": np.arange(6.0).reshape(2, 3), "bias": np.array([8.0, 9.0])}
    >>> partition.cut(tensors).tolist()
    [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 0.0, 0.0], [8.0, 9.0, 0.0, 0.0]]
    >>> partition.join(partition.cut(tensors))["bias"].tolist()
    [8.0, 9.0]
    """

    shapes: Mapping[str, Shape]
    block_size: int

    def __post_init__(self) -> None:
        if self.block_size < 1:
            raise InputError(f"the block size is at least 1, not {self.block_size}")

    @property
    def numel(self) -> int:
        """Number of weights, *n*, without padding."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def count(self) -> int:
        """Number of blocks, *m*: the sum of ceil(numel / s) over the tensors."""
        return sum(-(-math.prod(shape) // self.block_size) for shape in self.shapes.values())

    def spans(self) -> Iterator[tuple[str, int, int, int]]:
        """Name, first block, end (exclusive) and number of weights of each tensor."""
        start = 0
        for name, shape in self.shapes.items():
            numel = math.prod(shape)
            stop = start - (-numel // self.block_size)
            yield name, start, stop, numel
            start = stop

    def cut(self, tensors: Mapping[str, Array]) -> Array:
        """Tensors of one dtype → their blocks, shape (m, s), of the same dtype."""
        dtype = next(iter(tensors.values())).dtype
        blocks = np.zeros((self.count, self.block_size), dtype)
        for name, start, stop, numel in self.spans():
            blocks[start:stop].reshape(-1)[:numel] = tensors[name].reshape(-1)
        return blocks

    def join(self, blocks: Array) -> dict[str, Array]:
        """Blocks, shape (m, s) → the tensors by name, padding dropped; views where possible."""
        return {
            name: blocks[start:stop].reshape(-1)[:numel].reshape(self.shapes[name])
            for name, start, stop, numel in self.spans()
        }

    def tables(self) -> list[tuple[int, int]]:
        """Rows and columns of blocks of each tensor; one row where blocks do not end with rows.

        >>> Partition({"a": (3, 4, 2), "b": (3, 2)}, block_size=4).tables()
        [(3, 2), (1, 2)]
        """
        return [index_table(shape, self.block_size) for shape in self.shapes.values()]

    def padded(self) -> Iterator[tuple[int, int]]:
        """Number of each block that holds padding, and how many of its values are weights."""
        for _, _, stop, numel in self.spans():
            if numel % self.block_size:
                yield stop - 1, numel % self.block_size
