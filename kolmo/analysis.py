"""What to measure, in which order: analyze, compare, estimate."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kolmo import specs
from kolmo.checkpoints import Checkpoint, open_checkpoint
from kolmo.errors import InputError, KolmoError
from kolmo.estimators.base import CodeLength, Estimator, get_estimator
from kolmo.execution import Lanes
from kolmo.measure import Measurement, Missing, Plan, Progress, Result, Run, Variant
from kolmo.nulls import Null, get_null
from kolmo.provenance import versions
from kolmo.quantize import Quantizer, get_quantizer

if TYPE_CHECKING:
    import pandas as pd

    from kolmo.report import Report

Scope = Literal["tensor", "model", "both"]

DEFAULT_MEASUREMENTS: Mapping[str, tuple[str, ...]] = {
    "native": ("gzip:6@shuffle", "xz:6@shuffle,sample=2097152", "kt"),
    "symmetric:8": ("bz2:9", "zstd:3", "kt", "entropy", "mosaic"),
    "sign": ("zstd:3@packed", "kt", "mosaic", "bdm"),
}
"""What is measured unless something else is asked for: estimators by quantizer."""


class Interrupted(KeyboardInterrupt):
    """A run was interrupted; ``report`` holds what was measured until then."""

    def __init__(self, report: Report) -> None:
        super().__init__("interrupted")
        self.report = report


def estimate(
    array: NDArray[Any], estimator: str | Estimator, quantizer: str | Quantizer = "native"
) -> CodeLength:
    """What one array costs.

    Parameters
    ----------
    array : ndarray of floats, integers or booleans, any shape
    estimator, quantizer : spec or object

    Returns
    -------
    CodeLength
        In bits; its ``kind`` says whether it is a bound or an estimate.

    Raises
    ------
    NotApplicableError
        If the estimator cannot take this quantizer's symbols, or this shape.
    NotExpressibleError
        If the array holds values that the quantizer has no symbol for.

    Examples
    --------
    >>> import kolmo
    >>> kolmo.estimate(np.zeros(8000, np.float32), "gzip:9").kind
    'bound'
    """
    tensor = open_checkpoint({"array": np.asarray(array)})["array"]
    quantize, measure = get_quantizer(quantizer), get_estimator(estimator)
    coder = quantize.fit(tensor)
    accumulator = measure.start(tensor.shape, coder.alphabet)
    for chunk in tensor.chunks():
        accumulator.update(coder.encode(chunk))
    return accumulator.finish()


def analyze(
    source: Any,
    *,
    quantizers: Sequence[str | Quantizer] | None = None,
    estimators: Sequence[str | Estimator] | None = None,
    nulls: Sequence[str | Null] = (),
    draws: int = 5,
    scope: Scope = "both",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
    name: str | None = None,
) -> Report:
    """Measure a checkpoint, tensor by tensor and as a whole.

    Parameters
    ----------
    source : path, directory, URL, nn.Module, state dict or mapping of arrays
    quantizers, estimators : list of specs or objects, optional
        Every estimator is applied to the symbols of every quantizer. Where just one of the two
        is given, the other is that of the defaults; where neither is, `DEFAULT_MEASUREMENTS`.
    nulls : list of specs or objects
        Null models to compare with; the table then has a row for each measurement and null.
    draws : int
        Draws of each random null, at least 2 for a standard deviation.
    scope : {"tensor", "model", "both"}
        Each tensor alone, all of them through one accumulator for each dtype, or both.
    include, exclude : list of globs
        Names of the tensors to measure; all by default.
    seed : int
        Of the nulls' random draws.
    threads : int, optional
        All cores by default. The result does not depend on it.
    progress : callable, optional
        ``progress(done, total, label)``, called now and then from this thread.
    name : str, optional
        What the table calls the checkpoint.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If the source cannot be read or an option does not fit.
    Interrupted
        On Ctrl-C; its ``report`` holds what is done.

    Examples
    --------
    >>> import kolmo
    >>> report = kolmo.analyze({"w": np.zeros((64, 64), np.float32)}, estimators=["kt"],
    ...                        quantizers=["sign"], scope="tensor")
    >>> report.table.loc[0, "bits"] < 10
    True
    """
    return compare(
        {name or "model": source},
        quantizers=quantizers,
        estimators=estimators,
        nulls=nulls,
        draws=draws,
        scope=scope,
        include=include,
        exclude=exclude,
        seed=seed,
        threads=threads,
        progress=progress,
    )


def compare(
    sources: Mapping[str, Any],
    *,
    quantizers: Sequence[str | Quantizer] | None = None,
    estimators: Sequence[str | Estimator] | None = None,
    nulls: Sequence[str | Null] = (),
    draws: int = 5,
    scope: Scope = "both",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    seed: int = 0,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure several checkpoints in the same way: `analyze` for each, in one table.

    Parameters
    ----------
    sources : mapping of names to sources
        The names become the column ``checkpoint``.
    **others
        As in `analyze`.

    Examples
    --------
    >>> import kolmo
    >>> ones, noise = np.ones(999, np.float32), np.random.default_rng(0).normal(size=999)
    >>> report = kolmo.compare({"ones": {"w": ones}, "noise": {"w": noise.astype(np.float32)}},
    ...                        quantizers=["sign"], estimators=["kt"], scope="model")
    >>> report.table.set_index("checkpoint").bits.round().to_dict()
    {'ones': 6.0, 'noise': 1004.0}
    """
    if not sources:
        raise InputError("there is nothing to measure: no source was given")
    plan = make_plan(quantizers, estimators, nulls, draws, scope, seed)
    opened = {
        name: open_checkpoint(source).select(include, exclude) for name, source in sources.items()
    }
    return _measure(opened, plan, threads, progress or _silent)


