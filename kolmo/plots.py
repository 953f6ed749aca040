"""Figures: bits per weight by layer, and models side by side.

Drawn on Figure objects of their own: no pyplot, no global state, no backend chosen. Filled marks
are bounds, hollow ones estimates; a grey bar is the range of a null model (mean ± 2 sd).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from kolmo.errors import InputError
from kolmo.summary import model_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kolmo.report import Report

# Okabe & Ito's palette, told apart by colour-blind readers, without its yellow.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444", "#8C510A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "svg.hashsalt": "kolmo",
}


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, as a context; nothing outside it changes."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure; the suffix says the format (.png, .svg, .pdf)."""
    path = Path(path)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"{path}: a figure is a .png, .svg or .pdf file")
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with style():
        figure.savefig(path, metadata=metadata)


class Plots:
    """The figures of a report."""

    def __init__(self, report: Report) -> None:
        self._table = report.table

    def layers(self, quantizer: str | None = None) -> Figure:
        """Bits per weight of every tensor: one panel for each quantizer and checkpoint.

        Raises
        ------
        InputError
            If the report has no tensor scope.
        """
        rows = _usable(self._table[self._table["scope"] == "tensor"], quantizer)
        if rows.empty:
            raise InputError("there is no tensor scope in this report: measure with scope='both'")
        models, quantizers = (list(dict.fromkeys(rows[c])) for c in ("checkpoint", "quantizer"))
        longest = rows.groupby("checkpoint")["tensor"].nunique().max()
        height = max(3.2, 1.7 + 0.19 * min(int(longest), 60))
        with style():
            figure, axes = _grid(len(models), len(quantizers), 4.6, height)
            for axis, (name, spec) in zip(axes, product(models, quantizers), strict=True):
                group = rows[(rows["checkpoint"] == name) & (rows["quantizer"] == spec)]
                _draw_layers(axis, group, named=spec == quantizers[0])
                axis.set_title(f"{_short(name, 24)}, {spec}")
                axis.set_xlabel("bits per weight")
        return figure

    def compare(self, quantizer: str | None = None) -> Figure:
        """Bits per weight of whole models side by side: one panel for each quantizer."""
        rows = _usable(model_rows(self._table), quantizer)
        if rows.empty:
            raise InputError("there is no measured value in this report to draw")
        panels = list(rows.groupby("quantizer", sort=False))
        models = rows["checkpoint"].nunique()
        with style():
            figure, axes = _grid(1, len(panels), 4.6, 2.1 + 0.45 * max(models, 3))
            for axis, (spec, group) in zip(axes, panels, strict=True):
                _draw_models(axis, group)
                axis.set_title(f"quantizer {spec}")
                axis.set_xlabel("bits per weight")
        return figure


def _usable(rows: pd.DataFrame, quantizer: str | None) -> pd.DataFrame:
    rows = rows[rows["bits_per_weight"].notna()]
    return rows if quantizer is None else rows[rows["quantizer"] == quantizer]


def _grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    figure = _shown_figure()(figsize=(width * columns + 1.4, height * rows), layout="constrained")
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


@cache
def _shown_figure() -> type[Figure]:
    """Figure, made to show itself in a notebook, where only pyplot's figures would."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            return png_bytes(self)

    return ShownFigure


def png_bytes(figure: Figure) -> bytes:
    """A figure as a PNG."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_layers(axis: Axes, rows: pd.DataFrame, named: bool) -> None:
    if rows.empty:
        return
    names = list(dict.fromkeys(rows["tensor"]))
    place = {name: number for number, name in enumerate(names)}
    for number, (label, group) in enumerate(_series(rows)):
        height = group["tensor"].map(place)
        _mark(axis, group["bits_per_weight"], height, label, number, group, _edge(rows))
        _ranges(axis, group, height.to_numpy(float), 0.3, _edge(rows))
    _raw(axis, rows)
    step = -(-len(names) // 60)
    labels = [_short(name) if named else "" for name in names[::step]]
    axis.set_yticks(range(0, len(names), step), labels, fontsize=8)
    axis.set_ylim(len(names) - 0.4, -0.6)
    _finish(axis)


def _draw_models(axis: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys(rows["checkpoint"]))
    place = {name: number for number, name in enumerate(names)}
    series = list(_series(rows))
    for number, (label, group) in enumerate(series):
        offset = 0.6 * ((number + 0.5) / len(series) - 0.5)
        height = group["checkpoint"].map(place) + offset
        _ranges(axis, group, height.to_numpy(float), 0.6 / len(series), np.inf)
        _mark(axis, group["bits_per_weight"], height, label, number, group, edge=np.inf)
    _raw(axis, rows)
    axis.set_yticks(range(len(names)), [_short(name) for name in names])
    axis.set_ylim(len(names) - 0.5, -0.5)
    _finish(axis)


def _series(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    labels = rows["estimator"] + rows["layout"].map(lambda v: f"@{v}" if isinstance(v, str) else "")
    for label, group in rows.groupby(labels, sort=False):
        yield str(label), group


def _mark(
    axis: Axes, x: Any, y: Any, label: str, number: int, rows: pd.DataFrame, edge: float
) -> None:
    """Marks; those beyond the edge sit on it as arrows."""
    colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
    kind = "bound" if (rows["kind"] == "bound").all() else "estimate"
    beyond = x > edge
    axis.plot(
        np.full(int(beyond.sum()), edge), y[beyond], ">", color=colour, markersize=5, zorder=3
    )
    x, y = x[~beyond], y[~beyond]
    axis.plot(
        x,
        y,
        linestyle="none",
        marker=marker,
        markersize=6,
        markerfacecolor=colour if kind == "bound" else "white",
        markeredgecolor=colour,
        markeredgewidth=1.4,
        label=f"{label} ({kind})",
        zorder=3,
    )


def _edge(rows: pd.DataFrame) -> float:
    """Where the axis ends: a third beyond the widest raw width. What a compressor's container
    makes of a tiny tensor lies far beyond it and says nothing."""
    return 1.33 * float((rows["raw_bits"] / rows["numel"]).max())


def _ranges(axis: Axes, rows: pd.DataFrame, y: Any, height: float, edge: float) -> None:
    """Where the null model lies: its mean ± 2 standard deviations."""
    for (_, row), where in zip(rows.iterrows(), y, strict=True):
        if pd.isna(row["null_bits"]):
            continue
        mean = row["null_bits"] / row["numel"]
        if mean > edge:
            continue
        spread = 2 * row["null_sd"] / row["numel"] if pd.notna(row["null_sd"]) else 0.0
        axis.barh(where, 2 * spread, height, mean - spread, color="#bbbbbb", zorder=1)
        axis.plot([mean, mean], [where - height / 2, where + height / 2], color="#888888", zorder=2)


def _raw(axis: Axes, rows: pd.DataFrame) -> None:
    widths = (rows["raw_bits"] / rows["numel"]).dropna().unique()
    if len(widths) == 1:
        axis.axvline(widths[0], color="#999999", linestyle=":", linewidth=1.2, zorder=1)
        axis.annotate(
            "raw",
            (widths[0], 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3, -2),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
            color="#777777",
        )


def _finish(axis: Axes) -> None:
    axis.set_xlim(left=0, right=1.02 * axis.get_xlim()[1])
    axis.grid(axis="y", visible=False)
    figure, place = cast("Figure", axis.figure), axis.get_subplotspec()
    rows = place.get_gridspec().nrows if place else 1
    below = 0.6 * rows / figure.get_figheight() + 0.05
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -below), ncols=2, fontsize=8)


def _short(name: str, most: int = 38) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 + 1 :]}"
