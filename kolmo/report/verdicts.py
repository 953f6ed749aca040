"""Verdicts: sentences that a person can quote, none that the figures do not carry.

A verdict on structure is a permutation test: the weights as they are against the same weights
shuffled. A run makes one by itself (`kolmo.report.verdicts_sample`), unless nulls are named; those
are tested here. Each object, a model or a tensor, is tested by one estimator, its *lead*: the bound
whose figures, the actual one and those of the draws alike, reach lowest. Where there is structure
that is the best bound; and since the choice treats all N + 1 figures alike, the p-value stays valid
as if there had been none. The tensors of one checkpoint and quantizer are corrected by Holm's
method. A measurement that costs the same in every draw is no evidence and never leads; nor does a
saturated BDM, nor a figure of a part of the weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from kolmo.nulls import FITTED, PERMUTATIONS
from kolmo.pvalues import ALPHA, draws_needed, holm, is_significant
from kolmo.report.attribution import best_bound, bitplanes
from kolmo.report.chains import SCALED, SCOPE, chains
from kolmo.report.columns import TableRows, is_known
from kolmo.report.data import ReportData
from kolmo.report.quoting import chance, enumerated, saving, show_p, shuffles
from kolmo.report.significance import BLIND, PARTIAL, SATURATED, WHERE, family_rows
from kolmo.report.table import estimator_label
from kolmo.report.verdict import MEASURED, NONE, STRUCTURE, UNDECIDED, Verdict
from kolmo.report.verdicts_sample import chain_verdicts
from kolmo.spoken import option

if TYPE_CHECKING:
    import pandas as pd

_BEYOND = {
    "shuffled": "beyond the value distribution",
    "row-shuffled": "beyond what each row holds",
    "column-shuffled": "beyond what each column holds",
}

_QUESTIONS = {
    "shuffled": "order",
    "row-shuffled": "beyond row-shuffled",
    "column-shuffled": "beyond column-shuffled",
}


# --- what is found --------------------------------------------------------------------------


def find_verdicts(report: ReportData) -> list[Verdict]:
    """What the figures carry: of the test that a run makes by itself, or of the nulls it named."""
    of_samples = [verdict for chain in chains(report.rows) for verdict in chain_verdicts(chain)]
    nulls = {
        n for n, s in zip(report.rows["null"], report.rows["scope"], strict=True) if s != SCOPE
    }
    if nulls.isdisjoint(PERMUTATIONS):
        return of_samples
    return [*of_samples, *_of_nulls(_named(report.plain))]


def verdict_lines(report: ReportData) -> list[str]:
    """The verdicts in sentences, what they are worth, and where there are none, what to run."""
    rows = report.rows
    if not any(map(is_known, rows["bits"])):
        return []
    found = find_verdicts(report)
    lines = [verdict.line for verdict in found if verdict.sentence]
    if not found and report.kind != "delta":
        lines.append(_without_null())
    if any(verdict.scope != SCOPE for verdict in found):
        lines += _worth(_named(report.plain))
    return [*lines, *_approximate(rows), *_noise(report)]


def _named(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of measurements and the nulls that were named for them."""
    return table[(table["scope"] != SCOPE) & table["bits"].notna()]


def _of_nulls(measured: pd.DataFrame) -> Iterator[Verdict]:
    """The verdicts on structure, by permutations."""
    tested = {null: family_rows(measured, null) for null in PERMUTATIONS}
    for checkpoint, quantizer in product(*(measured[c].unique() for c in WHERE)):
        for null, rows in tested.items():
            yield from _structure(_of(rows, checkpoint, quantizer), null)


def _worth(measured: pd.DataFrame) -> list[str]:
    """What several tests are worth together, and what could not be tested."""
    import pandas as pd

    every = pd.concat([family_rows(measured, null) for null in PERMUTATIONS])
    return [*_together(every), *_untested(every), *_blind(every)]


def _of(rows: pd.DataFrame, checkpoint: str, quantizer: str) -> pd.DataFrame:
    return rows[(rows["checkpoint"] == checkpoint) & (rows["quantizer"] == quantizer)]


def _without_null() -> str:
    asked = option("nulls", "auto")
    return f"no verdict on structure without draws to compare with: measure with {asked}"


# --- of named nulls -------------------------------------------------------------------------


def _structure(rows: pd.DataFrame, null: str) -> Iterator[Verdict]:
    """Of the whole model, then of its tensors."""
    whole, single = (rows[rows["scope"] == scope] for scope in ("model", "tensor"))
    if whole["lead"].any():
        lead = whole[whole["lead"]].iloc[0]
        yield _verdict(lead, null, _whole(lead, null) + _shorter(whole))
    elif len(whole):
        sentence = f"no verdict on structure {_BEYOND[null]}: {_nothing(whole)}"
        yield dataclasses.replace(_verdict(whole.iloc[0], null, sentence), verdict=UNDECIDED)
    leads = single[single["lead"]]
    if len(leads) and (leads["p_holm"].notna().all() or whole.empty):
        first = leads.iloc[0]
        yield Verdict(
            first["checkpoint"], _QUESTIONS[null], MEASURED, _single(leads, null),
            first["quantizer"], "tensor", null=null, draws=float(first["null_draws"]),
        )  # fmt: skip


def _verdict(row: pd.Series, null: str, sentence: str) -> Verdict:
    """The verdict that a lead carries."""
    saved, of = row["null_bits"] - row["bits"], row["null_bits"]
    return Verdict(
        checkpoint=row["checkpoint"],
        question=_QUESTIONS[null],
        verdict=_word(row),
        sentence=sentence,
        quantizer=row["quantizer"],
        estimator=estimator_label(row),
        kind=row["kind"],
        null=null,
        bits=row["bits"],
        saved=saved,
        share=saved / of if of else math.nan,
        spread=chance(row) / of if of else math.nan,
        draws=row["null_draws"],
        p=row["p"],
    )


def _word(row: pd.Series) -> str:
    if not is_known(row["p"]):
        return UNDECIDED
    found = is_significant(row["p_holm"]) and row["bits"] < row["null_bits"]
    return STRUCTURE if found else NONE


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
        return f"costs more than its {shuffles(null)}, by more than chance: {_figures(lead, null)}"
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
        f"{small} of {tensors} tensors have p ≤ .05 and fewer bits than {shuffles(null)}, where "
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
        f"{saving(row)} ({row['kind']}, {estimator_label(row)}; {int(row['null_draws'])} "
        f"{shuffles(null)}{p})"
    )


def _approximate(rows: TableRows) -> Iterator[str]:
    """What the p-values of a fitted null are worth."""
    fitted = [
        n for n, p in zip(rows["null"], rows["p"], strict=True) if is_known(p) and n in FITTED
    ]
    for null in dict.fromkeys(fitted):
        if null == SCALED:  # whose false alarms were counted, and whose p is quoted as about
            continue
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
    table = report.plain
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
