"""What a limit of time made of the measurements, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def budget_lines(budget: Mapping[str, Any] | None) -> list[str]:
    """Which measurements were made whole, which on windows, which not; nothing without a limit.

    >>> row = {"quantizer": "sign", "estimator": "kt", "scope": "model", "how": "exact"}
    >>> budget_lines({"seconds": 300.0, "measurements": [{**row, "windows": 0}]})
    ['Budget of 300 s, as planned:', '  exact: kt of sign (model)']
    """
    return [f"Budget of {budget['seconds']:g} s, as planned:", *_by_how(budget)] if budget else []


def _by_how(budget: Mapping[str, Any]) -> Iterator[str]:
    for how in ("exact", "sampled", "skipped"):
        rows = [row for row in budget["measurements"] if row["how"] == how]
        if rows:
            yield f"  {how}: {', '.join(map(_row, rows))}"


def _row(row: Mapping[str, Any]) -> str:
    windows = f", {row['windows']:,} windows" if row["windows"] else ""
    return f"{row['estimator']} of {row['quantizer']} ({row['scope']}{windows})"