def make_plan(
    quantizers: Sequence[str | Quantizer] | None,
    estimators: Sequence[str | Estimator] | None,
    nulls: Sequence[str | Null] = (),
    draws: int = 5,
    scope: str = "both",
    seed: int = 0,
) -> Plan:
    """What a run measures, from the options of `analyze`; InputError where one does not fit."""
    if isinstance(quantizers, str) or isinstance(estimators, str) or isinstance(nulls, str):
        raise InputError("quantizers, estimators and nulls are lists of specs, such as ['kt']")
    if scope not in ("tensor", "model", "both"):
        raise specs.unknown("scope", scope, ("tensor", "model", "both"))
    if draws < 1:
        raise InputError(f"draws is at least 1, not {draws}")
    if seed < 0:
        raise InputError(f"seed is at least 0, not {seed}")
    measurements = tuple(dict.fromkeys(_measurements(quantizers, estimators)))
    if not measurements:
        raise InputError("there is nothing to measure: no quantizer or no estimator was given")
    return Plan(
        measurements,
        tuple(dict.fromkeys(get_null(null) for null in nulls)),
        draws,
        tensor_scope=scope != "model",
        model_scope=scope != "tensor",
        seed=seed,
    )


def _measurements(
    quantizers: Sequence[str | Quantizer] | None, estimators: Sequence[str | Estimator] | None
) -> Iterator[Measurement]:
    for quantizer in DEFAULT_MEASUREMENTS if quantizers is None else quantizers:
        made = get_quantizer(quantizer)
        usual = DEFAULT_MEASUREMENTS.get(str(made), DEFAULT_MEASUREMENTS["symmetric:8"])
        for estimator in usual if estimators is None else estimators:
            yield Measurement(made, get_estimator(estimator))


def _silent(done: int, total: int, label: str) -> None:
    pass


def _measure(
    checkpoints: Mapping[str, Checkpoint],
    plan: Plan,
    threads: int | None,
    progress: Progress,
) -> Report:
    runs: dict[str, Run] = {}
    try:
        for number, (name, checkpoint) in enumerate(checkpoints.items()):
            with Lanes(threads) as lanes:
                runs[name] = Run(checkpoint, plan, lanes)
                runs[name].go(_part(progress, name, number, len(checkpoints)))
        return _report(checkpoints, plan, runs, complete=True)
    except KeyboardInterrupt:
        raise Interrupted(_report(checkpoints, plan, runs, complete=False)) from None
    except KolmoError as error:
        error.report = _report(checkpoints, plan, runs, complete=False)
        raise


def _part(progress: Progress, name: str, number: int, parts: int) -> Progress:
    """The progress of one of several checkpoints, each an equal part of the whole."""
    scale = 1_000_000

    def report(done: int, total: int, label: str) -> None:
        share = done / total if total else 1.0
        progress(int(scale * (number + share)), scale * parts, f"{name}: {label}")

    return report


# --- the table ------------------------------------------------------------------------------

COLUMNS = (
    "checkpoint scope tensor shape numel dtype quantizer layout estimator kind raw_bits bits "
    "bits_per_weight compression_ratio null null_bits null_sd z sampled seconds note "
    "standard_error details"
).split()


