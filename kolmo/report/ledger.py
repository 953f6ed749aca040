"""The ledger of a report: the facts of its tensors as a table, and in sentences.

Each sentence is of one kind of fact, and names the tensors that it holds of; what is true of
several checkpoints is said once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kolmo.dtypes import DTYPES, bits_of
from kolmo.errors import InputError
from kolmo.report.columns import Row, grouped
from kolmo.text import natural_key

if TYPE_CHECKING:
    import pandas as pd

TEXT = ("checkpoint", "tensor", "dtype", "holds", "group", "pattern", "relation", "of")

WHOLE = (
    *("numel", "nonfinite", "trailing_zeros", "step_exponent", "exponents", "distinct"),
    *("group_values", "group_levels", "singular_values", "above_shuffled", "shuffles"),
)
"""Columns of whole numbers."""

LEDGER = [
    *("checkpoint", "tensor", "dtype", "numel", "absmax", "mean", "sd", "peak", "spare_bits"),
    *("zeros", "nonfinite", "trailing_zeros", "holds", "step_exponent", "fixed_bits"),
    *("exponents", "exponent_entropy", "distinct", "group", "group_values", "group_levels"),
    *("pattern", "relation", "of", "correlation", "factor", "singular_values"),
    *("effective_rank", "stable_rank", "above_shuffled", "shuffles", "taken"),
]
"""Columns of the ledger: those of `kolmo.ledger.facts.Facts`, `kolmo.ledger.relations.Relation` and
`kolmo.ledger.spectra.Spectrum`, which say what each is."""

FEW = 256
"""Distinct values of a tensor that are few, beside which its precision says nothing."""

SPARSE = 0.1
"""Share of zeros from which a tensor is called sparse."""

WASTED = 1.0
"""Spare bits from which large weights are worth a sentence."""

COARSE = 4.0
"""Bits that fixed point takes less than the dtype, from which that is worth a sentence."""

_SHOWN = 3  # tensors of a sentence, by name


def ledger(provenance: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each tensor; see `kolmo.Report.ledger`."""
    import pandas as pd

    records = _records(provenance)
    if records is None:
        raise InputError("this report has no ledger: it was made without one, or by an older kolmo")
    return pd.DataFrame({name: _column(name, records) for name in LEDGER})


def _records(provenance: Mapping[str, Any]) -> Sequence[Row] | None:
    kept = provenance.get("ledger")
    return kept["records"] if kept else None


def _column(name: str, records: Sequence[Row]) -> pd.Series:
    import pandas as pd

    values = [record.get(name) for record in records]
    if name in TEXT:
        return pd.Series([value or "" for value in values], dtype=object)
    return pd.Series(values, dtype="Int64" if name in WHOLE else "float64")


def ledger_lines(provenance: Mapping[str, Any]) -> list[str]:
    """The facts that explain figures, each once; see `kolmo.Report.ledger_lines`."""
    by_name = grouped(_records(provenance) or (), "checkpoint")
    compared = provenance["ledger"]["compared"] if by_name else {}
    told: dict[str, list[str]] = {}  # by sentence the checkpoints that it is true of
    for (name,), records in by_name.items():
        for line in _lines_of(records, compared.get(name, True)):
            told.setdefault(line, []).append(name)
    return [f"{_where(names, len(by_name))}{line}" for line, names in told.items()]


def _where(names: Sequence[str], all_of_them: int) -> str:
    """The checkpoints that a sentence is true of, where there are several."""
    if all_of_them == 1:
        return ""
    return "all: " if len(names) == all_of_them else f"{_listed(names)}: "


def _lines_of(records: Sequence[Row], compared: bool) -> Iterator[str]:
    """The sentences on one checkpoint."""
    ordered = _in_order(records)
    for write in _WRITERS:
        yield from write(ordered)
    if not compared:
        yield "the run ended before tensors were compared with each other"


def _in_order(records: Iterable[Row]) -> list[Row]:
    return sorted(records, key=lambda record: natural_key(record["tensor"]))


# --- sentences ------------------------------------------------------------------------------


