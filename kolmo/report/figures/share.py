"""The figure of how each layer compares with its own shuffle: bits in % of shuffled, by depth.

Its axis is that of deviations from 100 %: linear around it, logarithmic farther away, so that a
saving of .1 % is seen beside one of 50 %. Tensors stand in their natural order within the kind of
module that they belong to; a pale band is the range of the shuffles, 95 % of draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kolmo.errors import InputError
from kolmo.intervals import draw_widths
from kolmo.report.figures.drawing import (
    INK,
    MOST_CHECKPOINTS,
    PALE,
    PAPER,
    SOFT,
    Canvas,
    in_natural_order,
    name_label,
)
from kolmo.report.figures.marks import line_of, series_of
from kolmo.report.layers import sides_of
from kolmo.report.module_kinds import KINDS, depth_of, kind_of
from kolmo.report.table import estimator_labels, whole_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE = 0.085  # share of the axis that a kind takes at least: its name has to fit
_FEW = 14  # tensors whose names can be written at the axis
_MANY = 300


def share_rows(
    table: pd.DataFrame, null: str, quantizer: str | None = None, estimator: str | None = None
) -> pd.DataFrame:
    """The tensors that were compared with a null, in the order of the figure.

    The columns ``share`` and ``width`` are % of the null's bits: the actual bits, and how far
    from 100 the next draw lies in 95 %; ``group`` is the kind of module, ``place`` the place on
    the axis. A figure that is the same in every draw and in the weights themselves, as an order-0
    code's is of shuffles, sees nothing and is left out.

    Raises
    ------
    InputError
        If no tensor was compared with this null by what can see it.
    """
    rows = table[table["scope"].isin(["tensor", "sample"]) & table["tensor"].notna()]
    rows = rows[(rows["tensor"] != "") & (rows["null"] == null) & (rows["null_bits"] > 0)]
    rows = whole_rows(rows[rows["bits"].notna()])
    for column, wanted in (("quantizer", quantizer), ("estimator", estimator)):
        if wanted is not None:
            known = estimator_labels(rows) if column == "estimator" else rows[column]
            rows = rows[(known == wanted) | (rows[column] == wanted)]
    rows = rows[(rows["null_sd"] > 0) | (rows["bits"] != rows["null_bits"])]
    if rows.empty:
        raise InputError(f"no tensor was compared with the null {null!r} by what can see it")
    if rows["checkpoint"].nunique() > MOST_CHECKPOINTS:
        raise InputError(f"the tensors of {rows['checkpoint'].nunique()} checkpoints do not fit")
    widths = draw_widths(rows["null_sd"] / rows["null_bits"], rows["null_draws"])
    rows = rows.assign(share=100 * rows["bits"] / rows["null_bits"], width=100 * widths)
    return _placed(in_natural_order(rows))


def _placed(rows: pd.DataFrame) -> pd.DataFrame:
    """With the kind of each tensor and its place: kinds side by side, wide enough for a name."""
    shapes = dict(zip(rows["tensor"], rows["shape"], strict=True))
    names = list(shapes)
    kinds = {name: kind_of(name, sides_of(shape)) for name, shape in shapes.items()}
    rows = rows.assign(group=rows["tensor"].map(kinds))
    members = {kind: [n for n in names if kinds[n] == kind] for kind in KINDS}
    members = {kind: group for kind, group in members.items() if group}
    least = max(1.0, _WIDE * len(names))
    place: dict[str, float] = {}
    start = 0.0
    for group in members.values():
        room = max(len(group), least)
        step = room / len(group)
        place |= {name: start + step * (number + 0.5) for number, name in enumerate(group)}
        start += room
    return rows.assign(place=rows["tensor"].map(place))


def draw_share(rows: pd.DataFrame, null: str, canvas: Canvas) -> Figure:
    """One panel for each checkpoint; see `kolmo.report.figures.plots.Plots.shuffle_share`."""
    checkpoints = list(rows.groupby("checkpoint", sort=False))
    with canvas.style():
        figure, axes = canvas.stack([3.0] * len(checkpoints), 9.5)
        series, threshold = series_of(rows), linear_part(rows)
        for axis, (checkpoint, group) in zip(axes, checkpoints, strict=True):
            for one in series:
                for spec, line in one.of(group).groupby("quantizer", sort=False):
                    _draw_line(axis, line, one.mark, one.colour, line_of(str(spec)))
            axis.set_title(name_label(str(checkpoint), 40), pad=30)
            axis.set_ylabel(f"bits, % of {null}")
            axis.axhline(0, color=SOFT, linewidth=1.2, zorder=1)
            _scale(axis, rows, threshold)
            _divide(axis, rows)
        _label_places(axes[-1], rows)
        canvas.legend(figure, _legend(rows, series, null))
    return figure


def _draw_line(axis: Axes, rows: pd.DataFrame, mark: Any, colour: str, line: Any) -> None:
    """An estimator's figures, joined within each kind, on the band of the draws."""
    look = {**mark, "color": colour, "linewidth": 0.9, "markersize": 4.5}
    if len(rows) > _MANY:
        look |= {"markersize": 2.6, "markeredgewidth": 0.7, "rasterized": True}
        look["markerfacecolor"] = "none" if mark["markerfacecolor"] == PAPER else colour
        line = "none"
    for _, group in rows.groupby("group", sort=False):
        x, width = group["place"].to_numpy(float), group["width"].to_numpy(float)
        axis.plot(x, group["share"] - 100, **{**look, "linestyle": line})
        if len(x) == 1:
            axis.vlines(x, -width, width, color=colour, linewidth=7, alpha=0.22, zorder=1)
        axis.fill_between(x, -width, width, color=colour, alpha=0.22, linewidth=0, zorder=1)


