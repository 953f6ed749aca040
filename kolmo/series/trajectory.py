"""trajectory: a series of checkpoints, each measured in the same way, beside losses or accuracies.

::

    mapping, glob, folder ─► steps ─► compare ─► Report, with the series in its provenance
                             metrics ─► aligned ──┘
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Unpack

from kolmo.analysis import Interrupted, compare
from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.opening import survey
from kolmo.checkpoints.tensor_names import partners
from kolmo.errors import InputError, KolmoError
from kolmo.lossy.evaluating import Better, Evaluate
from kolmo.lossy.function import SameFunction, with_rows
from kolmo.options import Options, Settings, takes_options
from kolmo.report.report import Report
from kolmo.report.words_series import SHUFFLED
from kolmo.series.metrics import align, find_history, read_metrics
from kolmo.series.steps import StepSeries, find_series


@takes_options
def trajectory(
    sources: Any,
    *,
    metrics: Any = None,
    relative: bool = False,
    evaluate: Evaluate | None = None,
    tolerance: str | float = "1%",
    better: Better = "lower",
    **options: Unpack[Options],
) -> Report:
    """Measure a series of checkpoints, step by step, with the same settings.

    Parameters
    ----------
    sources : mapping of steps to sources, glob, folder, or list of paths
        Steps are numbers; those of paths are parsed from their names (``step-2`` before
        ``step-10``), or read from a safetensors file's metadata where a name has none.
    metrics : path, DataFrame, mapping of columns or list of rows, optional
        With a column ``step`` or ``epoch``; a .csv, a .parquet or the ``trainer_state.json`` of
        Hugging Face's Trainer if a path. By default the ``history.parquet``, ``history.csv`` or
        ``trainer_state.json`` that lies beside the checkpoints, if one does.
    relative : bool
        Words and figures say percent of the first step, and percent of the own shuffle; the null
        ``shuffled`` is drawn unless ``nulls`` are named.
    evaluate : callable, optional
        Takes a network, gives a number, such as its loss on validation data: a module where the
        source is one, else a dict of arrays by name. Each checkpoint then has a row ``function``
        besides: its *function bits*, those of the shortest file found at which it keeps its own
        number to within the tolerance (`kolmo.learned_difference` of no base): a bound.
    tolerance : str or float
        How much worse the number may get: ``1%`` of the original's, or an amount.
    better : {"lower", "higher"}
        Whether lower numbers are better, as of a loss, or higher ones, as of an accuracy.
    **options
        Options as in `analyze`; ``scope`` is "model" by default.

    Returns
    -------
    Report
        A report like that of `compare`, its checkpoints called ``step 10`` or ``epoch 10``; the
        steps and metrics are in ``provenance["series"]``, and ``report.plot.trajectory()`` draws
        them. Tensors that are missing from a checkpoint, or change shape or dtype, are named in
        the problems.

    Raises
    ------
    InputError
        If a checkpoint has no step, or the metrics do not fit.
    Interrupted
        On Ctrl-C; its ``report`` holds the results so far.

    Examples
    --------
    >>> import kolmo, numpy as np
    >>> draw = np.random.default_rng(0).normal
    >>> series = {step: {"w": draw(size=999).round(2 - step)} for step in (0, 1, 2)}
    >>> report = kolmo.trajectory(series, quantizers=["native"], estimators=["gzip:9"])
    >>> report.table.checkpoint.tolist()
    ['step 0', 'step 1', 'step 2']
    """
    series = find_series(sources)
    opened = {step: survey(source) for step, source in series.sources.items()}
    facts = _provenance(series, metrics, relative)
    names = {step: f"{facts['unit']} {step}" for step in opened}
    facts["steps"] = {name: step for step, name in names.items()}
    named = {names[step]: checkpoint for step, checkpoint in opened.items()}
    options = {"scope": "model", **options}
    if relative and not options.get("nulls"):
        options["nulls"] = [SHUFFLED]
    settings = Settings.of(options)
    same = evaluate and SameFunction(
        evaluate, tolerance, better, settings.threads, settings.progress
    )
    problems = list(_differences({name: settings.open(c) for name, c in named.items()}))
    try:
        report = compare(named, **options)
    except (Interrupted, KolmoError) as error:
        if error.report is not None:
            raise error.with_report(_with_series(error.report, facts, problems)) from None
        raise
    if same:
        rows = [same.row(names[step], None, source, settings.open(opened[step]))
                for step, source in series.sources.items()]  # fmt: skip
        report = with_rows(report, rows)
    return _with_series(report, facts, problems)


def _provenance(series: StepSeries, metrics: Any, relative: bool) -> dict[str, Any]:
    """The facts about the series that the report keeps, JSON-ready."""
    facts: dict[str, Any] = {
        "unit": series.unit or "step",
        "left_out": list(series.left_out),
        "relative": relative,
        "metrics": {},
        "without_metrics": [],
        "metrics_source": "",
    }
    if metrics is not None:
        return facts | _aligned_metrics(metrics, series)
    last = list(series.sources.values())[-1]
    history = find_history(series.folder, last if isinstance(last, str) else "")
    if history is None:
        return facts
    try:
        return facts | _aligned_metrics(history, series)
    except InputError as error:  # nobody asked for this file
        return facts | {"left_out": [*series.left_out, f"{history} ({error})"]}


def _aligned_metrics(metrics: Any, series: StepSeries) -> dict[str, Any]:
    unit, columns, without = align(read_metrics(metrics), series.unit, series.sources)
    name = str(metrics) if isinstance(metrics, str) or hasattr(metrics, "__fspath__") else "given"
    return {
        "unit": unit,
        "metrics": columns,
        "without_metrics": without,
        "metrics_source": name,
    }


def _with_series(report: Report, series: dict[str, Any], problems: list[str]) -> Report:
    known = report.provenance
    provenance = {**known, "series": series, "problems": [*known["problems"], *problems]}
    return dataclasses.replace(report, provenance=provenance, kind="trajectory")


def _differences(checkpoints: Mapping[str, Checkpoint]) -> Iterator[str]:
    """A line for each tensor that a checkpoint lacks, or whose shape or dtype changes, once."""
    aligned = _aligned(checkpoints)
    first: dict[str, tuple[str, str]] = {}
    for name, tensors in aligned.items():
        for tensor_name, tensor in tensors.items():
            first.setdefault(tensor_name, (name, f"{tensor.dtype} {list(tensor.shape)}"))
    for tensor_name, (at, form) in first.items():
        for name, tensors in aligned.items():
            other = tensors.get(tensor_name)
            if other is None:
                yield f"{name}: has no tensor {tensor_name!r}, which {at} has"
                break
            if (found := f"{other.dtype} {list(other.shape)}") != form:
                yield f"{name}: tensor {tensor_name!r} is {found}, at {at} it is {form}"
                break


def _aligned(checkpoints: Mapping[str, Checkpoint]) -> dict[str, dict[str, WeightTensor]]:
    """The tensors of each checkpoint under the names that their partners had first."""
    known: dict[str, None] = {}
    aligned = {}
    for name, checkpoint in checkpoints.items():
        pairs = partners(checkpoint, known)
        aligned[name] = {pairs.get(own, own): tensor for own, tensor in checkpoint.items()}
        known |= dict.fromkeys(aligned[name])
    return aligned
