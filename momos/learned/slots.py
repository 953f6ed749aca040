"""One tensor of a learned mosaic: its blocks, their motifs, and the bits of each index.

On the CPU a compiled loop assigns the motifs; on any other device torch does, there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from kolmo.errors import InputError
from momos.config import LearnedMosaic
from momos.learned import kernels
from momos.learned.rates import Floats, other_odds
from momos.mosaic.blocks import Partition

_NEVER = float(kernels.NEVER)
_TILE = 1 << 24  # costs at a time on a device, 64 MB


@dataclasses.dataclass(eq=False)
class Slot:
    """A tensor as a table of blocks; its own arrays lie where the tensor was last seen."""

    name: str
    latent: torch.Tensor
    rows: int
    columns: int
    size: int
    projected: torch.Tensor
    indices: torch.Tensor
    zero_bits: torch.Tensor
    other_bits: torch.Tensor
    motif_bits: torch.Tensor

    @property
    def whole(self) -> int:
        """Blocks without padding."""
        return self.latent.numel() // self.size

    def blocks(self) -> torch.Tensor:
        """The latent weights as float32 blocks, the last one padded; a view where possible."""
        flat = self.latent.detach().float().contiguous().reshape(-1)
        if missing := -flat.numel() % self.size:
            flat = torch.nn.functional.pad(flat, (0, missing))
        return flat.reshape(-1, self.size)

    def block_scales(self, scales: torch.Tensor) -> torch.Tensor:
        """Scales of the blocks, a column: one for each block, or one where the tensor has one."""
        moved = scales.to(self.latent.device)
        return moved.repeat_interleave(self.columns)[:, None] if len(moved) > 1 else moved[:, None]

    def price(
        self, counts: NDArray[np.int64], lengths: Callable[[NDArray[np.int64]], Floats]
    ) -> None:
        """Code lengths of indices, from counts as `count` gives them.

        ``lengths`` are those of all motifs but 0, from how often each is used.
        """
        used, by_row, by_column = np.split(counts, np.cumsum([len(self.motif_bits), self.rows]))
        self.motif_bits = torch.from_numpy(lengths(used)).to(self.latent.device)
        rows, columns = map(torch.from_numpy, other_odds(used, by_row, by_column))
        odds = rows.to(self.latent.device)[:, None] + columns.to(self.latent.device)
        odds = odds.clamp_(-10, 10).reshape(-1)
        nats = torch.logaddexp(odds, torch.zeros_like(odds))  # code length of the zero motif
        self.zero_bits = nats.div(math.log(2)).float()
        self.other_bits = nats.sub_(odds).div_(math.log(2)).float()

    def assign(
        self, motifs: torch.Tensor, scales: torch.Tensor, rate: float, threshold: float = math.nan
    ) -> None:
        """Give each block the motif of least squared distance + rate × code length.

        With a threshold (for single weights only) exactly those worth less get the zero motif.
        """
        self.follow()
        if self.latent.device.type == "cpu":
            projected = self._assign_on_cpu(motifs, scales, rate, threshold)
        else:
            projected = self._assign_on_device(motifs, scales, rate, threshold)
        flat = projected.reshape(-1)[: self.latent.numel()]
        self.projected = flat.reshape(self.latent.shape).to(self.latent)

    def worth(self, scales: torch.Tensor, rate: float) -> torch.Tensor:
        """Loss of making each weight zero: squared distance, less the price of the bits saved."""
        lost = (self.blocks() / self.block_scales(scales))[:, 0].square()
        return lost - rate * (self.other_bits - self.zero_bits) if rate else lost

    def count(self) -> NDArray[np.int64]:
        """Blocks of each motif, then those of each row and column that have another than zero."""
        used = torch.bincount(self.indices, minlength=len(self.motif_bits))
        others = self.indices.reshape(self.rows, self.columns) > 0
        return torch.cat([used, others.sum(dim=1), others.sum(dim=0)]).cpu().numpy()

    def add_to(
        self, sums: NDArray[np.float64], counts: NDArray[np.int64], scales: torch.Tensor
    ) -> None:
        """Add the scaled blocks without padding to the sums and counts of their motifs."""
        blocks, indices = self.blocks(), self.indices
        if blocks.device.type == "cpu":
            kernels.add_blocks(
                blocks.numpy(), self.whole, self.columns, scales.cpu().numpy(), indices.numpy(),
                sums, counts,
            )  # fmt: skip
            return
        scaled = (blocks / self.block_scales(scales))[: self.whole].double()
        indices = indices[: self.whole]
        # One by one: torch's scattered sums depend on the order in which a GPU's threads come.
        for motif in range(len(counts)):
            mine = (indices == motif)[:, None]
            sums[motif] += torch.where(mine, scaled, 0.0).sum(dim=0).cpu().numpy()
            counts[motif] += int(mine.sum())

    def follow(self) -> None:
        """Move to the tensor's device, if the model has moved."""
        if self.indices.device != self.latent.device:
            for name in ("indices", "zero_bits", "other_bits", "motif_bits"):
                setattr(self, name, getattr(self, name).to(self.latent.device))

    def _assign_on_cpu(
        self, motifs: torch.Tensor, scales: torch.Tensor, rate: float, threshold: float
    ) -> torch.Tensor:
        blocks = self.blocks()
        # New memory at each step: an earlier forward pass may still need its own.
        projected = torch.empty_like(blocks)
        kernels.assign_blocks(
            blocks.numpy(), self.columns, scales.cpu().numpy(), motifs.cpu().numpy(),
            self.zero_bits.numpy(), self.other_bits.numpy(), self.motif_bits.numpy(),
            rate, threshold, self.indices.numpy(), projected.numpy(),
        )  # fmt: skip
        return projected

    def _assign_on_device(
        self, motifs: torch.Tensor, scales: torch.Tensor, rate: float, threshold: float
    ) -> torch.Tensor:
        zero, other = rate * self.zero_bits, rate * self.other_bits
        if not math.isnan(threshold):
            zero = torch.where(self.worth(scales, rate) < threshold, 0.0, _NEVER)
            other = _NEVER - zero
        scale, motifs = self.block_scales(scales), motifs.to(self.latent.device)
        each = rate * self.motif_bits
        self.indices = cheapest_motifs(self.blocks() / scale, motifs, zero, other, each)
        return motifs[self.indices] * scale


