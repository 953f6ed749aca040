"""Metrics of a series, such as losses and accuracies: read, and aligned with its steps."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from kolmo.errors import InputError, MissingExtraError

_COUNTERS = ("step", "epoch")
_HISTORIES = ("history.parquet", "history.csv")


def read_metrics(source: Any) -> pd.DataFrame:
    """A table of metrics: from a .csv or .parquet file, a data frame, columns or rows.

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
    if not set(_COUNTERS) & set(table.columns):
        columns = ", ".join(map(str, table.columns[:6])) or "none"
        raise InputError(f"{name}: there is no column 'step' or 'epoch' (columns: {columns})")
    return table


def find_history(folder: Path | None) -> Path | None:
    """The history that a run left beside its checkpoints."""
    candidates = [folder / name for name in _HISTORIES] if folder else []
    return next((path for path in candidates if path.is_file()), None)


def _read(path: Path) -> pd.DataFrame:
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: metrics are a .csv or .parquet file")
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except ImportError:
        raise MissingExtraError(f"reading {path}", "pyarrow", "parquet") from None
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a table ({error})") from None


def align(
    table: pd.DataFrame, unit: str | None, steps: Iterable[float]
) -> tuple[str, dict[str, list[float | None]], list[float]]:
    """Metrics sorted by step; steps without a checkpoint stay, because curves need them.

    Returns
    -------
    unit : str
        The column that counts, ``step`` or ``epoch``: that of the checkpoints, if known.
    columns : dict of str to list
        The steps under the unit's name, then each column of numbers; None where one is missing.
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
    table = table[table[unit].notna()].sort_values(unit)
    try:
        counted = [_plain(float(value)) for value in table[unit]]
    except (TypeError, ValueError):
        raise InputError(
            f"the column {unit!r} of the metrics holds values that are no numbers"
        ) from None
    twice = next((step for step, after in pairwise(counted) if step == after), None)
    if twice is not None:
        raise InputError(f"the metrics have {unit} {twice} twice")
    without = [step for step in steps if step not in set(counted)]
    if len(without) == len(list(steps)):
        raise InputError(
            f"no {unit} of the metrics ({_few(counted)}) is that of a checkpoint ({_few(without)})"
        )
    columns: dict[str, list[float | None]] = {unit: list(counted)}
    for name in table.columns:
        if name not in _COUNTERS and _is_number(table[name]):
            columns[str(name)] = [_finite(float(value)) for value in table[name]]
    if len(columns) == 1:
        raise InputError(f"the metrics have no column of numbers beside {unit!r}")
    return unit, columns, without


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


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _few(steps: Sequence[float]) -> str:
    shown = [f"{step:,}" for step in steps]
    return ", ".join(shown) if len(shown) <= 5 else f"{', '.join(shown[:3])}, … {shown[-1]}"
