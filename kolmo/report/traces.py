"""What is drawn in figures to explore: points, lines, bands, axes, and what is told of a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.intervals import draw_widths, half_widths
from kolmo.report.columns import is_known
from kolmo.report.figures.drawing import SOFT
from kolmo.report.figures.marks import Series, line_of, null_colour
from kolmo.report.figures.share import kind_ends, percent_of
from kolmo.report.table import null_names

if TYPE_CHECKING:
    import pandas as pd

_SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "p": "pentagon",
    "X": "x",
    "h": "hexagon",
    "d": "diamond-tall",
    "*": "star",
    "<": "triangle-left",
}
_MANY = 3000  # points of a figure, from which on the graphics card draws them
_TOLD = ("tensor", "shape", "dtype", "quantizer", "bits_per_weight", "note")


def _scatter(points: int) -> Any:
    import plotly.graph_objects as go

    return go.Scattergl if points > _MANY else go.Scatter


def _look(one: Series, size: float = 7) -> dict[str, Any]:
    hollow = "" if one.kind == "bound" else "-open"
    symbol = _SYMBOLS[one.look.marker] + hollow
    return {
        "symbol": symbol,
        "color": one.colour,
        "size": size,
        "line": {"width": 1.4, "color": one.colour},
    }


def _dash(line: Any) -> str:
    """A style of lines of matplotlib in plotly's words."""
    return "solid" if line == "-" else ",".join(f"{max(1, 2 * part):g}px" for part in line[1])


# --- traces ---------------------------------------------------------------------------------


def add_marks(
    figure: Any, rows: pd.DataFrame, one: Series, place: dict[str, int], panel: int, points: int
) -> None:
    """An estimator in one panel of layers, and its nulls."""
    if rows.empty:
        return
    once = rows.drop_duplicates("tensor")
    group, name = f"{one.label} {one.kind}", f"{escape(one.label)} ({one.kind})"
    error = half_widths(once["standard_error"] / once["covered"], once["degrees"])
    size = 7 if len(place) <= 200 else 5
    figure.add_trace(
        _scatter(points)(
            x=once["tensor"].map(place), y=once["bits_per_weight"], mode="markers", name=name,
            legendgroup=group, marker=_look(one, size), text=_told(once),
            hovertemplate="%{text}<extra>" + name + "</extra>",
            error_y={"type": "data", "array": error, "visible": bool(error.any())},
        ),
        row=panel, col=1,
    )  # fmt: skip
    for null in null_names(rows):
        own = rows[rows["null"] == null]
        mean = own["null_bits"] / own["covered"]
        width = draw_widths(own["null_sd"] / own["covered"], own["null_draws"])
        figure.add_trace(
            _scatter(points)(
                x=own["tensor"].map(place), y=mean, mode="markers", legendgroup=f"null {null}",
                name=f"{escape(null)} null (95 % of draws)", hoverinfo="skip",
                marker={"symbol": "line-ew-open", "color": null_colour(null), "size": 9},
                error_y={"type": "data", "array": width, "color": null_colour(null), "width": 0},
            ),
            row=panel, col=1,
        )  # fmt: skip


def add_share(
    figure: Any, rows: pd.DataFrame, one: Series, panel: int, threshold: float, points: int
) -> None:
    """An estimator's shares in one panel, on the band of its draws."""
    for spec, group in rows.groupby("quantizer", sort=False):
        label = f"{escape(one.label)}, {escape(str(spec))} ({one.kind})"
        x, y, low, high = (_joined(values) for values in _pieces(group, threshold))
        told = _joined([_shares_told(piece) for _, piece in group.groupby("group", sort=False)])
        line = {"color": one.colour, "width": 1, "dash": _dash(line_of(str(spec)))}
        figure.add_trace(
            _scatter(points)(
                x=x, y=y, name=label, legendgroup=label, text=told, line=line,
                mode="lines+markers" if len(group) <= 300 else "markers", marker=_look(one, 6),
                hovertemplate="%{text}<extra>" + label + "</extra>",
            ),
            row=panel, col=1,
        )  # fmt: skip
        _add_band(figure, x, low, high, one.colour, label, panel)


def _pieces(group: pd.DataFrame, threshold: float) -> Iterator[list[list[float]]]:
    """Places, shares and the two ends of the band, kind of module by kind of module."""
    kinds = [piece for _, piece in group.groupby("group", sort=False)]
    yield [piece["place"].tolist() for piece in kinds]
    for sign, of_share in ((0, 1), (-1, 0), (1, 0)):
        yield [
            [
                symlog(value, threshold)
                for value in of_share * (piece["share"] - 100) + sign * piece["width"]
            ]
            for piece in kinds
        ]


def _joined(pieces: Sequence[Sequence[Any]]) -> list[Any]:
    """The pieces in one list, with gaps between them."""
    return [value for piece in pieces for value in (*piece, None)][:-1]


