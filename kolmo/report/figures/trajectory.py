"""The figure of a series: complexity against step, and under it the metrics of training.

Filled marks on solid lines are bounds, hollow ones on dashed lines estimates; a pale band is the
range of a null model (95 % of draws, by Student's t) in the colour of the estimator that it
belongs to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.errors import InputError
from kolmo.intervals import draw_widths, half_widths
from kolmo.report.data import ReportData
from kolmo.report.figures.drawing import INK, SOFT, Canvas, name_label
from kolmo.report.figures.marks import Series, series_of
from kolmo.report.table import measured_rows, null_names

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_GROUPS = 3  # panels of metrics
# Parts of names by which metrics of one kind share a panel.
_USUAL = ("loss", "acc", "err", "perplexity", "ppl", "score", "f1")
_NULL_LINES: tuple[Any, ...] = (":", "-.", "--", (0, (1, 3)))


def draw_trajectory(
    report: ReportData,
    quantizer: str | None = None,
    metrics: Sequence[str] | None = None,
    relative: bool = False,
    canvas: Canvas = Canvas(),  # noqa: B008 (it is frozen)
) -> Figure:
    """The figure; `kolmo.report.figures.plots.Plots.trajectory` documents the options."""
    if report.kind != "trajectory":
        raise InputError("this report is of no series: kolmo.trajectory makes one")
    series = report.series
    whole = report.table[report.table["scope"] == "model"]
    if whole.empty:
        raise InputError("there is no model scope in this report: measure with scope='both'")
    rows = measured_rows(whole, quantizer)
    rows = rows.assign(step=rows["checkpoint"].map(series["steps"]).astype(float))
    if relative:
        rows = _relative(rows)
    panels = list(rows.groupby("quantizer", sort=False))
    groups = _groups(series, metrics)
    with canvas.style():
        figure, axes = canvas.stack([2.3] * len(panels) + [1.5] * len(groups), 7.6)
        estimators, nulls = series_of(rows), null_names(rows)
        for axis, (spec, group) in zip(axes, panels, strict=False):
            _draw_complexity(axis, group, estimators, nulls, relative)
            axis.set_title(f"quantizer {spec}")
        for axis, names in zip(axes[len(panels) :], groups, strict=True):
            _draw_metrics(axis, series, names)
        _finish(axes[-1], series, rows["step"])
        figure.align_ylabels(axes)
        canvas.legend(figure, _handles(estimators, nulls), 3)
    return figure


def _relative(rows: pd.DataFrame) -> pd.DataFrame:
    """Bits, and those of nulls, in percent of the estimator's own at the first step."""
    keys = ["quantizer", "estimator", "layout"]
    ordered = rows.sort_values("step", kind="stable")
    first = ordered.groupby(keys, sort=False, dropna=False)["bits"].transform("first")
    shares = {name: 100 * ordered[name] / first for name in ("null_bits", "null_sd")}
    per_weight = ordered["standard_error"] / first * 100
    figure = 100 * ordered["bits"] / first
    return ordered.assign(bits_per_weight=figure, covered=1, standard_error=per_weight, **shares)


def _draw_complexity(
    axis: Axes,
    rows: pd.DataFrame,
    estimators: Sequence[Series],
    nulls: Sequence[str],
    relative: bool,
) -> None:
    for one in estimators:
        group = one.of(rows).sort_values("step", kind="stable")
        if group.empty:
            continue
        for null, line in zip(nulls, _NULL_LINES * len(nulls), strict=False):
            _draw_null(axis, group[group["null"] == null], one, line)
        once = group.drop_duplicates("step")
        error = half_widths(once["standard_error"] / once["covered"], once["degrees"])
        colour = one.colour
        axis.vlines(
            once["step"],
            once["bits_per_weight"] - error,
            once["bits_per_weight"] + error,
            color=colour,
            zorder=2,
        )
        axis.plot(
            once["step"],
            once["bits_per_weight"],
            **_look(one),
        )
    axis.set_ylabel("percent of the first" if relative else "bits per weight")
    axis.margins(x=0.02, y=0.12)


