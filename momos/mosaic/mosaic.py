"""Mosaic: tensors as a few motifs and the index of each block; back to tensors bit for bit."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kolmo.checkpoints.opening import bytes_at
from kolmo.errors import InputError
from kolmo.files import check_standing
from kolmo.markup import table_html
from kolmo.symbols import container
from momos.mosaic.blocks import Array, Partition
from momos.mosaic.files import decode_parts, encode_parts, is_mosaic
from momos.mosaic.packing import index_bits
from momos.mosaic.parts import Parts
from momos.mosaic.reading import read_source
from momos.tensors import to_torch, write_whole


@dataclasses.dataclass(frozen=True, eq=False)
class Mosaic(Parts):
    """Tensors as motifs and indices (arXiv 2602.14896).

    `momos.mosaic.parts.Parts` has its attributes.
    """

    @classmethod
    def from_model(
        cls,
        source: Any,
        block_size: int = 4,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> Mosaic:
        """The mosaic of a model as it is: its distinct blocks, compared by their bits.

        Any model has one; of a model that was never projected it has nearly as many motifs as
        blocks. Motifs that no block uses are not in the weights, so *k* may be less than the
        projection's; `MoMos.mosaic` keeps those.

        Parameters
        ----------
        source : nn.Module, path, state dict or mapping of arrays
            Of a module, the trainable parameters are cut into blocks; of anything else, all
            floating-point tensors. Tied tensors are one, under both names.
        block_size : int
        include, exclude : glob or list of globs
            Names of the tensors to cut; the others are kept dense.

        Raises
        ------
        InputError
            If nothing is selected, or the selected tensors differ in dtype.

        Examples
        --------
        >>> weights = np.array([1, 2, 0, 0, 1, 2], np.float32)
        >>> mosaic = Mosaic.from_model({"w": weights}, block_size=2)
        >>> mosaic.motifs.tolist(), mosaic.indices.tolist()
        ([[0.0, 0.0], [1.0, 2.0]], [1, 0, 1])
        """
        read = read_source(source, include, exclude)
        tensors, cut = read.tensors, read.cut
        partition = Partition({name: tensors[name].shape for name in cut}, block_size)
        blocks = partition.cut({name: tensors[name] for name in cut})
        motifs, indices = _distinct_blocks(blocks, dict(partition.padded()))
        dense = {name: array for name, array in tensors.items() if name not in cut}
        return cls(partition, motifs, indices, dense, read.names, aliases=read.aliases)

    def description_length(self, bits: int | None = None, *, dense: bool = True) -> int:
        """Bits that describe the mosaic: k·s·q + m·ceil(log2 k), scales and the dense tensors.

        The formula of arXiv 2602.14896: a bound with indices at fixed width, without names and
        shapes. `code_length` is the length of the file, whose indices are entropy-coded.

        Parameters
        ----------
        bits : int, optional
            *q*, bits a value of a motif: those of its dtype by default, 32 for float32.
        dense : bool
            Whether to count the tensors outside the mosaic, at their stored width. The paper's
            figures count none (its mosaics have every trainable parameter).
        """
        motifs, size = self.motifs.shape
        described: int = motifs * size * self._bits(bits) + self.indices.size * index_bits(motifs)
        described += 32 * sum(scale.size for scale in self.scales.values())
        return described + (self._dense_bits if dense else 0)

    def code_length(self) -> int:
        """Bits of the file that `save` writes without metadata, everything in it; a bound."""
        return 8 * len(self.encode())

    def relative_algorithmic_compression(
        self, bits: int | None = None, *, dense: bool = True
    ) -> float:
        """RAC = n·q / (k·s·q + m·ceil(log2 k)), the dense tensors on both sides unless left out.

        *q* on top is the width of the tensors' dtype, unless ``bits`` is given.
        """
        stored = bits or 8 * (self.dtype or self.motifs.dtype).itemsize
        raw = self.partition.numel * stored + (self._dense_bits if dense else 0)
        return raw / self.description_length(bits, dense=dense)

    def arrays(self) -> dict[str, Array]:
        """The tensors as numpy arrays, in checkpoint order, bit for bit."""
        arrays = {n: self._array(n) for n in self.names if n not in self.aliases}
        return {name: arrays[self.aliases.get(name, name)] for name in self.names}

    def _array(self, name: str) -> Array:
        if name in self.dense:
            return self.dense[name]
        shape = self.partition.shapes[name]
        return self.values(name, 0, math.prod(shape)).reshape(shape)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The tensors as torch tensors, for ``load_state_dict``, bit for bit.

        Where parameters are `absent`, load it into the model that has them, with ``strict=False``.
        """
        arrays = self.arrays()
        tensors = {n: to_torch(array) for n, array in arrays.items() if n not in self.aliases}
        return {name: tensors[self.aliases.get(name, name)] for name in arrays}

    def encode(self, metadata: Mapping[str, Any] | None = None) -> bytes:
        """The mosaic as the bytes of a file; see `momos.mosaic.files`."""
        return encode_parts(self, metadata)

    @classmethod
    def decode(cls, content: bytes, path: str | os.PathLike[str]) -> Mosaic:
        """Undo `encode`; the path is for messages.

        Raises
        ------
        InputError
            If the bytes are no mosaic file, or contradict themselves.
        """
        return decode_parts(str(path), content, cls)

    def save(
        self,
        path: str | os.PathLike[str],
        metadata: Mapping[str, Any] | None = None,
        *,
        overwrite: bool = False,
    ) -> Path:
        """Write a mosaic file: motifs and dense tensors as stored, indices entropy-coded.

        Motifs are numbered by falling use in the file, and in the mosaic that is loaded from it.

        Parameters
        ----------
        path : path
        metadata : mapping, optional
            JSON-ready values to keep with it.
        overwrite : bool
            Replace any other file than a mosaic that stands there, too.

        Raises
        ------
        InputError
            If the file cannot be written, or another one is there.
        """
        check_standing(Path(path), own=is_mosaic, overwrite=overwrite)
        return write_whole(path, self.encode(metadata))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Mosaic:
        """Read a mosaic file, by its path or URL; every claim of it is checked first.

        Raises
        ------
        InputError
            If it cannot be read, is no mosaic file, or contradicts itself.
        """
        stored = bytes_at(path)
        return cls.decode(bytes(stored.read(0, stored.size)), stored.where)

    def __repr__(self) -> str:
        motifs, size = self.motifs.shape
        return (
            f"<Mosaic: {self.partition.numel:,} weights, {self.indices.size:,} blocks of {size}, "
            f"{motifs:,} motifs{self._without}>"
        )

    @property
    def _without(self) -> str:
        return f", without {len(self.absent):,} parameters that do not train" if self.absent else ""

    def _repr_html_(self) -> str:
        stored = 8 * (self.dtype or self.motifs.dtype).itemsize
        ratio = f"1 / {self.relative_algorithmic_compression():.4g}"
        facts = [
            ("weights in blocks", f"{self.partition.numel:,}"),
            ("weights kept dense", f"{sum(array.size for array in self.dense.values()):,}"),
            ("block size s", f"{self.motifs.shape[1]}"),
            ("motifs k", f"{len(self.motifs):,}"),
            ("blocks m", f"{self.indices.size:,}"),
            ("description length", f"{self.description_length():,} bits"),
            (f"of raw, {stored} bits a weight", ratio),
        ]
        return table_html([("Mosaic", ""), *facts], ("",))

    def _bits(self, bits: int | None) -> int:
        if bits is not None and bits < 1:
            raise InputError(f"bits a weight are at least 1, not {bits}")
        return 8 * self.motifs.dtype.itemsize if bits is None else bits

    @property
    def _dense_bits(self) -> int:
        return sum(8 * array.nbytes for array in self.dense.values())


def _distinct_blocks(blocks: Array, padded: Mapping[int, int]) -> tuple[Array, Array]:
    """Motifs and indices of blocks by their bits; padding matches anything."""
    size = blocks.shape[1]
    whole = np.ones(len(blocks), bool)
    whole[list(padded)] = False
    rows = blocks.view(f"V{size * blocks.dtype.itemsize}").reshape(-1)
    distinct, numbers = np.unique(rows[whole], return_inverse=True)
    motifs = distinct.view(blocks.dtype).reshape(-1, size)
    indices = np.zeros(len(blocks), np.int64)
    indices[whole] = numbers
    bits = f"u{blocks.dtype.itemsize}"
    for block, numel in padded.items():
        same = (motifs[:, :numel].view(bits) == blocks[block, :numel].view(bits)).all(axis=1)
        if not same.any():
            motifs = np.concatenate([motifs, blocks[block][None]])
            same = np.append(same, True)
        indices[block] = same.argmax()
    return motifs, indices.astype(container(len(motifs)))