def _report(
    checkpoints: Mapping[str, Checkpoint], plan: Plan, runs: Mapping[str, Run], complete: bool
) -> Report:
    import pandas as pd

    from kolmo.report import Report

    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    for name, run in runs.items():
        results = run.results()
        rows += _rows(name, checkpoints[name], plan, results)
        problems += _problems(name, results)
    return Report(
        table=pd.DataFrame(rows, columns=COLUMNS),
        coverage=_coverage(checkpoints, runs, complete),
        provenance=_provenance(checkpoints, plan, complete, problems),
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
        dtypes = dict.fromkeys(tensor.dtype.name for tensor in checkpoint.values())
        return {
            "scope": "model",
            "shape": f"{len(checkpoint)} tensors",
            "numel": checkpoint.numel,
            "dtype": "+".join(dtypes),
        }
    tensor = checkpoint[name]
    return {
        "scope": "tensor",
        "tensor": name,
        "shape": "x".join(map(str, tensor.shape)),
        "numel": tensor.numel,
        "dtype": tensor.dtype.name,
    }


def _measured(
    measurement: Measurement, result: Result, described: Mapping[str, Any]
) -> dict[str, Any]:
    estimator, outcome = measurement.estimator, result.outcome
    layout = getattr(estimator, "layout", None)
    row: dict[str, Any] = {
        "quantizer": str(measurement.quantizer),
        "layout": layout,
        "estimator": str(estimator).removesuffix(f"@{layout}"),
        "seconds": round(result.seconds, 6),
    }
    if isinstance(outcome, Missing):
        return {**row, "note": outcome.reason}
    return {
        **row,
        "kind": outcome.kind,
        "raw_bits": float(outcome.raw_bits),
        "bits": float(outcome.bits),
        "bits_per_weight": outcome.bits_per_weight,
        "compression_ratio": outcome.compression_ratio,
        "sampled": outcome.sampled,
        "standard_error": outcome.standard_error,
        "note": outcome.note,
        "details": json.dumps(dict(outcome.details), sort_keys=True) if outcome.details else "",
    }


def _compared(
    measured: Mapping[str, Any], null: Null, drawn: Sequence[Result | None]
) -> dict[str, Any]:
    found = {"null": str(null)}
    outcomes = [result.outcome for result in drawn if result is not None]
    missing = [outcome for outcome in outcomes if isinstance(outcome, Missing)]
    if missing or len(outcomes) < len(drawn):
        reason = missing[0].reason if missing else "the run was interrupted"
        return {**found, "note": _join(measured["note"], f"no null: {reason}")}
    bits = np.array([outcome.bits for outcome in outcomes if isinstance(outcome, CodeLength)])
    mean, sd = float(bits.mean()), float(bits.std(ddof=1)) if bits.size > 1 else math.nan
    z = (measured.get("bits", math.nan) - mean) / sd if sd > 0 else math.nan
    return {**found, "null_bits": mean, "null_sd": sd, "z": z}


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _problems(name: str, results: Mapping[Any, Result]) -> list[str]:
    """What is wrong with the input, each thing once."""
    reasons = (result.outcome for result in results.values())
    found = (r.reason for r in reasons if isinstance(r, Missing) and r.problem)
    return [f"{name}: {reason}" for reason in dict.fromkeys(found)]


def _coverage(
    checkpoints: Mapping[str, Checkpoint], runs: Mapping[str, Run], complete: bool
) -> pd.DataFrame:
    """Every tensor of every source: whether it was measured, and if not, why."""
    import pandas as pd

    rows: list[tuple[str, str, int, bool, str]] = []
    for name, checkpoint in checkpoints.items():
        run = runs.get(name)
        for tensor in checkpoint.values():
            measured = run is not None and tensor.name in run.measured
            reason = run.reasons.get(tensor.name, "") if run else ""
            if not measured and not reason:
                reason = "no estimator took it" if complete else "the run stopped before it"
            rows.append((name, tensor.name, tensor.numel, measured, reason))
        for skipped in checkpoint.skipped:
            rows.append((name, skipped.name, skipped.numel, False, skipped.reason))
    return pd.DataFrame(rows, columns=["checkpoint", "tensor", "numel", "measured", "reason"])


def _provenance(
    checkpoints: Mapping[str, Checkpoint], plan: Plan, complete: bool, problems: Sequence[str]
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
        },
        "sources": {
            name: {
                "source": checkpoint.source,
                "format": checkpoint.format,
                "files": checkpoint.hashes(),
            }
            for name, checkpoint in checkpoints.items()
        },
        "complete": complete,
        "problems": list(problems),
    }
