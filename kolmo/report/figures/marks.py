"""Marks: how each estimator is drawn, alike in all panels."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kolmo.report.figures.drawing import MARKERS, PALETTE
from kolmo.report.table import estimator_labels

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Mark:
    """An estimator of one kind, drawn alike in all panels."""

    label: str
    kind: str
    number: int

    @property
    def mark(self) -> dict[str, Any]:
        colour = PALETTE[self.number % len(PALETTE)]
        return {
            "linestyle": "none",
            "marker": MARKERS[self.number % len(MARKERS)],
            "markersize": 6,
            "markerfacecolor": colour if self.kind == "bound" else "white",
            "markeredgecolor": colour,
            "markeredgewidth": 1.4,
            "label": f"{self.label} ({self.kind})",
            "zorder": 3,
        }

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[(estimator_labels(rows) == self.label) & (rows["kind"] == self.kind)]


def series_of(rows: pd.DataFrame) -> list[Mark]:
    pairs = list(dict.fromkeys(zip(estimator_labels(rows), rows["kind"], strict=True)))
    labels = list(dict.fromkeys(label for label, _ in pairs))
    return [Mark(label, kind, labels.index(label)) for label, kind in pairs]
