"""Figures of a report: bits per weight by layer, models side by side, where the bits go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import isfunction
from typing import TYPE_CHECKING

from kolmo.errors import InputError
from kolmo.report.data import ReportData
from kolmo.report.figures import captions
from kolmo.report.figures.chain import chain_rows, draw_chain
from kolmo.report.figures.drawing import Canvas, Given, png_bytes, save_figure, style
from kolmo.report.figures.layers import draw_layers, draw_models, layer_rows
from kolmo.report.figures.parts import (
    agreement_rows,
    attribution_rows,
    draw_agreement,
    draw_attribution,
    draw_bitplanes,
    plane_rows,
)
from kolmo.report.figures.share import draw_share, share_rows
from kolmo.report.figures.trajectory import draw_trajectory, trajectory_views
from kolmo.report.table import measured_rows, model_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plots", "figures", "png_bytes", "save_figure", "style"]

Size = tuple[float, float]


def figures(report: ReportData, width: str | float | None = None) -> dict[str, Figure | InputError]:
    """All figures of a report, the most telling first; the error where one cannot be drawn.

    Parameters
    ----------
    width : {"column", "text"} or float, optional
        In inches, or by name.

    Raises
    ------
    InputError
        For a width that is none.
    """
    Canvas(width=width)
    return {title: _attempt(draw, width) for title, draw in _drawers(report).items()}


def figure_titles(report: ReportData) -> list[str]:
    """Titles of the figures that there may be of a report, none of which is drawn for it."""
    return list(_drawers(report))


def drawn_figures(report: ReportData, width: str | float | None = None) -> dict[str, Figure]:
    """Those figures of a report that can be drawn."""
    found = figures(report, width)
    return {title: f for title, f in found.items() if not isinstance(f, InputError)}


def first_figure(report: ReportData) -> Figure | None:
    """The most telling figure of a report."""
    attempts = (_attempt(draw, None) for draw in _drawers(report).values())
    return next((figure for figure in attempts if not isinstance(figure, InputError)), None)


def _drawers(report: ReportData) -> dict[str, Callable[..., Figure]]:
    plot = Plots(report)
    drawers: dict[str, Callable[..., Figure]] = {
        "Decomposition": plot.decomposition,
        "Models": plot.compare,
        "Shuffle-share": plot.shuffle_share,
        "Layers": plot.layers,
        "Attribution": plot.attribution,
        "Bit-planes": plot.bitplanes,
        "Agreement": plot.agreement,
    }
    return {"Trajectory": plot.trajectory, **drawers} if report.kind == "trajectory" else drawers


def _attempt(draw: Callable[..., Figure], width: str | float | None) -> Figure | InputError:
    try:
        return draw(width=width)
    except InputError as error:
        return error


def caption_of(figure: Figure) -> str:
    """What a figure of a report says in words; empty for any other figure."""
    return str(getattr(figure, "caption", ""))


def _captioned(figure: Figure, canvas: Canvas, text: str) -> Figure:
    if canvas.ax is None:  # a figure of the caller's may hold other things besides
        figure.caption = text  # type: ignore[attr-defined]
    return figure


class Plots:
    """The figures of a report, as matplotlib draws them.

    All of them take the same options of where they are drawn, one at most:

    - ``ax``: axes of yours, one for each panel, a sequence if there are several;
    - ``figsize``: width and height in inches;
    - ``width``: the width alone, ``"column"`` (3.25 inches), ``"text"`` (6.75) or inches; panels
      are wrapped to fit.

    A figure's ``caption`` says in words what it shows. Saved by its own ``savefig``, a PDF has
    fonts of type 42, an SVG text as text, a PNG 300 dots an inch; the context ``style()`` gives
    figures of yours the same.
    """

    style = staticmethod(style)

    def __init__(self, report: ReportData) -> None:
        self._report, self._table = report, report.plain

    def __repr__(self) -> str:
        own = vars(type(self)).items()
        names = [name for name, each in own if isfunction(each) and not name.startswith("_")]
        return f"<figures of a report: {', '.join(f'.{name}()' for name in names)}>"

    def layers(
        self,
        quantizer: str | None = None,
        *,
        ax: Given = None,
        figsize: Size | None = None,
        width: str | float | None = None,
    ) -> Figure:
        """Bits per weight of every tensor: one panel for each checkpoint and quantizer.

        Tensors are in natural order (2 before 10); the panels of one quantizer share their axis.

        Parameters
        ----------
        quantizer : str, optional
            Only this one, as the table spells it.
        ax, figsize, width
            Where it is drawn: see `Plots`.

        Raises
        ------
        InputError
            If the report has no tensor scope, or more checkpoints than a figure has room for.
        """
        canvas = Canvas(ax, figsize, width)
        rows = layer_rows(self._table, quantizer)
        return _captioned(draw_layers(rows, canvas), canvas, captions.layers_caption(rows))

    def compare(
        self,
        quantizer: str | None = None,
        *,
        ax: Given = None,
        figsize: Size | None = None,
        width: str | float | None = None,
    ) -> Figure:
        """Bits per weight of whole models side by side: one panel for each quantizer.

        Parameters
        ----------
        quantizer : str, optional
            Only this one, as the table spells it.
        ax, figsize, width
            Where it is drawn: see `Plots`.

        Raises
        ------
        InputError
            If nothing was measured.
        """
        canvas = Canvas(ax, figsize, width)
        rows = measured_rows(model_rows(self._table), quantizer)
        return _captioned(draw_models(rows, canvas), canvas, captions.models_caption(rows))

    def trajectory(
        self,
        quantizer: str | None = None,
        metrics: Sequence[str] | None = None,
        relative: bool | None = None,
        *,
        ax: Given = None,
        figsize: Size | None = None,
        width: str | float | None = None,
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
        ax, figsize, width
            Where it is drawn: see `Plots`.

        Raises
        ------
        InputError
            If the report is no trajectory, or has no model scope.
        """
        canvas = Canvas(ax, figsize, width)
        figure = draw_trajectory(self._report, quantizer, metrics, relative, canvas)
        bits = trajectory_views(self._report, quantizer, False)["bits per weight"]
        return _captioned(figure, canvas, captions.trajectory_caption(bits))

    def shuffle_share(
        self,
        quantizer: str | None = None,
        estimator: str | None = None,
        null: str = "shuffled",
        *,
        ax: Given = None,
        figsize: Size | None = None,
        width: str | float | None = None,
    ) -> Figure:
        """Each tensor's bits in % of its own shuffle, by depth: one panel for each checkpoint.

        Tensors stand side by side by kind of module (`kolmo.report.kinds`), in natural order within
        it. The axis is linear near 100 % and logarithmic beyond, so that .1 % is seen; the
        band holds 95 % of the draws. Lines tell quantizers apart. Both the nulls that were asked
        for and those of the test that a run makes by itself are drawn.

        Parameters
        ----------
        quantizer, estimator : str, optional
            Only this one, as the table spells it.
        null : str
            Another null than shuffles.
        ax, figsize, width
            Where it is drawn: see `Plots`.

        Raises
        ------
        InputError
            If no tensor was compared with the null by an estimator that can see it.
        """
        canvas = Canvas(ax, figsize, width)
        rows = share_rows(self._table, null, quantizer, estimator)
        figure = draw_share(rows, null, canvas)
        return _captioned(figure, canvas, captions.share_caption(rows, null))

    def decomposition(
        self,
        scope: str | None = None,
        quantizer: str | None = None,
        *,
        ax: Given = None,
        figsize: Size | None = None,
        width: str | float | None = None,
    ) -> Figure:
        """From raw bits down to the actual ones: what values, scales and arrangement save.

        Parameters
        ----------
        scope : {"model", "tensor"}, optional
            A waterfall for each whole checkpoint, the default where there are any; or a bar for
            each tensor.
        quantizer : str, optional
            Only this one, as the table spells it.
        ax, figsize, width
            Where it is drawn: see `Plots`.

        Raises
        ------
        InputError
            If the report has no decomposition.
        """
        canvas = Canvas(ax, figsize, width)
        rows = chain_rows(self._report.rows, scope, quantizer)
        return _captioned(draw_chain(rows, canvas), canvas, captions.chain_caption(rows))

    def attribution(
        self,
        scope: str | None = None,
        quantizer: str | None = None,
        *,
        ax: Given = None,
        figsize: Size | None = None,
        width: str | float | None = None,
    ) -> Figure:
        """Where the raw bits go: residual, structure and marginal of the best bound, stacked.

        Parameters
        ----------
        scope : {"model", "tensor"}, optional
            Whole models by default, one panel for each quantizer; with ``tensor`` one panel for
            each checkpoint and quantizer.
        quantizer : str, optional
            Only this one, as the table spells it.
        ax, figsize, width
            Where it is drawn: see `Plots`.

        Raises
        ------
        InputError
            If the report has no null ``shuffled``, or nothing to draw.
        """
        canvas = Canvas(ax, figsize, width)
        rows = attribution_rows(self._table, scope, quantizer)
        figure = draw_attribution(rows, canvas)
        return _captioned(figure, canvas, captions.attribution_caption(rows))

    def bitplanes(
        self,
        quantizer: str | None = None,
        *,
        ax: Given = None,
        figsize: Size | None = None,
        width: str | float | None = None,
    ) -> Figure:
        """The share of each bit-plane that is saved; planes like coin flips are blank.

        Parameters
        ----------
        quantizer : str, optional
            Only this one, as the table spells it.
        ax, figsize, width
            Where it is drawn: see `Plots`.

        Raises
        ------
        InputError
            If the estimator ``planes`` was not measured.
        """
        canvas = Canvas(ax, figsize, width)
        rows = plane_rows(self._table, quantizer)
        return _captioned(draw_bitplanes(rows, canvas), canvas, captions.bitplanes_caption(rows))

    def agreement(
        self,
        over: str | None = None,
        *,
        ax: Given = None,
        figsize: Size | None = None,
        width: str | float | None = None,
    ) -> Figure:
        """Rank correlation of each pair of measurements, over tensors or models.

        Correlations of fewer than 6 objects are numbers without colour.

        Parameters
        ----------
        over : {"tensors", "models"}, optional
            Tensors, one panel for each checkpoint, where there are any; else models.
        ax, figsize, width
            Where it is drawn: see `Plots`.

        Raises
        ------
        InputError
            If no two measurements can be compared.
        """
        canvas = Canvas(ax, figsize, width)
        pairs = agreement_rows(self._table, over)
        return _captioned(draw_agreement(pairs, canvas), canvas, captions.agreement_caption(pairs))
