"""Figures of where the bits go: attribution, bit-planes; and of whether measurements agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.errors import InputError
from kolmo.report import agreement as agreements
from kolmo.report.attribution import PARTS, attribution, bitplanes
from kolmo.report.figures.drawing import (
    BRIGHT,
    DARK,
    INK,
    MOST_CHECKPOINTS,
    MOST_LABELS,
    PALE,
    PAPER,
    SOFT,
    Canvas,
    in_natural_order,
    is_leftmost,
    name_label,
)
from kolmo.report.figures.layers import by_tensor, hide, label_names
from kolmo.specs import unknown

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BACK = {"residual": "#555555", "structure": "#a03f00", "marginal": "#2f6fa8"}
COLOURS = {"residual": "#b4b4b4", "structure": "#d55e00", "marginal": "#7fb3d9"}
_MEANING = {
    "residual": "residual: what the best bound leaves over",
    "structure": "structure: saved by places (shuffled − actual)",
    "marginal": "marginal: saved by values (raw − shuffled)",
}
_MOST_PAIRS = 16  # measurements in one panel of correlations


# --- attribution ----------------------------------------------------------------------------


def attribution_rows(table: pd.DataFrame, scope: str | None, quantizer: str | None) -> pd.DataFrame:
    """The rows of the attribution that are drawn, in the natural order of the tensors."""
    parts = attribution(table)
    if scope not in (None, "model", "tensor"):
        raise unknown("scope", str(scope), ("model", "tensor"))
    chosen = scope or ("model" if (parts["scope"] == "model").any() else "tensor")
    rows = parts[(parts["scope"] == chosen) & parts["residual_per_weight"].notna()]
    if quantizer is not None:
        rows = rows[rows["quantizer"] == quantizer]
    if rows.empty:
        raise InputError(f"there is no bound beside its shuffles in {chosen} scope to draw")
    if chosen == "model":
        return rows
    if rows["checkpoint"].nunique() > MOST_CHECKPOINTS:
        raise InputError(f"the tensors of {rows['checkpoint'].nunique()} checkpoints do not fit")
    return by_tensor(rows)


def draw_attribution(rows: pd.DataFrame, canvas: Canvas) -> Figure:
    """See `kolmo.report.figures.plots.Plots.attribution`."""
    whole = (rows["scope"] == "model").all()
    panels = ["quantizer"] if whole else ["checkpoint", "quantizer"]
    groups = list(rows.groupby(panels, sort=False))
    columns = rows["quantizer"].nunique()
    most = min(max(len(group) for _, group in groups), MOST_LABELS)
    with canvas.style():
        figure, axes = canvas.panels(
            -(-len(groups) // columns), columns, 1.3 + min(max(0.2 * most, 0.8), 14)
        )
        for axis, (names, group) in zip(axes, groups, strict=False):
            _stack(axis, group, "checkpoint" if whole else "tensor")
            axis.set_title(", ".join(name_label(str(name), 24) for name in names))
        hide(axes[len(groups) :])
        handles = [_patch(part) for part in PARTS]
        if any(_is_visible(rows, part) for part in PARTS):
            handles.append(_patch(None))
        canvas.legend(figure, handles, min(columns, 2))
    return figure


def _stack(axis: Axes, rows: pd.DataFrame, column: str) -> None:
    """Bars from 0 to the actual, the shuffled and the raw bits; negative parts are hatched."""
    y, left = np.arange(len(rows)), np.zeros(len(rows))
    for part in PARTS:
        width = rows[f"{part}_per_weight"].fillna(0).to_numpy(float)  # what no bound can see
        for back in (False, True):
            chosen = (width < 0) == back
            mark: dict[str, Any] = {"color": COLOURS[part]}
            if back:
                mark = {"facecolor": "none", "edgecolor": _BACK[part], "hatch": "/////"}
            axis.barh(y[chosen], width[chosen], 0.72, left[chosen], linewidth=0, **mark)
        left += width
    saved = 100 * (rows["structure"] / (rows["structure"] + rows["residual"])).to_numpy(float)
    for place, (share, bound) in enumerate(zip(saved, rows["estimator"], strict=True)):
        _annotate(axis, place, f"{_percent(share)}  {bound}", len(rows))
    label_names(axis, [str(name) for name in rows[column]])
    axis.set_xlim(0, 1.02 * _end(rows))
    axis.set_xlabel(
        "bits per weight;  beside: structure in % of shuffled, the bound", fontsize="small"
    )
    axis.grid(axis="y", visible=False)
    if len(rows) > 12:
        axis.tick_params(axis="y", labelsize="x-small")


def _end(rows: pd.DataFrame) -> float:
    """The end of the axis: the raw bits, or up to a third more if ordinary tensors need more."""
    raw = float((rows["raw_bits"] / rows["numel"]).max())
    return min(max(raw, float(rows["residual_per_weight"].max())), 1.33 * raw)


def _annotate(axis: Axes, place: float, text: str, rows: int) -> None:
    if rows > MOST_LABELS:
        return
    axis.annotate(
        text,
        (1.01, place),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize="small" if rows <= 12 else "xx-small" if rows > 60 else "x-small",
        color=SOFT,
        annotation_clip=False,
    )


def _percent(share: float) -> str:
    if np.isnan(share):
        return "not seen"
    digits = 1 if abs(share) >= 1 else 2
    return f"{round(share, digits) or 0.0:.{digits}f} %".replace("-", "−")


def _is_visible(rows: pd.DataFrame, part: str) -> bool:
    """Whether a part is visibly negative in any row."""
    return bool((rows[f"{part}_per_weight"] < -0.005 * rows["raw_bits"] / rows["numel"]).any())


def _patch(part: str | None) -> Any:
    from matplotlib.patches import Patch

    if part is None:
        return Patch(facecolor="none", edgecolor=SOFT, hatch="/////", linewidth=0,
                     label="hatched: negative, the code loses there")  # fmt: skip
    return Patch(color=COLOURS[part], label=_MEANING[part])


# --- bit-planes -----------------------------------------------------------------------------


def plane_rows(table: pd.DataFrame, quantizer: str | None) -> pd.DataFrame:
    """The bit-planes that are drawn: of each checkpoint the whole, then its tensors."""
    planes = bitplanes(table)
    if quantizer is not None:
        planes = planes[planes["quantizer"] == quantizer]
    if planes.empty:
        raise InputError(f"no bit-planes of the quantizer {quantizer!r} are in this report")
    named = planes["tensor"].fillna("").astype(object)
    planes = in_natural_order(planes.assign(object=_objects(planes), named=named), "named")
    places = {name: place for place, name in enumerate(planes["checkpoint"].unique())}
    first = planes["checkpoint"].map(places) + 0.5 * (planes["scope"] == "tensor")
    return planes.loc[first.sort_values(kind="stable").index]  # the model above its tensors


def draw_bitplanes(planes: pd.DataFrame, canvas: Canvas) -> Figure:
    """See `kolmo.report.figures.plots.Plots.bitplanes`."""
    width = planes.groupby(["object", "quantizer", "dtype"])["plane"].transform("max") + 1
    groups = list(planes.assign(width=width).groupby(["quantizer", "width"], sort=False))
    most = max(group["object"].nunique() for _, group in groups)
    with canvas.style():
        figure, axes = canvas.panels(1, len(groups), 1.5 + min(max(0.2 * most, 0.7), 14))
        for axis, ((spec, _), group) in zip(axes, groups, strict=False):
            image = _map_planes(axis, group)
            axis.set_title(f"quantizer {spec}", pad=22)
            alike = group["object"].unique().tolist() == groups[0][1]["object"].unique().tolist()
            axis.tick_params(axis="y", labelleft=is_leftmost(axis) or not alike)
        hide(axes[len(groups) :])
        bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 2.5 / figure.get_figheight()))
        bar.set_label("share of the plane saved", fontsize="small")
        bar.set_ticks([0, 0.01, 0.1, 0.5, 1], labels=["0", "1 %", "10 %", "50 %", "100 %"])
        bar.ax.tick_params(labelsize="small")
    return figure


def _objects(planes: pd.DataFrame) -> list[str]:
    """Names of the rows: the tensor, or the model; with the checkpoint where there are several."""
    several, mixed = planes["checkpoint"].nunique() > 1, planes["dtype"].nunique() > 1
    names = []
    for checkpoint, tensor, dtype in planes[["checkpoint", "tensor", "dtype"]].itertuples(
        index=False
    ):
        single = isinstance(tensor, str)
        name = tensor if single else checkpoint
        name = f"{checkpoint}: {name}" if single and several else name
        names.append(f"{name} ({dtype})" if mixed and not single else name)
    return names


def _map_planes(axis: Axes, planes: pd.DataFrame) -> Any:
    """One panel: a line for each object, a column for each plane."""
    from matplotlib.colors import PowerNorm

    names = list(dict.fromkeys(planes["object"]))
    wide = planes.pivot_table(index="object", columns="plane", values="saved", sort=False)
    differs = planes.pivot_table(index="object", columns="plane", values="differs", sort=False)
    order = sorted((int(plane) for plane in planes["plane"].unique()), reverse=True)
    saved = wide.loc[names, order].to_numpy(float).clip(0, 1)
    noise = ~(differs.loc[names, order].to_numpy(float) > 0)
    image = axis.imshow(
        np.ma.masked_array(saved, noise), aspect="auto", cmap="viridis_r",
        norm=PowerNorm(0.4, 0, 1), interpolation="nearest",
    )  # fmt: skip
    axis.set_facecolor(PALE)
    axis.grid(visible=False)
    _label_planes(axis, planes, order)
    label_names(axis, names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.tick_params(axis="y", labelsize="x-small" if len(names) > 12 else "medium", length=0)
    for place, known in enumerate((~noise).sum(axis=1)):
        _annotate(axis, place, f"{known} of {len(order)}", len(names))
    return image


def _label_planes(axis: Axes, planes: pd.DataFrame, order: Sequence[int]) -> None:
    """Label planes by number, 0 the least significant; above them, the parts of a float."""
    step = 4 if len(order) > 16 else 1
    shown = [place for place, plane in enumerate(order) if plane % step == 0 or place == 0]
    axis.set_xticks(shown, [str(order[place]) for place in shown])
    said = "bit-plane;  grey: like coin flips;  beside: how many are not"
    axis.set_xlabel(said, fontsize="small")
    parts = planes.drop_duplicates("plane").set_index("plane")["part"]
    for part, first, last in _runs([str(parts[plane]) for plane in order]):
        if part:
            axis.axvline(last + 0.5, color=PAPER, linewidth=2)
            place, align = ((first + last) / 2, "center") if last > first else (last + 0.5, "right")
            axis.annotate(part, (place, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                          textcoords="offset points", ha=align, fontsize="small",
                          color=SOFT)  # fmt: skip


def _runs(names: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """Stretches of equal names, with the first and the last place of each."""
    first = 0
    for place, name in enumerate(names):
        if place + 1 == len(names) or names[place + 1] != name:
            yield name, first, place
            first = place + 1


# --- agreement ------------------------------------------------------------------------------


def agreement_rows(table: pd.DataFrame, over: str | None) -> pd.DataFrame:
    """The correlations that are drawn."""
    single = table["scope"] == "tensor"
    pairs = agreements.agreement(table, over or ("tensors" if single.any() else "models"))
    if pairs["correlation"].isna().all():
        why = "none are of the same objects" if pairs.empty else pairs["note"].iloc[0]
        raise InputError(f"no two measurements can be compared: {why}")
    return pairs


def draw_agreement(pairs: pd.DataFrame, canvas: Canvas) -> Figure:
    """See `kolmo.report.figures.plots.Plots.agreement`."""
    groups = list(pairs.groupby("checkpoint", sort=False, dropna=False))
    names = [agreements.matrix(group)[0] for _, group in groups]
    most = max(map(len, names))
    if len(groups) > MOST_CHECKPOINTS or most > _MOST_PAIRS:
        raise InputError(
            f"the correlations of {most} measurements of {len(groups)} checkpoints do not fit one "
            f"figure: take a part of the table"
        )
    room = 1.8 + 0.32 * most  # inches of a panel, its names among them
    if canvas.inches is not None and canvas.inches < room:
        raise InputError(f"the correlations of {most} measurements take {room:.3g} inches of width")
    with canvas.style():
        columns = min(len(groups), 2 if canvas.inches is None else int(canvas.inches / room))
        figure, axes = canvas.panels(-(-len(groups) // columns), columns, 1.6 + 0.42 * most)
        if canvas.ax is None and canvas.inches is None:
            figure.set_figwidth(columns * max(4.8, 2.4 + 0.5 * most))
        for axis, (checkpoint, group) in zip(axes, groups, strict=False):
            _draw_matrix(axis, group)
            of_one = isinstance(checkpoint, str)
            axis.set_title(name_label(str(checkpoint), 24) if of_one else "models")
            over = f"{group['objects'].max()} {'tensors' if of_one else 'models'}"
            axis.set_xlabel(f"rank correlation of bits per weight, {over}", fontsize="small")
        hide(axes[len(groups) :])
    return figure


def _draw_matrix(axis: Axes, pairs: pd.DataFrame) -> None:
    """Correlations as colours and numbers; of few objects as numbers alone."""
    names, values = agreements.matrix(pairs)
    _, coloured = agreements.matrix(pairs[pairs["objects"] >= agreements.TELLING], names)
    np.fill_diagonal(coloured, np.nan)
    axis.imshow(np.ma.masked_invalid(coloured), cmap="RdBu", vmin=-1.25, vmax=1.25)
    axis.set_facecolor(PALE)
    axis.grid(visible=False)
    for (i, j), value in np.ndenumerate(values):
        if i != j:
            text = "–" if np.isnan(value) else f"{value:.2f}".replace("-", "−")
            shade = coloured[i, j]
            colour = INK if np.isnan(shade) else BRIGHT if abs(shade) > 0.6 else DARK
            axis.text(j, i, text, ha="center", va="center", fontsize="small", color=colour)
    shown = [name_label(name, 30) for name in names]
    axis.set_xticks(range(len(names)), shown, rotation=40, ha="right", fontsize="small")
    axis.set_yticks(range(len(names)), shown, fontsize="small")
    axis.tick_params(length=0)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
