"""A calibration in words: sentences, and the page of tables for the documentation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import pandas as pd

from kolmo.calibration.data import CalibrationData
from kolmo.calibration.objects import FAMILIES
from kolmo.calibration.ranks import ALPHA, DRAWS

COMMAND = "kolmo calibrate -o docs/calibration.md"


def cell(row: Mapping[str, object] | pd.Series) -> str:
    """``✓ 1.02``: whether it is seen, and bits / known bits.

    >>> cell({"verdict": "✗", "ratio": 110.3})
    '✗ 110'
    """
    return f"{row['verdict']} {_ratio(float(str(row['ratio'])))}"


def _ratio(value: float) -> str:
    if math.isnan(value):
        return "?"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def grid(result: CalibrationData) -> pd.DataFrame:
    """Cells, by estimator (bounds first) and family."""
    seen = result.seen.sort_values("kind", kind="stable")
    seen = seen.assign(cell=[cell(row) for _, row in seen.iterrows()])
    return _pivot(seen, "estimator", "family", "cell")


def _pivot(rows: pd.DataFrame, index: str, columns: str, values: str) -> pd.DataFrame:
    """Like `DataFrame.pivot`, in order of appearance; "" for an absent value."""
    wide = rows.pivot(index=index, columns=columns, values=values)
    down, across = (list(dict.fromkeys(rows[name])) for name in (index, columns))
    return wide.reindex(index=down, columns=across).fillna("")


def sentences(result: CalibrationData) -> Iterator[str]:
    """What was found: false positives first, then what each estimator cannot see."""
    yield from _false_positive_sentences(result)
    for estimator, rows in result.seen.groupby("estimator", sort=False):
        missed = rows[rows["verdict"] == "✗"]["family"].tolist()
        partly = rows[rows["verdict"] == "–"]["family"].tolist()
        parts = [f"does not see {', '.join(missed)}"] if missed else []
        parts += [f"sees {', '.join(partly)} now and then"] if partly else []
        yield f"{estimator} {'; '.join(parts) or 'sees all families'}."
    for spec, error in result.settings.get("failed", {}).items():
        yield f"{spec} failed and is left out: {error}."
    if "generator" in set(result.seen["family"]):
        yield (
            "The generator's output has at most 64 bits, yet nothing here sees it, nor can any "
            "practical estimator: a code length is a bound from above, never from below."
        )


def _false_positive_sentences(result: CalibrationData) -> Iterator[str]:
    pairs = result.false_positives
    exact = pairs[pairs["exact"]]
    if len(exact):
        trials, first = int(exact["trials"].min()), exact.iloc[0]
        band = f"{100 * first['band_low']:.1f} to {100 * first['band_high']:.1f} %"
        within, again = int(exact["within"].sum()), exact[exact["repeated"]]
        yield (
            f"False positives at α = {ALPHA:.2f} over {trials:,} trials: {within} of {len(exact)} "
            f"pairs of estimator and null lie in the binomial 99 % band, {band}."
        )
        if len(again):
            pairs_again = ", ".join(f"{row.label} with {row.null}" for row in again.itertuples())
            yield (
                f"{len(again)} of them had been outside at first, where chance puts "
                f"{0.01 * len(exact):.1f}, and are judged by {trials:,} fresh trials: "
                f"{pairs_again}."
            )
    for row in result.outside().itertuples():
        yield f"Outside the band: {row.label} with {row.null}, {100 * float(str(row.rate)):.1f} %."
    nearly = pairs[~pairs["exact"]]
    for null, rows in nearly.groupby("null", sort=False):
        low, high = 100 * rows["rate"].min(), 100 * rows["rate"].max()
        yield (
            f"The {null} null takes mean and deviation from the object, so that object and draws "
            f"are exchangeable only nearly: its rates were {low:.1f} to {high:.1f} %."
        )


def page(result: CalibrationData, figure: str | None = None) -> str:
    """The whole page, in Markdown; with the file of the figure, where there is one."""
    amount = result.settings
    numel = int(result.seen["numel"].max()) if len(result.seen) else 0
    shape = "×".join(map(str, amount["known_shape"]))
    parts = [
        "# Which estimator sees what",
        f"Made by `{COMMAND}` (seed {amount['seed']}), on objects whose complexity is known.",
        _how_to_read(amount, numel, shape),
        _table(grid(result).rename_axis("estimator"), _kinds(result)),
        *([f"![Which estimator sees what]({figure})"] if figure else []),
        "## In words",
        "\n".join(f"- {sentence}" for sentence in sentences(result)),
        "## The objects",
        _objects(),
        "## Does it order them rightly?",
        "Rank correlation of bits and known bits over the grades of a family (mean over seeds): "
        "1 is the right order, 0 is none. A quantity that stays the same orders nothing; and a "
        "right order is not yet sight: short periods, for one, are biased, which any code sees.",
        _table(_numbers(result.seen, "estimator", "family", "order", "{:.2f}")),
        "## False positives",
        _false_positive_text(result),
        _table(_rates(result.false_positives)),
        "## Power by size",
        _power_text(amount),
        *(_power_tables(result)),
    ]
    return "\n\n".join(parts) + "\n"


def _how_to_read(amount: Mapping[str, object], numel: int, shape: str) -> str:
    return (
        f"The symbol: **✓** an object of {numel:,} weights is told from its null (fewer bits than "
        f"all of {DRAWS} draws, α = {ALPHA:.2f}) in nine of ten trials or more; **✗** no more "
        f"often than chance explains (the binomial 99.99 % band); **–** in between "
        f"({amount['power_trials']} trials).\n\n"
        f"The figure: bits / known bits of a {shape} object (median of {amount['seeds']}). "
        "Near 1 is near the truth. Where the known value is *at most*, that of a description which "
        "only a specialist would find, the ratio is large. A ratio below 1 of an estimate is no "
        "merit, for no decoder stands behind it; `bdm`, `qubd` and `ctm` count in bits of their "
        "own, so that their ratios compare objects rather than estimators. Objects of bits are "
        "measured under `sign`, all others under `symmetric:4` (`qubd`: `affine:4`; what takes "
        "nothing but bits: their signs, against the known value of the signs). Compressors are "
        "charged their container, some tens of bytes."
    )


def _kinds(result: CalibrationData) -> dict[str, str]:
    return dict(zip(result.seen["estimator"], result.seen["kind"], strict=True))


def _table(wide: pd.DataFrame, kinds: Mapping[str, str] | None = None) -> str:
    """A table of Markdown; its index comes first, then the kind where kinds are given."""
    head = [str(wide.index.name or "estimator"), *(["kind"] if kinds else [])]
    lines = [[*head, *map(str, wide.columns)], ["---"] * (len(head) + len(wide.columns))]
    for name, row in wide.iterrows():
        own = [f"`{name}`", *([kinds[str(name)]] if kinds else [])]
        lines.append([*own, *map(str, row)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _objects() -> str:
    lines = ["| family | what it is about | known | null | grades |", "|---|---|---|---|---|"]
    for name, cls in FAMILIES.items():
        known = "exact" if cls.exact else "at most"
        grades = ", ".join(
            f"**{grade:g}**" if grade == cls.typical else f"{grade:g}" for grade in cls.grades
        )
        lines.append(f"| {name} | {cls.about} | {known} | {cls.null} | {grades} |")
    return (
        "\n".join(lines)
        + "\n\nBold: the typical grade, which symbol and figure are of. The formula "
        "of each known value is in the docstring of its class (`kolmo.calibration.FAMILIES`). "
        "Exact values are entropies of the source; since a pseudo-random generator drew them all, "
        "their K is strictly as tiny as that of `generator`."
    )


def _numbers(rows: pd.DataFrame, index: str, columns: str, values: str, form: str) -> pd.DataFrame:
    shown = rows.assign(
        shown=["" if value != value else form.format(value) for value in rows[values]]
    )
    wide = _pivot(shown, index, columns, "shown")
    return wide.loc[:, (wide != "").any()].rename_axis(index)


def _rates(pairs: pd.DataFrame) -> pd.DataFrame:
    shown = pairs.assign(shown=[_rate(row) for _, row in pairs.iterrows()])
    return _pivot(shown, "label", "null", "shown").rename_axis("estimator")


def _rate(row: pd.Series) -> str:
    bold = "**" if row["exact"] and not row["within"] else ""
    return f"{bold}{100 * row['rate']:.1f}{bold} ({100 * row['strict_rate']:.1f})"


def _false_positive_text(result: CalibrationData) -> str:
    return (
        f"Percent of noise objects of 512 weights called structured at α = {ALPHA:.2f}: fewer bits "
        f"than all of {DRAWS} draws, one-sided, ties broken by seeded random numbers so that the "
        "size of the test is exact. In brackets the rate where a tie is no finding, which is what "
        "a p-value without random numbers gives: it is never above, and 0 for estimators that a "
        "shuffle does not change. A pair outside the binomial 99 % band was tried again, on as "
        "many fresh trials; what is outside then too is **bold**. Rows (columns) have means and "
        "scales of their own in the noise of the null that keeps them. P-values are exact under "
        "all nulls but `gaussian`, whose exchangeability is only approximate: rates below the band "
        "mean that it is conservative there."
    )


def _power_text(amount: Mapping[str, object]) -> str:
    return (
        f"Share of {amount['power_trials']} objects of the typical grade that are told from their "
        f"null at α = {ALPHA:.2f}."
    )


def _power_tables(result: CalibrationData) -> Iterator[str]:
    for shape, rows in result.power.groupby("shape", sort=False):
        yield f"### {int(rows['numel'].iloc[0]):,} weights ({str(shape).replace('x', '×')})"
        yield _table(_numbers(rows, "label", "family", "power", "{:.2f}").rename_axis("estimator"))
