"""The verdicts of the test that a run makes by itself, and its ledger, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kolmo.checkpoints.files import plural
from kolmo.pvalues import is_significant
from kolmo.report.chains import ACTUAL, GAUSSIAN, SCALED, SHUFFLED, Chain
from kolmo.report.columns import Row, is_known
from kolmo.report.quoting import chance, enumerated, quote_p, saving, shuffles
from kolmo.report.verdict import MEASURED, NONE, STRUCTURE, UNDECIDED, Verdict

_BEYOND = {SHUFFLED: "beyond the value distribution", SCALED: "beyond row and column scale"}
_QUESTIONS = {SHUFFLED: "order", SCALED: "arrangement"}


def chain_verdicts(chain: Chain) -> Iterator[Verdict]:
    """The tests of one checkpoint, in their order, and then what every step saves."""
    for null in (SHUFFLED, SCALED):
        if null in chain.by_null:
            yield _tested(chain, chain.by_null[null])
    if GAUSSIAN in chain.by_null:
        yield from _ledger(chain)


def _tested(chain: Chain, row: Row) -> Verdict:
    null = row["null"]
    word = _word(row)
    beyond, figures = _BEYOND[null], _figures(chain, row)
    saved = row["null_bits"] - row["bits"]
    sentence = {
        STRUCTURE: f"structure {beyond}: {figures}",
        NONE: f"no structure found {beyond}: {figures}",
        UNDECIDED: f"no verdict on structure {beyond}: {row['p_missing']}",
    }[word]
    return Verdict(
        sentence=sentence,
        question=_QUESTIONS[null],
        verdict=word,
        null=null,
        saved=saved,
        share=saved / row["null_bits"],
        spread=chance(row) / row["null_bits"],
        draws=row["null_draws"],
        p=row["p"],
        **_described(chain),
    )


def _described(chain: Chain) -> dict[str, Any]:
    row = chain.row
    of = {name: row[name] for name in ("checkpoint", "scope", "quantizer", "estimator", "kind")}
    return {**of, "bits": row["bits"], "tensor": row["tensor"] or ""}


def _word(row: Row) -> str:
    if not is_known(row["p"]):
        return UNDECIDED
    found = is_significant(row["p"]) and row["bits"] < row["null_bits"]
    return STRUCTURE if found else NONE


def _figures(chain: Chain, row: Row) -> str:
    """``1.3 % ± 0.1 (bound, context; 39 shuffles, p = .05)``."""
    draws = shuffles(row["null"]) if row["null"] == SHUFFLED else f"{row['null']} draws"
    codes = enumerated(chain.details["taken"])
    p = quote_p(row["p"], row["null"])
    return f"{saving(row)} ({row['kind']}, {codes}; {int(row['null_draws'])} {draws}, {p})"


# --- the ledger -----------------------------------------------------------------------------


def _ledger(chain: Chain) -> Iterator[Verdict]:
    """What each property of the weights saves; the first of them has the sentence."""
    sentence = _ledger_sentence(chain)
    for part in chain.parts():
        yield Verdict(
            sentence=sentence,
            question=f"ledger: {part.question}",
            verdict=MEASURED,
            saved=part.saved,
            share=part.share,
            **_described(chain),
        )
        sentence = ""


def _ledger_sentence(chain: Chain) -> str:
    per_weight = {step: chain.bits(step) / chain.weights for step in (GAUSSIAN, ACTUAL)}
    saved = enumerated(f"{part.question} {_percent(part.share)}" for part in chain.parts())
    return (
        f"of {per_weight[GAUSSIAN]:.4g} bits per weight that normal weights of the same variance "
        f"and error take (nmse {_distortion(chain)}), these save: {saved}; "
        f"{per_weight[ACTUAL]:.4g} are left over{_looked_at(chain)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %".replace("-", "−")


def _distortion(chain: Chain) -> str:
    return str(chain.row["quantizer"]).partition(":")[2].partition(",")[0].removeprefix("0")


def _looked_at(chain: Chain) -> str:
    """Which weights these are, if not all."""
    remarks = []
    if chain.row["sampled"] < 1:
        windows, weights = chain.details["windows"], chain.details["weights"]
        remarks.append(f"in {windows} windows, {weights:,} of {chain.row['numel']:,} weights")
    if by_rule := chain.details["by_rule"]:
        remarks.append(f"without {plural(by_rule, 'tensor')} that a rule makes")
    return f" ({'; '.join(remarks)})" if remarks else ""
