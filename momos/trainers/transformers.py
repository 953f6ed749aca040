"""Learned mosaics under Hugging Face's Trainer (extra ``transformers``)."""

from __future__ import annotations

from typing import Any

from kolmo.errors import MissingExtraError
from momos.trainers.callbacks import MosaicCallback

try:
    from transformers import TrainerCallback
except ImportError:
    raise MissingExtraError("momos.TransformersMosaic", "transformers", "transformers") from None


class TransformersMosaic(MosaicCallback, TrainerCallback):
    """Wraps the model when the Trainer is made, and freezes it when the training ends.

    See `momos.trainers.callbacks.MosaicCallback` for parameters and attributes.

    Examples
    --------
    >>> from momos import LearnedMosaic
    >>> TransformersMosaic(LearnedMosaic(rate=3.0)).mosaic is None
    True
    """

    def on_init_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.begin(given["model"])

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.learner.steps = state.max_steps

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.learner.advance()

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.learner.refresh()

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.end(given["model"])
