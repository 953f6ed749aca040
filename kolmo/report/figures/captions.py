"""Captions: what the marks of a figure mean, and what may be concluded from it, in sentences.

They are made of the rows that are drawn, so that each says no more than its figure shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kolmo.intervals import draw_widths
from kolmo.report.agreement import TELLING
from kolmo.report.figures.chain import NORMAL, percent
from kolmo.report.figures.drawing import named_rows
from kolmo.report.table import estimator_labels

if TYPE_CHECKING:
    import pandas as pd

_MARKS = "Filled marks are bounds, hollow ones estimates."


def layers_caption(rows: pd.DataFrame) -> str:
    """Of bits per weight by tensor."""
    said = [_MARKS, *_extremes(rows), *_beyond_chance(rows)]
    return " ".join([*said, _struck(rows)]).strip()


def models_caption(rows: pd.DataFrame) -> str:
    """Of whole models side by side."""
    said = [_MARKS]
    for quantizer, group in rows[rows["kind"] == "bound"].groupby("quantizer", sort=False):
        found = _shared_bound(group)
        if found:
            said.append(f"{quantizer}: {found}.")
    return " ".join([*said, _struck(rows)]).strip()


def trajectory_caption(rows: pd.DataFrame) -> str:
    """Of bits over training: each bound at the first step and at the last."""
    said = ["Filled marks on solid lines are bounds, hollow ones on dashed lines estimates."]
    bounds = rows[rows["kind"] == "bound"].assign(label=estimator_labels(rows))
    for (quantizer, label), group in bounds.groupby(["quantizer", "label"], sort=False):
        once = group.sort_values("step", kind="stable").drop_duplicates("step")
        first, last = once.iloc[0], once.iloc[-1]
        bits = [float(row["bits_per_weight"]) for row in (first, last)]
        change = f"{100 * (bits[1] / bits[0] - 1):+.2g} %".replace("-", "−") if bits[0] else ""
        said.append(
            f"{quantizer}, {label}: {bits[0]:.4g} bits a weight at {first['step']:g}, "
            f"{bits[1]:.4g} at {last['step']:g} ({change})."
        )
    return " ".join(said)


def share_caption(rows: pd.DataFrame, null: str) -> str:
    """Of the share of a null by depth."""
    tensors = rows[rows["width"] > 0]
    said = [
        f"Below 100 %: shorter than the same weights {null}. The axis is linear near 100 % and "
        f"logarithmic beyond, so that small effects are seen beside large ones."
    ]
    for label, group in tensors.groupby(estimator_labels(tensors), sort=False):
        below = group[group["share"] < 100 - group["width"]]
        said.append(_counted(f"By {label}, ", len(below), len(group), "the band"))
    far = tensors[tensors["share"] < 100 - tensors["width"]]
    if len(far):
        most = far.loc[[(far["share"] - 100 + far["width"]).idxmin()]].iloc[0]
        said.append(f"Farthest below its band: {most['tensor']}, {most['share']:.4g} % of {null}.")
    return " ".join(said)


def chain_caption(rows: pd.DataFrame) -> str:
    """Of the decomposition."""
    said = ["Each step keeps more of the weights than the one above it; what it saves is beside."]
    whole = rows[(rows["tensor"] == "") & rows["share"].notna() & (rows["question"] != NORMAL)]
    for checkpoint, group in whole.groupby("checkpoint", sort=False):
        parts = [f"{row.question} {percent(row.share)}" for row in named_rows(group)]
        said.append(f"{checkpoint}, of the bits of normal weights: {', '.join(parts)}.")
    return " ".join(said)


def attribution_caption(parts: pd.DataFrame) -> str:
    """Of residual, structure and marginal."""
    shuffled = parts["structure"] + parts["residual"]
    known = parts[parts["structure"].notna() & (shuffled > 0)]
    shares = (known["structure"] / shuffled).dropna()
    said = "Bars end at the raw bits; orange is what the places of the weights save."
    if shares.empty:
        return (
            f"{said} None is to be seen here: the best bounds cost the same wherever the weights "
            f"stand."
        )
    top = known.loc[[shares.idxmax()]].iloc[0]
    name = top["tensor"] if isinstance(top["tensor"], str) and top["tensor"] else top["checkpoint"]
    most = f"{name}, {top['quantizer']}"
    return (
        f"{said} Most structure: {most}, {percent(shares.max())} of the shuffled bits by "
        f"{top['estimator']}. The residual is what the best bound leaves over, not a floor."
    )


def bitplanes_caption(planes: pd.DataFrame) -> str:
    """Of bit-planes."""
    differ = planes[planes["differs"].astype(bool)]
    return (
        f"{len(differ)} of {len(planes)} planes differ from fair coin flips (Holm's correction "
        f"within each object); the grey ones do not, and no code is needed for them but "
        f"the bits themselves."
    )


def agreement_caption(pairs: pd.DataFrame) -> str:
    """Of rank correlations."""
    known = pairs[pairs["correlation"].notna()]
    said = "1: both put the objects in the same order; −1: in opposite orders."
    if (known["objects"] < TELLING).any():
        said += (
            f" Correlations of fewer than {TELLING} objects are numbers without colour: "
            f"chance alone makes them large."
        )
    coloured = known[known["objects"] >= TELLING]
    if coloured.empty:
        return said
    least = coloured.loc[[coloured["correlation"].idxmin()]].iloc[0]
    value = f"{least['correlation']:.2f}".replace("-", "−")
    return f"{said} Least agreement: {least['a']} and {least['b']}, {value}."


# --- sentences ------------------------------------------------------------------------------


def _extremes(rows: pd.DataFrame) -> list[str]:
    """The shortest and the longest tensor by their best bounds, where a panel has two or more."""
    said: list[str] = []
    bounds = rows[rows["kind"] == "bound"]
    for (checkpoint, quantizer), group in bounds.groupby(["checkpoint", "quantizer"], sort=False):
        best = group.groupby("tensor", sort=False)["bits_per_weight"].min()
        if len(best) > 1 and len(said) < 3:
            said.append(
                f"{checkpoint}, {quantizer}: by the best bound of each tensor from "
                f"{best.min():.4g} bits a weight ({best.idxmin()}) to {best.max():.4g} "
                f"({best.idxmax()})."
            )
    return said


def _beyond_chance(rows: pd.DataFrame) -> list[str]:
    """How many figures lie below their nulls, and how many would by chance."""
    said = []
    tested = rows[rows["null_bits"].notna() & (rows["null_sd"] > 0)]
    for null, group in tested.groupby("null", sort=False):
        widths = draw_widths(group["null_sd"], group["null_draws"])
        below = int((group["bits"] < group["null_bits"] - widths).sum())
        said.append(_counted("", below, len(group), f"95 % of their {null} draws"))
    return said


def _counted(by: str, below: int, figures: int, what: str) -> str:
    """How many lie below, beside what chance alone gives: 2.5 %, the lower half of 5."""
    chance = 0.025 * figures
    some = f"{chance:.0f}" if chance >= 10 else f"{chance:.1g}"
    return f"{by}{below} of {figures} figures lie below {what}; by chance alone some {some} would."


def _struck(rows: pd.DataFrame) -> str:
    count = int(rows["saturated"].astype(bool).sum())
    return f"Struck through: saturated, no evidence ({count} figures)." if count else ""


def _shared_bound(rows: pd.DataFrame) -> str:
    """The models in the order of the shortest bound that all of them have."""
    models = rows["checkpoint"].nunique()
    labels = estimator_labels(rows)
    shared = [
        (group["bits_per_weight"].sum(), str(label), group)
        for label, group in rows.groupby(labels, sort=False)
        if group["checkpoint"].nunique() == models
    ]
    if not shared:
        return ""
    _, label, group = min(shared, key=lambda found: found[:2])
    once = group.drop_duplicates("checkpoint").sort_values("bits_per_weight", kind="stable")
    listed = [f"{r.checkpoint} {r.bits_per_weight:.4g}" for r in named_rows(once)]
    shown = listed if len(listed) <= 6 else [*listed[:3], "…", *listed[-2:]]
    return f"bits per weight by {label}, from least to most: {', '.join(shown)}"
