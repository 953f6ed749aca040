"""Scalings of a torch network's weights by what its outputs for some inputs depend on.

::

    batches ─► moments of gradients ─► sensitivities ─► steps of rows and columns, feedback
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.checkpoints.base import array_tensor
from kolmo.errors import InputError
from kolmo.execution import Progress
from kolmo.lossy.moments import WIDEST, GradientMoments, gradient_moments, parameters_of
from kolmo.lossy.scalings import Scaling
from kolmo.lossy.sensitivity import DAMPING, Sensitivity
from kolmo.quantize.scales import Floats, matrix_shape, row_sizes

if TYPE_CHECKING:
    import torch

_TOGETHER = 1 << 28  # moments that are gathered in one pass over the batches
_UNSEEN = 0.1  # of the median row's importance, in relation to its power, of tensors without any


def calibrated_scalings(
    model: torch.nn.Module,
    batches: Iterable[Any],
    *,
    outputs: Callable[[torch.nn.Module, Any], torch.Tensor] | None = None,
    names: Collection[str] | None = None,
    probes: int = 4,
    seed: int = 0,
    damping: float = DAMPING,
    progress: Progress | None = None,
) -> dict[str, Scaling]:
    """Scalings of a network's parameters, in proportion to what their errors do to its outputs.

    All are in one unit, in which the step of the median row is its root mean square: at one step
    for all, a bit more of any tensor gains the same. A parameter
    that no output depends on has coarse steps: in relation to its power it counts a tenth of what
    the median row does.

    Gradients are torch's: their last bits, and so single levels of a description, may differ with
    the machine and the number of its threads. What a file is and holds is certain in any case.

    Parameters
    ----------
    model : torch.nn.Module
    batches : iterable
        Tensors, or tuples or dicts of arguments of the model.
    outputs : callable, optional
        From model and batch to a tensor (examples, ...) whose squared distance is what counts; see
        `kolmo.lossy.moments.gradient_moments`.
    names : collection of str, optional
        Of the parameters to scale; by default all.
    probes : int
        Random directions of the outputs for each batch.
    seed : int
        Of the directions.
    damping : float
        Of the mean importance of a tensor's rows and columns, added to that of each.
    progress : callable, optional

    Returns
    -------
    dict of str to Scaling
        By name of the parameter; of tied ones by the first name.

    Raises
    ------
    InputError
        If there is no batch, or the outputs depend on no parameter.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(3, 1)
    >>> scaling = calibrated_scalings(model, [torch.tensor([[8.0, 1.0, 1.0]])], damping=1.0)
    >>> (scaling["weight"].columns / scaling["weight"].columns[0]).round(1).tolist()
    [1.0, 1.9, 1.9]
    """
    if not hasattr(model, "named_parameters"):
        raise InputError(f"inputs are given to a torch module, not to a {type(model).__name__}")
    given = list(batches)
    parameters = parameters_of(model, names)
    moments: dict[str, GradientMoments] = {}
    passes = list(_passes({name: tuple(p.shape) for name, p in parameters.items()}))
    for number, group in enumerate(passes):
        seen = _told(given, number, len(passes), progress)
        moments |= gradient_moments(
            model, seen, outputs=outputs, names=group, probes=probes, seed=seed
        )
    found = {
        name: _scaling(Sensitivity.of(own), damping, vector=parameters[name].dim() < 2)
        for name, own in moments.items()
    }
    return _in_row_sizes(found, parameters)


def _passes(shapes: Mapping[str, Sequence[int]]) -> Iterator[set[str]]:
    """Names of parameters whose moments fit into memory together."""
    group: set[str] = set()
    size = 0
    for name, shape in shapes.items():
        own = sum(n * n if n <= WIDEST else n for n in matrix_shape(tuple(shape)))
        if group and size + own > _TOGETHER:
            yield group
            group, size = set(), 0
        group.add(name)
        size += own
    if group:
        yield group


def _told(
    batches: Sequence[Any], number: int, passes: int, progress: Progress | None
) -> Iterator[Any]:
    """The batches of a pass, and how far all passes are."""
    for count, batch in enumerate(batches, number * len(batches)):
        if progress:
            progress(count, passes * len(batches), "gradients")
        yield batch


def _scaling(sensitivity: Sensitivity, damping: float, *, vector: bool) -> Scaling:
    if vector:
        return Scaling(1 / np.sqrt(sensitivity.rows.reshape(-1)))
    factors = sensitivity.factors(damping)
    return Scaling(*factors.scales(), factors.feedback)


def _in_row_sizes(
    found: Mapping[str, Scaling], parameters: Mapping[str, torch.Tensor]
) -> dict[str, Scaling]:
    """The scalings in their unit, with those of the parameters that no output depends on."""
    sizes = {name: _row_sizes(parameters[name]) for name in parameters}
    steps = np.concatenate([_relative(found[name], sizes[name]) for name in found])
    median = float(np.median(steps)) if steps.size else 1.0
    return {
        name: dataclasses.replace(found[name], rows=found[name].rows / median)
        if name in found
        else Scaling(own / np.sqrt(_UNSEEN))
        for name, own in sizes.items()
    }


def _row_sizes(parameter: torch.Tensor) -> Floats:
    return row_sizes(array_tensor("", parameter.detach().float().cpu().numpy()))


def _relative(scaling: Scaling, sizes: Floats) -> Floats:
    """Steps of rows beside their root mean squares, where those are not 0."""
    across = 1.0 if scaling.columns is None else np.exp(np.log(scaling.columns).mean())
    kept = sizes > 0
    return scaling.rows[kept] * across / sizes[kept]
