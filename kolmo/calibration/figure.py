"""The calibration as a figure: what is seen, and how often noise is taken for structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from kolmo.calibration.data import CalibrationData
from kolmo.calibration.ranks import ALPHA
from kolmo.calibration.words import grid
from kolmo.report.figures.drawing import (
    BRIGHT,
    DARK,
    LINE,
    PAPER,
    SOFT,
    name_label,
    new_figure,
    style,
)
from kolmo.report.figures.marks import MARKERS, PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(result: CalibrationData) -> Figure:
    """Two panels that share their estimators: power and ratio by family; false-positive rates."""
    cells = grid(result)
    labels = list(dict.fromkeys([*cells.index, *result.false_positives["label"]]))
    kinds = dict(zip(result.seen["estimator"], result.seen["kind"], strict=True))
    cells = cells.reindex(labels).fillna("")
    with style():
        size = (1.05 * len(cells.columns) + 6.4, 0.34 * len(labels) + 1.9)
        figure = new_figure(size)
        widths = [max(len(cells.columns), 3), 4]
        left, right = figure.subplots(1, 2, width_ratios=widths, sharey=True)
        _draw_seen(left, result.seen, cells)
        left.set_yticks(
            range(len(labels)), [f"{name_label(e)} ({kinds[e]})" for e in labels], fontsize="small"
        )
        _draw_rates(right, result.false_positives, labels)
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=4)
    return figure


def _draw_seen(axis: Axes, seen: pd.DataFrame, cells: pd.DataFrame) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    power = seen.pivot(index="estimator", columns="family", values="power")
    values = power.reindex(index=cells.index, columns=cells.columns).to_numpy(float)
    colours = LinearSegmentedColormap.from_list("seen", ["#f4f1ec", "#9ec9e2", PALETTE[0]])
    axis.imshow(values, cmap=colours, vmin=0, vmax=1, aspect="auto")
    for (row, column), text in np.ndenumerate(cells.to_numpy()):
        dark = values[row, column] > 0.75
        axis.text(
            *(column, row, text),
            ha="center",
            va="center",
            fontsize="small",
            color=BRIGHT if dark else DARK,
        )
    axis.grid(visible=False)
    axis.set_xticks(range(len(cells.columns)), cells.columns, fontsize="small")
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_title("✓ seen, – now and then, ✗ not seen; bits / known bits")
    axis.set_xlabel("darker: told from its null more often")


def _draw_rates(axis: Axes, pairs: pd.DataFrame, labels: list[str]) -> None:
    place = {label: number for number, label in enumerate(labels)}
    middle = (pairs["null"].nunique() - 1) / 2
    for number, (null, rows) in enumerate(pairs.groupby("null", sort=False)):
        exact = bool(rows["exact"].iloc[0])
        colour = PALETTE[(number + 1) % len(PALETTE)]
        axis.plot(
            *(100 * rows["rate"], rows["label"].map(place) + 0.16 * (number - middle)),
            linestyle="none",
            marker=MARKERS[number % len(MARKERS)],
            markersize=5,
            clip_on=False,
            markerfacecolor=colour if exact else PAPER,
            markeredgecolor=colour,
            label=f"{null}" if exact else f"{null} (nearly exchangeable)",
        )
    low, high = 100 * pairs["band_low"].iloc[0], 100 * pairs["band_high"].iloc[0]
    axis.axvspan(low, high, color=LINE, zorder=0, label="binomial 99 % band")
    axis.axvline(100 * ALPHA, color=SOFT, linestyle=":", linewidth=1.2, zorder=1)
    axis.set_xlim(0, max(1.6 * high, 1.1 * 100 * float(pairs["rate"].max())))
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    axis.set_title("False positives on noise")
    axis.set_xlabel(f"percent of {int(pairs['trials'].iloc[0]):,} trials")
