"""Figures of bits per weight: every tensor, or models side by side.

Filled marks are bounds, hollow ones estimates, and struck through where they are saturated; a pale
bar is the range of a null model: 95 % of draws, by Student's t of as many as there are
(`kolmo.intervals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.errors import InputError
from kolmo.intervals import draw_widths, half_widths
from kolmo.report.figures.drawing import (
    INK,
    MOST_CHECKPOINTS,
    MOST_LABELS,
    PALE,
    SOFT,
    Canvas,
    in_natural_order,
    is_leftmost,
    is_narrow,
    name_label,
)
from kolmo.report.figures.marks import Series, null_colour, series_of
from kolmo.report.table import measured_rows, null_names
from kolmo.spoken import option

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STRIKE: Any = {"marker": [(-1, -1), (1, 1)], "linestyle": "none", "color": INK, "markersize": 11}
_TALL, _LOW = 22.0, 12.0  # inches: most of a panel whose names are all shown; of one with more
_MANY = 300  # marks of one kind, from which on they are an image within an SVG or PDF


def layer_rows(table: pd.DataFrame, quantizer: str | None) -> pd.DataFrame:
    """The rows that the figure of layers shows, in the natural order of the tensors."""
    rows = table[table["scope"] == "tensor"]
    if rows.empty:
        raise InputError(
            f"there is no tensor scope in this report: measure with {option('scope', 'both')}"
        )
    rows = measured_rows(rows, quantizer)
    models = rows["checkpoint"].nunique()
    if models > MOST_CHECKPOINTS:
        raise InputError(
            f"the layers of {models} checkpoints do not fit one figure: "
            f"take a part of the table, {MOST_CHECKPOINTS} checkpoints at most"
        )
    return by_tensor(rows)


def by_tensor(rows: pd.DataFrame) -> pd.DataFrame:
    """Checkpoint after checkpoint as they come, the tensors of each in natural order."""
    order = {name: number for number, name in enumerate(rows["checkpoint"].unique())}
    rows = in_natural_order(rows)
    return rows.loc[rows["checkpoint"].map(order).sort_values(kind="stable").index]


def draw_layers(rows: pd.DataFrame, canvas: Canvas) -> Figure:
    """One panel for each checkpoint and quantizer; those of one quantizer share their axis."""
    models, quantizers = (list(dict.fromkeys(rows[c])) for c in ("checkpoint", "quantizer"))
    series, nulls = series_of(rows), null_names(rows)
    cells = list(product(models, quantizers))
    with canvas.style():
        figure, axes = canvas.panels(len(models), len(quantizers), _height(rows, series, nulls))
        shown: list[str] = []
        for axis, (name, spec) in zip(axes, cells, strict=False):
            of_spec = rows[rows["quantizer"] == spec]
            group = of_spec[of_spec["checkpoint"] == name]
            names = draw_panel(
                axis, group, "tensor", series, nulls, 0.8 if nulls else 0.0, _edge(of_spec)
            )
            axis.set_title(f"{name_label(name, 24)}, {spec}")
            alone = is_leftmost(axis) or names != shown
            axis.tick_params(axis="y", labelsize="x-small", labelleft=alone)
            shown = names
        hide(axes[len(cells) :])
        _share_ends(axes, [spec for _, spec in cells])
        canvas.legend(figure, legend_handles(axes, series, nulls))
    return figure


def draw_models(rows: pd.DataFrame, canvas: Canvas) -> Figure:
    """One panel for each quantizer, in it a line for each checkpoint."""
    series, nulls = series_of(rows), null_names(rows)
    panels = list(rows.groupby("quantizer", sort=False))
    models = rows["checkpoint"].nunique()
    with canvas.style():
        height = 1.4 + max(0.13 * len(series), 0.45) * max(models, 2)
        figure, axes = canvas.panels(1, len(panels), height)
        for axis, (spec, group) in zip(axes, panels, strict=False):
            draw_panel(axis, group, "checkpoint", series, nulls, 0.7, _edge(group))
            axis.set_title(f"quantizer {spec}")
            axis.tick_params(axis="y", labelsize="medium", labelleft=is_leftmost(axis))
            for line in range(models - 1):
                axis.axhline(line + 0.5, color=PALE, linewidth=1)
        hide(axes[len(panels) :])
        canvas.legend(figure, legend_handles(axes, series, nulls))
    return figure


def hide(axes: Sequence[Axes]) -> None:
    """Leave these panels blank."""
    for axis in axes:
        axis.set_axis_off()


def _height(rows: pd.DataFrame, series: Sequence[Series], nulls: Sequence[str]) -> float:
    longest = int(rows.groupby("checkpoint")["tensor"].nunique().max())
    pitch = max(0.16, 0.07 * len(series)) if nulls else 0.16
    return 1.2 + min(max(longest * pitch, 1.6), _TALL if longest <= MOST_LABELS else _LOW)


def _share_ends(axes: Sequence[Axes], specs: Sequence[str]) -> None:
    """One end of the axis for all panels of a quantizer, so that lengths may be compared."""
    for spec in dict.fromkeys(specs):
        panels = [axis for axis, one in zip(axes, specs, strict=False) if one == spec]
        end = max(axis.get_xlim()[1] for axis in panels)
        for axis in panels:
            axis.set_xlim(0, end)


# --- one panel ------------------------------------------------------------------------------


def draw_panel(
    axis: Axes,
    rows: pd.DataFrame,
    column: str,
    series: Sequence[Series],
    nulls: Sequence[str],
    spread: float,
    edge: float,
) -> list[str]:
    """A line for each name in `column`, within it a lane for each estimator; the names."""
    axis.set_xlabel("bits per weight")
    axis.grid(axis="y", visible=False)
    if rows.empty:
        return []
    names = list(dict.fromkeys(rows[column]))
    place = {name: number for number, name in enumerate(names)}
    lanes = [(one, one.of(rows)) for one in series if len(one.of(rows))]
    lane = spread / len(lanes)
    for number, (one, group) in enumerate(lanes):
        y = group[column].map(place).to_numpy(float) + lane * (number + 0.5) - spread / 2
        _draw_nulls(axis, group, nulls, y, lane or 0.6, edge)
        _draw_marks(axis, one, group, y, edge)
    _draw_raw(axis, rows)
    label_names(axis, names)
    axis.set_xlim(0, 1.03 * min(edge, axis.get_xlim()[1]))
    return names


def label_names(axis: Axes, names: Sequence[str]) -> None:
    """Names on the y axis from top to bottom, as many as can be read, ticks no wider than them."""
    step = -(-len(names) // MOST_LABELS) if len(names) <= MOST_LABELS else -(-len(names) // 75)
    most = 22 if is_narrow(axis) else 44
    axis.set_yticks(range(0, len(names), step), [name_label(name, most) for name in names[::step]])
    axis.set_ylim(len(names) - 0.4, -0.6)
    if step > 1:
        axis.tick_params(axis="y", width=0.4, length=2)


def _edge(rows: pd.DataFrame) -> float:
    """The end of the axis: a third beyond all ordinary values. Tiny tensors, whose bits are mostly
    a compressor's headers, would lie far beyond it and mean nothing."""
    raw = float((rows["raw_bits"] / rows["covered"]).max())
    keys = ["checkpoint", "estimator", "layout", "kind"]
    usual = rows.groupby(keys, dropna=False)["bits_per_weight"].median().max()
    return 1.33 * max(float(usual), raw)


