"""What to measure, in which order: analyze, compare, estimate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kolmo import specs
from kolmo.checkpoints import Checkpoint, open_checkpoint
from kolmo.errors import InputError, KolmoError
from kolmo.estimators.base import CodeLength, Estimator, get_estimator
from kolmo.execution import Lanes, Progress
from kolmo.measure import Measurement, Plan, Run
from kolmo.nulls import Null, get_null
from kolmo.quantize import Quantizer, get_quantizer, side_bits
from kolmo.report.report import Report
from kolmo.report.rows import make_report

Scope = Literal["tensor", "model", "both"]

DEFAULT_MEASUREMENTS: Mapping[str, tuple[str, ...]] = {
    "native": ("zstd:9@shuffle", "xz:6,sample=131072@shuffle", "kt", "mosaic"),
    "symmetric:8": ("zstd:3", "kt", "entropy", "mosaic"),
    "sign": ("zstd:3@packed", "kt", "bdm"),
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
    fast = _fused(array, quantize, measure)
    if fast is not None:
        return fast
    coder = quantize.fit(tensor)
    accumulator = measure.start(tensor.shape, coder.alphabet, quantize.format(tensor.dtype))
    for chunk in tensor.chunks():
        accumulator.update(coder.encode(chunk))
    return accumulator.finish().with_side(side_bits(coder, tensor))


def _fused(array: NDArray[Any], quantizer: Quantizer, estimator: Estimator) -> CodeLength | None:
    if estimator.name not in ("bdm", "ctm", "block-entropy", "qubd"):
        return None
    from kolmo.estimators.fused import fused_estimate

    return fused_estimate(np.asarray(array), quantizer, estimator)


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
        Draws of each random null, at least 2 for a standard deviation and 39 for p-values, more
        where many tests are corrected (`kolmo.pvalues.draws_needed`). P-values of shuffles
        are exact, those of ``gaussian`` approximate (`kolmo.nulls`).
    scope : {"both", "tensor", "model"}
        Each tensor alone, all of them through one accumulator for each dtype, or both of these.
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
    >>> float(report.table.loc[0, "bits"])
    8.0
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
        The names become the column ``checkpoint``. All other parameters are those of `analyze`.

    Examples
    --------
    >>> import kolmo
    >>> ones, noise = np.ones(999, np.float32), np.random.default_rng(0).normal(size=999)
    >>> report = kolmo.compare({"ones": {"w": ones}, "noise": {"w": noise.astype(np.float32)}},
    ...                        quantizers=["sign"], estimators=["kt"], scope="model")
    >>> report.table.set_index("checkpoint").bits.round().to_dict()
    {'ones': 7.0, 'noise': 1003.0}
    """
    if not sources:
        raise InputError("there is nothing to measure: no source was given")
    if threads is not None and threads < 1:
        raise InputError(f"threads is at least 1, not {threads}")
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
        return Report.of(make_report(checkpoints, plan, runs, complete=True))
    except KeyboardInterrupt:
        found = make_report(checkpoints, plan, runs, complete=False)
        raise Interrupted(Report.of(found)) from None
    except KolmoError as error:
        error.report = Report.of(make_report(checkpoints, plan, runs, complete=False))
        raise


def _part(progress: Progress, name: str, number: int, parts: int) -> Progress:
    """The progress of one of several checkpoints, each an equal part of the whole."""
    scale = 1_000_000

    def report(done: int, total: int, label: str) -> None:
        share = done / total if total else 1.0
        progress(int(scale * (number + share)), scale * parts, f"{name}: {label}")

    return report
