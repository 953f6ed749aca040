"""Puts a learner on a model without moving anything in it: no parameter gets another name.

::

    module.weight ─ property of the class ─► projected values: what forward computes with
    parameters(), state_dict()            ─► latent values: what trains

The gradient of the projected values goes straight through to the latent ones.
"""

from __future__ import annotations

import copyreg
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Protocol

import torch
from torch import nn

from kolmo.errors import InputError
from momos.tensors import LEARNER

_SHOWN = "_momos_shown"  # entry of a module's __dict__: what each shown parameter is seen as

CALL_WHOLE = "call the model itself, not its parts, or call learner.advance() before each step"
"""Advice where no forward pass of a model was seen."""


class Projected(Protocol):
    """Whatever holds the values that a parameter is seen as."""

    projected: torch.Tensor


class _Straight(torch.autograd.Function):
    """Returns the projected weights, passes their gradient to the latent ones."""

    @staticmethod
    def forward(ctx: Any, latent: torch.Tensor, projected: torch.Tensor) -> torch.Tensor:
        return projected.detach().to(latent)  # a model may have been moved or cast since

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        return gradients[0], None


@dataclasses.dataclass(frozen=True)
class Spot:
    """Where a module has a parameter; a tied one has several spots."""

    owner: nn.Module
    attribute: str

    @property
    def latent(self) -> torch.Tensor:
        """The parameter that is there now; loading may have put another one there."""
        latent = self.owner._parameters[self.attribute]
        assert latent is not None
        return latent

    def show(self, projected: Projected) -> None:
        """Let the module compute with other values than those of its parameter."""
        shown = self.owner.__dict__.setdefault(_SHOWN, {})
        shown[self.attribute] = projected
        self._class_for(shown)

    def hide(self) -> None:
        """Undo `show`; the module has its own class again."""
        shown = self.owner.__dict__[_SHOWN]
        del shown[self.attribute]
        self._class_for(shown)
        if not shown:
            del self.owner.__dict__[_SHOWN]

    def _class_for(self, shown: Mapping[str, Any]) -> None:
        base = _own_class(self.owner)
        self.owner.__class__ = _showing(base, tuple(sorted(shown))) if shown else base


def spots_of(model: nn.Module, parameters: Iterable[torch.Tensor]) -> list[list[Spot]]:
    """All spots of each of a model's parameters."""
    found: dict[int, list[Spot]] = {}
    for module in model.modules():
        for attribute, parameter in module._parameters.items():
            if parameter is not None:
                found.setdefault(id(parameter), []).append(Spot(module, attribute))
    return [found[id(parameter)] for parameter in parameters]


def _own_class(module: nn.Module) -> Any:
    return getattr(type(module), "_momos_base", type(module))


@cache
def _showing(base: Any, names: tuple[str, ...]) -> Any:
    """A class like a module's own, whose instances show these parameters as other values."""

    def reduce(module: nn.Module, protocol: Any) -> Any:
        made, arguments, *rest = super(kind, module).__reduce_ex__(protocol)
        if made is copyreg.__newobj__:  # type: ignore[attr-defined]
            return (_new, (base, names), *rest)
        return (made, arguments, *rest)

    body: dict[str, Any] = {name: property(_reader(name)) for name in names}
    body |= {"__module__": base.__module__, "__qualname__": base.__qualname__}
    body |= {"__doc__": base.__doc__, "__reduce_ex__": reduce, "_momos_base": base}
    kind: Any = type(base.__name__, (base,), body)
    return kind


def _reader(name: str) -> Any:
    def read(module: nn.Module) -> torch.Tensor:
        latent = module._parameters[name]
        shown: torch.Tensor = _Straight.apply(latent, module.__dict__[_SHOWN][name].projected)  # type: ignore[no-untyped-call]
        return shown

    return read


def _new(base: Any, names: tuple[str, ...]) -> Any:
    kind = _showing(base, names)
    return kind.__new__(kind)


# --- the learner of a model -------------------------------------------------------------------


def inner_model(model: nn.Module) -> nn.Module:
    """The model itself, out of what ``torch.compile`` and DistributedDataParallel make of it."""
    return list(_unwrapped(model))[-1]


def called_model(model: nn.Module) -> nn.Module:
    """What is called in a training loop and may run hooks: a compiled model, else the inner one."""
    layers = list(_unwrapped(model))
    return next((layer for layer in layers if _compiled_from(layer)), layers[-1])


def _unwrapped(model: nn.Module) -> Iterator[nn.Module]:
    yield model
    inner = _compiled_from(model)
    if isinstance(model, nn.parallel.DistributedDataParallel):
        inner = model.module
    if inner is not None:
        yield from _unwrapped(inner)


def _compiled_from(model: nn.Module) -> nn.Module | None:
    return model._modules.get("_orig_mod")


def attach(model: nn.Module, learner: Any) -> list[Any]:
    """Give a model a learner, and its state dict the learner's; handles to undo the latter.

    The learner is no submodule: a model of other modules than its own would call or cast it.
    """
    model.__dict__[LEARNER] = learner
    return [
        model.register_state_dict_post_hook(_save_state),  # type: ignore[no-untyped-call]
        model.register_load_state_dict_pre_hook(_take_state),  # type: ignore[no-untyped-call]
        model.register_load_state_dict_post_hook(_load_state),  # type: ignore[no-untyped-call]
    ]


def detach(model: nn.Module, handles: Iterable[Any]) -> None:
    """Undo `attach`."""
    for handle in handles:
        handle.remove()
    del model.__dict__[LEARNER]


def attached(model: nn.Module) -> Any:
    """The learner of a model; None if it has none."""
    return inner_model(model).__dict__.get(LEARNER)


def is_learners(name: str) -> bool:
    """Whether an entry of a state dict is the learner's own."""
    return name.startswith(f"{LEARNER}.")


def require_plain(model: nn.Module) -> None:
    """InputError unless the model's classes and tensors are such that a learner can be put on."""
    if not isinstance(model, nn.Module):
        raise InputError(f"momos.wrap takes a torch.nn.Module, not {type(model).__name__}")
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(f"{name or 'the model'} is TorchScript: wrap it before it is scripted")
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise InputError(f"{name!r} has no shape yet: call the model once before wrap()")
        if parameter.is_meta:
            raise InputError(f"{name!r} is on the meta device, without values: load weights first")


def _save_state(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    module.__dict__[LEARNER].state_dict(destination=state, prefix=f"{prefix}{LEARNER}.")


def _take_state(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Take the learner's entries out of a state, so that none of them is unexpected."""
    start = f"{prefix}{LEARNER}."
    names = [name for name in state if name.startswith(start)]
    own = {name.removeprefix(start): state.pop(name) for name in names}
    module.__dict__[f"{LEARNER}_state"] = own


def _load_state(module: nn.Module, _: Any) -> None:
    module.__dict__[LEARNER].loaded_with(module.__dict__.pop(f"{LEARNER}_state"))
