"""The arms of a study, and its runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kolmo.errors import InputError
from kolmo.quantize import get_quantizer
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab.config import TrainConfig

INIT = "init"
"""The arm of the initialization, which comes with the first trained one."""

LEVELS = "symmetric:8"
"""A fixed number of levels, as much of the field sees weights: what it makes of equal networks."""

_PARTS = 6  # of training, at whose ends there are checkpoints


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """What a study compares.

    Attributes
    ----------
    train : TrainConfig
        Settings that all arms share. The study sets bits, mosaic and seed.
    seeds : tuple of int
        One run of each arm for each seed; at least two for a standard deviation.
    bits : tuple of int
        An arm of quantization-aware training for each.
    capacities : tuple of float
        An arm of sampled mosaics for each.
    rates : tuple of float
        An arm of learned mosaics for each.
    grids : tuple of float
        An arm of learned grids for each rate: uniform levels, whose bits cost so much of the loss.
    grid_bits : int
        Of the levels of these.
    zeros : tuple of float
        An arm of learned mosaics with this share of zero weights for each, at the rate
        ``zeros_rate``; the better choice where there are few steps.
    sparsities : tuple of float
        An arm of the strongest rival for each: magnitude pruning to this share of zeros, one value
        and its negative for the other weights, entropy-coded.
    learn : LearnedMosaic
        Other settings of the learned arms.
    every : int
        Epochs from one projection of the sampled arms to the next. Ten epochs of digits are about
        a hundred steps, a quarter of an epoch of Fashion-MNIST; hence ten by default.
    block_size : int
        Values a block of the sampled mosaics.
    draws : int
        Shuffles that the initialization and the end of training are compared with; 39 are needed
        for p-values.
    save_every : int, optional
        Epochs between the checkpoints that are measured along training; by default a sixth of all,
        in whole turns of ``every``, so that those of sampled mosaics are mosaics.
    quantizer : str
        What the weights are seen through in the first figure and the sentences, besides ``native``,
        ``sign`` and `LEVELS`: equal relative errors by default, so that networks with larger
        weights do not look simpler.
    """

    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    seeds: tuple[int, ...] = (0, 1, 2)
    bits: tuple[int, ...] = (4,)
    capacities: tuple[float, ...] = (0.01, 0.05, 0.10)
    rates: tuple[float, ...] = (0.3,)
    grids: tuple[float, ...] = ()
    grid_bits: int = 4
    zeros: tuple[float, ...] = ()
    zeros_rate: float = 0.3
    sparsities: tuple[float, ...] = ()
    learn: LearnedMosaic = dataclasses.field(default_factory=LearnedMosaic)
    every: int = 10
    block_size: int = 4
    draws: int = 39
    save_every: int | None = None
    quantizer: str = "nmse:0.001,axis=tensor"

    def __post_init__(self) -> None:
        if self.train.bits is not None or self.train.mosaic is not None:
            raise InputError("bits and mosaic of a study are its arms: set bits, capacities, rates")
        if not self.seeds:
            raise InputError("a study needs at least one seed")
        for name in ("seeds", "bits", "capacities", "rates", "grids", "zeros", "sparsities"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise InputError(f"{name} has a value twice: {', '.join(map(str, values))}")
        if self.draws < 1:
            raise InputError(f"draws is at least 1, not {self.draws}")
        if self.save_every is not None and self.save_every < 1:
            raise InputError(f"save_every is at least 1, not {self.save_every}")
        object.__setattr__(self, "quantizer", str(get_quantizer(self.quantizer)))
        for seed in self.seeds:
            dataclasses.replace(self.train, seed=seed)
        self.arms()  # each checks its own values

    def arms(self) -> dict[str, TrainConfig]:
        """The trained arms by name; ``init`` comes with the first."""
        arms = {"dense": self.train}
        for bits in self.bits:
            arms[f"qat{bits}"] = dataclasses.replace(self.train, bits=bits)
        for capacity in self.capacities:
            sampled = SampledMosaic(
                block_size=self.block_size, capacity=capacity, every=self.every, unit="epoch"
            )
            arms[f"momos-{capacity:g}"] = dataclasses.replace(self.train, mosaic=sampled)
        for rate in self.rates:
            learn = dataclasses.replace(self.learn, rate=rate)
            arms[f"learned-{rate:g}"] = dataclasses.replace(self.train, mosaic=learn)
        for rate in self.grids:
            grid = LearnedMosaic(bits=self.grid_bits, rate=rate)
            arms[f"grid-{rate:g}"] = dataclasses.replace(self.train, mosaic=grid)
        for share in self.zeros:
            learn = dataclasses.replace(self.learn, sparsity=share, rate=self.zeros_rate)
            arms[f"zeros-{share:g}"] = dataclasses.replace(self.train, mosaic=learn)
        for sparsity in self.sparsities:
            # By magnitude alone: at a rate of 0 no bits count.
            learn = dataclasses.replace(self.learn, motifs=3, sparsity=sparsity, rate=0.0)
            arms[f"pruned-{sparsity:g}"] = dataclasses.replace(self.train, mosaic=learn)
        return arms

    def followed(self) -> list[str]:
        """The arms that are measured along training: dense, and the middle one of each kind."""
        kinds: dict[str, list[str]] = {}
        for arm in self.arms():
            kinds.setdefault(arm.partition("-")[0].rstrip("0123456789"), []).append(arm)
        return [arms[len(arms) // 2] for arms in kinds.values()]

    def epochs_between(self) -> int:
        """Epochs between the checkpoints along training."""
        if self.save_every is not None:
            return self.save_every
        sixth = -(-self.train.epochs // _PARTS)
        return min(-(-sixth // self.every) * self.every, self.train.epochs)

    def meaning(self, arm: str) -> str:
        """What an arm is, in a sentence."""
        return "the random weights that training starts from" if arm == INIT else self._told()[arm]

    def _told(self) -> dict[str, str]:
        told = {"dense": "trained as usual, in float32"}
        told |= {
            f"qat{bits}": f"trained so that {bits} bits a weight suffice: the forward pass sees "
            f"weights rounded to {2**bits - 1} levels (quantization-aware training)"
            for bits in self.bits
        }
        told |= {
            f"momos-{capacity:g}": f"a mosaic of motifs, as published: every {self.every} epochs "
            f"each block of {self.block_size} weights becomes its nearest of k motifs, blocks "
            f"drawn from the network itself; k is {capacity:.3g} of the number of blocks"
            for capacity in self.capacities
        }
        told |= {
            f"learned-{rate:g}": f"a learned mosaic: motifs move with the weights, and a bit of a "
            f"block's index costs as much as a squared distance of {rate:g}"
            for rate in self.rates
        }
        told |= {
            f"grid-{rate:g}": f"a learned mosaic on a uniform grid of {2**self.grid_bits - 1} "
            f"levels, whose step is learned; a thousand bits cost as much as a loss of {rate:g}"
            for rate in self.grids
        }
        told |= {
            f"zeros-{share:g}": f"a learned mosaic of which {share:.3g} of the weights are zero"
            for share in self.zeros
        }
        return told | {
            f"pruned-{share:g}": f"pruned by magnitude until {share:.3g} of the weights are zero; "
            f"the others have one value and its negative"
            for share in self.sparsities
        }


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """A finished checkpoint of the study: one arm, one seed.

    Attributes
    ----------
    arm : str
    seed : int
    checkpoint : Path
    mosaic : Path or None
    steps : mapping of int to Path
        Checkpoints along training by their epoch, the first of which comes after some training;
        the initialization is the only one of its own arm, at epoch 0.
    metrics : mapping
        ``test_accuracy``, ``nominal_bits_per_weight``, the ``file_bytes`` of quantized weights and
        mosaics, and of mosaics their sizes and RAC.
    """

    arm: str
    seed: int
    checkpoint: Path
    mosaic: Path | None
    steps: Mapping[int, Path]
    metrics: Mapping[str, Any]
