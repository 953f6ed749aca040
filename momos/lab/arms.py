"""The arms of a study, its runs and its result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kolmo.checkpoints.files import plural
from kolmo.errors import InputError
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab.config import TrainConfig

if TYPE_CHECKING:
    import pandas as pd


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
        Shuffles that each measurement is compared with.
    """

    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    seeds: tuple[int, ...] = (0, 1, 2)
    bits: tuple[int, ...] = (4,)
    capacities: tuple[float, ...] = (0.001, 0.01, 0.05, 0.10)
    rates: tuple[float, ...] = (0.3,)
    zeros: tuple[float, ...] = ()
    zeros_rate: float = 0.3
    sparsities: tuple[float, ...] = ()
    learn: LearnedMosaic = dataclasses.field(default_factory=LearnedMosaic)
    every: int = 10
    block_size: int = 4
    draws: int = 3

    def __post_init__(self) -> None:
        if self.train.bits is not None or self.train.mosaic is not None:
            raise InputError("bits and mosaic of a study are its arms: set bits, capacities, rates")
        if not self.seeds:
            raise InputError("a study needs at least one seed")
        for name in ("seeds", "bits", "capacities", "rates", "zeros", "sparsities"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise InputError(f"{name} has a value twice: {', '.join(map(str, values))}")
        if self.draws < 1:
            raise InputError(f"draws is at least 1, not {self.draws}")
        for seed in self.seeds:
            dataclasses.replace(self.train, seed=seed)
        self.arms()  # each checks its own values

    def arms(self) -> dict[str, TrainConfig]:
        """The trained arms by name; ``init`` comes with the first."""
        arms = {"trained": self.train}
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
        for share in self.zeros:
            learn = dataclasses.replace(self.learn, sparsity=share, rate=self.zeros_rate)
            arms[f"zeros-{share:g}"] = dataclasses.replace(self.train, mosaic=learn)
        for sparsity in self.sparsities:
            # By magnitude alone: at a rate of 0 no bits count.
            learn = dataclasses.replace(self.learn, motifs=3, sparsity=sparsity, rate=0.0)
            arms[f"pruned-{sparsity:g}"] = dataclasses.replace(self.train, mosaic=learn)
        return arms


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """A finished checkpoint of the study: one arm, one seed.

    Attributes
    ----------
    arm : str
    seed : int
    checkpoint : Path
    mosaic : Path or None
    metrics : mapping
        ``test_accuracy``, ``nominal_bits_per_weight`` and, of a mosaic, its sizes and RAC.
    """

    arm: str
    seed: int
    checkpoint: Path
    mosaic: Path | None
    metrics: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class StudyResult:
    """Result of a study.

    Attributes
    ----------
    config : StudyConfig
    runs : list of StudyRun
    table : pandas.DataFrame
        kolmo's table, with ``arm``, ``seed``, ``test_accuracy``, ``nominal_bits_per_weight``,
        ``file_bits_per_weight`` (of a mosaic's file, everything in it), ``lossless``,
        ``ratio_to_init`` (bits over those of the initialization of the same seed) and
        ``ratio_to_shuffled`` (bits over the mean of its own shuffles).
    summary : pandas.DataFrame
        Mean and standard deviation over the seeds, for each arm and measurement.
    paths : dict of str to Path
        The files written.
    """

    config: StudyConfig
    runs: list[StudyRun]
    table: pd.DataFrame
    summary: pd.DataFrame
    paths: dict[str, Path]

    def __repr__(self) -> str:
        arms = ", ".join(dict.fromkeys(run.arm for run in self.runs))
        seeds = len({run.seed for run in self.runs})
        return f"<StudyResult: {arms}; {plural(seeds, 'seed')}, {len(self.table):,} figures>"
