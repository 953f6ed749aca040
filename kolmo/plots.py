"""Figures: bits per weight by layer, and models side by side.

Drawn on Figure objects of their own: no pyplot, no global state, no backend chosen. Filled marks
are bounds, hollow ones estimates; a pale bar is the range of a null model (mean ± 2 sd).
"""

from __future__ import annotations

import dataclasses
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kolmo.errors import InputError
from kolmo.report import write_atomically
from kolmo.summary import model_rows
from kolmo.text import shorten

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from kolmo.report import Report

# Okabe & Ito's palette, told apart by colour-blind readers, without its yellow.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444", "#8C510A")
MARKERS = ("o", "s", "^", "D", "v", "p", "<", "h")
_NULL_COLOURS = ("#c8c8c8", "#d9c9e6", "#c5e0d2", "#ecd9bf")

_STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 16,
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
_MOST_CHECKPOINTS = 12  # that a figure of layers has room for
_MOST_LABELS = 120  # tensor names on one axis
_MOST_PIXELS = 30_000


@contextmanager
def style() -> Iterator[None]:
    """The look of all figures, as a context; nothing outside it changes."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure; the suffix says the format (.png, .svg, .pdf).

    Raises
    ------
    InputError
        For another suffix, or a path that cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise InputError(f"{path}: a figure is a .png, .svg or .pdf file")
    write_atomically(path, lambda file: _render(figure, file, path.suffix[1:]))


def png_bytes(figure: Figure) -> bytes:
    """A figure as a PNG."""
    buffer = io.BytesIO()
    _render(figure, buffer, "png")
    return buffer.getvalue()


def figures(report: Report) -> dict[str, Figure | InputError]:
    """All figures of a report; in the place of one that cannot be drawn, the reason."""
    drawn: dict[str, Figure | InputError] = {}
    wanted = [("Models", report.plot.compare), ("Layers", report.plot.layers)]
    if report.provenance.get("series"):
        wanted.insert(0, ("Trajectory", report.plot.trajectory))
    for title, draw in wanted:
        try:
            drawn[title] = draw()
        except InputError as error:
            drawn[title] = error
    return drawn


class Plots:
    """The figures of a report."""

    def __init__(self, report: Report) -> None:
        self._table = report.table
        self._report = report

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
            raise InputError("there is no tensor scope in this report: measure with scope='both'")
        rows = _measured(rows, quantizer)
        models, quantizers = (list(dict.fromkeys(rows[c])) for c in ("checkpoint", "quantizer"))
        if len(models) > _MOST_CHECKPOINTS:
            raise InputError(
                f"the layers of {len(models)} checkpoints do not fit one figure: "
                f"take a part of the table, {_MOST_CHECKPOINTS} checkpoints at most"
            )
        series, nulls = _series(rows), _null_names(rows)
        longest = min(int(rows.groupby("checkpoint")["tensor"].nunique().max()), _MOST_LABELS)
        pitch = max(0.16, 0.07 * len(series)) if nulls else 0.16
        height = 1.2 + min(max(longest * pitch, 1.6), 22)
        with style():
            figure, axes = _grid(len(models), len(quantizers), height)
            for axis, (name, spec) in zip(axes, product(models, quantizers), strict=True):
                group = rows[(rows["checkpoint"] == name) & (rows["quantizer"] == spec)]
                _draw(axis, group, "tensor", series, nulls, 0.8 if nulls else 0.0)
                axis.set_title(f"{_label(name, 24)}, {spec}")
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
        rows = _measured(model_rows(self._table), quantizer)
        series, nulls = _series(rows), _null_names(rows)
        panels = list(rows.groupby("quantizer", sort=False))
        models = rows["checkpoint"].nunique()
        with style():
            height = 1.4 + max(0.13 * len(series), 0.45) * max(models, 2)
            figure, axes = _grid(1, len(panels), height)
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
        relative: bool = False,
    ) -> Figure:
        """Complexity of the whole model against step: one panel for each quantizer, and metrics.

        Parameters
        ----------
        quantizer : str, optional
            Only this one, as the table spells it.
        metrics : list of str, optional
            Which metrics to draw, in one panel for each kind; losses and accuracies by default.
        relative : bool
            In percent of each estimator's own figure at the first step.

        Raises
        ------
        InputError
            If the report is of no series, or has no model scope.
        """
        from kolmo.plots_trajectory import draw

        return draw(self._report, quantizer, metrics, relative)


@dataclasses.dataclass(frozen=True)
class _Series:
    """An estimator of one kind, drawn alike in all panels."""

    label: str
    kind: str
    number: int

    @property
    def mark(self) -> dict[str, Any]:
        colour = PALETTE[self.number % len(PALETTE)]
        return {
            "linestyle": "none",
            "marker": MARKERS[self.number % len(MARKERS)],
            "markersize": 6,
            "markerfacecolor": colour if self.kind == "bound" else "white",
            "markeredgecolor": colour,
            "markeredgewidth": 1.4,
            "label": f"{self.label} ({self.kind})",
            "zorder": 3,
        }

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[(_estimators(rows) == self.label) & (rows["kind"] == self.kind)]


def _measured(rows: pd.DataFrame, quantizer: str | None) -> pd.DataFrame:
    rows = rows[rows["bits_per_weight"].notna()]
    if quantizer is not None:
        rows = rows[rows["quantizer"] == quantizer]
    if rows.empty:
        which = f" with the quantizer {quantizer!r}" if quantizer is not None else ""
        raise InputError(f"there is no measured value{which} in this report to draw")
    return rows


def _estimators(rows: pd.DataFrame) -> pd.Series:
    layouts = rows["layout"].map(lambda v: f"@{v}" if isinstance(v, str) else "")
    return rows["estimator"] + layouts


def _series(rows: pd.DataFrame) -> list[_Series]:
    pairs = list(dict.fromkeys(zip(_estimators(rows), rows["kind"], strict=True)))
    labels = list(dict.fromkeys(label for label, _ in pairs))
    return [_Series(label, kind, labels.index(label)) for label, kind in pairs]


def _null_names(rows: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(rows["null"][rows["null_bits"].notna()]))


def _grid(rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    size = (4.4 * columns + 1.6, height * rows + 0.6)
    figure = _shown_figure()(figsize=size, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # type: ignore[union-attr,call-arg]
    return figure, list(np.ravel(figure.subplots(rows, columns, squeeze=False)))


@cache
def _shown_figure() -> type[Figure]:
    """Figure, made to show itself in a notebook, where only pyplot's figures would."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            return png_bytes(self)

    return ShownFigure


