"""Sampled mosaics in a loop of one's own: the published method behind `momos.wrap`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from kolmo.errors import InputError
from momos.attaching import CALL_WHOLE
from momos.config import SampledMosaic
from momos.mosaic.mosaic import Mosaic
from momos.mosaic.stats import ProjectionStats
from momos.sampled.projection import MoMos


class Sampler(nn.Module):
    """Overwrites a model's weights by their nearest motifs every few training steps.

    A step ends where the next forward pass begins, so a projection that is due comes right before
    that: the optimizer's state stays as it is.

    Attributes
    ----------
    steps_seen : tensor
        Training steps begun.
    stats : ProjectionStats or None
        Statistics of the last projection.
    skipped : tuple of Skipped
        Tensors outside the mosaic, with reasons.
    """

    steps_seen: torch.Tensor
    projected_at: torch.Tensor

    def __init__(self, model: nn.Module, config: SampledMosaic, seed: int) -> None:
        super().__init__()
        if config.unit != "step":
            raise InputError("a loop of one's own has no epochs: use unit='step'")
        self.config, self.steps = config, 0
        self._projector, self._model = MoMos(model, config, seed), [model]
        self.skipped = self._projector.skipped
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("projected_at", torch.zeros((), dtype=torch.int64))
        self.stats: ProjectionStats | None = None
        self.handles: list[RemovableHandle] = []

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def before_forward(self, model: nn.Module, _: Any) -> None:
        if model.training and torch.is_grad_enabled():
            self.advance()
        else:
            self.refresh()

    def advance(self) -> None:
        """Begin a training step, after the projection that is due."""
        self.refresh()
        self.steps_seen += 1

    def refresh(self) -> None:
        """Project if that is due; between projections the weights are dense."""
        if self.steps_seen % self.config.every == 0:
            self._project()

    def finish(self) -> None:
        """Project if there was a step since the last projection, and end the sampling."""
        self._project(anew=int(self.steps_seen) == 0)

    def notes(self) -> list[str]:
        """What looks wrong where the training ends now."""
        if int(self.steps_seen):
            return []
        return [f"no training step was seen, so the weights were projected but now: {CALL_WHOLE}"]

    def loaded_with(self, state: Mapping[str, Any]) -> None:
        """Take up a state, if there is one; plain weights are projected when that is due."""
        if state:
            self.load_state_dict(state)

    def mosaic(self, tensors: Mapping[str, Any]) -> Mosaic:
        """The mosaic of the last projection; tensors outside it are kept dense."""
        if self.stats is not None:
            mosaic = self._projector.mosaic()
            dense = {name: mosaic.dense[name] for name in tensors if name in mosaic.dense}
            return dataclasses.replace(mosaic, dense=dense)
        # A loaded state was projected by another sampler: its motifs are read off the weights.
        names = [entry.name for entry in self.skipped]
        mosaic = Mosaic.from_model(self._model[0], self.config.block_size, exclude=names)
        wanted = {name: mosaic.dense[name] for name in tensors if name in mosaic.dense}
        return dataclasses.replace(mosaic, dense=wanted, names=tuple(tensors))

    def get_extra_state(self) -> Any:
        return self._projector.random_state

    def set_extra_state(self, state: Any) -> None:
        self._projector.random_state = state

    def _project(self, anew: bool = False) -> None:
        if anew or int(self.projected_at) != int(self.steps_seen):
            self.stats = self._projector.project()
            self.projected_at.copy_(self.steps_seen)