def _draw_marks(axis: Axes, one: Series, rows: pd.DataFrame, y: Any, edge: float) -> None:
    """Draw marks with their 95 % interval, if there is an error; arrows beyond the edge."""
    x = rows["bits_per_weight"].to_numpy(float)
    error = half_widths(rows["standard_error"] / rows["covered"], rows["degrees"])
    inside, struck = x <= edge, rows["saturated"].to_numpy(bool)
    unsure = inside & (error > 0)
    image = len(x) > _MANY
    look: dict[str, Any] = {**one.mark, "rasterized": image}
    if image and one.kind != "bound":
        look["markerfacecolor"] = "none"  # a page cannot change colours within an image
    if len(set(y)) > MOST_LABELS:
        look |= {"markersize": 3.2, "markeredgewidth": 0.8}
    ends = (x - error)[unsure], (x + error)[unsure]
    axis.hlines(y[unsure], *ends, color=one.colour, zorder=2)
    axis.plot(x[inside], y[inside], **look)
    axis.plot(x[inside & struck], y[inside & struck], zorder=4, label="_", **_STRIKE)
    beyond = np.full(int((~inside).sum()), edge)
    axis.plot(beyond, y[~inside], ">", color=one.colour, markersize=4, zorder=3, rasterized=image)


def _draw_nulls(
    axis: Axes, rows: pd.DataFrame, nulls: Sequence[str], y: Any, lane: float, edge: float
) -> None:
    """Draw each null model: its mean, and the range of 95 % of its draws."""
    mean = (rows["null_bits"] / rows["covered"]).to_numpy(float)
    width = draw_widths(rows["null_sd"] / rows["covered"], rows["null_draws"])
    for null in nulls:
        chosen = (rows["null"] == null).to_numpy() & (mean <= edge)
        m, w = mean[chosen], width[chosen]
        look: dict[str, Any] = {"color": null_colour(null), "rasterized": len(m) > _MANY}
        wide = w > 0
        bars = axis.barh(
            y[chosen][wide],
            2 * w[wide],
            0.9 * lane,
            (m - w)[wide],
            alpha=0.35,
            linewidth=0,
            zorder=1,
            **look,
        )
        bars.set_label("_")
        ends = (y[chosen] - 0.45 * lane, y[chosen] + 0.45 * lane)
        axis.vlines(m, *ends, linewidth=1.2, zorder=2, **look)


def _draw_raw(axis: Axes, rows: pd.DataFrame) -> None:
    """Draw a line at the raw bits per weight, if they are the same for all rows."""
    widths = (rows["raw_bits"] / rows["covered"]).dropna().unique()
    if len(widths) != 1:
        return
    axis.axvline(widths[0], color=SOFT, linestyle=":", linewidth=1.2, zorder=1)
    axis.annotate(
        "raw",
        (widths[0], 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize="small",
        color=SOFT,
    )


def legend_handles(
    axes: Sequence[Axes], series: Sequence[Series], nulls: Sequence[str]
) -> list[Artist]:
    """What the marks and bars of these panels mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [Line2D([], [], **one.mark) for one in series]
    handles += [
        Patch(color=null_colour(null), alpha=0.35, linewidth=0,
              label=f"{name_label(null)} null (95 % of draws)")
        for null in nulls
    ]  # fmt: skip
    if _has(axes, lambda line: line.get_marker() == ">"):
        arrow: Any = {"linestyle": "none", "marker": ">", "color": SOFT, "markersize": 4}
        handles.append(Line2D([], [], label="beyond the axis", **arrow))
    if _has(axes, lambda line: isinstance(line.get_marker(), list)):
        handles.append(Line2D([], [], label="saturated: no evidence", **_STRIKE))
    return handles


def _has(axes: Sequence[Axes], wanted: Any) -> bool:
    return any(wanted(line) and np.size(line.get_ydata()) for axis in axes for line in axis.lines)