def _draw(
    axis: Axes,
    rows: pd.DataFrame,
    column: str,
    series: Sequence[_Series],
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
    step = -(-len(names) // _MOST_LABELS)
    axis.set_yticks(range(0, len(names), step), [_label(name) for name in names[::step]])
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(0, 1.03 * min(edge, axis.get_xlim()[1]))


def _edge(lanes: Sequence[tuple[_Series, pd.DataFrame]]) -> float:
    """Where the axis may end: a third beyond all usual values. What a compressor's container
    makes of a tiny tensor lies far beyond it and says nothing."""
    usual = [group["bits_per_weight"].median() for _, group in lanes]
    raw = [(group["raw_bits"] / group["numel"]).max() for _, group in lanes]
    return 1.33 * float(max(*usual, *raw))


def _draw_marks(axis: Axes, one: _Series, rows: pd.DataFrame, y: Any, edge: float) -> None:
    """Marks with two standard errors, where there is one; arrows for what lies beyond the edge."""
    x = rows["bits_per_weight"].to_numpy(float)
    error = 2 * (rows["standard_error"] / rows["numel"]).fillna(0).to_numpy(float)
    inside, colour = x <= edge, one.mark["markeredgecolor"]
    axis.hlines(y[inside], (x - error)[inside], (x + error)[inside], color=colour, zorder=2)
    axis.plot(x[inside], y[inside], **one.mark)
    beyond = np.full(int((~inside).sum()), edge)
    axis.plot(beyond, y[~inside], ">", color=colour, markersize=4, zorder=3)


def _draw_nulls(
    axis: Axes, rows: pd.DataFrame, nulls: Sequence[str], y: Any, lane: float, edge: float
) -> None:
    """Where each null model lies: its mean, and 2 standard deviations to both sides."""
    mean = (rows["null_bits"] / rows["numel"]).to_numpy(float)
    sd = (rows["null_sd"] / rows["numel"]).fillna(0).to_numpy(float)
    for number, null in enumerate(nulls):
        chosen = (rows["null"] == null).to_numpy() & (mean <= edge)
        m, two = mean[chosen], 2 * sd[chosen]
        colour = _NULL_COLOURS[number % len(_NULL_COLOURS)]
        bars = axis.barh(y[chosen], 2 * two, 0.9 * lane, m - two, color=colour, zorder=1)
        bars.set_label("_")
        ends = (y[chosen] - 0.45 * lane, y[chosen] + 0.45 * lane)
        axis.vlines(m, *ends, color=_darker(colour), linewidth=1.2, zorder=2)


def _darker(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(0.7 * part for part in to_rgb(colour))


def _draw_raw(axis: Axes, rows: pd.DataFrame) -> None:
    """A line at the raw bits per weight, where all have the same."""
    widths = (rows["raw_bits"] / rows["numel"]).dropna().unique()
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


def _legend(figure: Figure, series: Sequence[_Series], nulls: Sequence[str]) -> None:
    """One legend for all panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [Line2D([], [], **one.mark) for one in series]
    handles += [
        Patch(color=colour, label=f"{_label(null)} null (mean ± 2 sd)")
        for null, colour in zip(nulls, _NULL_COLOURS * len(nulls), strict=False)
    ]
    if any(_has_arrows(axis) for axis in figure.axes):
        arrow = {"linestyle": "none", "marker": ">", "color": "#777777", "markersize": 4}
        handles.append(Line2D([], [], label="beyond the axis", **arrow))  # type: ignore[arg-type]
    columns = max(1, min(len(handles), int(figure.get_figwidth() / 2.6)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8.5)


def _has_arrows(axis: Axes) -> bool:
    return any(line.get_marker() == ">" and len(line.get_ydata()) for line in axis.lines)  # type: ignore[arg-type]


def _label(name: str, most: int = 44) -> str:
    """A name as a label: short, and never read as mathematics."""
    return shorten(name, most).replace("$", r"\$")


def _render(figure: Figure, file: Any, form: str) -> None:
    dpi = min(160.0, _MOST_PIXELS / max(figure.get_size_inches()))
    metadata = (
        {"Date": None} if form == "svg" else {"CreationDate": None} if form == "pdf" else None
    )
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # names may be in any script; boxes will do
        figure.savefig(file, format=form, dpi=dpi, metadata=metadata)
