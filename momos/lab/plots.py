"""The figures of a study, in kolmo's style."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kolmo.report.figures.drawing import PALE, PAPER, SOFT, new_figure, style
from kolmo.report.figures.marks import MARKERS, PALETTE, marks_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def accuracy_figure(arms: pd.DataFrame) -> Figure:
    """Test accuracy against bits per weight (logarithmic); see `momos.lab.results.arms`."""
    with style():
        figure = new_figure((8, 4.8))
        axis = figure.subplots()
        for number, (_, arm) in enumerate(arms.iterrows()):
            if arm["arm"] != "init":  # at chance, far below: it would flatten the others
                _draw_arm(axis, arm, number)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel("bits per weight")
        axis.set_ylabel("test accuracy")
        axis.set_title("Accuracy against size: measured bound (filled), nominal (hollow)")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_arm(axis: Axes, arm: pd.Series[Any], number: int) -> None:
    colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
    bound, nominal = arm["bound_mean"], arm["nominal_bits_per_weight_mean"]
    accuracy, deviation = arm["test_accuracy_mean"], np.nan_to_num(arm["test_accuracy_sd"])
    points = arm["points"]
    axis.plot([bound, nominal], [accuracy] * 2, color=colour, linewidth=1, alpha=0.6)
    axis.plot(*points.T, linestyle="none", marker=".", color=colour, markersize=5, alpha=0.6)
    axis.plot(nominal, accuracy, marker, color=colour, markerfacecolor=PAPER, markersize=8)
    axis.errorbar(
        bound,
        accuracy,
        yerr=deviation,
        xerr=np.nan_to_num(arm["bound_sd"]),
        fmt=marker,
        color=colour,
        markersize=8,
        capsize=3,
        label=arm["arm"],
    )


def bits_figure(summary: pd.DataFrame) -> Figure:
    """Bits per weight of each arm: a panel for each quantizer, a mark for each estimator."""
    return _panels(summary, "bits_per_weight", "bits per weight", None)


def ratio_figure(summary: pd.DataFrame, name: str, reference: str) -> Figure:
    """A ratio of code lengths for each arm: a panel for each quantizer."""
    return _panels(summary, name, f"bits / bits of {reference}", 1.0)


def _panels(summary: pd.DataFrame, name: str, label: str, line: float | None) -> Figure:
    rows = summary[summary[f"{name}_mean"].notna()]
    shared = rows.groupby("quantizer")["arm"].nunique() > 1  # a panel of one arm compares nothing
    rows = rows[rows["quantizer"].map(shared).astype(bool)]
    arms, quantizers = (list(dict.fromkeys(rows[c])) for c in ("arm", "quantizer"))
    height = 1.6 + 0.42 * len(arms)
    with style():
        figure = new_figure((10.5, height * -(-len(quantizers) // 2)))
        axes = figure.subplots(-(-len(quantizers) // 2), 2, squeeze=False).ravel()
        for axis, quantizer in zip(axes, quantizers, strict=False):
            _draw_panel(axis, rows[rows["quantizer"] == quantizer], name, arms)
            axis.set_title(f"quantizer {quantizer}")
            axis.set_xlabel(label)
            if line is not None:
                axis.axvline(line, color=SOFT, linestyle=":", linewidth=1.2, zorder=1)
        for axis in axes[len(quantizers) :]:
            axis.set_visible(False)
    return figure


def _draw_panel(axis: Axes, rows: pd.DataFrame, name: str, arms: list[str]) -> None:
    place = {arm: number for number, arm in enumerate(arms)}
    labels = rows["estimator"] + rows["layout"].map(lambda v: f"@{v}" if isinstance(v, str) else "")
    series = list(rows.groupby(labels, sort=False))
    marks = marks_of(labels)
    for number, (estimator, group) in enumerate(series):
        colour, marker = marks[str(estimator)]
        kind = str(group["kind"].iloc[0])
        axis.errorbar(
            group[f"{name}_mean"],
            group["arm"].map(place) + 0.6 * ((number + 0.5) / len(series) - 0.5),
            xerr=np.nan_to_num(group[f"{name}_sd"].to_numpy(float)),
            fmt=marker,
            color=colour,
            markerfacecolor=colour if kind == "bound" else PAPER,
            markersize=6,
            capsize=2,
            label=f"{estimator} ({kind})",
        )
    for number in range(1, len(arms), 2):
        axis.axhspan(number - 0.5, number + 0.5, color=PALE, zorder=0)
    axis.locator_params(axis="x", nbins=6)
    axis.set_yticks(range(len(arms)), arms)
    axis.set_ylim(len(arms) - 0.5, -0.5)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
