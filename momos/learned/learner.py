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
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from kolmo.errors import InputError
from momos.config import LearnedMosaic
from momos.learned.fitting import Fitting
from momos.learned.slots import Slot
from momos.parameters import select_parameters

_STEP_RATE = 4e-3  # learning rate of the steps' logarithms at the start
_BITS = 1000  # that the rate of a grid is the price of


class _Straight(torch.autograd.Function):
    """Returns the projected weights, passes their gradient to the latent ones."""

    @staticmethod
    def forward(ctx: Any, latent: torch.Tensor, projected: torch.Tensor) -> torch.Tensor:
        return projected.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return gradients[0], None


class _Projected(nn.Module):
    """Parametrization of one tensor, whose projected values the learner keeps up to date."""

    def __init__(self, slot: Slot) -> None:
        super().__init__()
        self._slot = slot

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        projected: torch.Tensor = _Straight.apply(latent, self._slot.projected)  # type: ignore[no-untyped-call]
        return projected


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
        _refuse_shared(model, parameters)
        super().__init__(parameters, config, seed)
        self.skipped, self.steps = skipped, steps
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.int64))
        self._places = [(model.get_submodule(o), a) for o, a in map(_place, parameters)]
        for slot, (owner, attribute) in zip(self.slots, self._places, strict=True):
            parametrize.register_parametrization(owner, attribute, _Projected(slot), unsafe=True)
            slot.latent = owner.parametrizations[attribute].original  # type: ignore[index,union-attr]
        self.hook: RemovableHandle | None = None
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

    def before_forward(self, model: nn.Module, _: Any) -> None:
        if model.training and torch.is_grad_enabled():
            self.advance()
        else:
            self.refresh()

    def advance(self) -> None:
        """Begin a training step: refit the motifs if that is due, assign them to the weights."""
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
        self.check_finite()
        self.assign(self.rate)

    def finish(self) -> None:
        """Leave the model without parametrizations, its weights the projected ones."""
        self.refresh()
        self.let_go()
        if self.hook:
            self.hook.remove()
        for owner, attribute in self._places:
            _own_class(owner)
            parametrize.remove_parametrizations(owner, attribute)

    def forward(self, x: Any) -> Any:
        """Returns its input, for models that call all their parts in turn."""
        return x


def _place(name: str) -> tuple[str, str]:
    """Names of a parameter's module and of its attribute there."""
    owner, _, attribute = name.rpartition(".")
    return owner, attribute


def _own_class(module: nn.Module) -> None:
    """Give a parametrized module a class of its own.

    Its copies share the class that torch made for it, and removing a parametrization would take
    the attribute off all of them.
    """
    made = type(module)
    module.__class__ = type(made.__name__, made.__bases__, dict(made.__dict__))


def _after_loading(learner: Learner, _: Any) -> None:
    learner.loaded()


def _refuse_shared(model: nn.Module, parameters: dict[str, nn.Parameter]) -> None:
    places: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        places.setdefault(id(parameter), []).append(name)
    for name, parameter in parameters.items():
        if len(places[id(parameter)]) > 1:
            shared = ", ".join(places[id(parameter)])
            raise InputError(f"{shared} are one parameter; leave {name!r} out with exclude")
