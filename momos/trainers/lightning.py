"""Learned mosaics under Lightning's Trainer (extra ``lightning``)."""

from __future__ import annotations

import math
from typing import Any

from kolmo.errors import InputError, MissingExtraError
from momos.trainers.callbacks import MosaicCallback

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    raise MissingExtraError("momos.LightningMosaic", "lightning", "lightning") from None


class LightningMosaic(MosaicCallback, Callback):
    """Wraps the module before its optimizers are made, and freezes it when the training ends.

    `momos.trainers.callbacks.MosaicCallback` has the parameters and attributes. Where
    gradients are accumulated, motifs are assigned before each batch, and the steps of the rate's
    ramp are batches. Lightning's checkpoints hold the learner's state.

    Examples
    --------
    >>> from momos import LearnedMosaic
    >>> LightningMosaic(LearnedMosaic(rate=3.0)).mosaic is None
    True
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.begin(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        if not math.isfinite(batches):
            raise InputError(
                "a learned mosaic needs max_steps or max_epochs: its rate rises by then"
            )
        self.learner.steps = int(batches)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.learner.advance()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.learner.refresh()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.end(pl_module)
