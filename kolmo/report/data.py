"""The data of a report: its table, its coverage, its provenance and its kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from kolmo.report.columns import TableRows
from kolmo.report.tidy import tidy

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["measurement", "trajectory", "delta"]
"""Kinds of reports: checkpoints measured in the same way, a series of them, one given another."""

KINDS: tuple[Kind, ...] = ("measurement", "trajectory", "delta")


@dataclasses.dataclass(frozen=True)
class ReportData:
    """The data of a report, from which words, figures and files are made.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each measurement (and null), columns as in `kolmo.report.table.COLUMNS`.
    coverage : pandas.DataFrame
        Every tensor and other entry of the sources: its role, whether it was measured, and if
        not, why.
    provenance : dict
        Versions, settings, sources with their files and a digest of their weights, problems;
        whether the run ``finished``, and whether it is ``complete``.
    kind : {"measurement", "trajectory", "delta"}
        Which words and figures the report has. A trajectory's steps and metrics are in
        ``provenance["series"]``, the base of a delta in ``provenance["base"]``.
    """

    table: pd.DataFrame
    coverage: pd.DataFrame
    provenance: dict[str, Any]
    kind: Kind = "measurement"

    @classmethod
    def of_rows(
        cls,
        table: TableRows,
        coverage: TableRows,
        provenance: dict[str, Any],
        kind: Kind = "measurement",
    ) -> Self:
        """Data whose DataFrames are made when they are asked for."""
        return cls(cast(Any, table), cast(Any, coverage), provenance, kind)

    @property
    def rows(self) -> TableRows:
        """The table as lists."""
        return TableRows.of(self.__dict__["table"])

    @property
    def plain(self) -> pd.DataFrame:
        """The table with words as objects and numbers as floats, as all of kolmo computes with it;
        ``table`` is for people."""
        return self.rows.frame()

    @property
    def entries(self) -> TableRows:
        """The coverage as lists."""
        return TableRows.of(self.__dict__["coverage"])

    @property
    def complete(self) -> bool:
        """Whether the run finished, and every tensor that was to be measured has a figure."""
        return bool(self.provenance.get("complete", True))

    @property
    def finished(self) -> bool:
        """Whether the run came to its end: by itself, neither interrupted nor out of time."""
        return bool(self.provenance.get("finished", self.complete))

    @property
    def sources(self) -> Mapping[str, Any]:
        """The facts of each checkpoint's source, by the checkpoint's name."""
        facts = self.provenance.get("sources")
        return facts if isinstance(facts, Mapping) else {}

    @property
    def series(self) -> Mapping[str, Any]:
        """Steps and metrics of a trajectory."""
        steps: Mapping[str, Any] = self.provenance["series"]
        return steps


class _Framed:
    """A field that holds a DataFrame, or rows, of which it makes a tidy one when it is read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, holder: Any, owner: type) -> Any:
        if holder is None:
            return self
        held = holder.__dict__[self._name]
        if isinstance(held, TableRows):
            held = holder.__dict__[self._name] = tidy(held.frame())
        return held

    def __set__(self, holder: Any, table: Any) -> None:
        holder.__dict__[self._name] = table


for _field in ("table", "coverage"):
    setattr(ReportData, _field, _Framed(_field))
