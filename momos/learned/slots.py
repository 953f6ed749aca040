"""One tensor of a learned mosaic: its blocks, what their indices cost, and which motif each has.

On the CPU a compiled loop assigns the motifs; on any other device torch does, there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from kolmo.errors import InputError
from momos.config import LearnedMosaic
from momos.learned import kernels
from momos.learned.rates import motif_bits, other_odds
from momos.mosaic.blocks import Partition

_NEVER = float(kernels.NEVER)
_TILE = 1 << 24  # costs at a time on a device: 64 MB


@dataclasses.dataclass(eq=False)
class Slot:
    """A tensor as a table of blocks. What it holds lies on the device where the tensor last was."""

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
        """The latent weights as float32 blocks, the last one padded; a view where that can be."""
        flat = self.latent.detach().float().contiguous().reshape(-1)
        if missing := -flat.numel() % self.size:
            flat = torch.nn.functional.pad(flat, (0, missing))
        return flat.reshape(-1, self.size)

    def each(self, scales: torch.Tensor) -> torch.Tensor:
        """The scale of each block, or one for all where the tensor has one; a column."""
        there = scales.to(self.latent.device)
        return there.repeat_interleave(self.columns)[:, None] if len(there) > 1 else there[:, None]

    def price(self, counts: NDArray[np.int64]) -> None:
        """Code lengths of indices, from counts as `count` gives them."""
        used, by_row, by_column = np.split(counts, np.cumsum([len(self.motif_bits), self.rows]))
        self.motif_bits = torch.from_numpy(motif_bits(used)).to(self.latent.device)
        rows, columns = map(torch.from_numpy, other_odds(used, by_row, by_column))
        there = rows.to(self.latent.device)[:, None] + columns.to(self.latent.device)
        odds = there.clamp_(-10, 10).reshape(-1)
        nats = torch.logaddexp(odds, torch.zeros_like(odds))  # to say that it is the zero motif
        self.zero_bits = nats.div(math.log(2)).float()
        self.other_bits = nats.sub_(odds).div_(math.log(2)).float()

    def assign(
        self, motifs: torch.Tensor, scales: torch.Tensor, rate: float, threshold: float = math.nan
    ) -> None:
        """Give each block the motif of least squared distance + rate × code length.

        With a threshold, of single weights, the zero motif goes to all that are worth less, and to
        no others.
        """
        self._follow()
        if self.latent.device.type == "cpu":
            projected = self._assign_here(motifs, scales, rate, threshold)
        else:
            projected = self._assign_there(motifs, scales, rate, threshold)
        flat = projected.reshape(-1)[: self.latent.numel()]
        self.projected = flat.reshape(self.latent.shape).to(self.latent)

    def worth(self, scales: torch.Tensor, rate: float) -> torch.Tensor:
        """What is lost by making each weight zero: squared distance, less the bits it saves."""
        lost = (self.blocks() / self.each(scales))[:, 0].square()
        return lost - rate * (self.other_bits - self.zero_bits) if rate else lost

    def count(self) -> NDArray[np.int64]:
        """How often each motif is used; and by row and column, anything but the zero motif."""
        used = torch.bincount(self.indices, minlength=len(self.motif_bits))
        others = self.indices.reshape(self.rows, self.columns) > 0
        return torch.cat([used, others.sum(dim=1), others.sum(dim=0)]).cpu().numpy()

    def add_to(
        self, sums: NDArray[np.float64], counts: NDArray[np.int64], scales: torch.Tensor
    ) -> None:
        """Add the scaled blocks, but the padded one, to the sums and counts of their motifs."""
        blocks, indices = self.blocks(), self.indices
        if blocks.device.type == "cpu":
            kernels.add_blocks(
                blocks.numpy(), self.whole, self.columns, scales.cpu().numpy(), indices.numpy(),
                sums, counts,
            )  # fmt: skip
            return
        scaled, found = (blocks / self.each(scales))[: self.whole].double(), indices[: self.whole]
        # One by one: torch's scattered sums depend on the order in which a GPU's threads come.
        for motif in range(len(counts)):
            its = (found == motif)[:, None]
            sums[motif] += torch.where(its, scaled, 0.0).sum(dim=0).cpu().numpy()
            counts[motif] += int(its.sum())

    def _follow(self) -> None:
        """To the tensor's device, should the model have moved."""
        if self.indices.device != self.latent.device:
            for name in ("indices", "zero_bits", "other_bits", "motif_bits"):
                setattr(self, name, getattr(self, name).to(self.latent.device))

    def _assign_here(
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

    def _assign_there(
        self, motifs: torch.Tensor, scales: torch.Tensor, rate: float, threshold: float
    ) -> torch.Tensor:
        zero, other = rate * self.zero_bits, rate * self.other_bits
        if not math.isnan(threshold):
            zero = torch.where(self.worth(scales, rate) < threshold, 0.0, _NEVER)
            other = _NEVER - zero
        scale, there = self.each(scales), motifs.to(self.latent.device)
        each = rate * self.motif_bits
        self.indices = cheapest_motifs(self.blocks() / scale, there, zero, other, each)
        return there[self.indices] * scale


def cheapest_motifs(
    blocks: torch.Tensor, motifs: torch.Tensor, zero: torch.Tensor, other: torch.Tensor,
    each: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """`kernels.assign_blocks` for scaled blocks, in torch; the indices, int32.

    Sums are written out: a matrix product might run in half the digits.
    """
    fixed = each + motifs.square().sum(dim=1)
    found = torch.empty(len(blocks), dtype=torch.int32, device=blocks.device)
    for start in range(0, len(blocks), rows := max(1, _TILE // len(motifs))):
        tile = slice(start, start + rows)
        costs = other[tile, None] + fixed
        costs[:, 0] = zero[tile]
        for value in range(blocks.shape[1]):
            costs.addcmul_(blocks[tile, value, None], motifs[:, value], value=-2)
        found[tile] = costs.argmin(dim=1)
    return found


def make_slots(
    tensors: Mapping[str, torch.Tensor], partition: Partition, config: LearnedMosaic, motifs: int
) -> list[Slot]:
    """A slot for each tensor, whose indices cost nothing yet."""
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
