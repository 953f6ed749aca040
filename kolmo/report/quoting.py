"""Figures of verdicts as they are quoted."""

from __future__ import annotations

import math
from collections.abc import Iterable

from kolmo.intervals import student_quantile, sum_degrees
from kolmo.nulls import FITTED
from kolmo.pvalues import draws_needed
from kolmo.report.columns import Row


def saving(row: Row) -> str:
    share = 100 * (row["null_bits"] - row["bits"]) / row["null_bits"]
    spread = 100 * chance(row) / row["null_bits"]
    if math.isnan(spread):  # a single draw
        return f"{round(share, 1) or 0.0:.1f} %".replace("-", "−")
    digits = max(1, decimal_place(spread)) if spread > 0 else max(2, decimal_place(share) + 1)
    share = round(share, digits) or 0.0  # never −0
    return f"{share:.{digits}f} % ± {spread:.{digits}f}".replace("-", "−")


def chance(row: Row) -> float:
    """How far chance alone brings a figure from the mean of its draws, in 95 % (Student's t): by
    one more draw, and by the error of a sample; NaN of a single draw."""
    draws, error = row["null_draws"], row["standard_error"]
    if draws < 2:
        return math.nan
    errors = [row["null_sd"] * math.sqrt(1 + 1 / draws), 0.0 if math.isnan(error) else error]
    degrees = sum_degrees(errors, [draws - 1, row["degrees"]])
    return math.hypot(*errors) * student_quantile(degrees)


def decimal_place(number: float) -> int:
    """The decimal place of the first digit.

    >>> decimal_place(0.03), decimal_place(12.0), decimal_place(0.0)
    (2, -1, 0)
    """
    return -math.floor(math.log10(abs(number))) if number else 0


def show_p(p: float) -> str:
    """Two digits, without the leading zero.

    Examples
    --------
    >>> show_p(0.05), show_p(0.0125), show_p(1.0), show_p(2**-30)
    ('.05', '.013', '1', '9.3e-10')
    """
    return f"{p:.2g}".removeprefix("0")


def quote_p(p: float, null: str) -> str:
    """With ≈ where the null makes it approximate.

    Examples
    --------
    >>> quote_p(0.05, "shuffled"), quote_p(0.05, "gaussian")
    ('p = .05', 'p ≈ .05')
    """
    return f"p {'≈' if null in FITTED else '='} {show_p(p)}"


def quote_z(row: Row) -> str:
    """With the number of its draws where they are so few that z is far from normal.

    Examples
    --------
    >>> [quote_z({"z": 4.1, "null_draws": draws}) for draws in (5, 39)]
    ['4.1 of 5 draws', '4.1']
    """
    draws = int(row["null_draws"])
    return f"{row['z']:.1f}" + ("" if draws >= draws_needed() else f" of {draws} draws")


def shuffles(null: str) -> str:
    return null.replace("-shuffled", " shuffles").replace("shuffled", "shuffles")


def enumerated(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
