"""Learned mosaics: motifs that follow the weights, and weights that choose cheap motifs.

::

    latent weight ─ cheapest motif ─► motif × scale ─► forward
          ▲                                               │
          └──────────── straight-through gradient ────────┘

The forward pass sees the mosaic at every step, the optimizer moves latent weights. A block takes
the motif with the least distance² + rate × code length of the index: entropy-constrained vector
quantization (Chou, Lookabaugh & Gray 1989). Code lengths come from how often each tensor used each
motif, and each row and column anything but the zero motif, so that whole rows and columns fall
silent. Every so many steps the motifs move to the means of their blocks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from kolmo.checkpoints import open_checkpoint
from kolmo.errors import InputError
from momos import kernels
from momos.blocks import Partition
from momos.config import LearnConfig
from momos.mosaic import Mosaic
from momos.packing import index_dtype
from momos.projection import select_parameters
from momos.rates import Floats, motif_bits, zero_bits
from momos.tensors import to_arrays

_NEVER = 1e6  # bits that no distance makes up for
_ROUNDS = 8  # of Lloyd's iteration before the first step


class _Straight(torch.autograd.Function):
    """Gives the projected weights, and their gradient to the latent ones."""

    @staticmethod
    def forward(ctx: Any, latent: torch.Tensor, projected: torch.Tensor) -> torch.Tensor:
        return projected.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return gradients[0], None


class _Projected(nn.Module):
    """The parametrization of one tensor; the learner keeps its values right."""

    def __init__(self, slot: _Slot) -> None:
        super().__init__()
        self._slot = slot

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = _Straight.apply(latent, self._slot.projected)  # type: ignore[no-untyped-call]
        return projected


@dataclasses.dataclass(eq=False)
class _Slot:
    """One tensor of the mosaic: where it lives, its table of blocks, and what it became."""

    name: str
    owner: nn.Module
    attribute: str
    latent: nn.Parameter
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


class Learner(nn.Module):
    """Assigns motifs before each forward pass of a model, and refits them now and then.

    Attributes
    ----------
    step : int
        Training steps begun.
    steps : int
        Training steps that there will be.
    """

    motifs: torch.Tensor
    scales: torch.Tensor
    counts: torch.Tensor
    threshold: torch.Tensor
    steps_seen: torch.Tensor

    def __init__(self, model: nn.Module, config: LearnConfig, steps: int, seed: int) -> None:
        super().__init__()
        parameters, skipped = select_parameters(
            model, config.policy, config.include, config.exclude
        )
        self.config, self.skipped, self.steps = config, skipped, steps
        shapes = {name: tuple(p.shape) for name, p in parameters.items()}
        self.partition = Partition(shapes, config.block_size)
        if self.partition.count == 0:
            raise InputError("the tensors to learn a mosaic of hold no weights")
        if config.motifs > self.partition.count:
            raise InputError(
                f"{config.motifs:,} motifs were asked for, "
                f"there are {self.partition.count:,} blocks"
            )
        self._slots = list(_slots(model, parameters, self.partition, config))
        self._check_finite()
        self.register_buffer("scales", torch.from_numpy(_first_scales(self._slots, config.scale)))
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.int64))
        size = sum(config.motifs + s.rows + s.columns for s in self._slots)
        self.register_buffer("counts", torch.zeros(size, dtype=torch.int64))
        first = _first_motifs(self._scaled_blocks(), config, np.random.default_rng(seed))
        self.register_buffer("motifs", torch.from_numpy(self._rounded(first)))
        for _ in range(_ROUNDS if config.block_size > 1 else 1):
            self._assign(0.0)
            self._refit()
        self._assign(0.0)
        for slot in self._slots:
            parametrize.register_parametrization(
                slot.owner, slot.attribute, _Projected(slot), unsafe=True
            )
            slot.latent = slot.owner.parametrizations[slot.attribute].original  # type: ignore[index,union-attr]
        self.hook: RemovableHandle | None = None
        self.register_load_state_dict_post_hook(_after_loading)  # type: ignore[no-untyped-call]

    @property
    def step(self) -> int:
        return int(self.steps_seen)

    @property
    def rate(self) -> float:
        """What a bit costs at this step; 1 for pruning, whose prices leave no choice."""
        if self.config.sparsity is not None:
            return 1.0
        return self.config.rate * self._risen

    @property
    def _risen(self) -> float:
        """Share of the ramp that is behind."""
        rising = self.config.ramp * self.steps
        return min(1.0, self.step / rising) if rising else 1.0

    def before_forward(self, model: nn.Module, _: Any) -> None:
        if model.training and torch.is_grad_enabled():
            self.advance()
        else:
            self.project()

    def advance(self) -> None:
        """Begin a training step: refit the motifs if that is due, assign the weights."""
        if self.step % self.config.every == 0:
            self.project()
            self._refit()
        self._assign(self.rate)
        self.steps_seen += 1

    def project(self) -> None:
        """Assign the weights as they are now.

        Raises
        ------
        InputError
            If one is NaN or infinite; the tensor is named.
        """
        self._check_finite()
        self._assign(self.rate)

    def mosaic(self, tensors: dict[str, torch.Tensor]) -> Mosaic:
        """The mosaic as last assigned; the tensors that are none of it are kept dense."""
        arrays = to_arrays({n: t for n, t in tensors.items() if n not in self.partition.shapes})
        motifs = self.motifs.cpu().numpy().astype(self.config.precision)
        indices = np.concatenate([slot.indices for slot in self._slots])
        return Mosaic(
            self.partition,
            motifs,
            indices.astype(index_dtype(len(motifs))),
            arrays,
            tuple(tensors),
            {slot.name: scale.copy() for slot, scale in self._scales()},
            open_checkpoint({"latent": self._slots[0].latent})["latent"].dtype,
        )

    def remove(self) -> None:
        """Leave the model without parametrizations, its weights the projected ones."""
        if self.hook:
            self.hook.remove()
        for slot in self._slots:
            _own_class(slot.owner)
            parametrize.remove_parametrizations(slot.owner, slot.attribute)

    def loaded(self) -> None:
        """After a state was loaded: the code lengths are those of its counts."""
        if self.config.sparsity is None:
            self._read_counts()

    def forward(self, x: Any) -> Any:
        """Hands on what it is given, where a model calls all its parts in turn."""
        return x

    # --- steps --------------------------------------------------------------------------------

    def _scales(self) -> Iterator[tuple[_Slot, Floats]]:
        scales, start = self.scales.cpu().numpy(), 0
        for slot in self._slots:
            end = start + (slot.rows if self.config.scale == "channel" else 1)
            yield slot, scales[start:end]
            start = end

    def _assign(self, rate: float) -> None:
        motifs = self.motifs.cpu().numpy()
        for slot, scales in self._scales():
            blocks = self._blocks(slot)
            projected = np.empty_like(blocks)
            if self.config.sparsity is not None:
                self._prune(slot, blocks, scales)
            kernels.assign_blocks(
                blocks, slot.columns, scales, motifs, slot.zero_bits, slot.other_bits,
                slot.motif_bits, rate, slot.indices, projected,
            )  # fmt: skip
            flat = torch.from_numpy(projected).reshape(-1)[: slot.projected.numel()]
            # New memory at each step: an earlier forward pass may still need its own.
            slot.projected = flat.reshape(slot.latent.shape).to(slot.latent)

    def _prune(self, slot: _Slot, blocks: Floats, scales: Floats) -> None:
        """Make the zero motif the only choice under the threshold, and no choice over it."""
        small = np.abs(blocks[:, 0] / slot.each(scales)) < float(self.threshold)
        slot.zero_bits = np.where(small, np.float32(0), np.float32(_NEVER))
        slot.other_bits = np.where(small, np.float32(_NEVER), np.float32(0))
        slot.motif_bits = np.zeros_like(slot.motif_bits)

    def _refit(self) -> None:
        """Move the motifs to the means of their blocks, and count what indices cost."""
        k, size = self.config.motifs, self.config.block_size
        sums, counts = np.zeros((k, size)), np.zeros(k, np.int64)
        for slot, scales in self._scales():
            whole = slot.latent.numel() // size
            blocks = self._blocks(slot)
            kernels.add_blocks(blocks, whole, slot.columns, scales, slot.indices, sums, counts)
        motifs = self.motifs.cpu().numpy()
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], motifs)
        moved[0] = 0
        self.motifs.copy_(torch.from_numpy(self._rounded(moved)))
        self.counts.copy_(torch.from_numpy(np.concatenate([*map(self._count, self._slots)])))
        if self.config.sparsity is None:
            self._read_counts()
        else:
            pruned = self.config.sparsity * (1 - (1 - self._risen) ** 3)
            magnitudes = np.abs(self._scaled_blocks())
            self.threshold.fill_(float(np.quantile(magnitudes, pruned)))

    def _count(self, slot: _Slot) -> NDArray[np.int64]:
        """How often each motif is used; and by row and column, anything but the zero motif."""
        used = np.bincount(slot.indices, minlength=self.config.motifs)
        others = slot.indices.reshape(slot.rows, slot.columns) > 0
        return np.concatenate([used, others.sum(axis=1), others.sum(axis=0)])

    def _read_counts(self) -> None:
        """Bits of an index by block and motif, from the counts."""
        counts, start, k = self.counts.cpu().numpy(), 0, self.config.motifs
        for slot in self._slots:
            parts = np.split(
                counts[start : start + k + slot.rows + slot.columns], [k, k + slot.rows]
            )
            start += k + slot.rows + slot.columns
            slot.zero_bits, slot.other_bits = zero_bits(*parts)
            slot.motif_bits = motif_bits(parts[0])

    def _blocks(self, slot: _Slot) -> Floats:
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

    def _check_finite(self) -> None:
        for slot in self._slots:
            if not torch.isfinite(slot.latent).all():
                raise InputError(
                    f"tensor {slot.name!r} holds NaN or infinite values: the training diverged; "
                    f"use a lower learning rate"
                )


def _own_class(module: nn.Module) -> None:
    """Give a parametrized module a class of its own.

    Its copies share the class that torch made for it, and removing a parametrization would take
    the attribute off all of them.
    """
    made = type(module)
    module.__class__ = type(made.__name__, made.__bases__, dict(made.__dict__))


def _after_loading(learner: Learner, _: Any) -> None:
    learner.loaded()


def _slots(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    partition: Partition,
    config: LearnConfig,
) -> Iterator[_Slot]:
    _refuse_shared(model, parameters)
    for (name, parameter), (rows, columns) in zip(
        parameters.items(), partition.tables(), strict=True
    ):
        if config.scale == "channel" and parameter.ndim > 1 and rows != parameter.shape[0]:
            raise InputError(
                f"tensor {name!r} of shape {list(parameter.shape)}: blocks of "
                f"{config.block_size} do not end with its channels; use scale='tensor'"
            )
        owner, _, attribute = name.rpartition(".")
        blocks = rows * columns
        yield _Slot(
            name=name,
            owner=model.get_submodule(owner),
            attribute=attribute,
            latent=parameter,
            rows=rows,
            columns=columns,
            projected=parameter.detach().clone(),
            indices=np.zeros(blocks, np.int32),
            zero_bits=np.zeros(blocks, np.float32),
            other_bits=np.zeros(blocks, np.float32),
            motif_bits=np.zeros(config.motifs, np.float32),
        )


def _refuse_shared(model: nn.Module, parameters: dict[str, nn.Parameter]) -> None:
    places: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        places.setdefault(id(parameter), []).append(name)
    for name, parameter in parameters.items():
        if len(places[id(parameter)]) > 1:
            shared = ", ".join(places[id(parameter)])
            raise InputError(f"{shared} are one parameter; leave {name!r} out with exclude")


def _first_scales(slots: Sequence[_Slot], scale: str) -> Floats:
    """The root mean square of each tensor or channel; where that is 0, the median of the others."""
    parts = []
    for slot in slots:
        values = slot.latent.detach().double().cpu().numpy()
        rows = values.reshape(slot.rows if scale == "channel" else 1, -1)
        parts.append(np.sqrt(np.square(rows).mean(axis=1)))
    scales = np.concatenate(parts)
    others = scales[scales > 0]
    return np.where(scales > 0, scales, np.median(others) if others.size else 1).astype(np.float32)


def _first_motifs(blocks: Floats, config: LearnConfig, random: np.random.Generator) -> Floats:
    """Zero and, of single weights, levels on both sides of it; of longer blocks, some of them."""
    k = config.motifs
    if config.block_size > 1:
        motifs = blocks[random.choice(len(blocks), size=k, replace=False)]
    else:
        levels = np.linspace(1.2, 2.5, max(2, k // 2))[: k // 2]
        motifs = np.concatenate([[0], levels, -levels])[:k, None]
    motifs[0] = 0
    return motifs.astype(np.float32)