def cheapest_motifs(
    blocks: torch.Tensor, motifs: torch.Tensor, zero: torch.Tensor, other: torch.Tensor,
    each: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Indices, int32, as `kernels.assign_blocks` finds them, of scaled blocks in torch.

    Sums are written out: a matrix product might run in half the digits.
    """
    fixed = each + motifs.square().sum(dim=1)
    indices = torch.empty(len(blocks), dtype=torch.int32, device=blocks.device)
    for start in range(0, len(blocks), rows := max(1, _TILE // len(motifs))):
        tile = slice(start, start + rows)
        costs = other[tile, None] + fixed
        costs[:, 0] = zero[tile]
        for value in range(blocks.shape[1]):
            costs.addcmul_(blocks[tile, value, None], motifs[:, value], value=-2)
        indices[tile] = costs.argmin(dim=1)
    return indices


def make_slots(
    tensors: Mapping[str, torch.Tensor], partition: Partition, config: LearnedMosaic, motifs: int
) -> list[Slot]:
    """A slot for each tensor; indices cost nothing until `Slot.price` is called."""
    return [
        _slot(name, tensor, table, config, motifs)
        for (name, tensor), table in zip(tensors.items(), partition.tables(), strict=True)
    ]


def _slot(
    name: str, tensor: torch.Tensor, table: tuple[int, int], config: LearnedMosaic, motifs: int
) -> Slot:
    rows, columns = table
    if config.scale == "channel" and tensor.ndim > 1 and rows != tensor.shape[0]:
        raise InputError(
            f"tensor {name!r} of shape {list(tensor.shape)}: blocks of "
            f"{config.block_size} do not end with its channels; use scale='tensor'"
        )
    blocks = torch.zeros(rows * columns, device=tensor.device)
    return Slot(
        name=name,
        latent=tensor,
        rows=rows,
        columns=columns,
        size=config.block_size,
        projected=tensor.detach().clone(),
        indices=blocks.int(),
        zero_bits=blocks,
        other_bits=blocks,
        motif_bits=torch.zeros(motifs, device=tensor.device),
    )
