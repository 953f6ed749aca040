"""Settings: frozen, checked when made, and all that a projection or a run depends on."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from kolmo import specs
from kolmo.errors import InputError
from momos.datasets import DATASETS
from momos.qat import check_bits

Selection = Literal["sample", "kmeans"]
Policy = Literal["all", "no-norms", "matrices"]
POLICIES = ("all", "no-norms", "matrices")
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "cosine-epochs", "constant")
MODELS = ("cnn", "mlp", "resnet20", "vit-tiny")


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    """What a projection does; the arguments of `MoMos`, which explains them."""

    block_size: int = 4
    capacity: float | None = None
    motifs: int | None = None
    zero_motif: bool = True
    selection: Selection = "sample"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    policy: Policy = "all"

    def __post_init__(self) -> None:
        if self.block_size < 1:
            raise InputError(f"the block size is at least 1, not {self.block_size}")
        if self.capacity is not None and self.motifs is not None:
            raise InputError("give the capacity or the number of motifs, not both")
        if self.capacity is not None and not 0 < self.capacity <= 1:
            raise InputError(
                f"the capacity is a share of the blocks in (0, 1], not {self.capacity}"
            )
        if self.motifs is not None and self.motifs < 1:
            raise InputError(f"there is at least 1 motif, not {self.motifs}")
        if self.selection not in ("sample", "kmeans"):
            raise InputError(f"selection is 'sample' or 'kmeans', not {self.selection!r}")
        if self.policy not in POLICIES:
            raise specs.unknown("policy", self.policy, POLICIES)

    def motif_count(self, blocks: int) -> int:
        """Motifs for so many blocks: k as given, else clamp(floor(capacity · m), 1, m).

        >>> ProjectionConfig(capacity=0.05).motif_count(100_227)
        5011
        """
        if self.motifs is None:
            capacity = 0.01 if self.capacity is None else self.capacity
            return max(1, min(int(capacity * blocks), blocks))
        if self.motifs > blocks:
            raise InputError(f"{self.motifs:,} motifs were asked for, there are {blocks:,} blocks")
        return self.motifs


@dataclasses.dataclass(frozen=True)
class LearnConfig:
    """How a mosaic is learned.

    Attributes
    ----------
    block_size : int
        Values a block, *s*.
    motifs : int
        Number of motifs, *k*; motif 0 is the zero block.
    rate : float
        What a bit of index costs, in squared distances of blocks divided by their scale; 0 for
        the nearest motif. The larger, the smaller the mosaic.
    ramp : float
        Share of the steps over which the rate rises to that, linearly from 0.
    sparsity : float, optional
        Magnitude pruning instead: the share of single weights, those of the least magnitude over
        their tensor's scale, that get the zero motif, rising as 1 − (1 − t)³ along the ramp (Zhu &
        Gupta 2017); the others get the nearest other motif, and the rate is not used. A rival to
        compare with, not the better way.
    every : int
        Steps from one refit of the motifs to the next.
    scale : {"tensor", "channel"}
        One scale for a tensor, or one for each row of its first dimension. It is the root mean
        square of the weights at the start, and stays.
    precision : {"float16", "float32"}
        Of the motifs.
    policy : {"all", "no-norms", "matrices"}
        Which parameters take part; see `momos.MoMos`.
    include, exclude : tuple of globs
    """

    block_size: int = 1
    motifs: int = 5
    rate: float = 6.0
    ramp: float = 0.5
    sparsity: float | None = None
    every: int = 20
    scale: Literal["tensor", "channel"] = "tensor"
    precision: Literal["float16", "float32"] = "float16"
    policy: Policy = "all"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("block_size", 1), ("motifs", 2), ("every", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is at least {least}, not {getattr(self, name)}")
        if not 0 <= self.rate < math.inf:
            raise InputError(f"the rate is not negative, not {self.rate}")
        if not 0 <= self.ramp <= 1:
            raise InputError(f"the ramp is a share of the steps in [0, 1], not {self.ramp}")
        if self.sparsity is not None and not (0 < self.sparsity < 1 and self.block_size == 1):
            raise InputError("the sparsity is a share in (0, 1) of single weights, block_size=1")
        if self.scale not in ("tensor", "channel"):
            raise InputError(f"the scale is of a 'tensor' or a 'channel', not {self.scale!r}")
        if self.policy not in POLICIES:
            raise specs.unknown("policy", self.policy, POLICIES)
        if self.precision not in ("float16", "float32"):
            raise InputError(f"the precision is 'float16' or 'float32', not {self.precision!r}")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on.

    Attributes
    ----------
    data : {"cifar10", "digits", "fashion-mnist", "mnist", "mnist1d"}
    folder : str, optional
        Of the files of CIFAR-10, Fashion-MNIST or MNIST.
    model : {"cnn", "mlp", "resnet20", "vit-tiny"}
    layers, hidden : int
        Linear layers of the MLP, and the width between them.
    epochs, batch_size : int
    patience : int, optional
        Stop when the validation accuracy has not risen for so many epochs.
    optimizer : {"adamw", "sgd"}
        SGD has momentum 0.9.
    learning_rate, weight_decay : float
        Of the optimizer.
    schedule : {"cosine", "cosine-epochs", "constant"}
        The rate falls along a cosine to 0, step by step or epoch by epoch, or stays.
    bits : int, optional
        Quantization-aware training at so many bits a weight.
    projection : ProjectionConfig or LearnConfig, optional
        Project onto a mosaic, every so many (``every``) epochs or steps (``unit``), and after
        the last step; or learn a mosaic, which the forward pass sees at every step.
    seed : int
        Of the initial weights, the order of the images and the motifs.
    """

    data: str = "digits"
    folder: str | None = None
    model: Literal["cnn", "mlp", "resnet20", "vit-tiny"] = "mlp"
    layers: int = 5
    hidden: int = 256
    epochs: int = 60
    batch_size: int = 128
    patience: int | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    schedule: Literal["cosine", "cosine-epochs", "constant"] = "cosine"
    bits: int | None = None
    projection: ProjectionConfig | LearnConfig | None = None
    every: int = 1
    unit: Literal["epoch", "step"] = "epoch"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.data not in DATASETS:
            raise specs.unknown("dataset", self.data, DATASETS)
        if self.model not in MODELS:
            raise specs.unknown("model", self.model, MODELS)
        if self.schedule not in SCHEDULES:
            raise specs.unknown("schedule", self.schedule, SCHEDULES)
        for name in ("layers", "hidden", "epochs", "batch_size", "every", "patience"):
            if (getattr(self, name) or 0) < 1 and (name, self.patience) != ("patience", None):
                raise InputError(f"{name} is at least 1, not {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"the learning rate is positive, not {self.learning_rate}")
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"the weight decay is not negative, not {self.weight_decay}")
        if self.seed < 0:
            raise InputError(f"the seed is not negative, not {self.seed}")
        if self.unit not in ("epoch", "step"):
            raise InputError(f"projections come every so many 'epoch' or 'step', not {self.unit!r}")
        if self.optimizer not in OPTIMIZERS:
            raise specs.unknown("optimizer", self.optimizer, OPTIMIZERS)
        if self.bits is not None:
            check_bits(self.bits)
            if isinstance(self.projection, LearnConfig):
                raise InputError("a learned mosaic has its own levels: it takes no bits")
        if self.patience is not None and isinstance(self.projection, LearnConfig):
            raise InputError(
                "a learned mosaic is done when its rate has risen, over all epochs: it takes no "
                "patience"
            )
