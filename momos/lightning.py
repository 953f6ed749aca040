"""Learned mosaics under Lightning's Trainer (extra ``lightning``)."""

from __future__ import annotations

from typing import Any

from kolmo.errors import MissingExtraError
from momos.learning import LearnConfig, Learner, freeze, wrap
from momos.mosaic import Mosaic

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    raise MissingExtraError("momos.LightningMosaic", "lightning", "lightning") from None


class LightningMosaic(Callback):
    """Wraps the module before its optimizers are made, and freezes it when the training ends.

    Parameters
    ----------
    config : LearnConfig, optional
    seed : int

    Attributes
    ----------
    mosaic : Mosaic or None
        Once the training has ended.

    Notes
    -----
    With gradients accumulated over several batches, motifs are assigned before each batch; the
    steps of the rate's ramp are batches. A checkpoint of Lightning's holds the learner's state.

    Examples
    --------
    >>> LightningMosaic(LearnConfig(rate=3.0)).mosaic is None
    True
    """

    def __init__(self, config: LearnConfig | None = None, seed: int = 0) -> None:
        self._config, self._seed = config, seed
        self._learner: Learner | None = None
        self.mosaic: Mosaic | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and self._learner is None:
            self._learner = wrap(pl_module, self._config, steps=1, seed=self._seed, automatic=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        batches = trainer.estimated_stepping_batches * trainer.accumulate_grad_batches
        if batches == float("inf"):
            raise ValueError(
                "a learned mosaic needs max_steps or max_epochs: its rate rises by then"
            )
        self._held.steps = int(batches)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._held.advance()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self._held.project()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.mosaic = freeze(pl_module)
        self._learner = None

    @property
    def _held(self) -> Learner:
        assert self._learner is not None
        return self._learner
