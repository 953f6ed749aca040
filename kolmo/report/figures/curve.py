"""The figure of curves: bits per weight against distortion, or a metric against bits per weight.

Filled marks are files, and so bounds; the line through them is their lower convex hull. The dotted
line is the rate–distortion function of independent Gaussian weights of the same power, the dashed
one the model's own weights at random places.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from kolmo.errors import InputError
from kolmo.report.figures.drawing import SOFT, Canvas, name_label
from kolmo.report.figures.marks import MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class PointData(Protocol):
    """What is drawn of a point."""

    @property
    def bits(self) -> int: ...
    @property
    def distortion(self) -> float: ...
    @property
    def value(self) -> float | None: ...


class CurveData(Protocol):
    """What is drawn of a curve."""

    @property
    def name(self) -> str: ...
    @property
    def numel(self) -> int: ...
    @property
    def original(self) -> float | None: ...
    @property
    def points(self) -> Sequence[PointData]: ...
    @property
    def shuffled(self) -> Sequence[PointData]: ...
    @property
    def hull(self) -> Sequence[PointData]: ...


def draw_curves(curves: Sequence[CurveData], metric: bool, canvas: Canvas) -> Figure:
    """The figure; `kolmo.lossy.curve.Curve.plot` documents the options."""
    if metric and any(each.original is None for each in curves):
        raise InputError("a curve without evaluate has no metric to draw")
    with canvas.style():
        figure, (axis,) = canvas.panels(1, 1, 4.2)
        for number, each in enumerate(curves):
            colour = PALETTE[number % len(PALETTE)]
            marker = MARKERS[number % len(MARKERS)]
            if metric:
                _draw_metric(axis, each, colour, marker)
            else:
                _draw_distortion(axis, each, colour, marker)
        if not metric:
            _draw_gaussian(axis, curves)
        axis.set_ylabel("metric" if metric else "bits per weight (bound)")
        axis.set_xlabel(
            "bits per weight (bound)" if metric else "relative squared error of the weights, D"
        )
        canvas.legend(figure, axis.get_legend_handles_labels()[0], 3)
    return figure


def _draw_distortion(axis: Axes, curve: CurveData, colour: str, marker: str) -> None:
    axis.set_xscale("log")
    x = [point.distortion for point in curve.points]
    y = [point.bits / curve.numel for point in curve.points]
    axis.plot(x, y, linestyle="none", marker=marker, color=colour, label=name_label(curve.name))
    hull = [(point.distortion, point.bits / curve.numel) for point in curve.hull]
    axis.plot(*zip(*hull, strict=True), color=colour, linewidth=1.2)
    if curve.shuffled:
        x = [point.distortion for point in curve.shuffled]
        y = [point.bits / curve.numel for point in curve.shuffled]
        label = f"{name_label(curve.name)}, shuffled"
        axis.plot(x, y, color=colour, linestyle="--", linewidth=1.0, alpha=0.8, label=label)


def _draw_gaussian(axis: Axes, curves: Sequence[CurveData]) -> None:
    found = [point.distortion for curve in curves for point in curve.points if point.distortion > 0]
    if not found:
        return
    x = np.geomspace(min(found), min(1.0, max(found)), 60)
    y = [max(0.0, 0.5 * math.log2(1 / each)) for each in x]
    label = "R(D) of Gaussian weights, ½ log₂(1/D)"
    axis.plot(x, y, color=SOFT, linestyle=":", linewidth=1.4, label=label)


def _draw_metric(axis: Axes, curve: CurveData, colour: str, marker: str) -> None:
    x = [point.bits / curve.numel for point in curve.points]
    y = [math.nan if point.value is None else point.value for point in curve.points]
    axis.plot(x, y, marker=marker, color=colour, linewidth=1.2, label=name_label(curve.name))
    assert curve.original is not None
    label = f"{name_label(curve.name)}, as it is"
    axis.axhline(curve.original, color=colour, linestyle=":", linewidth=1.2, label=label)
