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
from torch.utils.hooks import RemovableHandle

from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError
from kolmo.execution import Progress, no_progress
from kolmo.symbols import container
from momos.config import LearnedMosaic
from momos.learned.aiming import aimed_rate, first_rate
from momos.learned.grid import Pull, first_steps, grid_levels, round_to_grid
from momos.learned.rates import Floats, level_bits, motif_bits
from momos.learned.slots import Slot, make_slots
from momos.mosaic.blocks import Array, Partition
from momos.mosaic.mosaic import Mosaic
from momos.mosaic.stats import ProjectionStats, check_finite, projection_stats
from momos.tensors import to_arrays, to_torch

_FITS = 20  # times that motifs are refitted to a finished checkpoint
_BETAS = 0.9, 0.99  # of the steps' means of gradients and of their squares
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
    step_gradients: torch.Tensor
    step_moments: torch.Tensor
    step_moves: torch.Tensor

    def __init__(self, tensors: Mapping[str, torch.Tensor], config: LearnedMosaic, seed: int):
        super().__init__()
        self.config = config
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self.partition = Partition(shapes, config.block_size)
        if self.partition.count == 0:
            raise InputError("the tensors to learn a mosaic of hold no weights")
        self._k = config.motif_count(self.partition.count)
        self.slots = make_slots(tensors, self.partition, config, self._k)
        self._pulls: list[RemovableHandle] = []
        self.check_finite()
        self.register_buffer("scales", torch.from_numpy(_first_scales(self.slots, config)))
        self.register_buffer("threshold", torch.zeros(()))
        if config.bits is not None:
            # Buffers, so that they are saved, and under DDP those of the first rank serve all.
            self.register_buffer("step_gradients", torch.zeros_like(self.scales))
            self.register_buffer("step_moments", torch.zeros(2, len(self.scales)))
            self.register_buffer("step_moves", torch.zeros((), dtype=torch.int64))
        size = sum(self._k + s.rows + s.columns for s in self.slots)
        self.register_buffer("counts", torch.zeros(size, dtype=torch.int64))
        first = self._first_motifs(np.random.default_rng(seed))
        self.register_buffer("motifs", torch.from_numpy(self._rounded(first)))
        for _ in range(_ROUNDS if config.block_size > 1 else 1):
            self.assign(0.0)
            self.refit(0.0)
        self.assign(0.0)

    def _first_motifs(self, random: np.random.Generator) -> Floats:
        if self.config.bits is not None:
            return grid_levels(self.config.bits)
        return _first_motifs(self._scaled_blocks(), self._k, random)

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
        """Give each block its cheapest motif, at ``rate`` a bit; of a grid, the nearest level."""
        threshold = math.nan if self.config.sparsity is None else float(self.threshold)
        for slot, scales in self._scales():
            if self.config.bits is not None:
                round_to_grid(slot, scales)
            else:
                slot.assign(self.motifs, scales, rate, threshold)

    def refit(self, rate: float, ramped: float = 0.0) -> None:
        """Move the motifs to the means of their blocks, and compute code lengths anew.

        The levels of a grid stay. ``ramped`` is the share of the ramp that has passed, by which
        the sparsity rises.
        """
        if self.config.bits is None:
            self._refit_motifs()
        self.counts.copy_(torch.from_numpy(np.concatenate([s.count() for s in self.slots])))
        self._read_counts()
        if self.config.sparsity is not None:
            share = self.config.sparsity * (1 - (1 - ramped) ** 3)
            worth = [slot.worth(scales, rate) for slot, scales in self._scales()]
            self.threshold.fill_(_quantile(worth, share))

    def _refit_motifs(self) -> None:
        k, size = self.motifs.shape
        sums, counts = np.zeros((k, size)), np.zeros(k, np.int64)
        for slot, scales in self._scales():
            slot.add_to(sums, counts, scales)
        motifs = self.motifs.cpu().numpy()
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], motifs)
        moved[0] = 0
        self.motifs.copy_(torch.from_numpy(self._rounded(moved)))

    def pull(self, price: float) -> None:
        """Make gradients act on weights and steps as those of a grid do, until `let_go`.

        ``price`` is the loss of a bit.
        """
        self.let_go()
        start = 0
        for slot, steps in self._scales():
            gathered = self.step_gradients[start : (start := start + len(steps))]
            if slot.latent.requires_grad:
                pull = Pull(slot, steps, price, gathered)
                handle = slot.latent.register_hook(pull)  # type: ignore[no-untyped-call]
                self._pulls.append(handle)

    def move_steps(self, learning_rate: float) -> None:
        """Move the logarithms of the steps against the gradients gathered, as Adam does."""
        if not self.step_gradients.any():
            return
        mean, square = self.step_moments
        mean.lerp_(self.step_gradients, 1 - _BETAS[0])
        square.lerp_(self.step_gradients.square(), 1 - _BETAS[1])
        self.step_moves += 1
        moves = int(self.step_moves)
        unbiased = [m / (1 - beta**moves) for m, beta in zip((mean, square), _BETAS, strict=True)]
        self.scales.mul_(torch.exp(-learning_rate * unbiased[0] / (unbiased[1].sqrt() + 1e-12)))
        self.step_gradients.zero_()

    def let_go(self) -> None:
        """End the pull of the last `pull`."""
        for handle in self._pulls:
            handle.remove()
        self._pulls.clear()

    def _read_counts(self) -> None:
        """Set the code lengths, by block and motif, from the counts."""
        counts, start = self.counts.cpu().numpy(), 0
        lengths = motif_bits if self.config.bits is None else level_bits
        for slot in self.slots:
            end = start + len(self.motifs) + slot.rows + slot.columns
            slot.price(counts[start:end], lengths)
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
    if config.bits is not None:
        raise InputError(
            "a grid of bits learns in training; of a finished checkpoint, give the number of motifs"
        )
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


def _first_scales(slots: Sequence[Slot], config: LearnedMosaic) -> Floats:
    """Steps of a grid, else the root mean square of each tensor or channel."""
    squares = _root_mean_squares(slots, config.scale)
    return squares if config.bits is None else first_steps(squares, config.bits, config.price)


def _root_mean_squares(slots: Sequence[Slot], scale: str) -> Floats:
    """Those of each tensor or channel; where one is 0, the median of the others."""
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
