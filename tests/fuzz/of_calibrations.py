"""Saved calibrations: refused when they are loaded, or everything works that there is of one."""

from __future__ import annotations

import io
import json
import traceback
import warnings
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import kolmo
from kolmo.calibration import CalibrationResult, Effort, load_calibration
from kolmo.calibration.words import page
from tests.fuzz.damage import mutated, pick
from tests.fuzz.kinds import Fuzzer, kind_of
from tests.fuzz.values import changed, like

DRAWN = 16  # of so many, one is drawn


@cache
def sound() -> CalibrationResult:
    """A calibration of two estimators."""
    few = Effort(4, 2, ((8, 8),), (8, 8), 1)
    return kolmo.calibrate(
        ["kt", "zstd:3"], nulls=["shuffled"], families=["coin"], effort=few, progress=False
    )


def _table(random: np.random.Generator) -> list[dict[str, Any]]:
    """The rows of a sound one, of which a few cells, a column or the settings are changed."""
    rows: list[dict[str, Any]] = sound()._long().astype(object).to_dict("records")
    rows = [{name: None if each != each else each for name, each in row.items()} for row in rows]
    chance = random.random()
    if chance < 0.2:
        settings = json.loads(rows[-1]["settings"])
        rows[-1]["settings"] = json.dumps(changed(settings, random))
    elif chance < 0.5:
        column, number = pick(list(rows[0]), random), int(random.integers(1 << 30))
        for row in rows:
            row[column] = like(row[column], np.random.default_rng(number))
    elif chance < 0.9:
        rows = changed(rows, random)
    rows = [row for row in rows if isinstance(row, dict)]
    return [{_written(name): _written(each) for name, each in row.items()} for row in rows]


def _written(value: Any) -> Any:
    """A value; of a text what UTF-8 has of it."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """A cell as text."""
    return None if value is None else _written(str(value))


def _as_csv(folder: Path, random: np.random.Generator) -> Path:
    path, table = folder / "c.csv", pd.DataFrame(_table(random), dtype=object)
    table.map(_text).to_csv(path, index=False)
    return _damaged(path, random)


def _as_parquet(folder: Path, random: np.random.Generator) -> Path:
    path, buffer = folder / "c.parquet", io.BytesIO()
    table = pd.DataFrame(_table(random), dtype=object)
    try:
        table.infer_objects().to_parquet(buffer, index=False)
    except (ValueError, TypeError, OverflowError, NotImplementedError):  # of mixed types
        table.map(_text).to_parquet(buffer := io.BytesIO(), index=False)
    path.write_bytes(buffer.getvalue())
    return _damaged(path, random)


def _damaged(path: Path, random: np.random.Generator) -> Path:
    if random.random() < 0.2:
        path.write_bytes(mutated(path.read_bytes(), [b"0"], random))
    return path


def works(path: Path, result: Any) -> str | None:
    """What fails of a calibration that was loaded; None where nothing does."""
    if result is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            assert result.summary()
            json.loads(result.to_json())
            page(result, "c.png")
            result.outside()
            again = path.with_name("again.csv")
            result.save(again)
            assert load_calibration(again).table.equals(result.table), "it is another one"
            if zlib.crc32(path.read_bytes()) % DRAWN == 0:
                result.save(path.with_name("c.svg"))
        except Exception as error:
            return f"{kind_of(error)}\n{traceback.format_exc(limit=-8)}"
    return None


FUZZERS = [
    Fuzzer("calibration in CSV", _as_csv, load_calibration, works),
    Fuzzer("calibration in Parquet", _as_parquet, load_calibration, works),
]
