"""Settings: frozen, checked when made, and all that a projection or a run depends on."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from kolmo import specs
from kolmo.errors import InputError
from momos.lab.datasets import DATASETS
from momos.lab.qat import check_bits

Selection = Literal["learned", "sample", "kmeans"]
SELECTIONS = ("learned", "sample", "kmeans")
Assignment = Literal["entropy", "nearest"]
Scale = Literal["tensor", "channel", "none"]
Precision = Literal["float16", "float32"]
Policy = Literal["all", "no-norms", "matrices"]
POLICIES = ("all", "no-norms", "matrices")
OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "cosine-epochs", "constant")
MODELS = ("cnn", "mlp", "resnet20", "vit-tiny")


_BY_SELECTION: Any = None  # stands for a default that depends on the selection


@dataclasses.dataclass(frozen=True)
class MosaicConfig:
    """How weights become a mosaic: which blocks, which motifs, who gets which, and when.

    Where a default depends on the selection, the first one is that of learned mosaics.

    Attributes
    ----------
    selection : {"learned", "sample", "kmeans"}
        Of the motifs. *sample*: the published method; every so many steps the weights are
        overwritten by their nearest motifs, which are blocks of the model at distinct positions,
        drawn uniformly anew each time. *kmeans* goes on from such a draw with up to ten rounds of
        Lloyd's iteration. *learned*: the forward pass sees the mosaic at every step, gradients go
        straight through to latent weights, and motifs follow the means of their blocks; of a
        finished checkpoint, motifs are fitted to its weights.
    assignment : {"entropy", "nearest"}
        *nearest*: each block gets the motif at the least squared distance. *entropy*: that of the
        least squared distance + ``rate`` × code length of its index, in bits. Learned: entropy
        if there is a rate; sampled: nearest (and nothing else).
    block_size : int
        Values a block, *s*. Learned: 1, sampled: 4.
    motifs : int, optional
        Number of motifs, *k*. Learned: 5, sampled: by the capacity.
    capacity : float, optional
        Motifs as a share of the blocks, instead; 0.01 where sampled motifs have neither.
    zero_motif : bool
        Whether motif 0 is the zero block; it counts as one of the k. Learned ones always have it.
    rate : float
        What a bit of index costs, in squared distances of blocks divided by their scale. The
        larger, the smaller the mosaic.
    ramp : float
        Share of the steps over which the rate rises to that, linearly from 0, and the sparsity
        to its own.
    sparsity : float, optional
        Of learned single weights: the share that gets the zero motif, whatever the rate; it rises
        as 1 − (1 − t)³ along the ramp (Zhu & Gupta 2017). Those are zeroed that are cheapest to
        zero: by magnitude, and, with a rate, by what their rows and columns save in bits. The
        others get the nearest other motif.
    scale : {"tensor", "channel", "none"}
        What blocks are divided by: one scale for a tensor, or one for each row of its first
        dimension: the root mean square of the weights at the start, kept from then on. Learned:
        tensor, sampled: none (and nothing else).
    precision : {"float16", "float32"}
        In which learned motifs are stored; sampled ones have the weights' own.
    every : int
        Steps from one projection, or refit of learned motifs, to the next. Learned: 20,
        sampled: 1.
    unit : {"step", "epoch"}
        What ``every`` counts; epochs only in `momos.train`, and only of sampled motifs.
    policy : {"all", "no-norms", "matrices"}
        Which kinds of parameters take part: all of them, as published; all but those of norm
        layers, which start at 1, far from the other weights; or those of two dimensions or more,
        which leaves biases dense too.
    include, exclude : tuple of globs
        Names of the parameters that take part.

    Raises
    ------
    InputError
        If a value is out of range, or belongs to another selection.

    Examples
    --------
    >>> MosaicConfig(rate=3.0).block_size, MosaicConfig("sample").block_size
    (1, 4)
    """

    selection: Selection = "learned"
    assignment: Assignment = _BY_SELECTION
    block_size: int = _BY_SELECTION
    motifs: int | None = None
    capacity: float | None = None
    zero_motif: bool = True
    rate: float = _BY_SELECTION
    ramp: float = 0.5
    sparsity: float | None = None
    scale: Scale = _BY_SELECTION
    precision: Precision = "float16"
    every: int = _BY_SELECTION
    unit: Literal["step", "epoch"] = "step"
    policy: Policy = "all"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("selection", self.selection, SELECTIONS)
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, value in (_learned(given) if self.is_learned else _SAMPLED).items():
            if given[name] is None:
                object.__setattr__(self, name, value)
        _one_of("assignment", self.assignment, ("entropy", "nearest"))
        _one_of("scale", self.scale, ("tensor", "channel", "none"))
        _one_of("precision", self.precision, ("float16", "float32"))
        _one_of("policy", self.policy, POLICIES)
        _one_of("unit", self.unit, ("step", "epoch"))
        self._check_numbers()
        if self.is_learned:
            self._check_learned()
        else:
            self._check_sampled()

    @property
    def is_learned(self) -> bool:
        return self.selection == "learned"

    def motif_count(self, blocks: int) -> int:
        """Motifs for so many blocks: k as given, else clamp(floor(capacity · m), 1, m).

        >>> MosaicConfig("sample", capacity=0.05).motif_count(100_227)
        5011
        """
        if self.motifs is None:
            capacity = 0.01 if self.capacity is None else self.capacity
            return max(2 if self.is_learned else 1, min(int(capacity * blocks), blocks))
        if self.motifs > blocks:
            raise InputError(f"{self.motifs:,} motifs were asked for, there are {blocks:,} blocks")
        return self.motifs

    def _check_numbers(self) -> None:
        if self.block_size < 1:
            raise InputError(f"the block size is at least 1, not {self.block_size}")
        if self.every < 1:
            raise InputError(f"every is at least 1, not {self.every}")
        if self.capacity is not None and self.motifs is not None:
            raise InputError("give the capacity or the number of motifs, not both")
        if self.capacity is not None and not 0 < self.capacity <= 1:
            raise InputError(
                f"the capacity is a share of the blocks in (0, 1], not {self.capacity}"
            )
        least = 2 if self.is_learned else 1
        if self.motifs is not None and self.motifs < least:
            raise InputError(f"motifs are at least {least}, not {self.motifs}")
        if not 0 <= self.rate < math.inf:
            raise InputError(f"the rate is not negative, not {self.rate}")
        if not 0 <= self.ramp <= 1:
            raise InputError(f"the ramp is a share of the steps in [0, 1], not {self.ramp}")

    def _check_learned(self) -> None:
        if not self.zero_motif or self.unit != "step":
            raise InputError("learned motifs have a zero motif, and are refitted by steps")
        if self.rate and self.assignment == "nearest":
            raise InputError("the rate is a price of entropy assignment: nearest takes none")
        if self.sparsity is not None and not (0 < self.sparsity < 1 and self.block_size == 1):
            raise InputError("the sparsity is a share in (0, 1) of single weights, block_size=1")

    def _check_sampled(self) -> None:
        given = [
            name
            for name, value in (("assignment", "nearest"), ("rate", 0.0), ("scale", "none"))
            if getattr(self, name) != value
        ]
        given += ["sparsity"] if self.sparsity is not None else []
        if given:
            raise InputError(
                f"{given[0]} is of learned motifs: selection={self.selection!r} takes none"
            )


_SAMPLED = {"assignment": "nearest", "block_size": 4, "rate": 0.0, "scale": "none", "every": 1}


def _learned(given: dict[str, Any]) -> dict[str, Any]:
    """The defaults of learned mosaics; some hang on what is given of the others."""
    rate, sparsity, assignment = given["rate"], given["sparsity"], given["assignment"]
    priced = rate != 0 and (rate is not None or (sparsity is None and assignment != "nearest"))
    return {
        "assignment": "entropy" if priced else "nearest",
        "block_size": 1,
        "motifs": 5 if given["capacity"] is None else None,
        "rate": 6.0 if priced else 0.0,
        "scale": "tensor",
        "every": 20,
    }


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise specs.unknown(name, value, known)


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
    projection : MosaicConfig, optional
        Project onto a mosaic, as often as it says and after the last step; or learn a mosaic,
        which the forward pass sees at every step.
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
    projection: MosaicConfig | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.data not in DATASETS:
            raise specs.unknown("dataset", self.data, DATASETS)
        if self.model not in MODELS:
            raise specs.unknown("model", self.model, MODELS)
        if self.schedule not in SCHEDULES:
            raise specs.unknown("schedule", self.schedule, SCHEDULES)
        for name in ("layers", "hidden", "epochs", "batch_size", "patience"):
            if (getattr(self, name) or 0) < 1 and (name, self.patience) != ("patience", None):
                raise InputError(f"{name} is at least 1, not {getattr(self, name)}")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"the learning rate is positive, not {self.learning_rate}")
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(f"the weight decay is not negative, not {self.weight_decay}")
        if self.seed < 0:
            raise InputError(f"the seed is not negative, not {self.seed}")
        if self.optimizer not in OPTIMIZERS:
            raise specs.unknown("optimizer", self.optimizer, OPTIMIZERS)
        if self.bits is not None:
            check_bits(self.bits)
            if self.is_learned:
                raise InputError("a learned mosaic has its own levels: it takes no bits")
        if self.patience is not None and self.is_learned:
            raise InputError(
                "a learned mosaic is done when its rate has risen, over all epochs: it takes no "
                "patience"
            )

    @property
    def is_learned(self) -> bool:
        return self.projection is not None and self.projection.is_learned
