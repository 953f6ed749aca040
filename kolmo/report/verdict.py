"""One verdict: what it is about, its figures, and the sentence that says it."""

from __future__ import annotations

import dataclasses
import math

VERDICTS = [
    *("checkpoint", "scope", "tensor", "quantizer", "estimator", "kind", "question", "null"),
    *("bits", "saved", "share", "spread", "draws", "p", "verdict", "sentence"),
]
"""Columns of `kolmo.Report.verdicts`."""

STRUCTURE, NONE, MEASURED, UNDECIDED = "structure", "none", "measured", "undecided"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A verdict, or a part of one.

    Attributes
    ----------
    checkpoint, tensor : str
        What it is about; no tensor is the whole checkpoint.
    scope : str
        ``model``, ``tensor`` or ``sample``.
    quantizer, estimator, kind : str
        Of the figure that it rests on.
    question : str
        What saves the bits: ``order`` (beyond the value distribution), ``row scale``, ``column
        scale``, ``arrangement`` (beyond the scales of rows and columns), ``value distribution``,
        or ``beyond`` the name of another null.
    null : str
        What the figure is compared with.
    bits, saved : float
        Of the weights as they are; fewer than the null's.
    share, spread : float
        ``saved`` as a share, and what chance alone makes of it in 95 % of cases.
    draws : float
    p : float
        NaN where there is no test.
    verdict : str
        ``structure``, ``none``, ``measured`` (no test), ``undecided``.
    sentence : str
        Prose, which no code reads.
    """

    checkpoint: str
    question: str
    verdict: str
    sentence: str
    quantizer: str = ""
    scope: str = "model"
    tensor: str = ""
    estimator: str = ""
    kind: str = ""
    null: str = ""
    bits: float = math.nan
    saved: float = math.nan
    share: float = math.nan
    spread: float = math.nan
    draws: float = math.nan
    p: float = math.nan

    @property
    def line(self) -> str:
        """The sentence with what it is about."""
        where = (
            self.checkpoint if self.scope == "sample" else f"{self.checkpoint}, {self.quantizer}"
        )
        return f"{where}: {self.sentence}"
