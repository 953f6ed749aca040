"""What a mosaic consists of, as a file stores it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from kolmo.symbols import Shape
from momos.mosaic.blocks import Array, Partition


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a mosaic (arXiv 2602.14896).

    Attributes
    ----------
    partition : Partition
        Shapes of the tensors, by name, and the block size *s*.
    motifs : ndarray, shape (k, s)
        Floats; of the dtype of the tensors, or of fewer bits.
    indices : ndarray of unsigned integers, shape (m,)
        The motif of each block.
    dense : mapping of str to ndarray
        The model's other tensors (left-out parameters, buffers), as they are.
    names : tuple of str
        All tensors, in checkpoint order.
    scales : mapping of str to float32 ndarray
        What the motifs of a tensor are multiplied by: one value, or one for each row of its first
        dimension; 1 where a tensor has none.
    dtype : numpy dtype, optional
        Dtype of the tensors; that of the motifs by default.
    aliases : mapping of str to str
        Other names of tied tensors, which are stored once, and their first names.
    absent : tuple of str
        Parameters of the model that were left out, such as the frozen base of adapters.
    """

    partition: Partition
    motifs: Array
    indices: Array
    dense: Mapping[str, Array]
    names: tuple[str, ...]
    scales: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    dtype: np.dtype[Any] | None = None
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    absent: tuple[str, ...] = ()

    def shape(self, name: str) -> Shape:
        """The shape of a tensor, under any of its names."""
        name = self.aliases.get(name, name)
        return self.dense[name].shape if name in self.dense else self.partition.shapes[name]

    def values(self, name: str, start: int, stop: int) -> Array:
        """The entries [start, stop) of a tensor, flat in row-major order, bit for bit."""
        name = self.aliases.get(name, name)
        if name in self.dense:
            return self.dense[name].reshape(-1)[start:stop]
        size, first = self.partition.block_size, self._first_blocks[name]
        begin = start // size
        blocks = self.motifs[self.indices[first + begin : first - (-stop // size)]]
        found = blocks.reshape(-1)[start - begin * size :][: stop - start]
        with np.errstate(over="ignore", invalid="ignore"):  # a file may hold any numbers
            if name in self.scales:  # the product is of float32 values, whatever is stored
                found = found.astype(np.float32) * self._scale(name, start, stop)
            return found.astype(self.dtype or self.motifs.dtype)

    @cached_property
    def _first_blocks(self) -> dict[str, int]:
        return {name: first for name, first, _, _ in self.partition.spans()}

    def _scale(self, name: str, start: int, stop: int) -> Array:
        """The scale of each of these entries; a single one where all have it."""
        scale = self.scales[name]
        row = math.prod(self.partition.shapes[name][1:])
        return scale if scale.size == 1 else scale[np.arange(start, stop) // row]
