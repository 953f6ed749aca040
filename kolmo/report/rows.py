"""From results to the tidy table: one row for each measurement (and null, where asked for)."""

from __future__ import annotations

import functools
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import changed_files
from kolmo.engine.run import Run
from kolmo.errors import InputError
from kolmo.estimators.base import CodeLength
from kolmo.measure import Measured, Measurement, Plan, Variant
from kolmo.nulls import Null
from kolmo.outcomes import Failed, Missing, Result
from kolmo.provenance import versions
from kolmo.pvalues import draws_needed, permutation_p, student_p
from kolmo.report.columns import COLUMNS, COVERAGE, TableRows
from kolmo.report.data import ReportData
from kolmo.text import NAMELESS

_DETAILS = json.JSONEncoder(sort_keys=True)


def make_report(
    checkpoints: Mapping[str, Checkpoint],
    plan: Plan,
    runs: Mapping[str, Measured],
    finished: bool,
    tested: Iterable[dict[str, Any]] = (),
) -> ReportData:
    """The data of a report; ``tested`` are the rows that a test of structure adds."""
    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    changed: dict[str, list[str]] = {}
    failures: list[str] = []
    for name, run in runs.items():
        results = run.results()
        rows += _rows(name, checkpoints[name], plan, results)
        changed[name], told = changes_of(checkpoints[name])
        problems += [*_problems(name, results), *(f"{name}: {line}" for line in told)]
        failures += _failures(name, results)
    return ReportData.of_rows(
        table=TableRows.made_of([*rows, *tested], COLUMNS),
        coverage=TableRows.made_of(_coverage(checkpoints, runs, finished), COVERAGE),
        provenance={
            **_provenance(checkpoints, plan, runs, finished, problems, changed),
            **({"failures": failures} if failures else {}),
        },
    )


def _rows(
    name: str, checkpoint: Checkpoint, plan: Plan, results: Mapping[Any, Result]
) -> Iterator[dict[str, Any]]:
    objects: list[str | None] = [*checkpoint] if plan.tensor_scope else []
    for tensor in [*objects, None] if plan.model_scope else objects:
        described = {"checkpoint": name, **_describe(checkpoint, tensor)}
        for measurement in plan.measurements:
            result = results.get((tensor, measurement, Variant()))
            if result is None:
                continue
            measured = {**described, **_measured(measurement, result, described)}
            if not plan.nulls:
                yield measured
            for null in plan.nulls:
                drawn = [results.get((tensor, measurement, v)) for v in plan.variants_of(null)]
                yield {**measured, **_compared(measured, null, drawn)}


def _describe(checkpoint: Checkpoint, name: str | None) -> dict[str, Any]:
    if name is None:
        dtypes = dict.fromkeys(tensor.form for tensor in checkpoint.values())
        return {
            "scope": "model",
            "shape": f"{len(checkpoint)} tensors",
            "numel": checkpoint.numel,
            "dtype": "+".join(dtypes),
        }
    tensor = checkpoint[name]
    return {
        "scope": "tensor",
        "tensor": name or NAMELESS,
        "shape": "x".join(map(str, tensor.shape)),
        "numel": tensor.numel,
        "dtype": tensor.form,
    }


def _measured(
    measurement: Measurement, result: Result, described: Mapping[str, Any]
) -> dict[str, Any]:
    outcome = result.outcome
    row: dict[str, Any] = {**_named(measurement), "seconds": round(result.seconds, 6)}
    if isinstance(outcome, Missing):
        return {**row, "note": outcome.reason}
    return {
        **row,
        "kind": outcome.kind,
        "covered": outcome.numel,
        "raw_bits": float(outcome.raw_bits),
        "side_bits": float(outcome.side_bits),
        "nmse": outcome.nmse,
        "bits": float(outcome.bits),
        "bits_per_weight": outcome.bits_per_weight,
        "compression_ratio": outcome.compression_ratio if outcome.bits else math.nan,
        "sampled": outcome.sampled,
        "standard_error": outcome.standard_error,
        "degrees": outcome.degrees,
        "saturated": outcome.saturated,
        "note": outcome.note,
        "details": _DETAILS.encode(dict(outcome.details)) if outcome.details else "",
    }


@functools.lru_cache(maxsize=1024)
def _named(measurement: Measurement) -> Mapping[str, Any]:
    """The columns that say what was measured."""
    estimator = measurement.estimator
    return {
        "quantizer": str(measurement.quantizer),
        "layout": estimator.layout_name,
        "estimator": estimator.label,
    }


def _compared(
    measured: Mapping[str, Any], null: Null, drawn: Sequence[Result | None]
) -> dict[str, Any]:
    row: dict[str, Any] = {"null": str(null)}
    outcomes = [result.outcome for result in drawn if result is not None]
    missing = [outcome for outcome in outcomes if isinstance(outcome, Missing)]
    if missing or len(outcomes) < len(drawn):
        reason = missing[0].reason if missing else "the run was interrupted"
        same = (
            reason == measured["note"]
        )  # a missing figure is missing in its draws for the same reason
        return {**row, "note": reason if same else _join(measured["note"], f"no null: {reason}")}
    codes = [outcome for outcome in outcomes if isinstance(outcome, CodeLength)]
    if "covered" in measured and {code.numel for code in codes} != {measured["covered"]}:
        return {**row, "note": _join(measured["note"], "no null: it describes other weights")}
    bits = np.array([code.bits for code in codes])
    mean, sd = _moments(bits)
    error = measured.get("standard_error", math.nan)  # the error of a sample adds to the spread
    spread = math.hypot(sd, 0.0 if math.isnan(error) else error)
    actual = measured.get("bits", math.nan)
    z = (actual - mean) / spread if spread > 0 else math.nan
    p, why = _p_value(actual, bits, null)
    row |= {"null_draws": bits.size, "null_bits": mean, "null_sd": sd, "z": z}
    return {**row, "p": p, "p_missing": why, "p_t": student_p(z, bits.size)}


