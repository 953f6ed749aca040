"""A saved calibration, read as data and checked once: what no calibration has measured is refused.

Only what was counted and measured is believed. What follows from it (ratios, rates, bands) is
computed anew, and must be what the file says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kolmo.calibration.objects import FAMILIES
from kolmo.calibration.trials import NOISES, Row, false_positive_row, known_row, power_row
from kolmo.files import pyarrow_modules
from kolmo.forms import (
    Form,
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
from kolmo.report.saving import check_rows

PARTS = ("table", "false_positives", "power")

_LEAST = 1e-100  # what is divided by
_MOST_TRIALS = 10**6
_NEAR = 1e-9  # relative


def read_parts(path: Path) -> dict[str, Any]:
    """The tables of a saved calibration, and its settings.

    Raises
    ------
    ValueError, LookupError, TypeError, OSError, RecursionError
        If the file holds something else.
    """
    table = _read_parquet(path) if path.suffix == ".parquet" else _read_csv(path)
    rows = {name: table[table["part"] == name].to_dict("records") for name in (*PARTS, "settings")}
    if len(rows["settings"]) != 1 or sum(map(len, rows.values())) != len(table):
        raise ValueError(f"its parts are not {', '.join(PARTS)} and one row of settings")
    (told,) = rows.pop("settings")
    settings = read_json(str(told["settings"]))
    _SETTINGS(settings, "settings")
    found = {name: list(_rows(name, given)) for name, given in rows.items()}
    _check_together(found, settings)
    return {**{name: pd.DataFrame(part) for name, part in found.items()}, "settings": settings}


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=object, keep_default_na=False, encoding="utf-8")


def _read_parquet(path: Path) -> pd.DataFrame:
    parquet, arrow = pyarrow_modules(f"reading {path}")
    try:
        check_rows(path, parquet.read_metadata(path).num_rows)
        table: pd.DataFrame = parquet.read_table(path).to_pandas()
    except arrow.ArrowException as error:
        raise ValueError(str(error)) from None
    return table


# --- cells ----------------------------------------------------------------------------------

Cell = Callable[[Any, str], Any]
"""The value of a cell, which is of some type or a text; ValueError where it has another form."""


def _cell(value_of: Callable[[Any], Any], form: Form) -> Cell:
    def read(cell: Any, where: str) -> Any:
        value = value_of(cell.item() if isinstance(cell, np.generic) else cell)
        form(value, where)
        return value

    return read


def _number(cell: Any) -> Any:
    """A number; None where there is none."""
    try:
        value = float(cell) if isinstance(cell, str) and cell else cell
    except ValueError:
        return cell
    return None if value == "" or (isinstance(value, float) and math.isnan(value)) else value


def _whole(cell: Any) -> Any:
    """A whole number, which a table with missing ones has as a float."""
    value = _number(cell)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bits(cell: Any, where: str) -> float:
    """Bits; NaN where an estimator could not take the object."""
    value = _number(cell)
    maybe(number(0))(value, where)
    return math.nan if value is None else float(value)


def _truth(cell: Any) -> Any:
    return {"True": True, "False": False}.get(cell, cell) if isinstance(cell, str) else cell


def _shape(value: Any, where: str) -> None:
    text(value, where)
    if not all(side.isascii() and side.isdigit() and len(side) < 9 for side in value.split("x")):
        raise ValueError(f"{where} is no shape")


def _name(value: Any, where: str) -> None:
    text(value, where)
    if not (value.isprintable() and 0 < len(value) < 200):
        raise ValueError(f"{where} is no name of an estimator or a quantizer")


def _trials(value: Any, where: str) -> None:
    whole(1)(value, where)
    if value > _MOST_TRIALS:
        raise ValueError(f"{where} is more than {_MOST_TRIALS:,}")


_NAME, _TRUTH = _cell(lambda cell: cell, _name), _cell(_truth, truth)
_NUMBER, _COUNT = _cell(_number, number()), _cell(_whole, whole())
_KNOWN = _cell(_number, number(_LEAST))
_TRIALS, _SHAPE = _cell(_whole, _trials), _cell(lambda cell: cell, _shape)
_FAMILY = _cell(lambda cell: cell, one_of(*FAMILIES))
_NULL = _cell(lambda cell: cell, one_of(*NOISES, *(cls.null for cls in FAMILIES.values())))
_KIND = _cell(lambda cell: cell, one_of("bound", "estimate"))
_NAMES = {"label": _NAME, "estimator": _NAME, "quantizer": _NAME}


# --- rows -----------------------------------------------------------------------------------

_COLUMNS: Mapping[str, Mapping[str, Cell]] = {
    "table": {
        "family": _FAMILY, "grade": _NUMBER, "seed": _COUNT, "shape": _SHAPE, "numel": _COUNT,
        **_NAMES, "kind": _KIND, "exact": _TRUTH, "known_bits": _KNOWN, "bits": _bits,
    },
    "false_positives": {
        **_NAMES, "null": _NULL, "exact": _TRUTH, "repeated": _TRUTH, "shape": _SHAPE,
        "trials": _TRIALS, "rejections": _COUNT, "strict_rejections": _COUNT,
    },
    "power": {
        "family": _FAMILY, "grade": _NUMBER, "null": _NULL, **_NAMES, "shape": _SHAPE,
        "numel": _COUNT, "trials": _TRIALS, "rejections": _COUNT,
    },
}  # fmt: skip
"""What was counted and measured, by part and column."""

_WITH_REST: Mapping[str, Callable[[Row], Row]] = {
    "table": known_row,
    "false_positives": false_positive_row,
    "power": power_row,
}
_KEYS: Mapping[str, tuple[str, ...]] = {
    "table": ("label", "family", "grade", "seed"),
    "false_positives": ("label", "null"),
    "power": ("label", "family", "shape"),
}
"""What no two rows have alike."""


def _rows(part: str, given: list[dict[Any, Any]]) -> Iterator[Row]:
    """The rows of a part, as they were when they were measured."""
    for place, cells in enumerate(given, 1):
        where = f"row {place} of {part}"
        told = _COLUMNS[part].items()
        row = {name: read(cells.get(name), f"{where}, {name}") for name, read in told}
        _check_counts(row, where)
        yield _completed(_WITH_REST[part](row), row, cells, where)


def _check_counts(row: Row, where: str) -> None:
    if "numel" in row and row["numel"] != math.prod(map(int, row["shape"].split("x"))):
        raise ValueError(f"{where}, numel is not the product of its shape")
    counts = [row[n] for n in ("trials", "rejections", "strict_rejections") if n in row]
    if counts != sorted(counts, reverse=True):
        raise ValueError(f"{where} has more rejections than trials, or more strict ones than all")


def _completed(full: Row, row: Row, cells: Mapping[Any, Any], where: str) -> Row:
    """The row with what follows from it, where the file says the same."""
    for name in full:
        if name not in row and not _is_same(cells.get(name), full[name]):
            raise ValueError(f"{where}, {name} does not follow from its other figures")
    return full


def _is_same(cell: Any, value: Any) -> bool:
    cell = cell.item() if isinstance(cell, np.generic) else cell
    if isinstance(value, bool):
        return _truth(cell) is value
    told = _number(cell)
    if told is None or math.isnan(value):
        return told is None and math.isnan(value)
    return isinstance(told, float | int) and math.isclose(told, value, rel_tol=_NEAR)


_SETTINGS = record(
    {"failed": mapped(text)},
    seed=whole(), trials=_trials, power_trials=_trials, shapes=listed(listed(whole(1), 1), 1),
    known_shape=listed(whole(1), 1), seeds=whole(1), versions=mapped(text),
)  # fmt: skip


def _check_together(found: Mapping[str, list[Row]], settings: Mapping[str, Any]) -> None:
    """ValueError where the parts are not of one calibration."""
    for part, rows in found.items():
        if not rows:
            raise ValueError(f"{part} has no rows")
        if len({tuple(row[name] for name in _KEYS[part]) for row in rows}) < len(rows):
            raise ValueError(f"two rows of {part} have the same {', '.join(_KEYS[part])}")
    labels = {row["label"] for row in found["table"]}
    for part, trials in (("false_positives", "trials"), ("power", "power_trials")):
        if any(row["trials"] != settings[trials] for row in found[part]):
            raise ValueError(f"{part} has other trials than the settings")
        if not labels.issuperset(row["label"] for row in found[part]):
            raise ValueError(f"{part} has estimators that the table lacks")
    pairs = {(row["label"], row["family"]) for row in found["power"]}
    if not pairs.issuperset((row["label"], row["family"]) for row in found["table"]):
        raise ValueError("the table has estimators and families that power lacks")
