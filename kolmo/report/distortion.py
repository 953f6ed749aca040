"""Checkpoints at equal distortion: bits that compare, because the errors are the same.

Bits at a fixed number of levels compare errors as much as complexity: one outlier widens the levels
of a whole tensor. At a set relative error the shortest description that is as good as asked for is
the algorithmic rate–distortion function (Vereshchagin & Vitányi, IEEE Trans. IT 56, 2010), of which
a code gives a bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kolmo.report.columns import FUNCTION, Row, TableRows, grouped, is_known
from kolmo.report.quoting import enumerated
from kolmo.report.table import estimator_label

DISTORTION = [
    *("checkpoint", "asked", "nmse", "numel", "bits", "bits_per_weight"),
    *("quantizer", "estimator", "kind"),
]
"""Columns of `kolmo.Report.at_distortion`; ``asked`` is the quantizer that sets the distortion."""

_SET = "nmse:"  # quantizers of a set distortion
_APART = 1.1  # ratio of errors from which figures do not compare


def at_distortion(rows: TableRows) -> list[dict[str, Any]]:
    """The shortest figure of each checkpoint at each distortion that was set."""
    whole = [row for row in rows.records(scope="model") if _counts(row)]
    quantizers = dict.fromkeys(r["quantizer"] for r in whole if r["quantizer"].startswith(_SET))
    found = []
    for group in grouped(whole, "checkpoint").values():
        for quantizer in quantizers:
            there = [r for r in group if r["quantizer"] in (quantizer, "native")]
            if there:
                best = min(there, key=lambda row: (row["kind"] != "bound", float(row["bits"])))
                found.append({**_named(best), "asked": quantizer, "nmse": _value(quantizer)})
    return found


def distortion_lines(rows: TableRows) -> Iterator[str]:
    """Several checkpoints in a sentence, and a warning of figures that do not compare."""
    for (asked,), group in grouped(at_distortion(rows), "asked").items():
        if len(group) > 1:
            told = asked.replace(":", " ", 1)
            yield f"at equal distortion ({told}): {enumerated(_shares(group))}"
    yield from _unequal(rows)


def _shares(group: Sequence[Row]) -> Iterator[str]:
    first = group[0]
    for row in group:
        figure = f"{row['checkpoint']} {row['bits_per_weight']:.4g}"
        lossless = " losslessly" if row["quantizer"] == "native" else ""
        if row is first:
            yield f"{figure} bits per weight{lossless} ({row['kind']}, {row['estimator']})"
            continue
        change = 100 * (row["bits_per_weight"] / first["bits_per_weight"] - 1)
        signed = f"{change:+.1f} %".replace("-", "−")
        yield f"{figure}{lossless} ({signed})"


def _unequal(rows: TableRows) -> Iterator[str]:
    """Quantizers of fixed levels whose errors differ between checkpoints."""
    whole = rows.records(scope="model")  # of which files of equal function may differ in errors
    known = [row for row in whole if row["nmse"] > 0 and row["estimator"] != FUNCTION]
    for (quantizer,), group in grouped(known, "quantizer").items():
        each = {row["checkpoint"]: row["nmse"] for row in group}
        low, high = min(each.values()), max(each.values())
        if high > _APART * low:
            yield (
                f"{quantizer}: the errors of these checkpoints differ (nmse {low:.2g} to "
                f"{high:.2g}), and so its bits compare errors as much as complexity"
            )


def _counts(row: Row) -> bool:
    return is_known(row["bits"]) and row["covered"] == row["numel"] and not row["saturated"]


def _named(row: Row) -> dict[str, Any]:
    plain = {name: row[name] for name in DISTORTION if name not in ("asked", "nmse", "estimator")}
    return {**plain, "estimator": estimator_label(row)}


def _value(quantizer: str) -> float:
    return float(quantizer.removeprefix(_SET).partition(",")[0])