def _moments(bits: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation, free of rounding errors if all figures are equal."""
    if bits.size == 1:
        return float(bits[0]), math.nan
    if bits.min() == bits.max():
        return float(bits[0]), 0.0
    return float(bits.mean()), float(bits.std(ddof=1))


def _p_value(actual: float, bits: NDArray[np.float64], null: Null) -> tuple[float, str]:
    """The p-value, or the reason why it is missing."""
    if math.isnan(actual):
        return math.nan, "the figure is missing"
    if null.single:
        return math.nan, f"{null.name} is a single draw"
    if bits.size < draws_needed():
        had = "1 draw" if bits.size == 1 else f"{bits.size} draws"
        return math.nan, f"{had} cannot reach .05, {draws_needed()} can"
    return permutation_p(actual, bits), ""


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _problems(name: str, results: Mapping[Any, Result]) -> list[str]:
    """The problems of the input, each once."""
    reasons = (result.outcome for result in results.values())
    problems = (r.reason for r in reasons if type(r) is Missing and r.problem)
    return [f"{name}: {reason}" for reason in dict.fromkeys(problems)]


def _failures(name: str, results: Mapping[Any, Result]) -> list[str]:
    """What failed of all that measures, each once."""
    reasons = (result.outcome for result in results.values())
    failures = (r.reason for r in reasons if isinstance(r, Failed))
    return [f"{name}: {reason}" for reason in dict.fromkeys(failures)]


def changes_of(checkpoint: Checkpoint) -> tuple[list[str], list[str]]:
    """The files that are no longer what was opened, so that figures may be of neither version; and
    a line on each, or on why that cannot be told."""
    try:
        changed = changed_files(checkpoint)
    except InputError as error:
        return [], [str(error)]
    return changed, [f"{file}: it was changed while it was read" for file in changed]


def _coverage(
    checkpoints: Mapping[str, Checkpoint], runs: Mapping[str, Measured], finished: bool
) -> list[dict[str, Any]]:
    """Every tensor of every source: whether it was measured, and if not, why."""
    rows: list[tuple[str, str, str, int, bool, str]] = []
    for name, checkpoint in checkpoints.items():
        run = runs.get(name)
        for tensor in checkpoint.values():
            measured = run is not None and tensor.name in run.measured
            reason = run.reasons.get(tensor.name, "") if run else ""
            if not measured and not reason:
                reason = "no estimator took it" if finished else "the run stopped before it"
            role = str(tensor.role or Role.WEIGHT)
            rows.append((name, tensor.name or NAMELESS, role, tensor.numel, measured, reason))
        for skipped in checkpoint.skipped:
            shown, role = skipped.name or NAMELESS, str(skipped.role)
            rows.append((name, shown, role, skipped.numel, False, skipped.reason))
    return [dict(zip(COVERAGE, row, strict=True)) for row in rows]


def _has_all(checkpoints: Mapping[str, Checkpoint], runs: Mapping[str, Measured]) -> bool:
    """Whether every tensor has a figure."""
    return all(set(checkpoint) <= runs[name].measured for name, checkpoint in checkpoints.items())


def _provenance(
    checkpoints: Mapping[str, Checkpoint],
    plan: Plan,
    runs: Mapping[str, Measured],
    finished: bool,
    problems: Sequence[str],
    changed: Mapping[str, list[str]],
) -> dict[str, Any]:
    return {
        "command": sys.argv[0].rsplit("/", 1)[-1],
        "versions": versions(),
        "settings": {
            "measurements": [[str(m.quantizer), str(m.estimator)] for m in plan.measurements],
            "nulls": [str(null) for null in plan.nulls],
            "draws": plan.draws,
            "tensor_scope": plan.tensor_scope,
            "model_scope": plan.model_scope,
            "seed": plan.seed,
            **({"budget": dict(plan.budget)} if plan.budget else {}),
        },
        "sources": {
            name: {
                "source": checkpoint.source,
                "format": checkpoint.format,
                "networks": list(checkpoint.networks),
                "shards": list(checkpoint.shards or ()),
                "files": dict(checkpoint.fingerprints),
                "changed": changed.get(name, []),
                "content": runs[name].content if name in runs else "",
            }
            for name, checkpoint in checkpoints.items()
        },
        **({"ledger": _ledger(runs)} if plan.ledger else {}),
        "finished": finished,
        "complete": finished and _has_all(checkpoints, runs),
        "problems": list(problems),
    }


def _ledger(runs: Mapping[str, Measured]) -> dict[str, Any]:
    """The facts of every tensor, and whether the tensors of each checkpoint were compared."""
    known = {name: run.ledger for name, run in runs.items() if isinstance(run, Run)}
    records = [
        {"checkpoint": name, **record} for name, kept in known.items() for record in kept.records()
    ]
    return {"records": records, "compared": {name: kept.compared for name, kept in known.items()}}
