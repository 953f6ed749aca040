"""Learned mosaics: motifs that follow the weights, and weights that choose cheap motifs.

::

    latent weight ─ cheapest motif ─► motif × scale ─► forward
          ▲                                               │
          └──────────── straight-through gradient ────────┘

The forward pass sees the mosaic at every step, the optimizer moves latent weights.
`momos.learned.fitting` assigns a motif to each block; every ``every`` steps the motifs move to the
means of their blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from momos.attaching import CALL_WHOLE, spots_of
from momos.config import LearnedMosaic
from momos.learned.fitting import Fitting
from momos.parameters import select_parameters

_STEP_RATE = 4e-3  # learning rate of the steps' logarithms at the start
_BITS = 1000  # that the rate of a grid is the price of


class Learner(Fitting):
    """Assigns motifs before each forward pass of a model, and refits them every few steps.

    Attributes
    ----------
    step : int
        Training steps begun.
    steps : int
        Training steps in all.
    skipped : tuple of Skipped
        Tensors outside the mosaic, with reasons.
    """

    steps_seen: torch.Tensor

    def __init__(self, model: nn.Module, config: LearnedMosaic, steps: int, seed: int) -> None:
        parameters, skipped = select_parameters(
            model, config.policy, config.include, config.exclude
        )
        super().__init__(parameters, config, seed)
        self.skipped, self.steps, self._seed = skipped, steps, seed
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.int64))
        self.handles: list[RemovableHandle] = []
        self._spots = spots_of(model, parameters.values())
        self._show()
        self.register_load_state_dict_post_hook(_after_loading)  # type: ignore[no-untyped-call]

    @property
    def step(self) -> int:
        return int(self.steps_seen)

    @property
    def rate(self) -> float:
        """Price of a bit of index at this step."""
        return self.config.price * self._ramped

    @property
    def _ramped(self) -> float:
        """Share of the ramp that has passed."""
        rising = self.config.ramp * self.steps
        return min(1.0, self.step / rising) if rising else 1.0

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def before_forward(self, model: nn.Module, _: Any) -> None:
        if model.training and torch.is_grad_enabled():
            self.advance()
        else:
            self.refresh()

    def advance(self) -> None:
        """Begin a training step: refit the motifs if that is due, assign them to the weights."""
        self._find_latents()
        if self.config.bits is not None:
            self.move_steps(_STEP_RATE * (1 + math.cos(math.pi * self.step / self.steps)) / 2)
        if self.step % self.config.every == 0:
            self.refresh()
            self.refit(self.rate, self._ramped)
        self.assign(self.rate)
        if self.config.bits is not None:
            self.pull(self.rate / _BITS)
        self.steps_seen += 1

    def refresh(self) -> None:
        """Assign motifs to the weights as they are now.

        Raises
        ------
        InputError
            If a weight is NaN or infinite; the tensor is named.
        """
        self._find_latents()
        self.check_finite()
        self.assign(self.rate)

    def finish(self) -> None:
        """Leave the model's modules as they were, its weights the projected ones."""
        self.refresh()
        self.let_go()
        for slot, spots in zip(self.slots, self._spots, strict=True):
            with torch.no_grad():
                slot.latent.copy_(slot.projected)
            for spot in spots:
                spot.hide()

    def notes(self) -> list[str]:
        """What looks wrong where the training ends now."""
        if self.step >= self.steps:
            return []
        reached = f"the rate reached {self.rate:.3g} of {self.config.price:.3g}"
        told = f"the model saw {self.step:,} of the {self.steps:,} steps that wrap() was told of"
        how = "" if self.step else f": {CALL_WHOLE}"
        return [f"{told}, {reached}{how}"]

    def loaded_with(self, state: Mapping[str, Any]) -> None:
        """Take up a state; of plain weights that come before the first step, begin anew."""
        self._find_latents()
        if state:
            self.load_state_dict(state)
        elif self.step == 0:
            latents = {slot.name: slot.latent for slot in self.slots}
            fresh = Fitting(latents, self.config, self._seed)
            self.slots = fresh.slots
            self.load_state_dict(fresh.state_dict(), strict=False)
            self._show()
        self.refresh()

    def _show(self) -> None:
        for slot, spots in zip(self.slots, self._spots, strict=True):
            for spot in spots:
                spot.show(slot)

    def _find_latents(self) -> None:
        """Take the parameters that the modules have now; loading may have put others there."""
        for slot, spots in zip(self.slots, self._spots, strict=True):
            slot.latent = spots[0].latent


def _after_loading(learner: Learner, _: Any) -> None:
    learner.loaded()
