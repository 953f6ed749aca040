"""The schema of a report: what its table, its coverage and its provenance hold, and no other.

A report is checked once, when it is loaded. Words, figures and pages then rely on it: every number
is finite and of a sensible size, what belongs together is there together, and details have the form
that their estimator gives them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from kolmo.forms import (
    EXACT,
    LARGEST,
    LOGGED,
    Form,
    anything,
    figure,
    finite,
    listed,
    mapped,
    maybe,
    number,
    one_of,
    read_json,
    record,
    text,
    truth,
    whole,
)
from kolmo.report.chains import SCOPE as SAMPLE
from kolmo.report.columns import dtype_of, is_known
from kolmo.report.data import Kind
from kolmo.report.ledger import LEDGER, PATTERNS, RELATIONS, TEXT, WHOLE

if TYPE_CHECKING:
    import pandas as pd

SCOPES = ("model", "tensor", SAMPLE)

_LEAST = 1e-100
"""Numbers nearer to zero are none that a run measures, and break what is computed from them."""

_RANGES: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("numel", "covered"), (0, EXACT)),
    **dict.fromkeys(("raw_bits", "bits", "side_bits", "null_bits", "null_sd"), (0, LARGEST)),
    **dict.fromkeys(("bits_per_weight", "compression_ratio", "nmse"), (0, LARGEST)),
    **dict.fromkeys(("standard_error", "seconds"), (0, LARGEST)),
    **dict.fromkeys(("p", "p_t"), (0, 1)),
    "null_draws": (1, EXACT),
    "z": (-LARGEST, LARGEST),
    "sampled": (_LEAST, 1),
    "degrees": (1, LARGEST),
}
"""Least and largest number of a column; any of them may be missing, but ``numel``."""

_COUNTS = ("covered", "null_draws")
_NEAR = 1e-6  # relative; of figures that follow from others
_SHAPE = re.compile(r"(\d{1,18}(x\d{1,18})*)?")
_SET = re.compile(r"nmse:\d*\.?\d+(e[+-]?\d{1,3})?(,.*)?")


# --- values, before they are of a column's type ---------------------------------------------


def check_values(column: str, given: list[Any]) -> None:
    """ValueError where a value of a column, as a file with types has it, is of another type."""
    wanted, what = _TYPES[dtype_of(column)]
    most = EXACT if dtype_of(column) == "int64" else LARGEST
    for place, value in enumerate(given, 1):
        if value is None or value != value:
            continue
        if type(value) not in wanted:
            raise ValueError(f"{column} of row {place} is {what}, not a {type(value).__name__}")
        if wanted[0] is int and not abs(value) <= most:
            raise ValueError(f"{column} of row {place} is no number that a run measures")


_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "object": ((str,), "a text"),
    "bool": ((bool,), "true or false"),
    "int64": ((int, float), "a number"),
    "float64": ((int, float), "a number"),
}


# --- the table ------------------------------------------------------------------------------

Rule = Callable[["pd.DataFrame"], Any]


def _known(*columns: str) -> Rule:
    """Rows in which all of the columns are known, or none."""
    first, *others = columns
    return lambda t: t[others].notna().eq(t[first].notna(), axis=0).all(axis=1)


def _follows(column: str, upper: str, lower: str) -> Rule:
    """Rows whose figure is that of two others, or missing; missing where it has no meaning."""

    def holds(t: pd.DataFrame) -> Any:
        there = t[column].notna()
        with np.errstate(all="ignore"):
            ratio = t[upper] / t[lower]
            near = np.isclose(t[column], ratio, rtol=_NEAR, atol=_NEAR * _NEAR)
        return ~there | ((t[lower] > 0) & near)

    return holds


def _implies(column: str, *others: str) -> Rule:
    """Rows in which a column is missing, or the others are known, too."""
    return lambda t: t[column].isna() | t[list(others)].notna().all(axis=1)


_RULES: Mapping[str, Rule] = {
    "its scope is none": lambda t: t["scope"].isin(SCOPES),
    "its kind is none": lambda t: t["kind"].isna() | t["kind"].isin(("bound", "estimate")),
    "it names no quantizer or estimator": lambda t: (t["quantizer"] != "") & (t["estimator"] != ""),
    "bits, their kind, raw bits and covered weights are known together": _known(
        "bits", "kind", "raw_bits", "covered"
    ),
    "it covers more weights than there are": lambda t: ~(t["covered"] > t["numel"] + 0.5),
    "weights or draws are no whole number": lambda t: _is_whole(t),
    "bits_per_weight is not bits over covered weights": lambda t: (
        _follows("bits_per_weight", "bits", "covered")(t)
        & (t["bits_per_weight"].notna() == (t["covered"] > 0))
    ),
    "compression_ratio is not raw bits over bits": _follows(
        "compression_ratio", "raw_bits", "bits"
    ),
    "a tensor's row names no tensor": lambda t: (t["scope"] != "tensor") | _is_named(t),
    "a whole model's row names a tensor": lambda t: (t["scope"] != "model") | ~_is_named(t),
    "its shape is none": lambda t: (
        (t["scope"] != "tensor") | t["shape"].map(lambda s: bool(_SHAPE.fullmatch(s))).astype(bool)
    ),
    "its quantizer sets no distortion": lambda t: t["quantizer"].map(_sets_distortion).astype(bool),
    "bits of draws and their number are known together": _known("null_bits", "null_draws"),
    "draws are of no null": _implies("null_bits", "null"),
    "it has a spread of a single draw, or none of several": lambda t: (
        t["null_sd"].notna() == (t["null_draws"] > 1)
    ),
    "its test lacks bits, or draws": _implies("p", "bits", "null_bits"),
    "its z lacks bits, or a spread": _implies("z", "bits", "null_sd"),
    "a figure of a sample lacks bits, draws, or weights": lambda t: (
        (t["scope"] != SAMPLE)
        | ((t["covered"] > 0) & t["bits"].notna() & t["sampled"].notna() & (t["null_bits"] > 0))
    ),
}
"""What is wrong with a row, and whether it is not so."""


def check_table(table: pd.DataFrame) -> None:
    """ValueError for the first row that no run has made."""
    for column, (least, most) in _RANGES.items():
        size = table[column].abs()
        tiny = (size > 0) & (size < _LEAST)
        if column not in ("p", "p_t"):
            _require(~tiny, f"its {column} is too small to be one")
        _require(table[column].isna() | table[column].between(least, most), f"its {column} is none")
    for wrong, holds in _RULES.items():
        _require(holds(table), wrong)


def check_details(table: pd.DataFrame, kind: Kind) -> None:
    """ValueError for details that are not of the form that their estimator gives them."""
    columns = ("estimator", "scope", "tensor", "bits", "details")
    every = zip(*(table[name].tolist() for name in columns), strict=True)
    seen: dict[tuple[str, str, bool, bool, str], int] = {}
    for place, (estimator, scope, tensor, bits, details) in enumerate(every, 1):
        seen.setdefault((estimator, scope, is_known(tensor), is_known(bits), details), place)
    for (estimator, scope, of_tensor, measured, details), place in seen.items():
        form = _details_form(kind, estimator, scope, of_tensor)
        if details or (measured and form not in (_ANY, _PLANES)):
            form(_object(details), f"details of row {place}")


def _object(details: str) -> Any:
    try:
        return read_json(details)
    except ValueError:
        return details


def _details_form(kind: Kind, estimator: str, scope: str, of_tensor: bool) -> Form:
    if scope == SAMPLE:
        return _SAMPLE if of_tensor else _SAMPLES
    if kind == "delta":
        return _DELTA if estimator in ("delta", "alone") else _FUNCTION
    return _PLANES if estimator == "planes" else _ANY


def _is_whole(t: pd.DataFrame) -> Any:
    """Whole numbers; a sample stands for a number of weights that need not be one."""
    return (t["scope"] == SAMPLE) | (t[[*_COUNTS]].isna() | (t[[*_COUNTS]] % 1 == 0)).all(axis=1)


def _is_named(t: pd.DataFrame) -> Any:
    return t["tensor"].notna() & (t["tensor"] != "")


def _sets_distortion(quantizer: str) -> bool:
    return not quantizer.startswith("nmse:") or bool(_SET.fullmatch(quantizer))


def _require(holds: Any, wrong: str) -> None:
    if not holds.all():
        raise ValueError(f"row {int(np.argmin(holds.to_numpy())) + 1}: {wrong}")


# --- details --------------------------------------------------------------------------------

_ANY = record()
_SAMPLE = record(taken=mapped(whole(1), 1), windows=whole(), weights=whole())
_SAMPLES = record(taken=mapped(whole(1), 1), windows=whole(), weights=whole(), by_rule=whole())
_FUNCTION = record(form=text, value=figure, original=figure, before=figure, tolerance=text)
_ONE_PLANES = record(
    numel=whole(1), planes=listed(number(0), 1), contexts=listed(text, 1), effective_bits=whole()
)


def _planes(value: Any, where: str) -> None:
    """Those of one dtype, or of each of several."""
    if isinstance(value, dict) and "dtypes" in value:
        record(dtypes=mapped(_planes_of_one, 1))(value, where)
    else:
        _planes_of_one(value, where)


def _planes_of_one(value: Any, where: str) -> None:
    _ONE_PLANES(value, where)
    if len(value["planes"]) != len(value["contexts"]):
        raise ValueError(f"{where}: there is not one context for each bit-plane")


def _delta(value: Any, where: str) -> None:
    """How many tensors each code is the shortest of, or which one it is."""
    counted = isinstance(value, dict) and "tensors" in value
    record(tensors=mapped(whole()))(value, where) if counted else record(code=text)(value, where)


_PLANES: Form = _planes
_DELTA: Form = _delta


# --- provenance -----------------------------------------------------------------------------


def check_provenance(provenance: Any, kind: Kind, checkpoints: Iterable[str]) -> None:
    """ValueError for a provenance that words or figures of this kind of report cannot use."""
    anything(provenance, "provenance")
    _PROVENANCE(provenance, "provenance")
    if kind == "delta":
        record(base=record(source=text))(provenance, "provenance")
    if kind == "trajectory":
        record(series=_series)(provenance, "provenance")
        for name in checkpoints:
            if name not in provenance["series"]["steps"]:
                raise ValueError(f"series has no step of {name}")


def _shards(value: Any, where: str) -> None:
    listed(whole())(value, where)
    if len(value) not in (0, 2):
        raise ValueError(f"{where} are how many were named, of how many")


_SOURCE = record({"networks": listed(text), "shards": _shards})

_BUDGET = record(
    seconds=number(0),
    measurements=listed(
        record(quantizer=text, estimator=text, scope=text, how=text, windows=whole())
    ),
)

_SERIES = record(
    {"relative": truth},
    unit=text,
    left_out=listed(text),
    metrics=mapped(listed(maybe(number(-LOGGED, LOGGED)))),
    without_metrics=listed(number()),
    metrics_source=text,
    steps=mapped(number(), 1),
)


def _series(value: Any, where: str) -> None:
    _SERIES(value, where)
    metrics, unit = value["metrics"], value["unit"]
    if metrics and (unit not in metrics or None in metrics[unit]):
        raise ValueError(f"{where}, metrics have no {unit} at each of their rows")
    if len({len(column) for column in metrics.values()}) > 1:
        raise ValueError(f"{where}, metrics are columns of different lengths")


_FIELDS: Mapping[str, Form] = {
    **dict.fromkeys(LEDGER, finite),
    **dict.fromkeys(TEXT, text),
    **dict.fromkeys(WHOLE, whole()),
    "step_exponent": whole(-EXACT),
    "group_levels": whole(1),
    "shuffles": whole(1),
    "numel": whole(),
    "pattern": one_of("", *PATTERNS),
    "relation": one_of("", *RELATIONS),
}

_TOGETHER: Mapping[str, tuple[str, ...]] = {
    "relation": ("of", "correlation", "factor"),
    "fixed_bits": ("step_exponent",),
    "exponent_entropy": ("exponents", "numel"),
    "group_levels": ("group",),
    "group_values": ("group",),
    "singular_values": ("effective_rank", "shuffles", "taken", "above_shuffled"),
    "above_shuffled": ("singular_values",),
    "spare_bits": ("peak",),
    "holds": ("trailing_zeros",),
}
"""Facts of a tensor that are known together."""


def _facts(value: Any, where: str) -> None:
    record(_FIELDS, checkpoint=text, tensor=text, dtype=text)(value, where)
    for name, others in _TOGETHER.items():
        lacks = [other for other in others if name in value and other not in value]
        if lacks:
            raise ValueError(f"{where} has {name} and no {lacks[0]}")
    if value.get("exponent_entropy") and not value["numel"]:
        raise ValueError(f"{where} has exponents and no weights")


_PROVENANCE = record(
    {
        "sources": mapped(_SOURCE),
        "settings": record({"budget": maybe(_BUDGET)}),
        "ledger": record(records=listed(_facts), compared=mapped(truth)),
        **dict.fromkeys(("finished", "complete"), truth),
        "problems": listed(text),
    }
)