def linear_part(rows: pd.DataFrame) -> float:
    """How far from 100 % the axis is linear: a power of ten about as wide as the draws of those
    tensors whose draws are close."""
    widths = rows["width"][rows["width"] > 0]
    typical = float(widths.quantile(0.2)) if len(widths) else 0.1
    return float(np.clip(10.0 ** math.ceil(math.log10(typical)), 1e-3, 1.0))


def _scale(axis: Axes, rows: pd.DataFrame, threshold: float) -> None:
    """The axis of deviations; its ticks say percent of the null."""
    from matplotlib.ticker import FuncFormatter, SymmetricalLogLocator

    axis.set_yscale("symlog", linthresh=threshold, linscale=0.7)
    low = min(float((rows["share"] - 100).min()), -float(rows["width"].max()), -threshold)
    high = max(float((rows["share"] - 100).max()), float(rows["width"].max()), threshold)
    axis.set_ylim(1.7 * low, 1.7 * high)
    axis.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=threshold))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent_of(value)))
    axis.grid(axis="x", visible=False)


def percent_of(deviation: float) -> str:
    """A deviation as percent of the null.

    >>> percent_of(-0.01), percent_of(0.0), percent_of(10.0)
    ('99.99 %', '100 %', '110 %')
    """
    return f"{100 + deviation:.10g} %"


def _divide(axis: Axes, rows: pd.DataFrame) -> None:
    """Lines between the kinds of modules, and their names above."""
    ends = kind_ends(rows)
    axis.set_xlim(0, max(end for _, _, end in ends))
    for number, (kind, first, end) in enumerate(ends):
        if number % 2:
            axis.axvspan(first, end, color=PALE, alpha=0.6, linewidth=0, zorder=0)
        if len(ends) > 1:
            axis.annotate(kind, ((first + end) / 2, 1), xycoords=("data", "axes fraction"),
                          xytext=(0, 4), textcoords="offset points", ha="center", va="bottom",
                          fontsize="small", color=INK)  # fmt: skip


def kind_ends(rows: pd.DataFrame) -> list[tuple[str, float, float]]:
    """The kinds of modules from left to right, with the ends of their room on the axis."""
    once = rows.drop_duplicates("tensor").sort_values("place")
    found, start = [], 0.0
    for kind, places in once.groupby("group", sort=False)["place"]:
        end = float(places.iloc[-1] + places.iloc[0] - start)
        found.append((str(kind), start, end))
        start = end
    return found


def _label_places(axis: Axes, rows: pd.DataFrame) -> None:
    """The names of a few tensors; of many, the numbers of their blocks."""
    once = rows.drop_duplicates("tensor").sort_values("place")
    if len(once) <= _FEW:
        labels = [name_label(name, 26) for name in once["tensor"]]
        axis.set_xticks(once["place"], labels, rotation=30, ha="right", fontsize="x-small")
        return
    ticks = _block_ticks(once)
    axis.set_xticks([x for x, _ in ticks], [text for _, text in ticks], fontsize="x-small")
    axis.tick_params(axis="x", width=0.5, length=2.5)
    axis.set_xlabel("block, in natural order within each kind of module")


def _block_ticks(once: pd.DataFrame) -> list[tuple[float, str]]:
    """Where a block begins within a kind; those that would stand on each other are left out."""
    room, ticks = float(once["place"].max()) / 38, list[tuple[float, str]]()
    for _, group in once.groupby("group", sort=False):
        last: int | None = None
        for name, x in zip(group["tensor"], group["place"], strict=True):
            depth = depth_of(name)
            if depth not in (None, last) and (not ticks or x - ticks[-1][0] >= room):
                ticks.append((float(x), str(depth)))
            last = depth
    return ticks


def _legend(rows: pd.DataFrame, series: Sequence[Any], null: str) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Line2D([], [], **{**one.mark, "markersize": 5}) for one in series]
    quantizers = list(dict.fromkeys(rows["quantizer"]))
    for spec in quantizers:
        handles.append(Line2D([], [], color=SOFT, linestyle=line_of(spec), label=spec))
    if (rows["width"] > 0).any():
        handles.append(Patch(color=SOFT, alpha=0.25, linewidth=0, label=f"95 % of {null} draws"))
    return handles
