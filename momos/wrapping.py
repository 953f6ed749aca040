"""Wrap a model, train it as usual, freeze it: its weights are then a mosaic."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable, Mapping

import numpy as np
from torch import nn

from kolmo.errors import InputError
from momos.attaching import attach, attached, called_model, detach, inner_model, require_plain
from momos.config import LearnedMosaic, SampledMosaic, require_mosaic
from momos.learned.learner import Learner
from momos.mosaic.mosaic import Mosaic
from momos.parameters import named_parameters, plain_state
from momos.sampled.sampler import Sampler


def wrap(
    model: nn.Module,
    config: SampledMosaic | LearnedMosaic | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    automatic: bool = True,
) -> Learner | Sampler:
    """Make a model train as a mosaic, in place; `freeze` ends it.

    Parameters
    ----------
    model : nn.Module
        Its parameters keep their names, and its state dict keeps their trained values under them;
        what modules compute with is the mosaic. Of a parametrized weight, such as a spectral
        norm's, that is what the parametrization is of. Plain weights may be loaded at any time.
        Call the model, not its parts: motifs are assigned before each of its forward passes. What
        ``torch.compile`` or ``DistributedDataParallel`` made of a model, before or after, learns
        too; all ranks compute the same motifs and assignments. With ``fullgraph=True`` compile
        with ``automatic=False``.
    config : SampledMosaic or LearnedMosaic
        ``LearnedMosaic()`` by default; the same three lines serve both.
    steps : int, optional
        Forward passes in training mode, in all; the rate rises over ``config.ramp`` of them. Only
        learned mosaics need it.
    seed : int
        Seed of the first motifs.
    automatic : bool
        Assign motifs before each forward pass of the model. If false, the loop calls
        ``learner.advance()`` before each training step, and ``learner.refresh()`` before anything
        that reads the weights, as the callbacks do.

    Returns
    -------
    Learner or Sampler
        Its state is in the model's state dict, so a checkpoint resumes exactly.

    Raises
    ------
    InputError
        If the configuration is no mosaic's, no parameter is selected, one has no values yet, or
        blocks and channels do not fit.

    Examples
    --------
    >>> import torch
    >>> model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> learner = wrap(model, LearnedMosaic(motifs=3, rate=0.5), steps=20)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> for _ in range(20):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(4, 8)).square().sum().backward()
    ...     optimizer.step()
    >>> mosaic = freeze(model)
    >>> len(mosaic.motifs), torch.equal(mosaic.state_dict()["0.weight"], model[0].weight)
    (3, True)
    """
    require_plain(model)
    config = LearnedMosaic() if config is None else config
    require_mosaic(config)
    for name, value in (("steps", steps), ("seed", seed)):
        if value is not None and not isinstance(value, int | np.integer):
            raise InputError(f"{name} is an integer, not {value!r}")
    if steps is not None and steps < 1:
        raise InputError(f"training takes at least one step, not {steps}")
    inner, called = inner_model(model), called_model(model)
    if attached(inner) is not None:
        raise InputError("the model is wrapped already: freeze() it first")
    learner = _make(inner, config, steps, seed)
    learner.handles = attach(inner, learner)
    if automatic:
        learner.handles.append(called.register_forward_pre_hook(learner.before_forward))
    return learner


def _make(
    model: nn.Module, config: SampledMosaic | LearnedMosaic, steps: int | None, seed: int
) -> Learner | Sampler:
    if isinstance(config, SampledMosaic):
        return Sampler(model, config, seed)
    if steps is None:
        raise InputError("a learned mosaic needs to know how many steps there will be: give steps")
    return Learner(model, config, steps, seed)


def freeze(model: nn.Module, *, whole: bool | None = None) -> Mosaic:
    """End the learning: the model's weights become those of the mosaic, which is returned.

    Parameters
    ----------
    model : nn.Module
        What `wrap` was given, or what ``torch.compile`` or ``DistributedDataParallel`` made of it.
    whole : bool, optional
        Whether parameters that do not train (``requires_grad`` is false), such as the base of
        adapters, are put into the mosaic too, dense. By default they are left out, named in
        ``Mosaic.absent``, and a warning says so.

    Raises
    ------
    InputError
        If the model is not wrapped, or a weight is NaN or infinite.

    Warns
    -----
    UserWarning
        Where the training had fewer steps than `wrap` was told of, or none that could be seen.
    """
    learner = _learner(model)
    notes = learner.notes()
    learner.finish()
    detach(inner_model(model), learner.handles)
    mosaic = _mosaic(learner, model, bool(whole))
    if whole is None and mosaic.absent:
        notes.append(_absence(mosaic.absent))
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return mosaic


def mosaic_of(model: nn.Module) -> Mosaic:
    """The present mosaic of a wrapped model, which continues to learn; see `freeze`.

    Raises
    ------
    InputError
        If the model is not wrapped.
    """
    learner = _learner(model)
    learner.refresh()
    return _mosaic(learner, model, whole=False)


def _mosaic(learner: Learner | Sampler, model: nn.Module, whole: bool) -> Mosaic:
    """The mosaic of a learner, in which tied tensors are one, and frozen ones only if wanted."""
    state, aliases = plain_state(inner_model(model))
    absent = () if whole else _frozen(inner_model(model), state, aliases)
    kept = {name: t for name, t in state.items() if name not in aliases and name not in absent}
    mosaic = learner.mosaic(kept)
    names = [name for name in state if aliases.get(name, name) in kept]
    tied = {name: of for name, of in aliases.items() if of in kept}
    return dataclasses.replace(mosaic, names=tuple(names), aliases=tied, absent=absent)


def _frozen(model: nn.Module, names: Iterable[str], aliases: Mapping[str, str]) -> tuple[str, ...]:
    frozen = {n for n, p in named_parameters(model).items() if not p.requires_grad}
    return tuple(name for name in names if aliases.get(name, name) in frozen)


def _absence(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return (
        f"parameters that do not train are not in the mosaic: {len(names):,} ({shown}); "
        f"freeze(model, whole=True) puts them in, whole=False leaves them out without a warning"
    )


def _learner(model: nn.Module) -> Learner | Sampler:
    learner = attached(model)
    if not isinstance(learner, Learner | Sampler):
        raise InputError(f"{type(model).__name__}: it is not wrapped; call momos.wrap() first")
    return learner
