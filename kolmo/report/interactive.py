"""Figures to explore: zoom, hover, estimators hidden and shown by a click in the legend.

They are made by plotly, an optional package (extra ``interactive``), in the colours and with the
markers of the other figures. Names are text from a file: what they hold is never read as HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

from kolmo.errors import InputError, MissingExtraError
from kolmo.files import Paths, write_text
from kolmo.report.data import ReportData
from kolmo.report.figures.layers import layer_rows
from kolmo.report.figures.marks import series_of
from kolmo.report.figures.share import linear_part, share_rows
from kolmo.report.figures.trajectory import trajectory_views
from kolmo.report.page.frame import GENERATOR, check_page_output
from kolmo.report.traces import (
    add_line,
    add_marks,
    add_share,
    deviation_axis,
    divide,
    label_names,
)


class Interactive:
    """The figures of a report, as plotly draws them.

    Each is a ``plotly.graph_objects.Figure``: it shows itself in a notebook, and its
    ``write_html(path)`` writes a page in one file that needs no network.
    """

    def __init__(self, report: ReportData) -> None:
        self._report, self._table = report, report.plain

    def __repr__(self) -> str:
        names = ", ".join(name for name in vars(type(self)) if not name.startswith("_"))
        return f"<interactive figures of a report: {names}>"

    def layers(self, quantizer: str | None = None) -> Any:
        """Bits per weight of every tensor, in natural order: a row for each panel of
        `Plots.layers`, whose axes move together.

        Parameters
        ----------
        quantizer : str, optional
            Only this one, as the table spells it.

        Raises
        ------
        InputError
            If the report has no tensor scope, or more checkpoints than a figure has room for.
        MissingExtraError
            Without plotly.
        """
        _need_plotly()
        rows = layer_rows(self._table, quantizer)
        models, quantizers = (list(dict.fromkeys(rows[c])) for c in ("checkpoint", "quantizer"))
        cells = list(product(models, quantizers))
        figure = _panels([f"{escape(name)}, {escape(spec)}" for name, spec in cells])
        order = list(dict.fromkeys(rows["tensor"]))
        place = {name: number for number, name in enumerate(order)}
        for number, (name, spec) in enumerate(cells, 1):
            group = rows[(rows["checkpoint"] == name) & (rows["quantizer"] == spec)]
            for one in series_of(rows):
                add_marks(figure, one.of(group), one, place, number, len(rows))
        label_names(figure, order, len(cells))
        return _finished(figure, "bits per weight", 330 * len(cells) + 120)

    def shuffle_share(
        self, quantizer: str | None = None, estimator: str | None = None, null: str = "shuffled"
    ) -> Any:
        """Each tensor's bits in % of its own shuffle, by kind of module and depth.

        Parameters
        ----------
        quantizer, estimator : str, optional
            Only this one, as the table spells it.
        null : str
            Another null than shuffles.

        Raises
        ------
        InputError
            If no tensor was compared with the null by an estimator that can see it.
        MissingExtraError
            Without plotly.
        """
        _need_plotly()
        rows = share_rows(self._table, null, quantizer, estimator)
        threshold = linear_part(rows)
        checkpoints = list(dict.fromkeys(rows["checkpoint"]))
        figure = _panels([escape(name) for name in checkpoints])
        for number, name in enumerate(checkpoints, 1):
            group = rows[rows["checkpoint"] == name]
            for one in series_of(rows):
                add_share(figure, one.of(group), one, number, threshold, len(rows))
            divide(figure, rows, number)
        deviation_axis(figure, rows, threshold)
        return _finished(figure, f"bits, % of {null}", 340 * len(checkpoints) + 120)

    def trajectory(self, quantizer: str | None = None, relative: bool | None = None) -> Any:
        """Complexity of the whole model against step; options as `Plots.trajectory` has them.

        Raises
        ------
        InputError
            If the report is no trajectory, or has no model scope.
        MissingExtraError
            Without plotly.
        """
        _need_plotly()
        views = trajectory_views(self._report, quantizer, relative)
        cells = [
            (label, spec, rows[rows["quantizer"] == spec])
            for label, rows in views.items()
            for spec in dict.fromkeys(rows["quantizer"])
        ]
        figure = _panels([f"{escape(spec)}: {label}" for label, spec, _ in cells])
        for number, (_, _, rows) in enumerate(cells, 1):
            for one in series_of(rows):
                add_line(figure, one.of(rows), one, number)
        figure.update_xaxes(title_text=escape(self._report.series["unit"]), row=len(cells))
        return _finished(figure, "", 320 * len(cells) + 120)


def interactive_figures(report: ReportData) -> dict[str, Any]:
    """Those that can be drawn of a report, by title."""
    found: dict[str, Any] = {}
    for title, draw in _drawers(report).items():
        try:
            found[title] = draw()
        except InputError as error:
            found[title] = error
    return found


def interactive_titles(report: ReportData) -> list[str]:
    """Titles of those that there may be of a report, none of which is drawn for it."""
    return list(_drawers(report))


def _drawers(report: ReportData) -> dict[str, Any]:
    made = Interactive(report)
    drawers: dict[str, Any] = {"Layers": made.layers, "Shuffle-share": made.shuffle_share}
    return {"Trajectory": made.trajectory, **drawers} if report.kind == "trajectory" else drawers


def write_figure(figure: Any, path: Path, *, inputs: Paths = (), overwrite: bool = False) -> None:
    """Write a page in one file, the library among it (some 5 MB), so that it needs no network."""
    check_page_output(path, inputs, overwrite)
    page = figure.to_html(include_plotlyjs=True, full_html=True, div_id="kolmo")  # no random one
    write_text(path, page.replace("<head>", f"<head>{GENERATOR}", 1))


def _need_plotly() -> None:
    try:
        import plotly.graph_objects  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("an interactive figure", "plotly", "interactive") from error


# --- the frame ------------------------------------------------------------------------------


def _panels(titles: Sequence[str]) -> Any:
    """Panels one under the other, moved together."""
    from plotly.subplots import make_subplots

    space = min(0.12, 0.3 / len(titles))
    return make_subplots(
        rows=len(titles), cols=1, shared_xaxes=True, subplot_titles=titles, vertical_spacing=space
    )


def _finished(figure: Any, label: str, height: int) -> Any:
    if label:
        figure.update_yaxes(title_text=escape(label))
    figure.update_layout(
        template="plotly_white",
        height=height,
        hovermode="closest",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1 + 40 / (height - 160)},
        margin={"l": 70, "r": 20, "t": 110, "b": 50},
        hoverlabel={"namelength": -1},
    )
    figure.update_annotations(xanchor="left", x=0, font_size=13)
    _one_legend(figure)
    return figure


def _one_legend(figure: Any) -> None:
    """One entry for one estimator, which hides and shows it in all panels."""
    seen: set[str] = set()
    for trace in figure.data:
        if trace.showlegend is not False:
            trace.showlegend = trace.legendgroup not in seen
            seen.add(trace.legendgroup)
