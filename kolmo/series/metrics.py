"""Metrics of a series, such as losses and accuracies: read, and aligned with its steps."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from kolmo.errors import InputError, MissingExtraError
from kolmo.files import check_readable
from kolmo.forms import LARGEST, LOGGED
from kolmo.series.steps import STEPS

_COUNTERS = ("step", "epoch")
TRAINER_STATE = "trainer_state.json"
_HISTORIES = ("history.parquet", "history.csv", TRAINER_STATE)
_TOTALS = "train_runtime"  # what Trainer's last entry has, which is of the whole run


def read_metrics(source: Any) -> pd.DataFrame:
    """A table of metrics: from a file, a data frame, columns or rows.

    Files are .csv, .parquet, or the ``trainer_state.json`` of Hugging Face's Trainer, whose log
    has rows of training and of evaluation: those of one step become one row.

    Raises
    ------
    InputError
        If the source cannot be read or has no column ``step`` or ``epoch``.

    >>> read_metrics([{"step": 1, "loss": 0.5}]).columns.tolist()
    ['step', 'loss']
    """
    if isinstance(source, (str, os.PathLike)):
        table, name = _read(Path(source)), str(source)
    elif isinstance(source, (pd.DataFrame, Mapping, Sequence)):
        table, name = pd.DataFrame(source), "the metrics"
    else:
        raise InputError(f"metrics are a path, a table or rows, not {type(source).__name__}")
    if not table.columns.is_unique:
        raise InputError(f"{name}: two columns have one name")
    if not set(_COUNTERS) & set(table.columns):
        columns = ", ".join(map(str, table.columns[:6])) or "none"
        raise InputError(f"{name}: there is no column 'step' or 'epoch' (columns: {columns})")
    return table


def find_history(folder: Path | None, last: str = "") -> Path | None:
    """The history that a run left beside its checkpoints, or in the last of them."""
    if folder is None:
        return None
    run = folder.parent if folder.name == STEPS else folder
    candidates = [run / name for name in _HISTORIES] + [Path(last) / TRAINER_STATE]
    return next((path for path in candidates if path.is_file()), None)


def _read(path: Path) -> pd.DataFrame:
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        ".csv": pd.read_csv,
        ".parquet": pd.read_parquet,
        ".json": _read_log,
    }
    if path.suffix not in readers:
        raise InputError(f"{path}: metrics are a .csv, .parquet or trainer_state.json file")
    check_readable(path)
    try:
        return readers[path.suffix](path)
    except ImportError:
        raise MissingExtraError(f"reading {path}", "pyarrow", "parquet") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from None


def _read_log(path: Path) -> pd.DataFrame:
    """The log of a ``trainer_state.json``, a row for each step; without the totals of the run."""
    state = json.loads(path.read_text(encoding="utf-8"))
    log = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(log, list) or not all(isinstance(entry, dict) for entry in log):
        raise InputError(f"{path}: there is no 'log_history' in it, as in a trainer_state.json")
    rows: dict[Any, dict[str, Any]] = {}
    for entry in log:
        if "step" in entry and _TOTALS not in entry:
            rows.setdefault(_step(entry, path), {}).update(entry)
    return pd.DataFrame(list(rows.values()))


def _step(entry: Mapping[str, Any], path: Path) -> float:
    step = entry["step"]
    if isinstance(step, bool) or not isinstance(step, (int, float)):
        raise InputError(f"{path}: a step of its log is no number: {str(step)[:40]!r}")
    return step


def align(
    table: pd.DataFrame, unit: str | None, steps: Iterable[float]
) -> tuple[str, dict[str, list[float | None]], list[float]]:
    """Metrics sorted by step; steps without a checkpoint stay, because curves need them.

    Returns
    -------
    unit : str
        The column that counts, ``step`` or ``epoch``: that of the checkpoints, if known.
    columns : dict of str to list
        The steps under the unit's name, then each column of numbers; None where one is missing,
        infinite, or beyond 1e100.
    without : list of float
        Steps of the checkpoints that have no metrics.

    Raises
    ------
    InputError
        If metrics and checkpoints count different things, a step occurs twice, or no step is that
        of a checkpoint.

    >>> align(pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]}), None, [0, 2])
    ('epoch', {'epoch': [1, 2], 'loss': [0.5, 0.25]}, [0])
    """
    unit = _counter(table, unit)
    table = table[table[unit].notna()]
    steps_of = _counted(table[unit], unit)
    order = sorted(range(len(steps_of)), key=steps_of.__getitem__)
    table, counted = table.iloc[order], [steps_of[place] for place in order]
    twice = next((step for step, after in pairwise(counted) if step == after), None)
    if twice is not None:
        raise InputError(f"the metrics have {unit} {twice} twice")
    wanted = list(steps)
    without = [step for step in wanted if step not in set(counted)]
    if not any(counted[0] <= step <= counted[-1] for step in wanted):
        raise InputError(
            f"no {unit} of the metrics ({_few(counted)}) is that of a checkpoint, or near one "
            f"({_few(wanted)})"
        )
    columns: dict[str, list[float | None]] = {unit: list(counted)}
    for name in table.columns:
        if name not in _COUNTERS and _is_number(table[name]):
            columns[str(name)] = [_finite(value) for value in table[name]]
    if len(columns) == 1:
        raise InputError(f"the metrics have no column of numbers beside {unit!r}")
    return unit, columns, without


def _counted(column: pd.Series, unit: str) -> list[float]:
    """The steps of the rows; InputError unless there are some, and all are finite numbers."""
    try:
        counted = [_plain(float(value)) for value in column]
    except (TypeError, ValueError, OverflowError):
        counted = []
    if not counted or not all(abs(step) <= LARGEST for step in counted):
        raise InputError(f"the column {unit!r} of the metrics holds values that are no numbers")
    return counted


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _counter(table: pd.DataFrame, unit: str | None) -> str:
    has = [name for name in _COUNTERS if name in table.columns]
    if unit is None:
        return has[0]
    if unit not in has:
        raise InputError(f"the checkpoints are numbered by {unit}, the metrics by {has[0]}")
    return unit


def _plain(value: float) -> float:
    return int(value) if value.is_integer() else value


def _finite(value: Any) -> float | None:
    return None if pd.isna(value) or not abs(value) <= LOGGED else float(value)


def _few(steps: Sequence[float]) -> str:
    shown = [f"{step:,}" for step in steps]
    return ", ".join(shown) if len(shown) <= 5 else f"{', '.join(shown[:3])}, … {shown[-1]}"