def _relations(records: Sequence[Row]) -> Iterator[str]:
    for (relation,), some in grouped(_with(records, "relation"), "relation").items():
        said, beside = RELATIONS[relation]
        pairs = [f"{r['tensor']} of {r['of']}{beside(r)}" for r in some]
        yield f"{_count(some)} {said[len(some) > 1]}: {_listed(pairs)}"
    if alike := [r for r in records if r.get("relation") == "alike"]:
        least = min(record["correlation"] for record in alike)
        yield (
            f"averages, or states of one training, lie in the file (correlation {_floor(least)} at "
            f"least): that one of them is short, given the other, is no structure of the network"
        )


def _floor(correlation: float) -> str:
    """Four digits, rounded down, so that "at least" stays true."""
    return f"{math.floor(correlation * 1e4) / 1e4:.4f}".lstrip("0")


def _factor(record: Row) -> str:
    return f" (× {record['factor']:.4g})"


def _nothing(record: Row) -> str:
    return ""


RELATIONS: Mapping[str, tuple[tuple[str, str], Callable[[Row], str]]] = {
    "copy": (("is an exact copy", "are exact copies"), _nothing),
    "negated": (("is the negative", "are the negatives"), _nothing),
    "rounded": (("is a copy in another precision", "are copies in another precision"), _nothing),
    "scaled": (("is a multiple", "are multiples"), _factor),
    "alike": (("is nearly a copy", "are nearly copies"), _nothing),
}
"""Of one and of several tensors, and what is said of each."""


def _patterns(records: Sequence[Row]) -> Iterator[str]:
    for (pattern,), some in grouped(_with(records, "pattern"), "pattern").items():
        yield f"{_count(some)} {PATTERNS[pattern][len(some) > 1]}: {_names(some)}"


PATTERNS = {
    "constant": ("is constant", "are constant"),
    "range": ("is a range of equal steps", "are ranges of equal steps"),
    "sinusoids": ("is a table of sinusoids", "are tables of sinusoids"),
    **{
        name: (f"is {article} {name} matrix".replace("mask matrix", "mask"),
               f"are {name} matrices".replace("mask matrices", "masks"))
        for article, names in (
            ("a", ("diagonal", "lower triangular", "lower triangular mask", "symmetric")),
            ("an", ("identity", "upper triangular", "upper triangular mask", "antisymmetric")),
        )
        for name in names
    },
}  # fmt: skip


def _precision(records: Sequence[Row]) -> Iterator[str]:
    plain = [r for r in _with(_as_stored(records), "holds") if not r.get("pattern")]
    fine = [r for r in plain if r.get("distinct", math.inf) > FEW]
    for (dtype, holds), some in grouped(fine, "dtype", "holds").items():
        zeros = min(record["trailing_zeros"] for record in some)
        yield (
            f"{_count(some)} {_verb(some, 'is', 'are')} {dtype} that "
            f"{_verb(some, 'holds', 'hold')} {holds}: the last {zeros} bits of each weight are "
            f"zero: {_names(some)}"
        )


def _fixed_point(records: Sequence[Row]) -> Iterator[str]:
    stored = _as_stored(records)
    plain = [r for r in stored if not r.get("holds") and not r.get("pattern")]
    coarse = [r for r in plain if r.get("distinct", math.inf) > FEW and _saved(r) >= COARSE]
    for (dtype,), some in grouped(coarse, "dtype").items():
        steps = [record["step_exponent"] for record in some]
        least, most = (f(record["fixed_bits"] for record in some) for f in (min, max))
        between = f"{least:.1f}" if most - least < 0.05 else f"{least:.1f} to {most:.1f}"
        yield (
            f"{_count(some)} of {dtype} {_verb(some, 'holds', 'hold')} multiples of 2^{min(steps)} "
            f"alone, {between} bits a weight in fixed point, as random initial weights do: "
            f"{_names(some)}"
        )


def _saved(record: Row) -> float:
    return bits_of(DTYPES[record["dtype"]]) - float(record.get("fixed_bits", math.inf))


def _exponents(records: Sequence[Row]) -> Iterator[str]:
    stored = _as_stored(records)
    known = [r for r in _with(stored, "exponent_entropy") if not r.get("pattern")]
    for (dtype,), some in grouped(known, "dtype").items():
        weights = sum(record["numel"] for record in some)
        mean = sum(record["numel"] * record["exponent_entropy"] for record in some) / weights
        most = max(record["exponents"] for record in some)
        yield (
            f"exponents of {dtype} take {mean:.2f} bits a weight by their entropy; a tensor uses "
            f"{most} of them at most"
        )


