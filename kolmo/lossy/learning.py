"""The local learning coefficient: how fast a network's loss grows around its weights, by SGLD."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.errors import InputError
from kolmo.markup import lines_html
from kolmo.progress import Wanted, progress_bar

if TYPE_CHECKING:
    import torch


@dataclasses.dataclass(frozen=True)
class LearningCoefficient:
    """An estimate of the local learning coefficient λ of a network at its weights.

    Attributes
    ----------
    value : float
        λ̂, the mean over chains. Half the number of parameters in a regular model, less in a
        singular one; to first order the weights then take λ ln n nats, of n examples.
    standard_error : float
        Over chains; NaN for a single one.
    chains : tuple of float
        λ̂ of each.
    loss : float
        Of the network itself, the mean over the batches.
    examples : int
        n.
    """

    value: float
    standard_error: float
    chains: tuple[float, ...]
    loss: float
    examples: int

    @property
    def bits(self) -> float:
        """λ̂ log2 n: an estimate, the leading term of the free energy beyond n times the loss."""
        return self.value * math.log2(self.examples)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        known = math.isfinite(self.standard_error)
        own = {**dataclasses.asdict(self), "standard_error": self.standard_error if known else None}
        return {"kind": "estimate", "bits": self.bits, **own}

    def __str__(self) -> str:
        return (
            f"local learning coefficient {self.value:.4g} ± {self.standard_error:.2g} (estimate, "
            f"{len(self.chains)} chains, {self.examples:,} examples, loss {self.loss:.6g}): "
            f"{self.bits:,.0f} bits"
        )

    def _repr_html_(self) -> str:
        return lines_html(str(self))


def learning_coefficient(
    model: torch.nn.Module,
    loss: Callable[[torch.nn.Module, Any], torch.Tensor],
    batches: Iterable[Any],
    *,
    examples: int,
    chains: int = 4,
    steps: int = 400,
    burn_in: int = 100,
    step_size: float = 1e-5,
    localization: float = 100.0,
    seed: int = 0,
    progress: Wanted = None,
) -> LearningCoefficient:
    """The local learning coefficient λ̂ = n β (E[L(w)] − L(w*)), with β = 1 / ln n.

    The mean is over w near w*, drawn by stochastic gradient Langevin dynamics from the density in
    proportion to exp(−n β L(w) − ½ γ |w − w*|²) (Lau, Furman, Wang, Murfet & Wei, "The local
    learning coefficient: a singularity-aware complexity measure", 2023). An estimate: it depends on
    step size, localization and length of the chains, so that a figure means something beside
    another one of the same settings; and it presumes that w* is near a minimum of the loss.

    Parameters
    ----------
    model : torch.nn.Module
        Left as it is.
    loss : callable
        From a model and a batch to the mean loss of its examples, a scalar tensor in nats.
    batches : iterable
        Of training examples, gone through again and again in random order.
    examples : int
        n, the examples that the model was trained on.
    chains : int
        Independent chains.
    steps : int
        Of each, w ← w − ½ ε (n β ∇L + γ (w − w*)) + √ε ξ.
    burn_in : int
        Steps at the start of each that do not count.
    step_size : float
        ε.
    localization : float
        γ.
    seed : int
    progress : see `pack`

    Returns
    -------
    LearningCoefficient

    Raises
    ------
    InputError
        If an option does not fit, there is no batch, or a chain diverges.

    Examples
    --------
    >>> import torch
    >>> def loss(model, batch):
    ...     return 0.5 * (model.weight**2).sum()
    >>> model = torch.nn.Linear(40, 1, bias=False)
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> found = learning_coefficient(
    ...     model, loss, [None], examples=10_000, step_size=1e-4, steps=300, localization=1.0)
    >>> abs(found.value - 40 / 2) < 4  # half its parameters: it is a regular model
    True
    """
    given = list(batches)
    if not given or examples < 2 or chains < 1 or not 0 <= burn_in < steps:
        raise InputError("learning_coefficient needs a batch, two examples, a chain, and more "
                         "steps than are burned in")  # fmt: skip
    if step_size <= 0 or localization < 0 or seed < 0:
        raise InputError("step_size is positive, localization and seed are not negative")
    beta = 1 / math.log(examples)
    with progress_bar(progress) as report:
        found = []
        start = _losses(model, loss, given)
        for number in range(chains):
            report(number, chains, "sampling")
            chain = _Chain(model, loss, given, examples * beta, step_size, localization)
            excess = chain.excess(steps, burn_in, start, (seed, number))
            found.append(examples * beta * excess)
    error = float(np.std(found, ddof=1) / math.sqrt(chains)) if chains > 1 else math.nan
    return LearningCoefficient(
        float(np.mean(found)), error, tuple(found), float(np.mean(start)), examples
    )


def _losses(model: torch.nn.Module, loss: Any, batches: Sequence[Any]) -> list[float]:
    import torch

    own = copy.deepcopy(model).eval()
    with torch.no_grad():
        return [float(loss(own, batch)) for batch in batches]


@dataclasses.dataclass(frozen=True, eq=False)
class _Chain:
    """Langevin dynamics about the weights of a model."""

    model: torch.nn.Module
    loss: Callable[[torch.nn.Module, Any], torch.Tensor]
    batches: Sequence[Any]
    pull: float  # n β
    step_size: float
    localization: float

    def excess(
        self, steps: int, burn_in: int, start: Sequence[float], seed: tuple[int, int]
    ) -> float:
        """The mean loss along the chain above that of the weights themselves, batch by batch."""
        import torch

        own = copy.deepcopy(self.model).eval()
        weights = [p for p in own.parameters() if p.requires_grad]
        centre = [p.detach().clone() for p in weights]
        choice = np.random.default_rng(seed)
        noise = torch.Generator().manual_seed(int(choice.integers(1 << 62)))
        total = 0.0
        for step in range(steps):
            place = int(choice.integers(len(self.batches)))
            value = self.loss(own, self.batches[place])
            gradients = torch.autograd.grad(value, weights)
            if not math.isfinite(float(value.detach())):
                raise InputError(
                    f"learning_coefficient: the chain diverged after {step} steps; lower step_size "
                    f"than {self.step_size:g}"
                )
            if step >= burn_in:
                total += float(value.detach()) - start[place]
            with torch.no_grad():
                for p, at, gradient in zip(weights, centre, gradients, strict=True):
                    drift = self.pull * gradient + self.localization * (p - at)
                    drawn = torch.randn(p.shape, generator=noise).to(p)
                    p.add_(math.sqrt(self.step_size) * drawn - 0.5 * self.step_size * drift)
        return total / (steps - burn_in)
