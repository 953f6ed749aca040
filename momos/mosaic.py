"""Mosaic: a few motifs, and which block is which; back to tensors bit for bit.

A mosaic file is safetensors: ``motifs`` (k, s), ``indices`` packed at ceil(log2 k) bits each, most
significant bit first, and the tensors that are no mosaic as they are, under ``dense.<name>``. The
metadata holds version, block size, names and shapes as JSON.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kolmo.checkpoints import open_checkpoint
from kolmo.errors import InputError
from momos.blocks import Array, Partition
from momos.packing import index_bits, index_dtype, pack, unpack
from momos.tensors import plain_name, read_metadata, save_safetensors, to_torch

VERSION = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Mosaic:
    """Tensors as motifs and indices (arXiv 2602.14896).

    Attributes
    ----------
    partition : Partition
        Shapes of the tensors, by name, and the block size *s*.
    motifs : ndarray, shape (k, s)
        Of the dtype of the tensors.
    indices : ndarray of unsigned integers, shape (m,)
        The motif of each block.
    dense : mapping of str to ndarray
        The model's other tensors (left-out parameters, buffers), as they are.
    names : tuple of str
        All tensors, in checkpoint order.
    """

    partition: Partition
    motifs: Array
    indices: Array
    dense: Mapping[str, Array]
    names: tuple[str, ...]

    @classmethod
    def from_model(
        cls,
        source: Any,
        block_size: int = 4,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> Mosaic:
        """The mosaic that a model is: its distinct blocks, found by their bits.

        Works for any model, also one that was never projected (it then has nearly as many motifs
        as blocks). Motifs that no block uses are not seen, so *k* may be less than was asked of
        the projection; `MoMos.mosaic` keeps those.

        Parameters
        ----------
        source : nn.Module, path, state dict or mapping of arrays
            Of a module, the trainable parameters are cut into blocks; of anything else, all
            floating-point tensors. Of parameters that share memory, the first is kept.
        block_size : int
        include, exclude : list of globs
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
        tensors, cut = read_source(source, include, exclude)
        partition = Partition({name: tensors[name].shape for name in cut}, block_size)
        blocks = partition.cut({name: tensors[name] for name in cut})
        motifs, indices = _distinct_blocks(blocks, dict(partition.padded()))
        dense = {name: array for name, array in tensors.items() if name not in cut}
        return cls(partition, motifs, indices, dense, tuple(tensors))

    def description_length(self, bits: int | None = None, *, dense: bool = True) -> int:
        """Bits that describe the mosaic: k·s·q + m·ceil(log2 k), and the dense tensors.

        A bound: `save` writes a file of about that size. Names and shapes are not counted.

        Parameters
        ----------
        bits : int, optional
            *q*, bits a value of a motif: those of the dtype by default, 32 for float32.
        dense : bool
            Whether to count the tensors that are no mosaic, at their stored width. The figures
            of the paper do not (its mosaics have every trainable parameter).
        """
        motifs, size = self.motifs.shape
        described: int = motifs * size * self._bits(bits) + self.indices.size * index_bits(motifs)
        return described + (self._dense_bits if dense else 0)

    def relative_algorithmic_compression(
        self, bits: int | None = None, *, dense: bool = True
    ) -> float:
        """RAC = n·q / (k·s·q + m·ceil(log2 k)), the dense tensors on both sides unless left out."""
        raw = self.partition.numel * self._bits(bits) + (self._dense_bits if dense else 0)
        return raw / self.description_length(bits, dense=dense)

    def arrays(self) -> dict[str, Array]:
        """The tensors as numpy arrays, in checkpoint order, bit for bit."""
        joined = self.partition.join(self.motifs[self.indices])
        return {
            name: self.dense[name] if name in self.dense else joined[name] for name in self.names
        }

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The tensors as torch tensors, for ``load_state_dict``, bit for bit."""
        return {name: to_torch(array) for name, array in self.arrays().items()}

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> Path:
        """Write a mosaic file: within 2 % and 4 KiB of `description_length`.

        Its names and shapes come on top, so a model of very many small tensors may take more.

        Parameters
        ----------
        path : path
        metadata : mapping, optional
            JSON-ready values to keep with it.
        """
        packed = pack(self.indices, index_bits(len(self.motifs)))
        stored = {"motifs": to_torch(self.motifs), "indices": to_torch(packed)}
        stored |= {f"dense.{name}": to_torch(array) for name, array in self.dense.items()}
        described = {
            "mosaic": VERSION,
            "block_size": self.partition.block_size,
            "shapes": {name: list(shape) for name, shape in self.partition.shapes.items()},
            "names": list(self.names),
        }
        return save_safetensors(path, stored, {**(metadata or {}), **described})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Mosaic:
        """Read a mosaic file. Every claim of it is checked before it is acted upon.

        Raises
        ------
        InputError
            If it cannot be read, is no mosaic file, or contradicts itself.
        """
        return _read(Path(path))

    def __repr__(self) -> str:
        motifs, size = self.motifs.shape
        return (
            f"<Mosaic: {self.partition.numel:,} weights, {self.indices.size:,} blocks of {size}, "
            f"{motifs:,} motifs>"
        )

    def _bits(self, bits: int | None) -> int:
        if bits is not None and bits < 1:
            raise InputError(f"bits a weight are at least 1, not {bits}")
        return 8 * self.motifs.dtype.itemsize if bits is None else bits

    @property
    def _dense_bits(self) -> int:
        return sum(8 * array.nbytes for array in self.dense.values())


def read_source(
    source: Any, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """A model's or a checkpoint's tensors, and the names of those to cut into blocks."""
    trainable: set[str] | None = None
    if isinstance(source, torch.nn.Module):
        trainable = {plain_name(n) for n, p in source.named_parameters() if p.requires_grad}
        source = {plain_name(name): tensor for name, tensor in source.state_dict().items()}
    checkpoint = open_checkpoint(source)
    selected = checkpoint.select(include, exclude)
    cut = tuple(
        name
        for name, tensor in selected.items()
        if (is_float(tensor.dtype) if trainable is None else name in trainable)
    )
    require_one_dtype(checkpoint.source, {name: checkpoint[name].dtype for name in cut})
    return {name: tensor.read().copy() for name, tensor in checkpoint.items()}, cut


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is floating-point, bfloat16 and float8 too."""
    return dtype.kind not in "biu"