def _look(one: Series) -> dict[str, Any]:
    line = "-" if one.kind == "bound" else (0, (4, 2))
    colour = one.colour
    return {**one.mark, "linestyle": line, "color": colour, "markersize": 5, "linewidth": 1.5}


def _draw_null(axis: Axes, rows: pd.DataFrame, one: Series, line: Any) -> None:
    rows = rows[rows["null_bits"].notna()]
    if rows.empty:
        return
    mean = rows["null_bits"] / rows["covered"]
    width = draw_widths(rows["null_sd"] / rows["covered"], rows["null_draws"])
    colour = one.colour
    axis.fill_between(
        rows["step"], mean - width, mean + width, color=colour, alpha=0.16, linewidth=0, zorder=1
    )
    axis.plot(rows["step"], mean, linestyle=line, color=colour, linewidth=1.1, alpha=0.7, zorder=1)


# --- metrics ----------------------------------------------------------------------------------


def _groups(series: Mapping[str, Any], wanted: Sequence[str] | None) -> list[list[str]]:
    """Metrics by panel: losses together, accuracies together, any other metric alone."""
    known = [name for name in series["metrics"] if name != series["unit"]]
    if wanted is not None:
        lacking = next((name for name in wanted if name not in known), None)
        if lacking is not None:
            raise InputError(
                f"no metric {lacking!r} here (there are: {', '.join(known) or 'none'})"
            )
        known = list(wanted)
    groups: dict[str, list[str]] = {}
    for name in known:
        usual = next((word for word in _USUAL if word in name.lower()), None)
        groups.setdefault(usual or name, []).append(name)
    if wanted is None and any(word in groups for word in _USUAL):
        groups = {word: names for word, names in groups.items() if word in _USUAL}
    return list(groups.values())[: None if wanted is not None else _MOST_GROUPS]


def _draw_metrics(axis: Axes, series: Mapping[str, Any], names: Sequence[str]) -> None:
    steps = series["metrics"][series["unit"]]
    for number, name in enumerate(names):
        values = [math.nan if v is None else float(v) for v in series["metrics"][name]]
        axis.plot(
            steps,
            values,
            color=(INK, SOFT, "#a3622c", "#12908f")[number % 4],
            linewidth=1.5,
            marker="." if len(steps) <= 40 else "",
            markersize=5,
            label=name_label(name.replace("_", " "), 30),
        )
    if len(names) == 1:
        axis.set_ylabel(fill(name_label(names[0].replace("_", " "), 34), 18))
    else:
        axis.legend(loc="best")
    axis.margins(x=0.02, y=0.12)


def _finish(axis: Axes, series: Mapping[str, Any], steps: pd.Series) -> None:
    """The axis of steps; logarithmic where most steps crowd at its start."""
    axis.set_xlabel(series["unit"])
    known = np.unique(np.asarray(steps, float))
    positive = known[known > 0]
    if len(positive) >= 4 and np.mean(positive < 0.1 * positive[-1]) > 0.6 and known[0] >= 0:
        axis.set_xscale("symlog", linthresh=float(positive[0]))
        axis.xaxis.set_major_formatter("{x:,.6g}")
        axis.set_xlim(left=-0.05 * positive[0] if known[0] == 0 else 0.9 * positive[0])
    elif all(step.is_integer() for step in known):
        from matplotlib.ticker import MaxNLocator

        axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _handles(estimators: Sequence[Series], nulls: Sequence[str]) -> list[Artist]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [Line2D([], [], **_look(one)) for one in estimators]
    handles += [
        Line2D([], [], linestyle=line, color=SOFT, label=f"{name_label(null)} null")
        for null, line in zip(nulls, _NULL_LINES * len(nulls), strict=False)
    ]
    if nulls:
        handles.append(Patch(color=SOFT, alpha=0.2, label="95 % of a null's draws"))
    return handles
