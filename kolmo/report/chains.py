"""What the test of structure found, as data: of each object the bits along a chain of nulls.

The rows of scope ``sample`` (`kolmo.structure`) hold it. Each null of the chain keeps what the one
before it keeps, and more: the differences are what each property of the weights saves, and add up.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kolmo.errors import InputError
from kolmo.pvalues import is_significant
from kolmo.report.columns import Row, TableRows, grouped, is_known

if TYPE_CHECKING:
    import pandas as pd

SCOPE = "sample"

RAW, ACTUAL = "raw", "actual"
GAUSSIAN, SHUFFLED, ROWS, SCALED = "gaussian", "shuffled", "row-shuffled", "scaled"

STEPS = (RAW, GAUSSIAN, SHUFFLED, ROWS, SCALED, ACTUAL)
"""Steps of a chain, from what keeps nothing of the weights to themselves."""

QUESTIONS = {
    "value distribution": (GAUSSIAN, SHUFFLED),
    "row scale": (SHUFFLED, ROWS),
    "column scale": (ROWS, SCALED),
    "arrangement": (SCALED, ACTUAL),
}
"""What saves the bits between two steps."""

DECOMPOSITION = [
    *("checkpoint", "tensor", "quantizer", "estimator", "kind", "step"),
    *("bits", "bits_per_weight", "sd", "draws", "p"),
]


@dataclasses.dataclass(frozen=True)
class Saving:
    """What one property of the weights saves.

    Attributes
    ----------
    question : str
        One of `QUESTIONS`, or ``order``, all that a shuffle destroys.
    saved : float
        Bits.
    share : float
        ``saved`` as a share of the bits of normal weights at the same distortion.
    """

    question: str
    saved: float
    share: float


@dataclasses.dataclass(frozen=True)
class Chain:
    """The chain of one object: of a tensor, or with the name None of the whole checkpoint."""

    rows: tuple[Row, ...]

    @property
    def row(self) -> Row:
        """A row of it: what all of them have in common."""
        return self.rows[0]

    @cached_property
    def by_null(self) -> dict[str, Row]:
        return {row["null"]: row for row in self.rows}

    @property
    def weights(self) -> float:
        """Weights that the figures stand for."""
        return float(self.row["covered"])

    @cached_property
    def details(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.row["details"])
        return found

    def bits(self, step: str) -> float:
        """Bits at a step; NaN of one that was not drawn."""
        if step in (RAW, ACTUAL):
            return float(self.row["raw_bits" if step == RAW else "bits"])
        return float(self.by_null[step]["null_bits"]) if step in self.by_null else math.nan

    @property
    def against(self) -> Row | None:
        """The row of the last test that was made: against scaled draws, or against shuffles."""
        return self.by_null.get(SCALED) or self.by_null.get(SHUFFLED)

    @property
    def is_ordered(self) -> bool:
        """Whether the weights are shorter than their shuffles by more than chance."""
        return _is_shorter(self.by_null.get(SHUFFLED))

    @property
    def is_arranged(self) -> bool:
        """Whether they are shorter than scaled draws too."""
        return _is_shorter(self.by_null.get(SCALED))

    def parts(self) -> list[Saving]:
        """What saves bits; without scaled draws, all that a shuffle destroys is one part."""
        if SCALED in self.by_null:
            pairs = QUESTIONS
        else:
            pairs = {"value distribution": (GAUSSIAN, SHUFFLED), "order": (SHUFFLED, ACTUAL)}
        whole = self.bits(GAUSSIAN)
        found = {q: self.bits(before) - self.bits(after) for q, (before, after) in pairs.items()}
        return [
            Saving(q, saved, saved / whole if whole else math.nan) for q, saved in found.items()
        ]

    def steps(self) -> Iterator[dict[str, Any]]:
        """Rows of the decomposition."""
        for step in STEPS:
            if math.isnan(self.bits(step)):
                continue
            row = self.by_null.get(step)
            yield {
                **{c: self.row[c] for c in ("checkpoint", "quantizer", "estimator", "kind")},
                "tensor": self.row["tensor"] or "",
                "step": step,
                "bits": self.bits(step),
                "bits_per_weight": self.bits(step) / self.weights,
                "sd": row["null_sd"] / self.weights if row else math.nan,
                "draws": row["null_draws"] if row else math.nan,
                "p": row["p"] if row else math.nan,
            }


def _is_shorter(row: Row | None) -> bool:
    if row is None or not is_known(row["p"]):
        return False
    return is_significant(row["p"]) and row["bits"] < row["null_bits"]


def chains(rows: TableRows, tensors: bool = False) -> list[Chain]:
    """The chains of whole checkpoints, or of their tensors."""
    found = [row for row in rows.records(scope=SCOPE) if is_known(row["tensor"]) == tensors]
    return [Chain(tuple(group)) for group in grouped(found, "checkpoint", "tensor").values()]


def decomposition(rows: TableRows, tensors: bool = False) -> pd.DataFrame:
    """The steps of all chains; see `kolmo.Report.decomposition`."""
    import pandas as pd

    found = [step for chain in chains(rows, tensors) for step in chain.steps()]
    if not found:
        raise InputError("this report has no test of structure: measure without named nulls")
    return pd.DataFrame(found, columns=DECOMPOSITION)
