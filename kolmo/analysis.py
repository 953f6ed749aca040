"""analyze and compare: measure one checkpoint, or several in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.titles import title, titled
from kolmo.defaults import (
    DEFAULT_MEASUREMENTS,
    default_estimators,
    default_measurements,
    left_out,
)
from kolmo.engine.deadline import Deadline
from kolmo.engine.pool import open_pool
from kolmo.engine.run import Run
from kolmo.engine.session import measure_all
from kolmo.errors import InputError, KolmoError
from kolmo.estimators.base import get_estimator
from kolmo.execution import Stages, rare_collections, short_turns
from kolmo.measure import Left, Measurement, Plan
from kolmo.nulls import get_null
from kolmo.options import Options, Settings, takes_options
from kolmo.quantize import get_quantizer
from kolmo.report.report import Report
from kolmo.report.rows import make_report
from kolmo.spoken import is_shell
from kolmo.structure.chain import Bench, ChainTest, run_trials
from kolmo.structure.rows import rows_of
from kolmo.structure.sample import sample_size

if TYPE_CHECKING:
    from kolmo.planning import Outlook


class Interrupted(KeyboardInterrupt):
    """A run was interrupted; ``report`` holds what was measured until then.

    At a prompt and in a notebook it is ``sys.last_value``, elsewhere ``except kolmo.Interrupted as
    error`` catches it.

    Attributes
    ----------
    report : Report
    done, wanted : int
        Figures that are known, and that there were to be.
    kept : path or None
        The store that has them, so that the same call goes on where this one stopped.
    """

    def __init__(
        self, report: Report, done: int = 0, wanted: int = 0, kept: Path | None = None
    ) -> None:
        count = f": {done:,} of {wanted:,} figures are in its .report" if wanted else ""
        where = ""
        if not is_shell():
            where = ", which is sys.last_value.report at a prompt and in a notebook"
        again = f"; {kept} keeps them, and the same call goes on from there" if kept else ""
        super().__init__(f"interrupted{count}{where}{again}" if count else "interrupted")
        self.report, self.done, self.wanted, self.kept = report, done, wanted, kept

    def with_report(self, report: Report) -> Interrupted:
        """The same interruption, with this report."""
        return Interrupted(report, self.done, self.wanted, self.kept)


@takes_options
def analyze(source: Any, *, name: str | None = None, **options: Unpack[Options]) -> Report:
    """Measure a checkpoint, tensor by tensor and as a whole.

    Parameters
    ----------
    source : path, directory, URL, nn.Module, state dict or mapping of arrays
    quantizers, estimators : spec or object, or a list of these, optional
        Every estimator is applied to the symbols of every quantizer. If only one of the two is
        given, the other comes from the defaults; if neither is, `DEFAULT_MEASUREMENTS` are.
    nulls : spec or object, a list of these, or "auto", optional
        Null models to compare with; the table then has a row for each measurement and null.
        ``"auto"`` tests structure instead (`kolmo.structure`): a sample of the weights against as
        many draws as settle the verdict, in rows of the scope ``sample``. That is the default
        where no estimators are named, and no budget; an empty list means no nulls and no test.
    draws : int
        Draws of each random null, at least 2 for a standard deviation and 39 for p-values, more
        where many tests are corrected (`kolmo.pvalues.draws_needed`). P-values of shuffles
        are exact, those of ``gaussian`` approximate (`kolmo.nulls`).
    scope : {"both", "tensor", "model"}
        Each tensor alone, all of them through one accumulator for each dtype, or both of these.
    include, exclude : glob or list of globs
        Names of the tensors to measure; all by default.
    roles : str or list of str
        Roles of the arrays to measure, ``weight`` alone by default: the others are listed in the
        coverage (`kolmo.inspect` shows them). ``book-keeping``, ``buffer``, ``optimizer``,
        ``copy`` and ``other`` are the rest.
    seed : int
        Seed of the nulls' random draws.
    threads : int, optional
        All cores by default. The result does not depend on it.
    executor : concurrent.futures.Executor, optional
        Where the work is done, threads of this process by default: a pool of processes, or that of
        a cluster (``dask.distributed.Client.get_executor()``). Each job reads its own weights, and
        the result is the same to the bit.
    store : path or None
        The store of results that is looked up, and keeps what is measured: the one in the user's
        cache folder by default (`kolmo.store.default_path`), None for none.
    budget : float or str, optional
        Seconds, or a time such as "30s", "5m" or "1h", that the run has: each measurement is then
        made whole, on a sample, or not at all (`kolmo.budgets`); which, stands in
        ``provenance["settings"]["budget"]``.
    progress : bool or callable, optional
        A bar where a terminal or a notebook is, by default; False for none; or
        ``progress(done, total, label)``, called now and then from this thread. The unit is expected
        work, so that what is left takes as long as the share says.
    each : callable, optional
        ``each(checkpoint, tensor, results)``, called from this thread as soon as figures of a
        tensor are known: the names of both, and a dict of `kolmo.measure.Measurement` to
        `kolmo.outcomes.Result`.
    name : str, optional
        Name of the checkpoint in the table; by default that of the file or of its folder, the
        class's of a module.

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If the source cannot be read, holds no number of these roles, or an option does not fit.
    Interrupted
        On Ctrl-C; its ``report`` holds the results so far.

    Examples
    --------
    >>> import kolmo
    >>> import numpy as np
    >>> report = kolmo.analyze({"w": np.zeros((64, 64), np.float32)}, estimators=["kt"],
    ...                        quantizers=["sign"], scope="tensor")
    >>> float(report.table.loc[0, "bits"])
    8.0
    """
    return compare({name or title(source): source}, **options)


@takes_options
def compare(
    sources: Any,
    **options: Unpack[Options],
) -> Report:
    """Measure several checkpoints in the same way: `analyze` for each, in one table.

    Parameters
    ----------
    sources : mapping of names to sources, or a list of sources
        Sources are those of `analyze`, in any mixture; a path may be a glob, or a folder of
        several. The names become the column ``checkpoint``: in a list, of a path what tells it
        from the others, of a module its class, ``state_dict`` or ``arrays`` of others, with a
        number where there are two. All other parameters are those of `analyze`.

    Examples
    --------
    >>> import kolmo
    >>> import numpy as np
    >>> ones, noise = np.ones(999, np.float32), np.random.default_rng(0).normal(size=999)
    >>> report = kolmo.compare({"ones": {"w": ones}, "noise": {"w": noise.astype(np.float32)}},
    ...                        quantizers=["sign"], estimators=["kt"], scope="model")
    >>> report.table.set_index("checkpoint").bits.round().to_dict()
    {'ones': 7.0, 'noise': 1003.0}
    """
    named = titled(sources)
    if not named:
        raise InputError("there is nothing to measure: no source was given")
    settings = Settings.of(options)
    opened = {name: settings.open(source) for name, source in named.items()}
    return _measure(opened, _plan(opened, settings), settings)


@takes_options
def plan_of(
    sources: Any,
    **options: Unpack[Options],
) -> dict[str, Outlook]:
    """What `compare` would measure, in which time, memory and bytes read, from headers alone.

    Parameters are those of `compare`.

    Returns
    -------
    dict of str to Outlook
        By the names of the checkpoints.

    Examples
    --------
    >>> import numpy as np
    >>> weights = {"m": {"w": np.zeros((64, 64), np.float32)}}
    >>> outlook = plan_of(weights, quantizers=["sign"], estimators=["kt"])["m"]
    >>> outlook.rows[0].weights
    4096
    """
    from kolmo.planning import foresee

    settings = Settings.of(options)
    opened = {name: settings.open(source) for name, source in titled(sources).items()}
    plan = _plan(opened, settings)
    return {
        name: foresee(checkpoint, plan, settings.threads) for name, checkpoint in opened.items()
    }


def _plan(checkpoints: Mapping[str, Checkpoint], settings: Settings) -> Plan:
    """What is measured of these checkpoints."""
    weights = max(checkpoint.numel for checkpoint in checkpoints.values())
    if settings.budget is not None:  # which decides itself what is made whole, or of windows
        return _within(make_plan(settings, measurements_of(settings, 0)), checkpoints, settings)
    measurements = list(measurements_of(settings, weights))
    by_default = settings.estimators is None and settings.scope == "both"
    left = left_out(measurements, weights) if by_default else ()
    plan = make_plan(settings, measurements, left)
    return dataclasses.replace(plan, ledger=settings.tests)


def _within(plan: Plan, checkpoints: Mapping[str, Checkpoint], settings: Settings) -> Plan:
    """The plan, cut to the budget."""
    from kolmo.budgets import within

    assert settings.budget is not None
    hashes = settings.store is not None
    return within(plan, checkpoints, settings.budget, settings.threads, hashes)


def make_plan(
    settings: Settings, measurements: Iterable[Measurement], left: Iterable[Left] = ()
) -> Plan:
    """The plan of a run; InputError if there is nothing to measure."""
    distinct = tuple(dict.fromkeys(measurements))
    if not distinct:
        raise InputError("there is nothing to measure: no quantizer or no estimator was given")
    return Plan(
        distinct,
        tuple(dict.fromkeys(get_null(null) for null in settings.named_nulls)),
        settings.draws,
        tensor_scope=settings.scope != "model",
        model_scope=settings.scope != "tensor",
        seed=settings.seed,
        left=tuple(left),
    )


def measurements_of(settings: Settings, weights: int) -> Iterator[Measurement]:
    """What is asked for, and the defaults for the rest, of checkpoints of so many weights."""
    quantizers, estimators = settings.quantizers, settings.estimators
    if quantizers is None and estimators is None:
        yield from default_measurements(weights, settings.seed)
        return
    for quantizer in DEFAULT_MEASUREMENTS if quantizers is None else quantizers:
        made = get_quantizer(quantizer)
        usual = default_estimators(str(made), weights, settings.seed)
        for estimator in usual if estimators is None else estimators:
            yield Measurement(made, get_estimator(estimator))


@rare_collections()
@short_turns()
def _measure(checkpoints: Mapping[str, Checkpoint], plan: Plan, settings: Settings) -> Report:
    runs: dict[str, Run] = {}
    trials: dict[str, ChainTest] = {}
    kept = None

    def report(finished: bool) -> Report:
        tested = [row for name, trial in trials.items() for row in rows_of(name, trial)]
        return Report.of(make_report(checkpoints, plan, runs, finished, tested))

    try:
        with settings.progress_bar() as progress, settings.open_memory() as memory:
            kept = memory.path if memory else None
            runs |= {name: Run(opened, plan, memory) for name, opened in checkpoints.items()}
            stages = Stages(progress, _PLAIN if settings.tests else 1.0)
            with open_pool(settings.executor, settings.threads) as pool:
                until = Deadline(plan.deadline, pool.workers) if plan.deadline else None
                measure_all(runs, pool, stages.next(), settings.each, until)
            if settings.tests:
                each = sample_size(len(checkpoints))
                trials |= {
                    name: ChainTest(opened, each, plan.seed, runs[name].ledger.by_rule)
                    for name, opened in checkpoints.items()
                }
                run_trials(trials, Bench(settings, memory, stages))
        return report(_all_known(runs))
    except KeyboardInterrupt:
        if not runs:  # nothing was begun
            raise
        done, wanted = (sum(each) for each in zip(*(r.count for r in runs.values()), strict=True))
        raise Interrupted(report(False), done, wanted, kept) from None
    except KolmoError as error:
        raise error.with_report(report(False)) from error.__cause__


_PLAIN = 0.6  # the share of the progress that measuring is, where structure is tested besides


def _all_known(runs: Mapping[str, Run]) -> bool:
    """Whether no deadline has kept a figure from being made."""
    return all(done == wanted for done, wanted in (run.count for run in runs.values()))
