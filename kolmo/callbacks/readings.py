"""Reading: what is known of the watched weights at one step."""

from __future__ import annotations

import dataclasses
import math

from kolmo.estimators.base import Kind
from kolmo.report.quoting import show_p

PREFIX = "kolmo/"

_NUMBERS = {"structure": 1.0, "none": 0.0}
_WORDS = {
    "structure": "structure beyond the value distribution",
    "none": "no structure found beyond the value distribution",
    "undecided": "undecided",
    "no test": "no test",
}


@dataclasses.dataclass(frozen=True)
class Reading:
    """Figures of the watched weights, which are those of the windows and of nothing else.

    Attributes
    ----------
    step : int
    weights : int
        Weights that were measured.
    bits_per_weight : float
        NaN where there is no figure; ``note`` says why.
    kind : {"bound", "estimate"}
    share_of_shuffle : float
        Bits over the mean bits of the same weights shuffled, within each window; NaN without draws.
    spread : float
        Standard deviation of that share over the draws.
    p : float
        Two-sided, of a sequential permutation test (Besag & Clifford 1991); NaN without draws.
    draws : int
        Shuffles that were drawn until the test was decided.
    verdict : {"structure", "none", "undecided", "no test"}
        At α = .05, of this reading alone: of 100 readings of weights without structure two or three
        say "structure" (those that cost less than each of 39 shuffles).
    quantizer, estimator : str
    seconds : float
        Time that the reading took.
    note : str
    """

    step: int
    weights: int
    bits_per_weight: float
    kind: Kind
    share_of_shuffle: float
    spread: float
    p: float
    draws: int
    verdict: str
    quantizer: str
    estimator: str
    note: str = ""
    seconds: float = dataclasses.field(default=math.nan, compare=False)

    @property
    def figures(self) -> dict[str, float]:
        """What loggers are given: numbers by name, those that are known.

        ``kolmo/verdict`` is 1 for structure and 0 for none.
        """
        every = {
            "bits_per_weight": self.bits_per_weight,
            "share_of_shuffle": self.share_of_shuffle,
            "verdict": _NUMBERS.get(self.verdict, math.nan),
        }
        return {f"{PREFIX}{name}": v for name, v in every.items() if math.isfinite(v)}

    @property
    def text(self) -> str:
        """The verdict in words."""
        if self.note:
            return f"{_WORDS[self.verdict]}: {self.note}"
        return f"{_WORDS[self.verdict]} (p = {show_p(self.p)}, {self.draws} shuffles)"

    def __str__(self) -> str:
        if math.isnan(self.bits_per_weight):
            return f"step {self.step:,}: {self.text}"
        most = "at most " if self.kind == "bound" else ""
        share = ""
        if not math.isnan(self.share_of_shuffle):
            share = f"{100 * self.share_of_shuffle:.2f} % of its shuffles, "
        return (
            f"step {self.step:,}: {most}{self.bits_per_weight:.4g} bits per weight ({self.kind}, "
            f"{self.estimator} of {self.quantizer}, {self.weights:,} weights), {share}{self.text}"
        )
