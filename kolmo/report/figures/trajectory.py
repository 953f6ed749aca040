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
from kolmo.report.figures.drawing import INK, SOFT, Canvas, name_label, new_figure
from kolmo.report.figures.marks import Series, series_of
from kolmo.report.table import measured_rows, null_names
from kolmo.report.words_series import SHUFFLED
from kolmo.spoken import option

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_GROUPS = 3  # panels of metrics
# Parts of names by which metrics of one kind share a panel.
_USUAL = ("loss", "acc", "err", "perplexity", "ppl", "score", "f1")
_OF_SHUFFLE = "percent of its own shuffle"
_NULL_LINES: tuple[Any, ...] = (":", "-.", "--", (0, (1, 3)))


def draw_trajectory(
    report: ReportData,
    quantizer: str | None = None,
    metrics: Sequence[str] | None = None,
    relative: bool | None = None,
    canvas: Canvas = Canvas(),  # noqa: B008 (it is frozen)
) -> Figure:
    """The figure; `kolmo.report.figures.plots.Plots.trajectory` documents the options."""
    views = trajectory_views(report, quantizer, relative)
    rows, series = next(iter(views.values())), report.series
    groups = _groups(series, metrics)
    quantizers = list(dict.fromkeys(rows["quantizer"]))
    with canvas.style():
        figure, panels, below = _axes(canvas, len(quantizers), len(views), len(groups))
        estimators, nulls = series_of(rows), null_names(rows)
        for line, spec in zip(panels, quantizers, strict=True):
            for axis, (label, view) in zip(line, views.items(), strict=True):
                group = view[view["quantizer"] == spec]
                shown = [SHUFFLED] if label == _OF_SHUFFLE else nulls
                _draw_complexity(axis, group, estimators, shown, label)
                axis.set_title(f"quantizer {spec}")
        for axis, names in zip(below, groups, strict=True):
            _draw_metrics(axis, series, names)
        for axis in below[-1:] or panels[-1]:
            _finish(axis, series, rows["step"])
        figure.align_ylabels([*(axis for line in panels for axis in line), *below])
        canvas.legend(figure, _handles(estimators, nulls), 3)
    return figure


def trajectory_views(
    report: ReportData, quantizer: str | None = None, relative: bool | None = None
) -> dict[str, pd.DataFrame]:
    """What is drawn of whole models, by the label of its axis; with the column ``step``."""
    if report.kind != "trajectory":
        raise InputError("this report is of no series: kolmo.trajectory makes one")
    series = report.series
    whole = report.plain[report.plain["scope"] == "model"]
    if whole.empty:
        raise InputError(
            f"there is no model scope in this report: measure with {option('scope', 'both')}"
        )
    rows = measured_rows(whole, quantizer)
    rows = rows.assign(step=rows["checkpoint"].map(series["steps"]).astype(float))
    return _views(rows, bool(series.get("relative")) if relative is None else relative)


def _axes(
    canvas: Canvas, quantizers: int, views: int, groups: int
) -> tuple[Figure, list[list[Axes]], list[Axes]]:
    """The figure, its panels by quantizer and view, and those of metrics, as wide as it is."""
    if canvas.ax is not None:
        figure, given = canvas.stack([1.0] * (quantizers * views + groups), 1.0)
        lines = [given[row * views : (row + 1) * views] for row in range(quantizers)]
        return figure, lines, given[quantizers * views :]
    columns = 1 if (canvas.inches or 8) < 5 else views
    rows = quantizers * views // columns
    heights = [2.3] * rows + [1.5] * groups
    width = canvas.inches or (7.6 if views == 1 else 10.4)
    figure = new_figure(canvas.figsize or (width, sum(heights) + 1.1))
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    first = figure.add_subplot(grid[0, 0])
    cells = [
        first if place == 0 else figure.add_subplot(grid[divmod(place, columns)], sharex=first)
        for place in range(quantizers * views)
    ]
    panels = [cells[row * views : (row + 1) * views] for row in range(quantizers)]
    below = [figure.add_subplot(grid[rows + number, :], sharex=first) for number in range(groups)]
    for axis in [axis for line in panels[:-1] for axis in line] + below[:-1]:
        axis.tick_params(labelbottom=False)
    if below:
        for axis in panels[-1]:
            axis.tick_params(labelbottom=False)
    return figure, panels, below


def _views(rows: pd.DataFrame, relative: bool) -> dict[str, pd.DataFrame]:
    """What is drawn of the rows, by the label of its axis: bits, or two ratios in percent."""
    if not relative:
        return {"bits per weight": rows}
    views = {"percent of the first": _of_first(rows)}
    shuffled = rows[(rows["null"] == SHUFFLED) & (rows["null_bits"] > 0)]
    return views | ({_OF_SHUFFLE: _of_shuffle(shuffled)} if len(shuffled) else {})


def _of_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Bits, and those of nulls, in percent of the estimator's own at the first step."""
    keys = ["quantizer", "estimator", "layout"]
    ordered = rows.sort_values("step", kind="stable")
    first = ordered.groupby(keys, sort=False, dropna=False)["bits"].transform("first")
    return _percent(ordered, first)


def _of_shuffle(rows: pd.DataFrame) -> pd.DataFrame:
    """Bits in percent of the mean of the shuffles of the same weights."""
    return _percent(rows, rows["null_bits"])


def _percent(rows: pd.DataFrame, reference: pd.Series) -> pd.DataFrame:
    shares = {
        name: 100 * rows[name] / reference for name in ("null_bits", "null_sd", "standard_error")
    }
    return rows.assign(bits_per_weight=100 * rows["bits"] / reference, covered=1, **shares)


def _draw_complexity(
    axis: Axes,
    rows: pd.DataFrame,
    estimators: Sequence[Series],
    nulls: Sequence[str],
    label: str,
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
    if label != "bits per weight":
        axis.axhline(100, color="#999999", linestyle=":", linewidth=1.2, zorder=1)
        axis.ticklabel_format(axis="y", useOffset=False)
    axis.set_ylabel(label)
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
