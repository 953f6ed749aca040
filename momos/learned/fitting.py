"""Motifs fitted to weights, and weights assigned to motifs: the engine of learned mosaics.

A block takes the motif with the least distance² + rate × code length of the index:
entropy-constrained vector quantization (Chou, Lookabaugh & Gray 1989). Code lengths come from how
often each tensor uses each motif, and each row and column a motif other than zero, so that whole
rows and columns become zero.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError
from kolmo.execution import Progress, no_progress
from kolmo.symbols import container
from momos.config import LearnedMosaic
from momos.learned.aiming import aimed_rate, first_rate
from momos.learned.rates import Floats
from momos.learned.slots import Slot, make_slots
from momos.mosaic.blocks import Array, Partition
from momos.mosaic.mosaic import Mosaic
from momos.mosaic.stats import ProjectionStats, check_finite, projection_stats
from momos.tensors import to_arrays, to_torch

_FITS = 20  # times that motifs are refitted to a finished checkpoint
_ROUNDS = 8  # rounds of Lloyd's iteration before the first step


class Fitting(nn.Module):
    """Tensors, the motifs fitted to them, and the motif of each block.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Read as they are whenever motifs are assigned.
    config : LearnedMosaic
    seed : int
        Seed of the first motifs.

    Raises
    ------
    InputError
        If the tensors hold no weights, or NaN, or fewer blocks than motifs.
    """

    motifs: torch.Tensor
    scales: torch.Tensor
    counts: torch.Tensor
    threshold: torch.Tensor

    def __init__(self, tensors: Mapping[str, torch.Tensor], config: LearnedMosaic, seed: int):
        super().__init__()
        self.config = config
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self.partition = Partition(shapes, config.block_size)
        if self.partition.count == 0:
            raise InputError("the tensors to learn a mosaic of hold no weights")
        self._k = config.motif_count(self.partition.count)
        self.slots = make_slots(tensors, self.partition, config, self._k)
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
        """The mosaic as last assigned; tensors outside it are kept dense."""
        arrays = to_arrays({n: t for n, t in tensors.items() if n not in self.partition.shapes})
        motifs = self.motifs.cpu().numpy().astype(self.config.precision)
        indices = np.concatenate([slot.indices.cpu().numpy() for slot in self.slots])
        scaled = self.config.scale != "none"
        return Mosaic(
            self.partition,
            motifs,
            indices.astype(container(len(motifs))),
            arrays,
            tuple(tensors),
            {slot.name: scale.cpu().numpy().copy() for slot, scale in self._scales() if scaled},
            open_source({"latent": self.slots[0].latent.detach()})["latent"].dtype,
        )

    def loaded(self) -> None:
        """Compute the code lengths anew, from the counts of a state that was loaded."""
        self._read_counts()

    def _scales(self) -> Iterator[tuple[Slot, torch.Tensor]]:
        start = 0
        for slot in self.slots:
            end = start + (slot.rows if self.config.scale == "channel" else 1)
            yield slot, self.scales[start:end]
            start = end

    def assign(self, rate: float) -> None:
        """Give each block its cheapest motif, at ``rate`` a bit."""
        threshold = math.nan if self.config.sparsity is None else float(self.threshold)
        for slot, scales in self._scales():
            slot.assign(self.motifs, scales, rate, threshold)

    def refit(self, rate: float, ramped: float = 0.0) -> None:
        """Move the motifs to the means of their blocks, and compute code lengths anew.

        ``ramped`` is the share of the ramp that has passed, by which the sparsity rises.
        """
        k, size = self.motifs.shape
        sums, counts = np.zeros((k, size)), np.zeros(k, np.int64)
        for slot, scales in self._scales():
            slot.add_to(sums, counts, scales)
        motifs = self.motifs.cpu().numpy()
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], motifs)
        moved[0] = 0
        self.motifs.copy_(torch.from_numpy(self._rounded(moved)))
        self.counts.copy_(torch.from_numpy(np.concatenate([s.count() for s in self.slots])))
        self._read_counts()
        if self.config.sparsity is not None:
            share = self.config.sparsity * (1 - (1 - ramped) ** 3)
            worth = [slot.worth(scales, rate) for slot, scales in self._scales()]
            self.threshold.fill_(_quantile(worth, share))

    def _read_counts(self) -> None:
        """Set the code lengths, by block and motif, from the counts."""
        counts, start = self.counts.cpu().numpy(), 0
        for slot in self.slots:
            end = start + len(self.motifs) + slot.rows + slot.columns
            slot.price(counts[start:end])
            start = end

    def _scaled_blocks(self) -> Floats:
        """All blocks without padding, divided by their scales."""
        parts = [
            (slot.blocks() / slot.block_scales(scales))[: slot.whole].cpu().numpy()
            for slot, scales in self._scales()
        ]
        return np.concatenate(parts)

    def _rounded(self, motifs: NDArray[Any]) -> Floats:
        """Motifs rounded to the precision in which the mosaic stores them."""
        return motifs.astype(self.config.precision).astype(np.float32)

    def check_finite(self) -> None:
        for slot in self.slots:
            if not torch.isfinite(slot.latent).all():
                raise InputError(
                    f"tensor {slot.name!r} holds NaN or infinite values: the training diverged; "
                    f"use a lower learning rate"
                )


def fit_tensors(
    tensors: Mapping[str, Array],
    config: LearnedMosaic,
    random: np.random.Generator,
    bits: float | None = None,
    progress: Progress = no_progress,
) -> tuple[Mosaic, ProjectionStats]:
    """The mosaic whose motifs are fitted to tensors of one dtype, while the rate rises.

    With ``bits`` the rate follows them instead: indices then cost about as many a weight.
    """
    start = time.perf_counter()
    for name, array in tensors.items():
        check_finite(name, array)
    latent = {name: to_torch(array) for name, array in tensors.items()}
    fitting = Fitting(latent, config, int(random.integers(1 << 32)))
    rate = 0.0 if bits is None else first_rate(bits)
    for turn in range(1, _FITS + 1):
        progress(turn - 1, _FITS, "fitting motifs")
        ramped = min(1.0, turn / (config.ramp * _FITS)) if config.ramp else 1.0
        if bits is None:
            rate = config.price * ramped
        elif turn > 1:  # before the first refit indices have no price
            rate = aimed_rate(fitting.slots, bits, rate)
        fitting.refit(rate, ramped)
        fitting.assign(rate)
    mosaic = fitting.mosaic(latent)
    return mosaic, projection_stats(tensors, mosaic, start)


def _quantile(parts: Sequence[torch.Tensor], share: float) -> float:
    """Quantile of all values, interpolated as numpy does; computed on the first part's device."""
    whole = torch.cat([part.to(parts[0].device) for part in parts])
    if whole.device.type == "cpu":
        return float(np.quantile(whole.numpy(), share))
    place = share * (len(whole) - 1)
    ascending = whole.sort().values  # on a GPU much faster than torch.kthvalue
    below, above = ascending[math.floor(place)].double(), ascending[math.ceil(place)].double()
    return float(torch.lerp(below, above, place % 1))


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
    """Zero, and for single weights levels on both sides of it, for longer blocks a draw of them."""
    if blocks.shape[1] > 1:
        motifs = blocks[random.choice(len(blocks), size=k, replace=False)]
    else:
        levels = np.linspace(1.2, 2.5, max(2, k // 2))[: k // 2]
        motifs = np.concatenate([[0], levels, -levels])[:k, None]
    motifs[0] = 0
    return motifs.astype(np.float32)
