"""What a mosaic consists of, as a file stores it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

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
    """

    partition: Partition
    motifs: Array
    indices: Array
    dense: Mapping[str, Array]
    names: tuple[str, ...]
    scales: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    dtype: np.dtype[Any] | None = None