def _groups(records: Sequence[Row]) -> Iterator[str]:
    stored = _as_stored(records)
    stepped = _with(stored, "group_levels")
    for (group, levels), some in grouped(stepped, "group", "group_levels").items():
        bits = math.ceil(math.log2(2 * levels + 1))
        yield (
            f"{_count(some)} {_verb(some, 'holds', 'hold')} multiples of one step alone in "
            f"{_GROUPS.get(group, _width(group))}, up to {levels:,} of them, as dequantized codes "
            f"of {bits} bits do: {_names(some)}"
        )
    few = [r for r in _with(stored, "group_values") if not r.get("group_levels") and _are_few(r)]
    for (group,), some in grouped(few, "group").items():
        most = max(record["group_values"] for record in some)
        yield (
            f"{_count(some)} {_verb(some, 'holds', 'hold')} at most {most} distinct values in "
            f"{_GROUPS.get(group, _width(group))}: {_names(some)}"
        )


def _are_few(record: Row) -> bool:
    """Whether the values are few for the dtype, which may hold no more than 256 itself."""
    bits = bits_of(DTYPES[record["dtype"]])
    return bits > 8 or int(record["group_values"]) ** 2 <= 1 << bits


_GROUPS = {"tensor": "all of it", "row": "each row"}


def _width(group: str) -> str:
    return f"each group of {group}"


def _peaks(records: Sequence[Row]) -> Iterator[str]:
    high = [r for r in records if r.get("spare_bits", 0.0) >= WASTED and not r.get("pattern")]
    if not high:
        return
    high = sorted(high, key=lambda record: -record["spare_bits"])
    said = [f"{r['tensor']} ({r['peak']:.3g} σ, {r['spare_bits']:.1f} bits)" for r in high]
    yield (
        f"{_count(high)} {_verb(high, 'has', 'have')} rare weights so large that a fixed number of "
        f"levels up to them wastes {WASTED:g} bit a weight or more: {_listed(said)}"
    )


def _zeros(records: Sequence[Row]) -> Iterator[str]:
    sparse = [r for r in records if r.get("zeros", 0.0) >= SPARSE and not r.get("pattern")]
    if sparse:
        said = [f"{r['tensor']} ({100 * r['zeros']:.3g} %)" for r in sparse]
        yield f"{_count(sparse)} {_verb(sparse, 'has', 'have')} many exact zeros: {_listed(said)}"


def _spectra(records: Sequence[Row]) -> Iterator[str]:
    matrices = [r for r in _with(records, "singular_values") if not r.get("pattern")]
    if not matrices:
        return
    shuffles = matrices[0]["shuffles"]
    above = sorted(_with(matrices, "above_shuffled"), key=lambda r: -r["above_shuffled"])
    said = [
        f"{r['tensor']} ({r['above_shuffled']} of {r['singular_values']}, effective rank "
        f"{r['effective_rank']:.3g})"
        for r in above
    ]
    yield (
        f"matrices with singular values above the largest of {shuffles} shuffles: {len(above)} of "
        f"{len(matrices)}, by chance one in {shuffles + 1}{': ' if above else ''}{_listed(said)}"
    )
    drawn = [record for record in matrices if record["taken"] < 1]
    if drawn:
        yield f"of {len(drawn)} of these matrices rows or columns were drawn"


_WRITERS: Sequence[Callable[[Sequence[Row]], Iterator[str]]] = (
    _relations,
    _patterns,
    _groups,
    _precision,
    _fixed_point,
    _exponents,
    _peaks,
    _zeros,
    _spectra,
)


# --- words ----------------------------------------------------------------------------------


def _as_stored(records: Iterable[Row]) -> list[Row]:
    """Those whose weights are the numbers of the file, not what its codes stand for."""
    return [record for record in records if record["dtype"] in DTYPES]


def _with(records: Iterable[Row], field: str) -> list[Row]:
    return [record for record in records if record.get(field)]


def _count(records: Sequence[Row]) -> str:
    return "1 tensor" if len(records) == 1 else f"{len(records):,} tensors"


def _verb(records: Sequence[Row], one: str, several: str) -> str:
    return one if len(records) == 1 else several


def _names(records: Iterable[Row]) -> str:
    return _listed([record["tensor"] for record in records])


def _listed(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
