"""Motifs fitted to weights, and weights assigned to motifs: the engine of learned mosaics.

A block takes the motif with the least distance² + rate × code length of the index:
entropy-constrained vector quantization (Chou, Lookabaugh & Gray 1989). Code lengths come from how
often each tensor used each motif, and each row and column anything but the zero motif, so that
whole rows and columns fall silent.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kolmo.checkpoints import open_checkpoint
from kolmo.errors import InputError
from momos import kernels
from momos.blocks import Partition
from momos.config import MosaicConfig
from momos.mosaic import Mosaic
from momos.packing import index_dtype
from momos.rates import Floats, motif_bits, zero_bits
from momos.tensors import to_arrays

_NEVER = 1e6  # bits that no distance makes up for
_ROUNDS = 8  # of Lloyd's iteration before the first step


@dataclasses.dataclass(eq=False)
class Slot:
    """One tensor of the mosaic: its table of blocks, what they cost, and what it became."""

    name: str
    latent: torch.Tensor
    rows: int
    columns: int
    projected: torch.Tensor
    indices: NDArray[np.int32]
    zero_bits: Floats
    other_bits: Floats
    motif_bits: Floats

    def each(self, scales: Floats) -> Floats:
        """The scale of each block; one for all where the tensor has one."""
        return np.repeat(scales, self.columns) if scales.size > 1 else scales


class Fitting(nn.Module):
    """Tensors, the motifs fitted to them, and who has which.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Looked at as they are whenever motifs are assigned.
    config : MosaicConfig
    seed : int
        Of the first motifs.

    Raises
    ------
    InputError
        If the tensors hold no weights, or NaN, or fewer blocks than motifs.
    """

    motifs: torch.Tensor
    scales: torch.Tensor
    counts: torch.Tensor
    threshold: torch.Tensor

    def __init__(self, tensors: Mapping[str, torch.Tensor], config: MosaicConfig, seed: int):
        super().__init__()
        self.config = config
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self.partition = Partition(shapes, config.block_size)
        if self.partition.count == 0:
            raise InputError("the tensors to learn a mosaic of hold no weights")
        self._k = config.motif_count(self.partition.count)
        self.slots = list(_slots(tensors, self.partition, config, self._k))
        self.check_finite()
        self.register_buffer("scales", torch.from_numpy(_first_scales(self.slots, config.scale)))
        self.register_buffer("threshold", torch.zeros(()))
        size = sum(self._k + s.rows + s.columns for s in self.slots)
        self.register_buffer("counts", torch.zeros(size, dtype=torch.int64))
        random = np.random.default_rng(seed)
        first = _first_motifs(self._scaled_blocks(), self._k, random)
        self.register_buffer("motifs", torch.from_numpy(self._rounded(first)))
        for _ in range(_ROUNDS if config.block_size > 1 else 1):
            self.assign(0.0)
            self.refit(0.0)
        self.assign(0.0)

    def mosaic(self, tensors: Mapping[str, Any]) -> Mosaic:
        """The mosaic as last assigned; the tensors that are none of it are kept dense."""
        arrays = to_arrays({n: t for n, t in tensors.items() if n not in self.partition.shapes})
        motifs = self.motifs.cpu().numpy().astype(self.config.precision)
        indices = np.concatenate([slot.indices for slot in self.slots])
        scaled = self.config.scale != "none"
        return Mosaic(
            self.partition,
            motifs,
            indices.astype(index_dtype(len(motifs))),
            arrays,
            tuple(tensors),
            {slot.name: scale.copy() for slot, scale in self._scales() if scaled},
            open_checkpoint({"latent": self.slots[0].latent.detach()})["latent"].dtype,
        )

    def loaded(self) -> None:
        """After a state was loaded: the code lengths are those of its counts."""
        self._read_counts()

    def _scales(self) -> Iterator[tuple[Slot, Floats]]:
        scales, start = self.scales.cpu().numpy(), 0
        for slot in self.slots:
            end = start + (slot.rows if self.config.scale == "channel" else 1)
            yield slot, scales[start:end]
            start = end

    def assign(self, rate: float) -> None:
        """Give each block its motif, at so much a bit."""
        motifs = self.motifs.cpu().numpy()
        for slot, scales in self._scales():
            blocks = self._blocks(slot)
            projected = np.empty_like(blocks)
            zero, other, each, paid = slot.zero_bits, slot.other_bits, slot.motif_bits, rate
            if self.config.sparsity is not None:
                zero, other = self._forced(slot, blocks, scales, rate)
                each, paid = each * np.float32(rate), 1.0
            kernels.assign_blocks(
                blocks, slot.columns, scales, motifs, zero, other, each, paid,
                slot.indices, projected,
            )  # fmt: skip
            flat = torch.from_numpy(projected).reshape(-1)[: slot.projected.numel()]
            # New memory at each step: an earlier forward pass may still need its own.
            slot.projected = flat.reshape(slot.latent.shape).to(slot.latent)

    def _forced(
        self, slot: Slot, blocks: Floats, scales: Floats, rate: float
    ) -> tuple[Floats, Floats]:
        """Prices that leave no choice: zero under the threshold, anything else over it."""
        small = self._worth(slot, blocks, scales, rate) < float(self.threshold)
        never, free = np.float32(_NEVER), np.float32(0)
        return np.where(small, free, never), np.where(small, never, free)

    def _worth(self, slot: Slot, blocks: Floats, scales: Floats, rate: float) -> Floats:
        """What is lost by making each weight zero: squared distance, less the bits it saves."""
        lost = np.square(blocks[:, 0] / slot.each(scales))
        if rate:
            lost -= np.float32(rate) * (slot.other_bits - slot.zero_bits)
        return np.asarray(lost, np.float32)

    def refit(self, rate: float, risen: float = 0.0) -> None:
        """Move the motifs to the means of their blocks, and count what indices cost."""
        k, size = self.motifs.shape
        sums, counts = np.zeros((k, size)), np.zeros(k, np.int64)
        for slot, scales in self._scales():
            whole = slot.latent.numel() // size
            blocks = self._blocks(slot)
            kernels.add_blocks(blocks, whole, slot.columns, scales, slot.indices, sums, counts)
        motifs = self.motifs.cpu().numpy()
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], motifs)
        moved[0] = 0
        self.motifs.copy_(torch.from_numpy(self._rounded(moved)))
        self.counts.copy_(torch.from_numpy(np.concatenate([*map(self._count, self.slots)])))
        self._read_counts()
        if self.config.sparsity is not None:
            share = self.config.sparsity * (1 - (1 - risen) ** 3)
            worth = [self._worth(s, self._blocks(s), scale, rate) for s, scale in self._scales()]
            self.threshold.fill_(float(np.quantile(np.concatenate(worth), share)))

    def _count(self, slot: Slot) -> NDArray[np.int64]:
        """How often each motif is used; and by row and column, anything but the zero motif."""
        used = np.bincount(slot.indices, minlength=len(self.motifs))
        others = slot.indices.reshape(slot.rows, slot.columns) > 0
        return np.concatenate([used, others.sum(axis=1), others.sum(axis=0)])

    def _read_counts(self) -> None:
        """Bits of an index by block and motif, from the counts."""
        counts, start, k = self.counts.cpu().numpy(), 0, len(self.motifs)
        for slot in self.slots:
            parts = np.split(
                counts[start : start + k + slot.rows + slot.columns], [k, k + slot.rows]
            )
            start += k + slot.rows + slot.columns
            slot.zero_bits, slot.other_bits = zero_bits(*parts)
            slot.motif_bits = motif_bits(parts[0])

    def _blocks(self, slot: Slot) -> Floats:
        """The latent weights as blocks, the last one padded; a view where that can be."""
        flat = slot.latent.detach().cpu().float().contiguous().numpy().reshape(-1)
        missing = -flat.size % self.config.block_size
        if missing:
            flat = np.concatenate([flat, np.zeros(missing, np.float32)])
        return flat.reshape(-1, self.config.block_size)

    def _scaled_blocks(self) -> Floats:
        """All blocks but the padded ones, divided by their scales."""
        parts = []
        for slot, scales in self._scales():
            whole = slot.latent.numel() // self.config.block_size
            parts.append((self._blocks(slot) / slot.each(scales)[:, None])[:whole])
        return np.concatenate(parts)

    def _rounded(self, motifs: NDArray[Any]) -> Floats:
        """As the mosaic will store them."""
        return motifs.astype(self.config.precision).astype(np.float32)

    def check_finite(self) -> None:
        for slot in self.slots:
            if not torch.isfinite(slot.latent).all():
                raise InputError(
                    f"tensor {slot.name!r} holds NaN or infinite values: the training diverged; "
                    f"use a lower learning rate"
                )


def _slots(
    tensors: Mapping[str, torch.Tensor], partition: Partition, config: MosaicConfig, motifs: int
) -> Iterator[Slot]:
    for (name, parameter), (rows, columns) in zip(tensors.items(), partition.tables(), strict=True):
        if config.scale == "channel" and parameter.ndim > 1 and rows != parameter.shape[0]:
            raise InputError(
                f"tensor {name!r} of shape {list(parameter.shape)}: blocks of "
                f"{config.block_size} do not end with its channels; use scale='tensor'"
            )
        blocks = rows * columns
        yield Slot(
            name=name,
            latent=parameter,
            rows=rows,
            columns=columns,
            projected=parameter.detach().clone(),
            indices=np.zeros(blocks, np.int32),
            zero_bits=np.zeros(blocks, np.float32),
            other_bits=np.zeros(blocks, np.float32),
            motif_bits=np.zeros(motifs, np.float32),
        )


def _first_scales(slots: Sequence[Slot], scale: str) -> Floats:
    """The root mean square of each tensor or channel; where that is 0, the median of the others."""
    if scale == "none":
        return np.ones(len(slots), np.float32)
    parts = []
    for slot in slots:
        values = slot.latent.detach().double().cpu().numpy()
        rows = values.reshape(slot.rows if scale == "channel" else 1, -1)
        parts.append(np.sqrt(np.square(rows).mean(axis=1)))
    scales = np.concatenate(parts)
    others = scales[scales > 0]
    return np.where(scales > 0, scales, np.median(others) if others.size else 1).astype(np.float32)


def _first_motifs(blocks: Floats, k: int, random: np.random.Generator) -> Floats:
    """Zero and, of single weights, levels on both sides of it; of longer blocks, some of them."""
    if blocks.shape[1] > 1:
        motifs = blocks[random.choice(len(blocks), size=k, replace=False)]
    else:
        levels = np.linspace(1.2, 2.5, max(2, k // 2))[: k // 2]
        motifs = np.concatenate([[0], levels, -levels])[:k, None]
    motifs[0] = 0
    return motifs.astype(np.float32)
