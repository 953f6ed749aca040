"""What a report holds: its table, its coverage, where it came from, and what kind it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import pandas as pd

Kind = Literal["measurement", "trajectory", "delta"]
"""Checkpoints measured in the same way; a series of them; one given another."""

KINDS: tuple[Kind, ...] = ("measurement", "trajectory", "delta")


@dataclasses.dataclass(frozen=True)
class ReportData:
    """The facts of a report, on which words, figures and files stand.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each measurement (and null), columns as in `kolmo.report.table.COLUMNS`.
    coverage : pandas.DataFrame
        Every tensor and other entry of the sources: whether it was measured, and if not, why.
    provenance : dict
        Versions, settings, sources with their files' SHA-256, problems; whether it is complete.
    kind : {"measurement", "trajectory", "delta"}
        Which words and figures the report has. A trajectory's steps and metrics are in
        ``provenance["series"]``, the base of a delta in ``provenance["base"]``.
    """

    table: pd.DataFrame
    coverage: pd.DataFrame
    provenance: dict[str, Any]
    kind: Kind = "measurement"

    @property
    def complete(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.provenance.get("complete", True))

    @property
    def series(self) -> Mapping[str, Any]:
        """Steps and metrics of a trajectory."""
        steps: Mapping[str, Any] = self.provenance["series"]
        return steps
