"""The figures of a study, in kolmo's style."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kolmo.intervals import draw_widths
from kolmo.report.figures.drawing import PALE, PAPER, new_figure, style
from kolmo.report.figures.marks import MARKERS, PALETTE, marks_of
from momos.lab.arms import INIT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEAST = 1e-2  # percent: savings below it are drawn on a linear part of the axis
_GREY = "#999999"


def arm_marks(arms: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each arm, the same in all figures of a study."""
    names = [arm for arm in dict.fromkeys(arms) if arm != INIT]
    marks = {
        arm: (PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)])
        for number, arm in enumerate(names)
    }
    return marks | {INIT: (_GREY, "o")}


# --- K(w) over training -------------------------------------------------------------------------


def story_figure(points: pd.DataFrame, where: str, arms: Iterable[str] | None = None) -> Figure:
    """K(w) over training: against the initialization, and against the own shuffle.

    Parameters
    ----------
    points : pandas.DataFrame
        As `momos.lab.story.story` makes it. A line is the mean over the seeds, which are thin; a
        bar the range of 95 % of the shuffles.
    where : str
        Through what the weights are seen (`momos.lab.words.resolution`).
    arms : names, optional
        All arms of the study, which colours depend on.
    """
    marks = arm_marks(arms or points["arm"])
    with style():
        figure = new_figure((10.4, 4.2))
        left, right = figure.subplots(1, 2)
        for arm, group in points.groupby("arm", sort=False):
            mark = marks[str(arm)]
            bits = _by_epoch(group, "bits_per_weight")
            _draw_story(left, 100 * bits / bits.iloc[0], mark, str(arm))
            saved = 100 * (1 - _by_epoch(group, "to_shuffled"))
            _draw_story(right, saved, mark, "_")
            _draw_chance(right, saved.mean(axis=1), group, mark[0])
        left.axhline(100, color=_GREY, linestyle=":", linewidth=1.2, zorder=1)
        left.set(title=f"Bits {where}", ylabel="bits, % of the initialization's")
        left.set_ylim(bottom=0)
        _scale_savings(right)
        right.set(title="Saved by arrangement", ylabel="bits below the own shuffle's, %")
        for axis in (left, right):
            axis.set_xlabel("epoch")
        figure.legend(loc="outside lower center", ncols=6)
    return figure


def _by_epoch(group: pd.DataFrame, name: str) -> pd.DataFrame:
    """A row for each epoch, a column for each seed."""
    return group.pivot(index="epoch", columns="seed", values=name)


def _draw_story(axis: Axes, seeds: pd.DataFrame, mark: tuple[str, str], label: str) -> None:
    colour, marker = mark
    if len(seeds.columns) > 1:
        axis.plot(seeds.index, seeds.to_numpy(), color=colour, linewidth=0.8, alpha=0.35)
    mean = seeds.mean(axis=1)
    axis.plot(mean.index, mean, color=colour, marker=marker, linewidth=1.7, label=label)


def _draw_chance(axis: Axes, mean: pd.Series, group: pd.DataFrame, colour: str) -> None:
    """Around each mean the range of 95 % of the shuffles of a single seed: one that reaches zero
    may be chance."""
    widths = draw_widths(100 * group["to_shuffled_sd"], group["draws"])
    width = _by_epoch(group.assign(width=widths), "width").mean(axis=1).to_numpy()
    axis.vlines(mean.index, mean - width, mean + width, color=colour, linewidth=1.1, alpha=0.6)


def _scale_savings(axis: Axes) -> None:
    """An axis on which a hundredth of a percent can be seen beside a half."""
    axis.axhline(0, color=_GREY, linestyle=":", linewidth=1.2, zorder=1)
    axis.set_yscale("symlog", linthresh=_LEAST, linscale=0.7)
    low, high = axis.dataLim.intervaly
    axis.set_ylim(min(2 * low, -_LEAST), max(2 * high, 10 * _LEAST))
    above = [10.0**power for power in range(-2, 3) if 10.0**power <= 2 * high]
    axis.set_yticks([-_LEAST, 0, *(above or [_LEAST])])
    axis.minorticks_off()
    axis.yaxis.set_major_formatter("{x:g}")