def _add_band(
    figure: Any, x: Sequence[Any], low: Sequence[Any], high: Sequence[Any], colour: str,
    group: str, panel: int,
) -> None:  # fmt: skip
    """The range of the draws: a closed outline around each piece."""
    gaps = [-1, *(n for n, value in enumerate(x) if value is None), len(x)]
    outlines = [
        ([*x[a + 1 : b], *x[a + 1 : b][::-1]], [*high[a + 1 : b], *low[a + 1 : b][::-1]])
        for a, b in pairwise(gaps)
    ]
    figure.add_trace(
        _scatter(0)(
            x=_joined([xs for xs, _ in outlines]), y=_joined([ys for _, ys in outlines]),
            fill="toself", fillcolor=colour, opacity=0.2, line={"width": 0}, mode="lines",
            legendgroup=group, showlegend=False, hoverinfo="skip",
        ),
        row=panel, col=1,
    )  # fmt: skip


def add_line(figure: Any, rows: pd.DataFrame, one: Series, panel: int) -> None:
    """An estimator's line over the steps of training, and its nulls as bands."""
    if rows.empty:
        return
    once = rows.sort_values("step", kind="stable").drop_duplicates("step")
    name = f"{escape(one.label)} ({one.kind})"
    dash = "solid" if one.kind == "bound" else "dash"
    figure.add_trace(
        _scatter(0)(
            x=once["step"], y=once["bits_per_weight"], mode="lines+markers", name=name,
            legendgroup=name, marker=_look(one), line={"color": one.colour, "dash": dash},
            hovertemplate="%{x}: %{y:.5g}<extra>" + name + "</extra>",
        ),
        row=panel, col=1,
    )  # fmt: skip
    for null in null_names(rows):
        own = rows[(rows["null"] == null) & rows["null_bits"].notna()].sort_values("step")
        mean = own["null_bits"] / own["covered"]
        width = draw_widths(own["null_sd"] / own["covered"], own["null_draws"])
        ends = [(mean - width).tolist(), (mean + width).tolist()]
        _add_band(figure, own["step"].tolist(), ends[0], ends[1], one.colour, name, panel)


# --- axes and what is told ------------------------------------------------------------------


def symlog(value: float, threshold: float) -> float:
    """Linear up to the threshold, logarithmic beyond.

    >>> symlog(0.1, 0.1), symlog(-10.0, 0.1), symlog(0.05, 0.1)
    (1.0, -3.0, 0.5)
    """
    size = abs(value) / threshold
    return math.copysign(size if size <= 1 else 1 + math.log10(size), value)


def deviation_axis(figure: Any, rows: pd.DataFrame, threshold: float) -> None:
    """Ticks at powers of ten of the deviation, told as percent of the null."""
    far = float(max((rows["share"] - 100).abs().max(), rows["width"].max(), threshold))
    steps = [threshold * 10.0**n for n in range(math.ceil(math.log10(far / threshold)) + 1)]
    values = [*(-step for step in reversed(steps)), 0.0, *steps]
    figure.update_yaxes(
        tickvals=[symlog(value, threshold) for value in values],
        ticktext=[percent_of(value) for value in values],
        zerolinecolor=SOFT,
    )


def divide(figure: Any, rows: pd.DataFrame, panel: int) -> None:
    """The kinds of modules, told apart by shade and named below."""
    ends = kind_ends(rows)
    for number, (_, first, end) in enumerate(ends):
        if number % 2:
            figure.add_vrect(first, end, fillcolor=SOFT, opacity=0.07, line_width=0, row=panel)
    figure.update_xaxes(
        tickvals=[(first + end) / 2 for _, first, end in ends],
        ticktext=[kind for kind, _, _ in ends],
        showgrid=False,
        zeroline=False,
        row=panel,
    )


def label_names(figure: Any, order: Sequence[str], panels: int) -> None:
    """Names at the axis, if they are few; of many, those that are pointed at."""
    if len(order) <= 40:
        names = [escape(name if len(name) <= 30 else f"…{name[-29:]}") for name in order]
        figure.update_xaxes(tickvals=list(range(len(order))), ticktext=names, row=panels)
    else:
        figure.update_xaxes(title_text="tensor, in natural order (point at one)", row=panels)
    figure.update_xaxes(range=[-0.7, len(order) - 0.3])


def _told(rows: pd.DataFrame) -> list[str]:
    """What is said of each row when it is pointed at; bits in full."""
    columns = [(name.replace("_", " "), rows[name].tolist()) for name in _TOLD if name in rows]
    return [
        "<br>".join(f"{name}: {_text(values[n])}" for name, values in columns if _says(values[n]))
        for n in range(len(rows))
    ]


def _says(value: Any) -> bool:
    return is_known(value) and value != ""


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else escape(str(value))


def _shares_told(rows: pd.DataFrame) -> list[str]:
    shares = zip(rows["share"], rows["width"], rows["null_draws"], strict=True)
    said = [f"{share:.5g} % ± {width:.2g} ({draws:.0f} draws)" for share, width, draws in shares]
    return [f"{share}<br>{told}" for share, told in zip(said, _told(rows), strict=True)]
