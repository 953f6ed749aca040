"""Wrap a model, train it as usual, freeze it: its weights are then a mosaic."""

from __future__ import annotations

import torch
from torch import nn

from kolmo.errors import InputError
from momos.config import LearnedMosaic, SampledMosaic, require_mosaic
from momos.learned.learner import Learner
from momos.mosaic.mosaic import Mosaic
from momos.sampled.sampler import Sampler
from momos.tensors import LEARNER, plain_name


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
        Call the model, not its parts: motifs are assigned before each of its forward passes. Under
        ``DistributedDataParallel`` wrap the model before that does; all ranks then compute the
        same motifs and assignments.
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
        If the configuration is no mosaic's, no parameter is selected, one is shared, or blocks and
        channels do not fit.

    Examples
    --------
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
    if steps is not None and steps < 1:
        raise InputError(f"training takes at least one step, not {steps}")
    if hasattr(model, LEARNER):
        raise InputError("the model is wrapped already: freeze() it first")
    learner = _make(model, LearnedMosaic() if config is None else config, steps, seed)
    model.add_module(LEARNER, learner)
    if automatic:
        learner.hook = model.register_forward_pre_hook(learner.before_forward)
    return learner


def _make(
    model: nn.Module, config: SampledMosaic | LearnedMosaic, steps: int | None, seed: int
) -> Learner | Sampler:
    require_mosaic(config)
    if isinstance(config, SampledMosaic):
        return Sampler(model, config, seed)
    if steps is None:
        raise InputError("a learned mosaic needs to know how many steps there will be: give steps")
    return Learner(model, config, steps, seed)


def freeze(model: nn.Module) -> Mosaic:
    """End the learning: the model's weights become those of the mosaic, which is returned.

    Raises
    ------
    InputError
        If the model is not wrapped.
    """
    learner = _learner(model)
    learner.finish()
    delattr(model, LEARNER)
    return learner.mosaic(plain_state(model))


def mosaic_of(model: nn.Module) -> Mosaic:
    """The present mosaic of a wrapped model, which continues to learn.

    Raises
    ------
    InputError
        If the model is not wrapped.
    """
    learner = _learner(model)
    learner.refresh()
    return learner.mosaic(plain_state(model))


def plain_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """A model's state under plain names, without the learner's; latent weights are as they are."""
    return {
        plain_name(name): tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(f"{LEARNER}.")
    }


def _learner(model: nn.Module) -> Learner | Sampler:
    learner = getattr(model, LEARNER, None)
    if not isinstance(learner, Learner | Sampler):
        raise InputError(f"{type(model).__name__}: it is not wrapped; call momos.wrap() first")
    return learner
