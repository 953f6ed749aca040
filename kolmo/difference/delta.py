"""delta: the code length of tuned weights given their base.

::

    base ──┐
           ├─ tensor by tensor ─► every code of the difference ─► the shortest ─► report
    tuned ─┘                      and the tuned weights alone
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from kolmo.analysis import Interrupted, make_plan
from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import Role, Skipped, WeightTensor
from kolmo.checkpoints.tensor_names import normalized, partners
from kolmo.difference.codes import CodeSearch
from kolmo.difference.run import Alone, Delta, DeltaRun
from kolmo.difference.weights import as_weights
from kolmo.errors import InputError
from kolmo.estimators.base import get_estimator
from kolmo.execution import Lanes
from kolmo.lossy.evaluating import Better, Evaluate
from kolmo.lossy.function import SameFunction, with_rows
from kolmo.measure import Measurement, Plan
from kolmo.nulls import Shuffled
from kolmo.options import Options, Settings, takes_options
from kolmo.quantize import Native, Quantizer, get_quantizer
from kolmo.report.data import ReportData
from kolmo.report.report import Report
from kolmo.report.rows import changes_of, make_report

DEFAULT_ESTIMATORS: Mapping[str, tuple[str, ...]] = {
    "native": ("kt", "zstd:9@shuffle"),
    "other": ("kt", "zstd:9", "lowrank"),
}
"""Estimators that code the symbols and their differences by default."""


@takes_options
def delta(
    base: Any,
    tuned: Any,
    *,
    name: str = "tuned",
    thorough: bool = False,
    evaluate: Evaluate | None = None,
    tolerance: str | float = "1%",
    better: Better = "lower",
    **options: Unpack[Options],
) -> Report:
    """The code length of tuned weights given their base: how much did fine-tuning add?

    Every tensor is coded by its difference to the base in the dtype's arithmetic, by which entries
    changed, by a low-rank code of the difference, and alone; the shortest code counts, plus log2 of
    the number of codes (`kolmo.difference.codes` lists them). So a tensor never takes more than
    these few bits above its code alone. It is a bound: anyone who has the base can decode it.

    Parameters
    ----------
    base, tuned : path, directory, URL, nn.Module, state dict or mapping of arrays
        Tensors are matched by name; those that lack a partner of their shape and dtype are named in
        the coverage and in ``provenance["problems"]``; the others are measured. Of quantized
        tensors the weights that their codes stand for are compared; ``note`` and ``details`` say
        so.
    quantizers : list of specs or objects, optional
        Native by default. Another one is fitted to the tuned tensor and applied to both.
    estimators : list of specs or objects, optional
        Bounds that code the tuned symbols alone, and the differences; by default
        `DEFAULT_ESTIMATORS`.
    nulls : list
        Empty, or ``shuffled``: the same differences at random places.
    name : str
        Name of the tuned checkpoint in the table.
    thorough : bool
        Whether every code is tried on all weights, and factors are searched for exhaustively in
        matrices of up to 2^24 weights: some 9 µs a weight. Without it a general compressor that
        was not asked for is tried on windows first, and factors only where a sample of rows and
        columns shows that there can be any; ``details`` say what was not tried, and why. Only small
        matrices of checkpoints of up to 2^18 weights are then searched exhaustively.
    evaluate : callable, optional
        Takes the network, gives a number: a loss, an accuracy. The report then has a row
        ``function`` besides: the shortest file found that makes of the base a network as good as
        the tuned one, to within the tolerance (`kolmo.learned_difference`): a bound too.
    tolerance : str or float
        How much worse the number may get: ``1%`` of the original's, or an amount.
    better : {"lower", "higher"}
        Whether lower numbers are better, as of a loss, or higher ones, as of an accuracy.
    **options
        All other parameters are those of `analyze`; the
        bits of the whole model are the sum over its tensors.

    Returns
    -------
    Report
        It has a row ``delta`` and a row ``alone`` for each measurement; ``details`` of ``delta``
        name the shortest code.

    Raises
    ------
    InputError
        If a source cannot be read, an option does not fit, or no tensor has a partner.

    Examples
    --------
    >>> import kolmo
    >>> import numpy as np
    >>> random = np.random.default_rng(0)
    >>> base = {"w": random.normal(size=(64, 64)).astype(np.float32)}
    >>> tuned = {"w": base["w"].copy()}
    >>> tuned["w"][5] += 1  # one row of 64
    >>> table = kolmo.delta(base, tuned, scope="tensor").table.set_index("estimator")
    >>> float((table.bits["delta"] / table.bits["alone"]).round(2))
    0.02
    """
    settings = Settings.of(options)
    same = evaluate and SameFunction(
        evaluate, tolerance, better, settings.threads, settings.progress
    )
    if settings.budget is not None:
        raise InputError("a difference has no budget of time: it is measured whole")
    plan, coders = _plan(settings, thorough)
    given, wanted = (as_weights(settings.open(source)) for source in (base, tuned))
    partners_of, common, problems = _match(given, wanted)
    coders = {quantizer: search.among(common.numel) for quantizer, search in coders.items()}
    finished, kept = True, None
    with settings.open_memory() as memory:
        run = DeltaRun(partners_of, common, plan, coders, memory)
        try:
            with Lanes(settings.threads) as lanes, settings.progress_bar() as progress:
                run.go(lanes, progress)
        except KeyboardInterrupt:
            finished, kept = False, memory.path if memory else None
    data = make_report({name: common}, plan, {name: run}, finished)
    report = Report.of(_explained(data, given, problems, coders, name))
    if not finished:
        raise Interrupted(report, *run.count, kept)
    return with_rows(report, [same.row(name, base, tuned, common)]) if same else report


# --- what is measured -------------------------------------------------------------------------


def _plan(settings: Settings, thorough: bool) -> tuple[Plan, dict[Quantizer, CodeSearch]]:
    """The rows to come, and how codes are searched for under each quantizer."""
    coders: dict[Quantizer, CodeSearch] = {}
    for quantizer in map(get_quantizer, settings.quantizers or ["native"]):
        usual = DEFAULT_ESTIMATORS["native" if isinstance(quantizer, Native) else "other"]
        estimators = [get_estimator(e) for e in settings.estimators or usual]
        coders[quantizer] = CodeSearch(estimators, not settings.estimators, thorough)
        for estimator in estimators:
            if estimator.kind != "bound":
                raise InputError(f"delta takes bounds, and {estimator} is an estimate")
    plan = make_plan(settings, (Measurement(q, e) for q in coders for e in (Delta(), Alone())))
    other = next((null for null in plan.nulls if not isinstance(null, Shuffled)), None)
    if other:
        raise InputError(f"delta has one null, shuffled differences, and not {str(other)!r}")
    return plan, coders


def _match(base: Checkpoint, tuned: Checkpoint) -> tuple[Checkpoint, Checkpoint, list[str]]:
    """The tensors that have a partner, the partners under the same names, and the problems of the
    others."""
    pairs = partners(tuned, base)
    unmatched = _only_in_base(base, tuned, set(pairs.values()))
    kept, others = [], []
    for tensor in tuned.values():
        partner = base.get(pairs.get(tensor.name, ""))
        reason = _mismatch(base, tensor, partner)
        if reason or partner is None:
            role = tensor.role or Role.WEIGHT
            unmatched.append(Skipped(tensor.name, reason, tensor.numel, role, tensor))
        else:
            kept.append(tensor)
            others.append(dataclasses.replace(partner, name=tensor.name))
    if not kept:
        why = f"; {unmatched[-1].name!r} is {unmatched[-1].reason}" if unmatched else ""
        raise InputError(f"no tensor of {tuned.source} has a partner in {base.source}{why}")
    common = tuned.holding(kept, [*tuned.skipped, *unmatched])
    problems = [f"tensor {s.name!r} is {s.reason}" for s in unmatched]
    return base.holding(others, base.skipped), common, problems


def _only_in_base(base: Checkpoint, tuned: Checkpoint, paired: set[str]) -> list[Skipped]:
    left_out = partners([s.name for s in tuned.skipped], base)  # such as tied tensors
    gone = set(base) - paired - set(left_out.values())
    return [
        Skipped(name, "only in the base", role=tensor.role or Role.WEIGHT)
        for name, tensor in base.items()
        if name in gone
    ]


def _mismatch(base: Checkpoint, tuned: WeightTensor, partner: WeightTensor | None) -> str:
    """The reason that a tensor has no partner; empty if it has one."""
    if partner is None:
        why = {normalized(s.name): s.reason for s in base.skipped}.get(normalized(tuned.name))
        return f"left out of the base ({why})" if why else "not in the base"
    if (partner.shape, partner.dtype) != (tuned.shape, tuned.dtype):
        was = f"{partner.dtype} {list(partner.shape)}"
        return f"{tuned.dtype} {list(tuned.shape)}, but {was} in the base"
    return ""


def _explained(
    report: ReportData,
    base: Checkpoint,
    problems: Sequence[str],
    coders: Mapping[Quantizer, CodeSearch],
    name: str,
) -> ReportData:
    """The report with the base, the mismatches and the estimators in its provenance."""
    provenance = report.provenance
    changed, told = changes_of(base)
    provenance["problems"] += [f"{name}: {line}" for line in (*problems, *told)]
    provenance["settings"]["estimators"] = {
        str(quantizer): [str(estimator) for estimator in search.estimators]
        for quantizer, search in coders.items()
    }
    provenance["base"] = {
        "source": base.source,
        "format": base.format,
        "files": dict(base.fingerprints),
        "changed": changed,
    }
    return dataclasses.replace(report, kind="delta")
