"""What a training run depends on: frozen, and checked when made."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

from kolmo import specs
from kolmo.errors import InputError
from momos.config import LearnedMosaic, SampledMosaic, require_mosaic
from momos.lab.datasets import DATASETS

Model = Literal["cnn", "convnet", "mlp", "resnet20", "vit-tiny"]
Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "cosine-epochs", "constant"]
PLAN = "c8m c16m c32m"
"""Layers of a convnet, by default; `momos.lab.convnets.ConvNet` says what they mean."""

MODELS, OPTIMIZERS, SCHEDULES = get_args(Model), get_args(Optimizer), get_args(Schedule)


def check_bits(bits: int) -> None:
    """InputError unless these are bits of fake quantization, 2 to 16."""
    if not 2 <= bits <= 16:
        raise InputError(f"quantization-aware training takes 2 to 16 bits a weight, not {bits}")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on.

    Attributes
    ----------
    data : {"cifar10", "digits", "fashion-mnist", "mnist", "mnist1d"}
    folder : str, optional
        Folder of the files of CIFAR-10, Fashion-MNIST or MNIST.
    model : {"cnn", "convnet", "mlp", "resnet20", "vit-tiny"}
    layers, hidden : int
        Linear layers of the MLP, and the width between them.
    plan : str
        Layers of the convnet, such as "c8m c16m c32m".
    epochs, batch_size : int
    patience : int, optional
        Stop when the validation accuracy has not risen for this many epochs.
    optimizer : {"adamw", "sgd"}
        SGD has momentum 0.9.
    learning_rate, weight_decay : float
    schedule : {"cosine", "cosine-epochs", "constant"}
        The learning rate falls along a cosine to 0, step by step or epoch by epoch, or stays.
    shift : int
        Pixels by which images are moved at most, up or down and left or right, at random; zeros,
        the mean of all pixels, come in.
    flip : bool
        Whether to mirror half of the images, left to right, at random.
    average : float
        Decay a step of the exponential moving average of the weights, which is validated and saved
        in their place; 0 for none. Of a learned mosaic, and under quantization-aware training, it
        is of the latent weights, and what is saved is its mosaic, or its levels.
    bits : int, optional
        Bits a weight of quantization-aware training; dense floats without.
    mosaic : SampledMosaic or LearnedMosaic, optional
        Project onto a sampled mosaic every few steps and after the last one, or learn a mosaic,
        which the forward pass sees at every step.
    seed : int
        Seed of the initial weights, the order of the images and the motifs.
    """

    data: str = "digits"
    folder: str | None = None
    model: Model = "mlp"
    layers: int = 5
    hidden: int = 256
    plan: str = PLAN
    epochs: int = 60
    batch_size: int = 128
    patience: int | None = None
    optimizer: Optimizer = "adamw"
    learning_rate: float = 3e-4
    weight_decay: float = 1e-2
    schedule: Schedule = "cosine"
    shift: int = 0
    flip: bool = False
    average: float = 0.0
    bits: int | None = None
    mosaic: SampledMosaic | LearnedMosaic | None = None
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
        if self.shift < 0:
            raise InputError(f"the shift is not negative, not {self.shift}")
        if not 0 <= self.average < 1:
            raise InputError(f"the decay of an average is in [0, 1), not {self.average}")
        if self.average and isinstance(self.mosaic, SampledMosaic):
            raise InputError("an average of sampled mosaics is none: they take no average")
        if self.seed < 0:
            raise InputError(f"the seed is not negative, not {self.seed}")
        if self.optimizer not in OPTIMIZERS:
            raise specs.unknown("optimizer", self.optimizer, OPTIMIZERS)
        if self.mosaic is not None:
            require_mosaic(self.mosaic)
        if self.bits is not None:
            check_bits(self.bits)
            if self.is_learned:
                raise InputError(
                    "a learned mosaic has its own levels: it takes no bits; a grid has them among "
                    "its own settings"
                )
        if self.patience is not None and self.is_learned:
            raise InputError(
                "a learned mosaic is finished when its rate has risen, over all epochs: it takes "
                "no patience"
            )

    @property
    def is_learned(self) -> bool:
        return isinstance(self.mosaic, LearnedMosaic)

    def settings(self) -> dict[str, Any]:
        """All settings by name, ready for JSON; those of a mosaic behind its ``kind``."""
        settings = dataclasses.asdict(self)
        if self.mosaic is not None:
            settings["mosaic"] = {"kind": self.mosaic.kind} | self.mosaic.settings()
        return settings
