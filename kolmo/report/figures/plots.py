"""Figures of a report: bits per weight by layer, models side by side, where the bits go.

Filled marks are bounds, hollow ones estimates; a pale bar is the range of a null model: 95 % of
draws, by Student's t of as many as there are (`kolmo.intervals`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.errors import InputError
from kolmo.intervals import draw_widths, half_widths
from kolmo.report.data import ReportData
from kolmo.report.figures.drawing import (
    MOST_CHECKPOINTS,
    MOST_LABELS,
    grid,
    name_label,
    png_bytes,
    save_figure,
    style,
)
from kolmo.report.figures.marks import Series, series_of
from kolmo.report.figures.parts import draw_agreement, draw_attribution, draw_bitplanes
from kolmo.report.figures.trajectory import draw_trajectory
from kolmo.report.table import measured_rows, model_rows, null_names
from kolmo.spoken import option

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Plots", "figures", "png_bytes", "save_figure", "style"]

_NULL_COLOURS = ("#c8c8c8", "#d9c9e6", "#c5e0d2", "#ecd9bf")


def figures(report: ReportData) -> dict[str, Figure | InputError]:
    """All figures of a report; the error instead of a figure that cannot be drawn."""
    plot = Plots(report)
    drawers: dict[str, Callable[[], Figure]] = {
        "Models": plot.compare,
        "Layers": plot.layers,
        "Attribution": plot.attribution,
        "Bit-planes": plot.bitplanes,
        "Agreement": plot.agreement,
    }
    if report.kind == "trajectory":
        drawers = {"Trajectory": plot.trajectory, **drawers}
    drawn: dict[str, Figure | InputError] = {}
    for title, draw in drawers.items():
        try:
            drawn[title] = draw()
        except InputError as error:
            drawn[title] = error
    return drawn


class Plots:
    """The figures of a report."""

    def __init__(self, report: ReportData) -> None:
        self._report, self._table = report, report.table

    def layers(self, quantizer: str | None = None) -> Figure:
        """Bits per weight of every tensor: one panel for each checkpoint and quantizer.

        Parameters
        ----------
        quantizer : str, optional
            Only this one, as the table spells it.

        Raises
        ------
        InputError
            If the report has no tensor scope, or more checkpoints than a figure has room for.
        """
        rows = self._table[self._table["scope"] == "tensor"]
        if rows.empty:
            raise InputError(
                f"there is no tensor scope in this report: measure with {option('scope', 'both')}"
            )
        rows = measured_rows(rows, quantizer)
        models, quantizers = (list(dict.fromkeys(rows[c])) for c in ("checkpoint", "quantizer"))
        if len(models) > MOST_CHECKPOINTS:
            raise InputError(
                f"the layers of {len(models)} checkpoints do not fit one figure: "
                f"take a part of the table, {MOST_CHECKPOINTS} checkpoints at most"
            )
        series, nulls = series_of(rows), null_names(rows)
        longest = min(int(rows.groupby("checkpoint")["tensor"].nunique().max()), MOST_LABELS)
        pitch = max(0.16, 0.07 * len(series)) if nulls else 0.16
        height = 1.2 + min(max(longest * pitch, 1.6), 22)
        with style():
            figure, axes = grid(len(models), len(quantizers), height)
            for axis, (name, spec) in zip(axes, product(models, quantizers), strict=True):
                group = rows[(rows["checkpoint"] == name) & (rows["quantizer"] == spec)]
                _draw(axis, group, "tensor", series, nulls, 0.8 if nulls else 0.0)
                axis.set_title(f"{name_label(name, 24)}, {spec}")
                axis.tick_params(axis="y", labelsize=7.5, labelleft=spec == quantizers[0])
            _legend(figure, series, nulls)
        return figure

    def compare(self, quantizer: str | None = None) -> Figure:
        """Bits per weight of whole models side by side: one panel for each quantizer.

        Parameters
        ----------
        quantizer : str, optional
            Only this one, as the table spells it.

        Raises
        ------
        InputError
            If nothing was measured.
        """
        rows = measured_rows(model_rows(self._table), quantizer)
        series, nulls = series_of(rows), null_names(rows)
        panels = list(rows.groupby("quantizer", sort=False))
        models = rows["checkpoint"].nunique()
        with style():
            height = 1.4 + max(0.13 * len(series), 0.45) * max(models, 2)
            figure, axes = grid(1, len(panels), height)
            for axis, (spec, group) in zip(axes, panels, strict=True):
                _draw(axis, group, "checkpoint", series, nulls, 0.7)
                axis.set_title(f"quantizer {spec}")
                axis.tick_params(axis="y", labelleft=axis is axes[0])
            _legend(figure, series, nulls)
        return figure

    def trajectory(
        self,
        quantizer: str | None = None,
        metrics: Sequence[str] | None = None,
        relative: bool | None = None,
    ) -> Figure:
        """Complexity of the whole model against step: one panel for each quantizer, and metrics.

        Parameters
        ----------
        quantizer : str, optional
            Only this one, as the table spells it.
        metrics : list of str, optional
            Metrics to draw, in one panel for each kind; losses and accuracies by default.
        relative : bool, optional
            Draw percent of each estimator's own figure at the first step and, beside it where
            shuffles were drawn, percent of the shuffles of the same weights; by default as
            `kolmo.trajectory` was asked to.

        Raises
        ------
        InputError
            If the report is no trajectory, or has no model scope.
        """
        return draw_trajectory(self._report, quantizer, metrics, relative)

    def attribution(self, scope: str | None = None, quantizer: str | None = None) -> Figure:
        """Where the raw bits go: residual, structure and marginal of the best bound, stacked.

        Parameters
        ----------
        scope : {"model", "tensor"}, optional
            Whole models by default, one panel for each quantizer; with ``tensor`` one panel for
            each checkpoint and quantizer.
        quantizer : str, optional
            Only this one, as the table spells it.

        Raises
        ------
        InputError
            If the report has no null ``shuffled``, or nothing to draw.
        """
        return draw_attribution(self._table, scope, quantizer)

    def bitplanes(self, quantizer: str | None = None) -> Figure:
        """The share of each bit-plane that is saved; planes like coin flips are blank.

        Raises
        ------
        InputError
            If the estimator ``planes`` was not measured.
        """
        return draw_bitplanes(self._table, quantizer)

    def agreement(self, over: str | None = None) -> Figure:
        """Rank correlation of each pair of measurements, over tensors or models.

        Parameters
        ----------
        over : {"tensors", "models"}, optional
            Tensors, one panel for each checkpoint, where there are any; else models.

        Raises
        ------
        InputError
            If no two measurements can be compared.
        """
        return draw_agreement(self._table, over)


def _draw(
    axis: Axes,
    rows: pd.DataFrame,
    column: str,
    series: Sequence[Series],
    nulls: Sequence[str],
    spread: float,
) -> None:
    """One panel: a line for each name in `column`, within it a lane for each estimator."""
    axis.set_xlabel("bits per weight")
    axis.grid(axis="y", visible=False)
    if rows.empty:
        return
    names = list(dict.fromkeys(rows[column]))
    place = {name: number for number, name in enumerate(names)}
    lanes = [(one, one.of(rows)) for one in series if len(one.of(rows))]
    lane, edge = spread / len(lanes), _edge(lanes)
    for number, (one, group) in enumerate(lanes):
        y = group[column].map(place).to_numpy(float) + lane * (number + 0.5) - spread / 2
        _draw_nulls(axis, group, nulls, y, lane or 0.6, edge)
        _draw_marks(axis, one, group, y, edge)
    _draw_raw(axis, rows)
    step = -(-len(names) // MOST_LABELS)
    axis.set_yticks(range(0, len(names), step), [name_label(name) for name in names[::step]])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(0, 1.03 * min(edge, axis.get_xlim()[1]))


def _edge(lanes: Sequence[tuple[Series, pd.DataFrame]]) -> float:
    """The end of the axis: a third beyond all ordinary values. Tiny tensors, whose bits are mostly
    a compressor's headers, would lie far beyond it and mean nothing."""
    usual = [group["bits_per_weight"].median() for _, group in lanes]
    raw = [(group["raw_bits"] / group["covered"]).max() for _, group in lanes]
    return 1.33 * float(max(*usual, *raw))


