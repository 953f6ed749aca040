"""What a study measures of its checkpoints, by kolmo, each once and kept.

Draws are spent where they tell something: an estimator that can see the order of weights gets all
of them on the initialization and at the end of training, a few in between, where a mean and its
spread are enough; one that only counts symbols costs the same in every draw, and kolmo draws none
for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kolmo
from kolmo.execution import Progress
from momos.lab.arms import INIT, LEVELS, StudyConfig, StudyRun
from momos.lab.function_bits import function_row
from momos.lab.records import key_of, read_record, write_record
from momos.lab.weights import weight_facts

if TYPE_CHECKING:
    import pandas as pd

Plan = Mapping[str, Sequence[str]]
"""Estimators by quantizer."""

_BETWEEN = 5  # draws of a checkpoint that is neither the first nor the last, and of further seeds
_COMPRESSORS = ("gzip:9", "bz2:9", "xz:6")  # of float32 bytes, as in the paper
_FEW = 3  # draws of these, which are slow and hardly differ from draw to draw


def finished_rows(
    run: StudyRun, config: StudyConfig, out: Path, threads: int | None, progress: Progress
) -> pd.DataFrame:
    """kolmo's table of the checkpoint that was chosen by validation, function bits last."""
    import pandas as pd

    wanted = [
        (_finished_plan(run.arm, config), _draws(run, config)),
        (_published_plan(), min(_FEW, config.draws)),
    ]
    path = out / "measured" / f"{run.arm}-seed{run.seed}.json"
    rows = _kept({run.arm: run.checkpoint}, wanted, run.seed, path, threads, progress)
    last = _table([function_row(run, config, out, threads, progress)])
    return pd.concat([rows, last], ignore_index=True)


def followed_rows(
    run: StudyRun, config: StudyConfig, out: Path, threads: int | None, progress: Progress
) -> pd.DataFrame:
    """kolmo's table of the checkpoints along training of a run, with their epochs."""
    *between, last = run.steps
    plan, rows = _followed_plan(config), []
    for name, epochs, draws in (
        ("end", [last], config.draws),
        ("between", between, min(_BETWEEN, config.draws)),
    ):
        if epochs:
            sources = {str(epoch): run.steps[epoch] for epoch in epochs}
            path = out / "measured" / f"{run.arm}-seed{run.seed}-{name}.json"
            rows.append(_kept(sources, [(plan, draws)], run.seed, path, threads, progress))
    return _along(run, rows)


def _draws(run: StudyRun, config: StudyConfig) -> int:
    """All draws of the first seed, a few of the others, whose spread tells; what is followed along
    training has all of them at its end, for every seed."""
    return config.draws if run.seed == config.seeds[0] else min(_BETWEEN, config.draws)


def _along(run: StudyRun, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    rows = pd.concat(tables, ignore_index=True)
    rows["epoch"] = rows["checkpoint"].astype(int)
    facts = {epoch: weight_facts(path) for epoch, path in run.steps.items()}
    for name in ("zero_tail", "peak"):
        rows[name] = rows["epoch"].map({epoch: found[name] for epoch, found in facts.items()})
    return rows.sort_values("epoch", kind="stable", ignore_index=True)


# --- what is measured -------------------------------------------------------------------------


def _finished_plan(arm: str, config: StudyConfig) -> Plan:
    plan = {
        "native": ["zstd:3@shuffle", "kt", "mosaic"],
        LEVELS: ["zstd:3", "kt", "entropy", "mosaic"],
        config.quantizer: ["zstd:3", "kt", "entropy", "mosaic"],
        "sign": ["zstd:3@packed", "kt", "bdm"],
    }
    if arm.startswith("qat"):  # their own levels, of which they are made
        plan.setdefault(f"symmetric:{arm.removeprefix('qat')}", ["kt", "mosaic"])
    return plan


def _published_plan() -> Plan:
    """What the papers on mosaics and on bit-planes measure, besides the signs."""
    return {"native": _COMPRESSORS, "affine:8": ("qubd",)}


def _followed_plan(config: StudyConfig) -> Plan:
    return {
        LEVELS: ("kt", "mosaic"),
        config.quantizer: ("kt", "mosaic", "context"),
        "native": ("kt", "mosaic"),
        "sign": ("kt", "bdm"),
    }


# --- each once --------------------------------------------------------------------------------


def _kept(
    sources: Mapping[str, Path],
    wanted: Sequence[tuple[Plan, int]],
    seed: int,
    path: Path,
    threads: int | None,
    progress: Progress,
) -> pd.DataFrame:
    """The rows of some checkpoints, from their record if there is one."""
    settings = {"seed": seed, "wanted": [[dict(plan), draws] for plan, draws in wanted]}
    key = key_of("measure", settings, "kolmo", sources.values())
    record = read_record(path, key)
    if record is None:
        rows = list(_measure(sources, wanted, seed, threads, progress))
        record = {"key": key, "table": rows}
        write_record(path, record)
    return _table(record["table"])


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    from kolmo.report.columns import COLUMNS
    from kolmo.report.table import normalize

    return normalize(pd.DataFrame(rows, columns=COLUMNS))


def _measure(
    sources: Mapping[str, Path],
    wanted: Sequence[tuple[Plan, int]],
    seed: int,
    threads: int | None,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    parts = [(q, names, draws) for plan, draws in wanted for q, names in plan.items()]
    for number, (quantizer, estimators, draws) in enumerate(parts):
        report = kolmo.compare(
            sources,
            quantizers=[quantizer],
            estimators=list(estimators),
            nulls=["shuffled"],
            draws=draws,
            scope="model",
            seed=seed,
            threads=threads,
            progress=_part(progress, number, len(parts)),
        )
        yield from json.loads(report.to_json())["table"]


def _part(progress: Progress, number: int, parts: int) -> Progress:
    """Progress of one of several equal parts."""

    def report(done: int, total: int, label: str) -> None:
        share = (number + (done / total if total else 1)) / parts
        progress(int(1000 * share), 1000, label)

    return report


def is_followed(run: StudyRun, config: StudyConfig) -> bool:
    """Whether the checkpoints along training of this run are measured."""
    return run.arm in (INIT, *config.followed())