# --- accuracy, and all measurements -------------------------------------------------------------


def accuracy_figure(arms: pd.DataFrame) -> Figure:
    """Test accuracy against bits per weight (logarithmic); see `momos.lab.results.arms`."""
    marks = arm_marks(arms["arm"])
    with style():
        figure = new_figure((8, 4.8))
        axis = figure.subplots()
        for _, arm in arms.iterrows():
            if arm["arm"] != INIT:  # at chance, far below: it would flatten the others
                _draw_arm(axis, arm, *marks[arm["arm"]])
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlabel("bits per weight")
        axis.set_ylabel("test accuracy")
        axis.set_title("Accuracy against size: measured bound (filled), nominal (hollow)")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_arm(axis: Axes, arm: pd.Series[Any], colour: str, marker: str) -> None:
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


def published_figure(table: pd.DataFrame) -> Figure:
    """The figures of the papers, trained over initial, each beside that of its own shuffle."""
    rows = published_rows(table)
    arms = [arm for arm in dict.fromkeys(rows["arm"]) if arm != INIT]
    marks, panels = arm_marks(table["arm"]), list(rows.groupby("measure", sort=False))
    height = 1.2 + 0.36 * len(arms)
    with style():
        figure = new_figure((10.5, height * -(-len(panels) // 2)))
        axes = figure.subplots(-(-len(panels) // 2), 2, squeeze=False).ravel()
        for axis, (measure, group) in zip(axes, panels, strict=False):
            for place, arm in enumerate(arms):
                _draw_published(axis, group[group["arm"] == arm], place, marks[arm])
            axis.axvline(1, color=_GREY, linestyle=":", linewidth=1.2, zorder=1)
            axis.set(title=str(measure), xlabel="bits / bits of the initialization")
            axis.set_yticks(range(len(arms)), arms)
            axis.set_ylim(len(arms) - 0.5, -0.5)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        _published_legend(figure)
    return figure


def published_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What the papers measure: ratios to the initialization, of the weights and of their shuffles.

    Columns are those of the table, ``measure`` (what is measured, in words) and
    ``shuffled_to_init``.
    """
    published = {("sign", "bdm"): "BDM of signs", ("affine:8", "qubd"): "QuBD of 8 bit-planes"}
    published |= {
        ("native", name): f"{name} of the float32 bytes" for name in ("gzip:9", "bz2:9", "xz:6")
    }
    keys = list(zip(table["quantizer"], table["estimator"], strict=True))
    rows = table.assign(measure=[published.get(key, "") for key in keys])
    rows = rows[(rows["measure"] != "") & rows["ratio_to_init"].notna()]
    return rows.assign(shuffled_to_init=rows["ratio_to_init"] / rows["ratio_to_shuffled"])


def _draw_published(axis: Axes, rows: pd.DataFrame, place: int, mark: tuple[str, str]) -> None:
    colour, marker = mark
    filled = colour if (rows["kind"] == "bound").all() else "white"
    own, actual = rows["shuffled_to_init"], rows["ratio_to_init"]
    axis.plot([own.mean()] * 2, [place - 0.3, place + 0.3], color="#555555", linewidth=2)
    axis.errorbar(
        actual.mean(),
        place,
        xerr=np.nan_to_num(actual.std()),
        fmt=marker,
        color=colour,
        markerfacecolor=filled,
        markersize=7,
        capsize=3,
        zorder=3,
    )


def _published_legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    none: dict[str, Any] = {"linestyle": "none", "color": "#555555"}
    handles = [
        Line2D([], [], marker="o", label="trained / initial (bound)", **none),
        Line2D([], [], marker="o", markerfacecolor=PAPER, label="(estimate)", **none),
        Line2D([], [], marker="|", markersize=12, label="the same weights shuffled", **none),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


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
                axis.axvline(line, color=_GREY, linestyle=":", linewidth=1.2, zorder=1)
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
