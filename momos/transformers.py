"""Learned mosaics under Hugging Face's Trainer (extra ``transformers``)."""

from __future__ import annotations

from typing import Any

from kolmo.errors import MissingExtraError
from momos.learning import LearnConfig, Learner, freeze, wrap
from momos.mosaic import Mosaic

try:
    from transformers import TrainerCallback
except ImportError:
    raise MissingExtraError("momos.TransformersMosaic", "transformers", "transformers") from None


class TransformersMosaic(TrainerCallback):
    """Wraps the model when the Trainer is made, and freezes it when the training ends.

    Parameters
    ----------
    config : LearnConfig, optional
    seed : int

    Attributes
    ----------
    mosaic : Mosaic or None
        Once the training has ended.

    Examples
    --------
    >>> TransformersMosaic(LearnConfig(rate=3.0)).mosaic is None
    True
    """

    def __init__(self, config: LearnConfig | None = None, seed: int = 0) -> None:
        self._config, self._seed = config, seed
        self._learner: Learner | None = None
        self.mosaic: Mosaic | None = None

    def on_init_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        model = given["model"]  # before its optimizer is made
        self._learner = wrap(model, self._config, steps=1, seed=self._seed, automatic=False)

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._held.steps = state.max_steps

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._held.advance()

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self._held.project()

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.mosaic = freeze(given["model"])
        self._learner = None

    @property
    def _held(self) -> Learner:
        assert self._learner is not None
        return self._learner
