"""The figure of the decomposition: raw bits, step by step down to what the weights take.

Each step is a null that keeps more of the weights than the one before (`kolmo.report.chains`): what
it saves is what that property is worth. What is saved beyond the values is enlarged in a second
panel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.errors import InputError
from kolmo.intervals import draw_widths
from kolmo.report.chains import (
    ACTUAL,
    GAUSSIAN,
    QUESTIONS,
    RAW,
    ROWS,
    SHUFFLED,
    STEPS,
    decomposition,
)
from kolmo.report.columns import TableRows
from kolmo.report.figures.drawing import (
    MOST_CHECKPOINTS,
    PALE,
    SOFT,
    Canvas,
    in_natural_order,
    name_label,
    named_rows,
)
from kolmo.report.figures.layers import hide, label_names
from kolmo.report.figures.marks import BLUE, GREEN, GREY, OCHRE, PURPLE, VERMILION
from kolmo.specs import unknown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NORMAL = "normal weights"

COLOURS = {
    NORMAL: PURPLE,
    "value distribution": BLUE,
    "row scale": GREEN,
    "column scale": OCHRE,
    "arrangement": VERMILION,
    "beyond row scale": VERMILION,
    "order": VERMILION,
}
"""What a step saves, in the order of the chain; ``order`` is all that a shuffle destroys, where it
was not looked what of it the scales are."""

_MEANING = {
    (RAW, GAUSSIAN): NORMAL,
    (SHUFFLED, ACTUAL): "order",
    (ROWS, ACTUAL): "beyond row scale",
}
_MEANING |= {between: question for question, between in QUESTIONS.items()}
_REST = GREY


def chain_rows(rows: TableRows, scope: str | None, quantizer: str | None) -> pd.DataFrame:
    """The steps to draw: of whole checkpoints, or of tensors."""
    if scope not in (None, "model", "tensor"):
        raise unknown("scope", str(scope), ("model", "tensor"))
    return compared(decomposition(rows, tensors=scope == "tensor"), quantizer)


def compared(rows: pd.DataFrame, quantizer: str | None = None) -> pd.DataFrame:
    """The steps, each with what it saves of the one before it.

    ``question`` says what it is that saves them, ``saved`` are bits per weight, ``share`` their
    share of the bits of normal weights, and ``p`` the p-value of the last step's test.
    """
    if quantizer is not None:
        rows = rows[rows["quantizer"] == quantizer]
    rows = rows[rows["bits_per_weight"].notna()]
    if rows.empty or not {RAW, ACTUAL} <= set(rows["step"]):
        raise InputError("there is no decomposition in this report to draw")
    order = {step: number for number, step in enumerate(STEPS)}
    rows = rows.assign(
        tensor=rows["tensor"].fillna("").astype(object), order=rows["step"].map(order)
    )
    rows = in_natural_order(rows.sort_values("order", kind="stable"))
    each = ["checkpoint", "tensor", "quantizer"]
    objects = rows.groupby(each, sort=False)
    before = objects[["step", "bits_per_weight", "p"]].shift(1)
    normal = rows.assign(n=rows["bits_per_weight"].where(rows["step"] == GAUSSIAN))
    normal_bits = normal.groupby(each, sort=False)["n"].transform("max")
    pairs = zip(before["step"], rows["step"], strict=True)
    saved = before["bits_per_weight"] - rows["bits_per_weight"]
    return rows.assign(
        before=before["bits_per_weight"],
        raw=objects["bits_per_weight"].transform("first"),
        question=[_MEANING.get(pair, RAW) for pair in pairs],
        saved=saved,
        share=saved / normal_bits,
        p=before["p"].where(rows["step"] == ACTUAL),  # the test is of the weights against that null
    )


def draw_chain(rows: pd.DataFrame, canvas: Canvas) -> Figure:
    """Waterfalls of whole checkpoints, or a bar for each tensor."""
    if (rows["tensor"] == "").all():
        return _draw_waterfalls(rows, canvas)
    return _draw_bars(rows, canvas)


def _objects(rows: pd.DataFrame, *names: str) -> list[tuple[Any, pd.DataFrame]]:
    groups = list(rows.groupby(list(names), sort=False))
    if len(groups) > MOST_CHECKPOINTS:
        raise InputError(f"the decompositions of {len(groups)} checkpoints do not fit one figure")
    return groups


# --- waterfalls -----------------------------------------------------------------------------


def _draw_waterfalls(rows: pd.DataFrame, canvas: Canvas) -> Figure:
    groups = _objects(rows, "checkpoint", "quantizer")
    with canvas.style():
        steps = max(len(group) for _, group in groups)
        figure, axes = canvas.panels(len(groups), 2, 1.0 + 0.34 * steps)
        for number, ((checkpoint, spec), group) in enumerate(groups):
            whole, close = axes[2 * number : 2 * number + 2]
            _draw_steps(whole, group, f"{name_label(str(checkpoint), 24)}, {spec}")
            whole.set_xlim(0, 1.5 * float(group["raw"].iloc[0]))
            _draw_close(close, group)
    return figure


def _draw_steps(axis: Axes, rows: pd.DataFrame, title: str) -> None:
    """From the bits of one step to those of the next, with what was saved beside it."""
    names = []
    for y, row in enumerate(named_rows(rows)):
        first, last = (0.0, row.bits_per_weight) if y == 0 else (row.bits_per_weight, row.before)
        colour = COLOURS.get(row.question, _REST)
        axis.barh(y, last - first, 0.62, first, color=colour, linewidth=0, zorder=2)
        if row.step not in (RAW, ACTUAL):
            _draw_spread(axis, row, y)
        if y:
            axis.plot([row.before] * 2, [y - 1, y], color=SOFT, linewidth=0.8, zorder=1)
        end = max(first, last)
        axis.annotate(_said(row), (end, y), xytext=(5, 0), textcoords="offset points",
                      va="center", fontsize="small")  # fmt: skip
        names.append("raw" if y == 0 else row.question)
    last = rows.iloc[-1]
    names.append("takes")
    axis.barh(len(rows), last["bits_per_weight"], 0.62, color=_REST, linewidth=0, zorder=2)
    axis.annotate(f"{last['bits_per_weight']:.4g}", (last["bits_per_weight"], len(rows)),
                  xytext=(5, 0), textcoords="offset points", va="center",
                  fontsize="small")  # fmt: skip
    label_names(axis, names)
    axis.grid(axis="y", visible=False)
    axis.set_title(title)
    axis.set_xlabel("bits per weight")


def _said(row: Any) -> str:
    """The bits saved, their share of those of normal weights, and the p-value, if there is one."""
    if row.step == RAW:
        return f"{row.bits_per_weight:.4g}"
    if row.question == NORMAL:
        return _signed(row.saved)
    test = f", p = {row.p:.2g}" if row.p == row.p else ""
    return f"{_signed(row.saved)}  ({percent(row.share)}{test})"


def _signed(saved: float) -> str:
    """What is saved goes down: − before it; + before what is lost."""
    return f"{'−' if saved > 0 else '+' if saved else ''}{abs(saved):.3g}"


def percent(share: float) -> str:
    """A share in two decimals, or two digits where it is smaller.

    >>> percent(0.7684), percent(-0.00123), percent(0.000012), percent(0.0)
    ('76.84 %', '−0.12 %', '0.0012 %', '0 %')
    """
    value = 100 * share
    shown = f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
    return f"{shown} %".replace("-", "−")


def _draw_spread(axis: Axes, row: Any, y: float) -> None:
    width = float(draw_widths([row.sd], [row.draws])[0])
    if width > 0:
        mean = row.bits_per_weight
        axis.plot([mean - width, mean + width], [y, y], color=SOFT, linewidth=2.2, zorder=3)


def _draw_close(axis: Axes, rows: pd.DataFrame) -> None:
    """What is saved beyond the values, in % of shuffled: as bars from 100 % down."""
    beyond = rows[~rows["question"].isin([RAW, NORMAL, "value distribution"])]
    if beyond.empty:
        hide([axis])
        return
    shuffled = float(beyond["before"].iloc[0])
    for y, row in enumerate(named_rows(beyond)):
        after, before = (100 * v / shuffled - 100 for v in (row.bits_per_weight, row.before))
        look: Any = {"color": COLOURS[row.question], "linewidth": 0, "zorder": 2}
        axis.barh(y, before - after, 0.62, after, **look)
        width = 100 * float(draw_widths([row.sd], [row.draws])[0]) / shuffled
        if row.step != ACTUAL and width > 0:
            axis.plot([after - width, after + width], [y, y], color=SOFT, linewidth=2.2, zorder=3)
    chance = rows[rows["step"] == SHUFFLED].iloc[0]
    band = 100 * float(draw_widths([chance["sd"]], [chance["draws"]])[0]) / shuffled
    axis.axvspan(-band, band, color=SOFT, alpha=0.18, linewidth=0, zorder=1)
    label_names(axis, beyond["question"].tolist())
    axis.axvline(0, color=SOFT, linewidth=1)
    axis.grid(axis="y", visible=False)
    axis.set_title("enlarged: beyond values")
    axis.set_xlabel("% of shuffled;  grey: 95 % of shuffles")
    axis.xaxis.set_major_formatter(lambda value, _: f"{100 + value:.6g}")
    axis.locator_params(axis="x", nbins=5)
    axis.use_sticky_edges = False
    axis.margins(x=0.08)
    axis.autoscale_view()


# --- bars -----------------------------------------------------------------------------------


def _draw_bars(rows: pd.DataFrame, canvas: Canvas) -> Figure:
    """Of every tensor, what it takes and what each step saves: a panel for each checkpoint."""
    groups = _objects(rows, "checkpoint", "quantizer")
    most = max(group["tensor"].nunique() for _, group in groups)
    with canvas.style():
        height = 1.2 + min(max(0.2 * most, 0.8), 12)
        figure, axes = canvas.panels(len(groups), 1, height)
        if canvas.ax is None and canvas.inches is None:
            figure.set_figwidth(8.5)
        for axis, ((checkpoint, spec), group) in zip(axes, groups, strict=True):
            _draw_tensors(axis, group)
            axis.set_title(f"{name_label(str(checkpoint), 24)}, {spec}")
        canvas.legend(figure, _legend(rows))
    return figure


def _draw_tensors(axis: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys(rows["tensor"]))
    place = {name: number for number, name in enumerate(names)}
    actual = rows[rows["step"] == ACTUAL]
    y = actual["tensor"].map(place).to_numpy(float)
    axis.barh(y, actual["bits_per_weight"], 0.72, color=PALE, edgecolor=SOFT, linewidth=0.4)
    left = np.zeros(len(names))
    left[y.astype(int)] = actual["bits_per_weight"]
    for question in reversed(COLOURS):
        own = rows[rows["question"] == question]
        at = own["tensor"].map(place).to_numpy(int)
        saved = own["saved"].to_numpy(float).clip(min=0)  # what is lost is in the actual bits
        axis.barh(at, saved, 0.72, left[at], color=COLOURS[question], linewidth=0)
        left[at] += saved
    label_names(axis, names)
    axis.tick_params(axis="y", labelsize="x-small")
    axis.grid(axis="y", visible=False)
    gaussian = rows.loc[rows["step"] == GAUSSIAN, "bits_per_weight"]
    if len(gaussian):  # raw bits, most of which a normal density saves, lie far beyond
        axis.set_xlim(0, 1.12 * float(gaussian.max()))
    axis.set_xlabel(f"bits per weight (raw: {rows['raw'].max():.4g})")


def _legend(rows: pd.DataFrame) -> Sequence[Any]:
    from matplotlib.patches import Patch

    present = set(rows["question"])
    taken = Patch(facecolor=PALE, edgecolor=SOFT, linewidth=0.4, label="what the weights take")
    return [taken] + [
        Patch(color=colour, label=f"saved by {question}")
        for question, colour in reversed(COLOURS.items())
        if question in present
    ]
