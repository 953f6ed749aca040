"""Noise bits: what weights take to be sent no more precisely than a network's loss requires."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.opening import survey
from kolmo.container.state import STATE_ROLES, Kept, state_of
from kolmo.errors import InputError
from kolmo.lossy.describing import quantized
from kolmo.lossy.evaluating import Better, Evaluate, Evaluator, Tolerance
from kolmo.markup import lines_html
from kolmo.progress import Wanted, progress_bar
from kolmo.quantize.lossy import Lossy

_LEAST, _MOST = 2.0**-16, 2.0**8  # noise, as a share of a tensor's root mean square
_PRECISION = 1.01
_STREAM = 27


@dataclasses.dataclass(frozen=True)
class NoiseBits:
    """An estimate of the bits that a network's weights carry, at a tolerance of its metric.

    Attributes
    ----------
    bits : float
        Σ n_t ½ log2(1 + σ_t² / s_t²): an estimate, for which there is no file.
    numel : int
        Weights that noise was added to.
    scale : float
        Noise s_t as a share of σ_t, the root mean square of a tensor.
    original, value : float
        The metric of the network, and its mean over draws of noise of that scale.
    standard_error : float
        Of that mean; NaN for a single draw.
    limit : float
        The worst mean that was allowed.
    draws : int
    """

    bits: float
    numel: int
    scale: float
    original: float
    value: float
    standard_error: float
    limit: float
    draws: int

    @property
    def bits_per_weight(self) -> float:
        return self.bits / self.numel

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        known = math.isfinite(self.standard_error)
        own = {**dataclasses.asdict(self), "standard_error": self.standard_error if known else None}
        return {"kind": "estimate", "bits_per_weight": self.bits_per_weight, **own}

    def __str__(self) -> str:
        return (
            f"{self.bits:,.0f} bits of noise coding, {self.bits_per_weight:.4g} bits per weight "
            f"(estimate): the metric is {self.original:.6g}, and {self.value:.6g} ± "
            f"{self.standard_error:.2g} with noise of {self.scale:.3g} of each tensor's size "
            f"({self.draws} draws; allowed: {self.limit:.6g})"
        )

    def _repr_html_(self) -> str:
        return lines_html(str(self))


def noise_bits(
    source: Any,
    evaluate: Evaluate,
    *,
    tolerance: str | float = "1%",
    better: Better = "lower",
    draws: int = 8,
    seed: int = 0,
    progress: Wanted = None,
) -> NoiseBits:
    """What the weights take with as much noise as the metric bears: the bits-back estimate.

    B = Σ n_t ½ log2(1 + σ_t² / s_t²) over tensors of n_t weights, with s_t = c σ_t and the largest
    c at which the mean metric of w + s ξ, ξ normal, is within the tolerance (Hinton & van Camp,
    "Keeping neural networks simple by minimizing the description length of the weights", COLT
    1993). It is an estimate: the prior is normal, its σ_t are not counted, and the mean is over few
    draws. `learned_difference` gives a bound.

    Parameters
    ----------
    source : path, directory, URL, nn.Module, state dict or mapping of arrays
    evaluate : callable
        Takes the network, gives a number: of a module a copy in evaluation mode, of any other
        source a dict of arrays by name.
    tolerance : str or float
        How much worse the number may get: ``1%`` of the original's, or an amount.
    better : {"lower", "higher"}
        Whether lower numbers are better, as of a loss, or higher ones, as of an accuracy.
    draws : int
        Of noise, the same at every scale.
    seed : int
    progress : see `pack`

    Returns
    -------
    NoiseBits

    Raises
    ------
    InputError
        If the source cannot be read, there are no floating-point weights, or no noise is borne.

    Examples
    --------
    The squared error of N weights with noise of c is c² on average, so c is √.01 here, and each
    weight takes ½ log2(1 + 100) bits:

    >>> import numpy as np
    >>> w = np.random.default_rng(0).normal(size=10_000)
    >>> w /= np.sqrt(np.square(w).mean())
    >>> found = noise_bits({"w": w}, lambda n: np.square(n["w"] - w).mean(), tolerance=0.01)
    >>> round(found.scale, 2), round(found.bits_per_weight, 1)
    (0.1, 3.3)
    """
    if draws < 1 or seed < 0:
        raise InputError(f"draws is at least 1 and seed not negative, not {draws} and {seed}")
    allowed = Tolerance.parse(tolerance, better)
    checkpoint = survey(source)
    state, _ = state_of(checkpoint, Lossy(0.0), STATE_ROLES)
    noisy = _Noisy(state, seed, Evaluator(source, evaluate))
    if not noisy.numel:
        raise InputError(f"{checkpoint.source}: there are no floating-point weights but zeros")
    original = noisy.value(0.0, 0)
    with progress_bar(progress) as report:
        means: dict[float, list[float]] = {}

        def accepts(scale: float) -> bool:
            report(len(means), 20, "adding noise")
            means[scale] = [noisy.value(scale, draw) for draw in range(draws)]
            return allowed.accepts(float(np.mean(means[scale])), original)

        scale = _largest(accepts)
    if scale is None:
        raise InputError(
            f"{checkpoint.source}: no noise is borne: the original has {original:.6g}, the limit "
            f"is {allowed.limit(original):.6g}; is the metric the same at each call?"
        )
    values = np.array(means[scale])
    error = float(values.std(ddof=1) / math.sqrt(draws)) if draws > 1 else math.nan
    bits = noisy.numel * 0.5 * math.log2(1 + scale**-2)
    return NoiseBits(bits, noisy.numel, scale, original, float(values.mean()), error,
                     allowed.limit(original), draws)  # fmt: skip


class _Noisy:
    """A network whose weights have noise."""

    def __init__(self, state: Sequence[Kept], seed: int, evaluator: Evaluator) -> None:
        self._arrays = {kept.tensor.name: kept.tensor.read() for kept in state}
        self._ties = {kept.tensor.name: kept.copy_of for kept in state if kept.copy_of}
        found = {name: self._arrays[name] for name in quantized(state)}
        sizes = {n: float(np.sqrt(np.square(w.astype(float)).mean())) for n, w in found.items()}
        self._sizes = {name: size for name, size in sizes.items() if size > 0}
        self._seed, self._evaluator = seed, evaluator
        self.numel = sum(self._arrays[name].size for name in self._sizes)

    def value(self, scale: float, draw: int) -> float:
        """The metric with noise of a scale."""
        values = dict(self._arrays)
        if scale:
            values |= self._drawn(scale, np.random.default_rng((self._seed, _STREAM, draw)))
        return self._evaluator(values)

    def _drawn(self, scale: float, random: np.random.Generator) -> Mapping[str, NDArray[Any]]:
        drawn: dict[str, NDArray[Any]] = {}
        for name, size in self._sizes.items():
            weights = self._arrays[name]
            noise = scale * size * random.standard_normal(weights.shape)
            drawn[name] = (weights.astype(np.float64) + noise).astype(weights.dtype)
        for copy, original in self._ties.items():
            if original in drawn:
                same = drawn[original].shape == self._arrays[copy].shape
                drawn[copy] = drawn[original] if same else drawn[original].T
        return drawn


def _largest(accepts: Any) -> float | None:
    """The largest scale that is accepted, bisected; None if the least is not."""
    good, bad = _LEAST, _MOST
    if accepts(bad):
        return bad
    if not accepts(good):
        return None
    while bad > good * _PRECISION:
        middle = math.sqrt(good * bad)
        good, bad = (middle, bad) if accepts(middle) else (good, middle)
    return good