def require_one_dtype(source: str, dtypes: Mapping[str, np.dtype[Any]]) -> None:
    """InputError unless there are tensors, and all of one dtype."""
    if not dtypes:
        raise InputError(
            f"{source}: there is no trainable floating-point tensor to cut into blocks"
        )
    first, dtype = next(iter(dtypes.items()))
    for name, other in dtypes.items():
        if other != dtype:
            raise InputError(
                f"{source}: motifs are shared, so all tensors must have one dtype, but {first!r} "
                f"is {dtype.name} and {name!r} is {other.name}; leave one kind out with exclude"
            )


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
    return motifs, indices.astype(index_dtype(len(motifs)))


# --- reading --------------------------------------------------------------------------------

_GENEROUS = 1 << 30  # bytes that any mosaic may expand to
_EXPANSION = 1024  # and how many times its file's size a larger one may


def _read(path: Path) -> Mosaic:
    metadata = read_metadata(path)
    if "mosaic" not in metadata:
        raise InputError(f"{path}: not a mosaic file (momos project and momos train write them)")
    if metadata["mosaic"] != VERSION:
        raise InputError(
            f"{path}: a mosaic of version {metadata['mosaic']!r}; this program reads {VERSION}"
        )
    checkpoint = open_checkpoint(path)
    partition, names = _described(path, metadata)
    stored = {name: tensor.read() for name, tensor in checkpoint.items()}
    motifs, packed = _motifs(path, stored, partition.block_size), stored.get("indices")
    _check_size(path, partition.numel * motifs.dtype.itemsize)
    bits = index_bits(len(motifs))
    expected = -(-partition.count * bits // 8)
    if packed is None or packed.dtype != np.uint8 or packed.shape != (expected,):
        raise InputError(
            f"{path}: {partition.count:,} blocks of {len(motifs):,} motifs need {expected:,} "
            f"bytes of indices, which the file does not hold"
        )
    indices = unpack(packed, partition.count, bits)
    if indices.size and int(indices.max()) >= len(motifs):
        raise InputError(
            f"{path}: an index names motif {int(indices.max())}, there are {len(motifs)}"
        )
    dense = {n.removeprefix("dense."): a for n, a in stored.items() if n.startswith("dense.")}
    if len(stored) != len(dense) + 2 or sorted(names) != sorted([*partition.shapes, *dense]):
        raise InputError(f"{path}: its list of names is not that of the tensors it holds")
    if bits:
        indices = indices.astype(index_dtype(len(motifs)))
    return Mosaic(partition, motifs, indices, dense, names)


def _described(path: Path, metadata: Mapping[str, Any]) -> tuple[Partition, tuple[str, ...]]:
    """The partition and the names that the metadata claims, of the right types."""
    size, shapes, names = (metadata.get(key) for key in ("block_size", "shapes", "names"))
    sound = (
        _is_count(size)
        and size != 0
        and isinstance(shapes, dict)
        and all(
            isinstance(shape, list) and len(shape) <= 64 and all(map(_is_count, shape))
            for shape in shapes.values()
        )
        and isinstance(names, list)
        and all(isinstance(name, str) for name in names)
    )
    if not sound:
        raise InputError(f"{path}: its description of the mosaic is damaged")
    assert isinstance(size, int)
    assert isinstance(shapes, dict)
    assert isinstance(names, list)
    return Partition({name: tuple(s) for name, s in shapes.items()}, size), tuple(names)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48


def _motifs(path: Path, stored: Mapping[str, Array], block_size: int) -> Array:
    motifs = stored.get("motifs")
    if motifs is None or not is_float(motifs.dtype) or motifs.ndim != 2 or len(motifs) == 0:
        raise InputError(f"{path}: it holds no table of motifs")
    if motifs.shape[1] != block_size:
        raise InputError(
            f"{path}: its motifs have {motifs.shape[1]} values, its blocks {block_size}"
        )
    return motifs


def _check_size(path: Path, expanded: int) -> None:
    """Refuse a small file that claims to be a huge model."""
    limit = max(_GENEROUS, _EXPANSION * path.stat().st_size)
    if expanded > limit:
        raise InputError(
            f"{path}: claims to expand to {expanded:,} bytes, over {_EXPANSION} times the "
            f"file's size; it is damaged, or made to fill your memory"
        )
