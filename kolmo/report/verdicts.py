"""Verdicts: sentences that a person can quote, none that the figures do not carry.

A verdict on structure is a permutation test: the weights as they are against the same weights
shuffled. Each object, a model or a tensor, is tested by one estimator, its *lead*: the bound whose
figures, the actual one and those of the draws alike, reach lowest. Where there is structure that
is the best bound; and since the choice treats all N + 1 figures alike, the p-value stays valid as
if there had been none. The tensors of one checkpoint and quantizer are corrected by Holm's method.
A measurement that costs the same in every draw is no evidence and never leads; nor does a saturated
BDM, nor a figure of a part of the weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import compress, product
from typing import TYPE_CHECKING

from kolmo.intervals import student_quantile, sum_degrees
from kolmo.nulls import FITTED, PERMUTATIONS
from kolmo.pvalues import ALPHA, draws_needed, holm, is_significant
from kolmo.report.attribution import best_bound, bitplanes
from kolmo.report.columns import Row, TableRows, is_known
from kolmo.report.data import ReportData
from kolmo.report.significance import BLIND, PARTIAL, SATURATED, WHERE, family_rows
from kolmo.report.table import estimator_label
from kolmo.spoken import option, options

if TYPE_CHECKING:
    import pandas as pd

_BEYOND = {
    "shuffled": "beyond the value distribution",
    "row-shuffled": "beyond what each row holds",
    "column-shuffled": "beyond what each column holds",
}


# --- sentences ------------------------------------------------------------------------------


def verdicts(report: ReportData) -> list[str]:
    """What the figures carry, in sentences; and where they carry nothing, what to run."""
    rows = report.rows
    measured = list(map(is_known, rows["bits"]))
    if not any(measured):
        return []
    nulls = set(compress(rows["null"], measured))
    found = [_without_null()] if nulls.isdisjoint(PERMUTATIONS) else _tested(report.table)
    return [*found, *_approximate(rows), *_noise(report)]


def _tested(table: pd.DataFrame) -> list[str]:
    """The verdicts on structure, by permutations."""
    import pandas as pd

    measured = table[table["bits"].notna()]
    tested = {null: family_rows(measured, null) for null in PERMUTATIONS}
    lines = [
        f"{checkpoint}, {quantizer}: {sentence}"
        for checkpoint, quantizer in product(*(measured[c].unique() for c in WHERE))
        for null, rows in tested.items()
        for sentence in _structure(_of(rows, checkpoint, quantizer), null)
    ]
    every = pd.concat(list(tested.values()))
    return [*lines, *_together(every), *_untested(every), *_blind(every)]


def _of(rows: pd.DataFrame, checkpoint: str, quantizer: str) -> pd.DataFrame:
    return rows[(rows["checkpoint"] == checkpoint) & (rows["quantizer"] == quantizer)]


def _without_null() -> str:
    draws = draws_needed()
    return (
        f"no verdict on structure without shuffles to compare with: measure with "
        f"{options(nulls='shuffled', draws=draws)}"
    )


def _structure(rows: pd.DataFrame, null: str) -> Iterator[str]:
    """Of the whole model, then of its tensors."""
    whole, single = (rows[rows["scope"] == scope] for scope in ("model", "tensor"))
    if whole["lead"].any():
        yield _whole(whole[whole["lead"]].iloc[0], null) + _shorter(whole)
    elif len(whole):
        yield f"no verdict on structure {_BEYOND[null]}: {_nothing(whole)}"
    leads = single[single["lead"]]
    if len(leads) and (leads["p_holm"].notna().all() or whole.empty):
        yield _single(leads, null)


_VERBS = {BLIND: ("costs", "cost"), SATURATED: ("is", "are"), PARTIAL: ("is", "are")}


def _nothing(rows: pd.DataFrame) -> str:
    """Why none of these is evidence."""
    reasons = []
    for evidence, group in rows.groupby("evidence", sort=False):
        names = list(dict.fromkeys(estimator_label(row) for _, row in group.iterrows()))
        one, many = _VERBS[str(evidence)]
        reasons.append(f"{enumerated(names)} {one if len(names) == 1 else many} {evidence}")
    return "; ".join(reasons)


def _whole(lead: pd.Series, null: str) -> str:
    """The verdict on a whole model."""
    if not is_known(lead["p"]):
        return f"saving {_BEYOND[null]}, untested: {_figures(lead, null)}"
    if not is_significant(lead["p_holm"]):
        return f"no structure found {_BEYOND[null]} at α = .05: {_figures(lead, null)}"
    if lead["bits"] > lead["null_bits"]:
        return f"costs more than its {_shuffles(null)}, by more than chance: {_figures(lead, null)}"
    return f"structure {_BEYOND[null]}: {_figures(lead, null)}"


def _shorter(rows: pd.DataFrame) -> str:
    """The best bound, where no draw moves it: the structure is not in it."""
    best = best_bound(rows)
    if best is None or best["evidence"] != BLIND:
        return ""
    return f"; {estimator_label(best)}, the shortest bound, costs {BLIND}"


def _single(leads: pd.DataFrame, null: str) -> str:
    """The verdict on the tensors."""
    draws, tensors = int(leads["null_draws"].iloc[0]), len(leads)
    over = f"Holm's correction over {tensors} tests"
    if draws >= draws_needed(tensors):
        found = _fewer(leads[leads["p_holm"].map(is_significant).astype(bool)])["tensor"].tolist()
        names = f" ({', '.join(found[:3])}{', …' if len(found) > 3 else ''})" if found else ""
        return f"structure {_BEYOND[null]} in {len(found)} of {tensors} tensors after {over}{names}"
    if leads["p"].isna().any():
        return f"no verdict on its tensors: {over} takes {draws_needed(tensors)} draws, not {draws}"
    small = len(_fewer(leads[leads["p"] <= ALPHA]))
    return (
        f"{small} of {tensors} tensors have p ≤ .05 and fewer bits than {_shuffles(null)}, where "
        f"chance makes {tensors * ALPHA / 2:.2g}; to tell which, {over} takes "
        f"{draws_needed(tensors)} draws, not {draws}"
    )


def _fewer(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["bits"] < rows["null_bits"]]


def _figures(row: pd.Series, null: str) -> str:
    """``1.3 % ± 0.1 (bound, context; 39 shuffles, p = .05)``: what it saves, and in 95 % of cases
    chance alone does."""
    p = f", p = {show_p(row['p'])}" if is_known(row["p"]) else ""
    return (
        f"{_saving(row)} ({row['kind']}, {estimator_label(row)}; {int(row['null_draws'])} "
        f"{_shuffles(null)}{p})"
    )


def _saving(row: pd.Series) -> str:
    share = 100 * (row["null_bits"] - row["bits"]) / row["null_bits"]
    spread = 100 * _chance(row) / row["null_bits"]
    if math.isnan(spread):  # a single draw
        return f"{round(share, 1) or 0.0:.1f} %".replace("-", "−")
    digits = max(1, _place(spread)) if spread > 0 else max(2, _place(share) + 1)
    share = round(share, digits) or 0.0  # never −0
    return f"{share:.{digits}f} % ± {spread:.{digits}f}".replace("-", "−")


def _chance(row: pd.Series) -> float:
    """How far chance alone brings a figure from the mean of its draws, in 95 % (Student's t): by
    one more draw, and by the error of a sample; NaN of a single draw."""
    draws, error = row["null_draws"], row["standard_error"]
    if draws < 2:
        return math.nan
    errors = [row["null_sd"] * math.sqrt(1 + 1 / draws), 0.0 if math.isnan(error) else error]
    degrees = sum_degrees(errors, [draws - 1, row["degrees"]])
    return math.hypot(*errors) * student_quantile(degrees)


def _place(number: float) -> int:
    """The decimal place of the first digit.

    >>> _place(0.03), _place(12.0), _place(0.0)
    (2, -1, 0)
    """
    return -math.floor(math.log10(abs(number))) if number else 0


def show_p(p: float) -> str:
    """Two digits, without the leading zero.

    Examples
    --------
    >>> show_p(0.05), show_p(0.0125), show_p(1.0), show_p(2**-30)
    ('.05', '.013', '1', '9.3e-10')
    """
    return f"{p:.2g}".removeprefix("0")


def quote_p(p: float, null: str) -> str:
    """With ≈ where the null makes it approximate.

    Examples
    --------
    >>> quote_p(0.05, "shuffled"), quote_p(0.05, "gaussian")
    ('p = .05', 'p ≈ .05')
    """
    return f"p {'≈' if null in FITTED else '='} {show_p(p)}"


def quote_z(row: Row) -> str:
    """With the number of its draws where they are so few that z is far from normal.

    Examples
    --------
    >>> [quote_z({"z": 4.1, "null_draws": draws}) for draws in (5, 39)]
    ['4.1 of 5 draws', '4.1']
    """
    draws = int(row["null_draws"])
    return f"{row['z']:.1f}" + ("" if draws >= draws_needed() else f" of {draws} draws")


def _approximate(rows: TableRows) -> Iterator[str]:
    """What the p-values of a fitted null are worth."""
    fitted = [
        n for n, p in zip(rows["null"], rows["p"], strict=True) if is_known(p) and n in FITTED
    ]
    for null in dict.fromkeys(fitted):
        yield (
            f"p-values of the {null} null are approximate: its parameters are fitted to the "
            f"weights, and no verdict here rests on them"
        )


def _together(rows: pd.DataFrame) -> Iterator[str]:
    """The chance of a false verdict among several, in one line.

    Each, of a model or of its tensors after Holm's correction, finds structure where there is none
    with a chance of α/2 at most; these add up however the verdicts depend on each other.
    """
    leads = rows[rows["lead"] & rows["p_holm"].notna()]
    leads = leads[leads["null_draws"] >= leads["tests"].map(draws_needed)]
    each = leads.groupby([*WHERE, "scope", "null"], sort=False).agg(
        p=("p_holm", "min"), draws=("null_draws", "min")
    )
    if len(each) < 2:
        return
    chance = min(100.0, 100 * len(each) * ALPHA / 2)
    kept = int(sum(map(is_significant, holm(each["p"].to_numpy()))))
    needed = draws_needed(len(each))
    corrected = (
        f"after Holm's correction {kept} of them {'is' if kept == 1 else 'are'} significant"
        if each["draws"].min() >= needed
        else f"Holm's correction over them takes {needed} draws"
    )
    yield (
        f"of these {len(each)} tests the chance of one false structure or more is up to "
        f"{chance:.3g} %; {corrected}"
    )


def _untested(rows: pd.DataFrame) -> Iterator[str]:
    """How many draws a test needs, in one line for all untested leads."""
    short = rows[rows["lead"] & rows["p"].isna()]
    if len(short):
        had, needed = int(short["null_draws"].min()), draws_needed()
        yield f"a test takes {needed} draws, by {option('draws', needed)}; it had {had}"


def _blind(rows: pd.DataFrame) -> Iterator[str]:
    """Estimators that no shuffle moves, in one line."""
    kinds = rows.groupby("estimator", sort=False)["evidence"].agg(set)
    names = [str(name) for name, each in kinds.items() if each == {BLIND}]
    if len(names) == 1:
        yield f"{names[0]} costs the same in every draw and is no evidence of structure"
    elif names:
        yield f"{enumerated(names)} cost the same in every draw and are no evidence of structure"


def _noise(report: ReportData) -> Iterator[str]:
    """How many bit-planes differ from coin flips, where `planes` was measured."""
    if "planes" not in report.rows["estimator"]:
        return
    table = report.table
    of_planes = (table["scope"] == "model") & (table["estimator"] == "planes")
    whole = table[of_planes & table["bits"].notna()]
    if whole.empty:
        return
    for checkpoint, group in bitplanes(whole).groupby("checkpoint", sort=False):
        mixed = group["dtype"].nunique() > 1
        counts = [
            f"{kind['differs'].sum()} of {len(kind)} ({quantizer}{f', {dtype}' if mixed else ''})"
            for (quantizer, dtype), kind in group.groupby(["quantizer", "dtype"], sort=False)
        ]
        yield (
            f"{checkpoint}: {enumerated(counts)} bit-planes differ from coin flips "
            f"(planes; α = .05 after Holm's correction)"
        )


def _shuffles(null: str) -> str:
    return null.replace("-shuffled", " shuffles").replace("shuffled", "shuffles")


def enumerated(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
