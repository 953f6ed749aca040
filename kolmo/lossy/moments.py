"""Second moments of the gradients of a torch network's outputs, matrix by matrix.

::

    batch ─► outputs · random signs ─► gradient ∇ of each parameter ─► sums of ∇∇ᵀ and ∇ᵀ∇

Any module will do, whatever its layers are made of: only gradients of its parameters are needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import InputError
from kolmo.quantize.scales import Floats, matrix_shape
from kolmo.symbols import Shape

if TYPE_CHECKING:
    import torch

WIDEST = 4096
"""Rows or columns from which on only the diagonal is kept, each one's own moment."""


@dataclasses.dataclass(frozen=True, eq=False)
class GradientMoments:
    """Moments of the gradient ∇ (n, d) of a matrix, on average over examples and directions.

    Attributes
    ----------
    rows : float64 (n, n) or (n,)
        E ∇∇ᵀ, or its diagonal.
    columns : float64 (d, d) or (d,)
        E ∇ᵀ∇, or its diagonal.
    uses : int64 (n,)
        In how many batches an output depended on each row.
    """

    rows: Floats
    columns: Floats
    uses: NDArray[np.int64]


def gradient_moments(
    model: torch.nn.Module,
    batches: Iterable[Any],
    *,
    outputs: Callable[[torch.nn.Module, Any], torch.Tensor] | None = None,
    names: Collection[str] | None = None,
    probes: int = 4,
    seed: int = 0,
) -> dict[str, GradientMoments]:
    """Second moments of the gradients of a network's parameters.

    The gradients are those of the outputs in random directions of signs, each output element its
    own, so that on average the moments are sums over all outputs (Hutchinson 1989).

    Parameters
    ----------
    model : torch.nn.Module
        On any device; in evaluation mode meanwhile.
    batches : iterable
        Tensors, or tuples or dicts of arguments of the model. Examples are padded to no purpose:
        outputs at padding count like others, unless ``outputs`` leaves them out.
    outputs : callable, optional
        From model and batch to a tensor (examples, ...) whose squared distance is what counts.
        Without one, it is the model's output, or its logits, or the first of several.
    names : collection of str, optional
        Of the parameters that count; by default all.
    probes : int
        Random directions for each batch.
    seed : int
        Of the directions.

    Returns
    -------
    dict of str to GradientMoments
        By name of the parameter; none of one that no output depends on. A vector is one row, of
        whose columns each has its own moment only; a tensor of more than two dimensions is its
        first × the rest.

    Raises
    ------
    InputError
        If there is no batch, no parameter that counts, or no output that depends on one.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> moments = gradient_moments(model, [torch.tensor([[1.0, 2.0]])])
    >>> moments["weight"].columns.tolist()
    [[1.0, 2.0], [2.0, 4.0]]
    """
    import torch

    parameters = parameters_of(model, names)
    if not parameters:
        raise InputError(
            "moments: the model has no parameter of floating-point numbers that counts"
        )
    sums = {name: _Sums(tuple(p.shape)) for name, p in parameters.items()}
    directions = torch.Generator().manual_seed(seed)
    examples = 0
    with _evaluating(model, list(parameters.values())), torch.enable_grad():
        for batch in batches:
            values = (outputs or model_outputs)(model, batch)
            examples += len(values)
            if not values.requires_grad:
                raise InputError("moments: the outputs depend on no parameter that counts")
            for probe in range(probes):
                signs = torch.randint(0, 2, values.shape, generator=directions) * 2 - 1
                total = (values * signs.to(values)).sum()
                gradients = torch.autograd.grad(
                    total, list(parameters.values()), retain_graph=True, allow_unused=True
                )
                for own, gradient in zip(sums.values(), gradients, strict=True):
                    if gradient is not None:
                        own.add(gradient.reshape(own.shape).float(), is_new=probe == 0)
    if not examples:
        raise InputError("moments: there is no batch of examples to learn from")
    return {name: own.mean(examples * probes) for name, own in sums.items() if own.uses.any()}


def parameters_of(
    model: torch.nn.Module, names: Collection[str] | None = None
) -> dict[str, torch.nn.Parameter]:
    """The parameters of floating-point numbers, those of these names or all; tied ones once.

    >>> import torch
    >>> list(parameters_of(torch.nn.Linear(2, 1), ["bias"]))
    ['bias']
    """
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.is_floating_point() and parameter.numel() and (names is None or name in names)
    }


def model_outputs(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    """What a model makes of a batch, as one tensor: its output, its logits, the first of several.

    >>> import torch
    >>> model_outputs(torch.nn.Identity(), (torch.zeros(3),)).shape
    torch.Size([3])
    """
    import torch

    made = call(model, batch)
    made = getattr(made, "logits", made)
    while isinstance(made, Mapping | tuple | list) and len(made):
        made = next(iter(made.values() if isinstance(made, Mapping) else made))
    if not isinstance(made, torch.Tensor):
        raise InputError(f"moments: the model's output is a {type(made).__name__}, not a tensor; "
                         "say with outputs= which tensor counts")  # fmt: skip
    return made


def call(model: torch.nn.Module, batch: Any) -> Any:
    """A model's output for a tensor, or a tuple or dict of arguments."""
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple | list) else model(batch)


@contextmanager
def _evaluating(model: torch.nn.Module, parameters: Sequence[torch.Tensor]) -> Iterator[None]:
    """Evaluation mode, with gradients of these parameters; everything is as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    wanted = [(p, p.requires_grad) for p in model.parameters()]
    chosen = {id(p) for p in parameters}
    try:
        model.eval()
        for p, _ in wanted:
            p.requires_grad_(id(p) in chosen)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for p, before in wanted:
            p.requires_grad_(before)


class _Sums:
    """Sums of the moments of a matrix's gradients."""

    def __init__(self, shape: Shape) -> None:
        self.shape = matrix_shape(shape)
        widest = WIDEST if len(shape) > 1 else 1
        self.rows, self.columns = (
            np.zeros((size, size) if size <= widest else size) for size in self.shape
        )
        self.uses = np.zeros(self.shape[0], np.int64)

    def add(self, gradient: torch.Tensor, is_new: bool) -> None:
        used = gradient.abs().amax(dim=1) > 0
        at = used.nonzero()[:, 0]
        if is_new:
            self.uses += used.cpu().numpy()
        if 4 * len(at) < len(used):
            gradient = gradient[at]  # of a table few rows are used
        own = np.arange(len(used)) if len(gradient) == len(used) else at.cpu().numpy()
        across = (gradient.T @ gradient) if self.columns.ndim == 2 else gradient.square().sum(dim=0)
        self.columns += across.double().cpu().numpy()
        if self.rows.ndim == 1:
            self.rows[own] += gradient.square().sum(dim=1).double().cpu().numpy()
        else:
            self.rows[np.ix_(own, own)] += (gradient @ gradient.T).double().cpu().numpy()

    def mean(self, count: int) -> GradientMoments:
        return GradientMoments(self.rows / count, self.columns / count, self.uses)