def _draw_marks(axis: Axes, one: Series, rows: pd.DataFrame, y: Any, edge: float) -> None:
    """Draw marks with their 95 % interval, if there is an error; arrows beyond the edge."""
    x = rows["bits_per_weight"].to_numpy(float)
    error = half_widths(rows["standard_error"] / rows["covered"], rows["degrees"])
    inside, colour = x <= edge, one.mark["markeredgecolor"]
    axis.hlines(y[inside], (x - error)[inside], (x + error)[inside], color=colour, zorder=2)
    axis.plot(x[inside], y[inside], **one.mark)
    beyond = np.full(int((~inside).sum()), edge)
    axis.plot(beyond, y[~inside], ">", color=colour, markersize=4, zorder=3)


def _draw_nulls(
    axis: Axes, rows: pd.DataFrame, nulls: Sequence[str], y: Any, lane: float, edge: float
) -> None:
    """Draw each null model: its mean, and the range of 95 % of its draws."""
    mean = (rows["null_bits"] / rows["covered"]).to_numpy(float)
    width = draw_widths(rows["null_sd"] / rows["covered"], rows["null_draws"])
    for number, null in enumerate(nulls):
        chosen = (rows["null"] == null).to_numpy() & (mean <= edge)
        m, w = mean[chosen], width[chosen]
        colour = _NULL_COLOURS[number % len(_NULL_COLOURS)]
        bars = axis.barh(y[chosen], 2 * w, 0.9 * lane, m - w, color=colour, zorder=1)
        bars.set_label("_")
        ends = (y[chosen] - 0.45 * lane, y[chosen] + 0.45 * lane)
        axis.vlines(m, *ends, color=_darker(colour), linewidth=1.2, zorder=2)


def _darker(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(0.7 * part for part in to_rgb(colour))


def _draw_raw(axis: Axes, rows: pd.DataFrame) -> None:
    """Draw a line at the raw bits per weight, if they are the same for all rows."""
    widths = (rows["raw_bits"] / rows["covered"]).dropna().unique()
    if len(widths) != 1:
        return
    axis.axvline(widths[0], color="#999999", linestyle=":", linewidth=1.2, zorder=1)
    axis.annotate(
        "raw",
        (widths[0], 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8,
        color="#777777",
    )


def _legend(figure: Figure, series: Sequence[Series], nulls: Sequence[str]) -> None:
    """One legend for all panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [Line2D([], [], **one.mark) for one in series]
    handles += [
        Patch(color=colour, label=f"{name_label(null)} null (95 % of draws)")
        for null, colour in zip(nulls, _NULL_COLOURS * len(nulls), strict=False)
    ]
    if any(_has_arrows(axis) for axis in figure.axes):
        arrow = {"linestyle": "none", "marker": ">", "color": "#777777", "markersize": 4}
        handles.append(Line2D([], [], label="beyond the axis", **arrow))  # type: ignore[arg-type]
    columns = max(1, min(len(handles), int(figure.get_figwidth() / 2.6)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8.5)


def _has_arrows(axis: Axes) -> bool:
    return any(line.get_marker() == ">" and len(line.get_ydata()) for line in axis.lines)  # type: ignore[arg-type]
