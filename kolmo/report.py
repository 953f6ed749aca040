"""Report: the table of a run with its coverage and provenance; save it, load it, read it."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kolmo.errors import InputError, MissingExtraError
from kolmo.table import COLUMNS

if TYPE_CHECKING:
    from kolmo.plots import Plots

_TEXT = [
    *("checkpoint", "scope", "tensor", "shape", "dtype", "quantizer", "layout", "estimator"),
    *("kind", "null", "note", "details"),
]
_SUFFIXES = (".parquet", ".csv", ".json")


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run measured.

    Attributes
    ----------
    table : pandas.DataFrame
        One row for each measurement (and null, where any was asked for). ``bits`` is the code
        length, ``bits_per_weight`` = bits / numel, ``compression_ratio`` = raw_bits / bits;
        ``kind`` is bound or estimate; ``sampled`` the share of the weights that was measured;
        a missing value has its reason in ``note``; ``details`` is JSON.
    coverage : pandas.DataFrame
        Every tensor and other entry of the sources: whether it was measured, and if not, why.
    provenance : dict
        Versions, settings, sources with their files' SHA-256, problems; whether it is complete.
    """

    table: pd.DataFrame
    coverage: pd.DataFrame
    provenance: dict[str, Any]

    @cached_property
    def plot(self) -> Plots:
        """Figures: ``report.plot.layers()``, ``report.plot.compare()``."""
        from kolmo.plots import Plots

        return Plots(self)

    def summary(self) -> str:
        """What was found, in sentences with their figures."""
        from kolmo.summary import summarize

        return summarize(self)

    def coverage_line(self) -> str:
        """How many of the weights were measured, and what was not, with the reason."""
        from kolmo.summary import coverage_line

        return coverage_line(self.coverage)

    def to_json(self) -> str:
        """The whole report as one JSON document."""
        document = {
            "table": _records(self.table),
            "coverage": _records(self.coverage),
            "provenance": self.provenance,
        }
        return json.dumps(document, indent=1, allow_nan=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as .parquet, .csv or .json; `load_report` reads it back.

        A CSV holds the table alone; coverage and provenance go to ``<path>.meta.json`` beside it.

        Raises
        ------
        InputError
            For another suffix, or a path that cannot be written.
        """
        path = Path(path)
        check_output(path, _SUFFIXES)
        if path.suffix == ".json":
            write_atomically(path, lambda file: file.write_text(self.to_json()))
        elif path.suffix == ".csv":
            write_atomically(path, lambda file: self.table.to_csv(file, index=False))
            write_atomically(_meta_path(path), lambda file: file.write_text(self._meta()))
        else:
            write_atomically(path, self._write_parquet)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write a page that needs nothing else: summary, figures, table, coverage, provenance."""
        from kolmo.html import page

        path = Path(path)
        check_output(path, (".html", ".htm"))
        write_atomically(path, lambda file: file.write_text(page(self)))

    def _repr_html_(self) -> str:
        from kolmo.html import fragment

        return fragment(self)

    def _meta(self) -> str:
        meta = {"coverage": _records(self.coverage), "provenance": self.provenance}
        return json.dumps(meta, indent=1, allow_nan=False)

    def _write_parquet(self, path: Path) -> None:
        parquet, arrow = _pyarrow(f"writing {path}")
        table = arrow.Table.from_pandas(self.table, preserve_index=False)
        meta = {**(table.schema.metadata or {}), b"kolmo": self._meta().encode()}
        parquet.write_table(table.replace_schema_metadata(meta), path)


def load_report(path: str | os.PathLike[str]) -> Report:
    """Read a report that `Report.save` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, or no report.
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path}: a report is a .parquet, .csv or .json file")
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    try:
        table, meta = _READERS[path.suffix](path)
        return _checked(path, table, meta)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a report, or damaged ({error})") from None


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """InputError unless a file of one of these suffixes can be written there."""
    if path.suffix not in suffixes:
        raise InputError(f"{path}: the suffix must be {' or '.join(suffixes)}")
    if path.suffix == ".parquet":
        _pyarrow(f"writing {path}")
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no directory {str(folder)!r}")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"{path}: cannot be written")


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write to a file beside it, then rename, so that a reader never sees a half."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        temporary.unlink(missing_ok=True)


def _read_json(path: Path) -> tuple[pd.DataFrame, Any]:
    document = json.loads(path.read_text())
    return pd.DataFrame(document["table"], columns=COLUMNS), document


def _read_csv(path: Path) -> tuple[pd.DataFrame, Any]:
    meta = _meta_path(path)
    if not meta.exists():
        raise InputError(f"{path}: its coverage and provenance, {meta.name}, are missing")
    table = pd.read_csv(
        path, dtype=dict.fromkeys(_TEXT, object), keep_default_na=False, na_values=[""]
    )
    return table, json.loads(meta.read_text())


def _read_parquet(path: Path) -> tuple[pd.DataFrame, Any]:
    parquet, arrow = _pyarrow(f"reading {path}")
    try:
        table = parquet.read_table(path)
    except arrow.ArrowInvalid as error:
        raise InputError(f"{path}: not a report, or damaged ({error})") from None
    return table.to_pandas(), json.loads((table.schema.metadata or {})[b"kolmo"])


_READERS = {".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}


def _checked(path: Path, table: pd.DataFrame, meta: Any) -> Report:
    if list(table.columns) != COLUMNS:
        raise InputError(f"{path}: not a report; its columns are {list(table.columns)[:5]}...")
    coverage = pd.DataFrame(meta["coverage"], columns=_COVERAGE)
    return Report(normalize(table), coverage, dict(meta["provenance"]))


_COVERAGE = ["checkpoint", "tensor", "numel", "measured", "reason"]
_MAY_MISS = ("tensor", "layout", "kind", "null")  # text that is missing, rather than empty


def normalize(table: pd.DataFrame) -> pd.DataFrame:
    """The table with one dtype a column, whatever file it came from."""
    table = table.copy()
    for column in table.columns:
        if column not in _TEXT:
            numbers = pd.to_numeric(table[column])
            table[column] = (
                numbers.astype("int64") if column == "numel" else numbers.astype("float64")
            )
            continue
        text = table[column].astype(object)
        missing = text.isna() | (text == "")
        table[column] = text.where(~missing, None if column in _MAY_MISS else "")
    return table


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON-ready dictionaries; what is missing, or infinite, becomes null."""
    finite = table.astype(object).where(table.notna(), None)
    rows: list[dict[str, Any]] = finite.to_dict(orient="records")  # type: ignore[assignment]
    return [{str(k): None if v in (float("inf"),) else v for k, v in row.items()} for row in rows]


def _meta_path(path: Path) -> Path:
    return path.with_name(path.name + ".meta.json")


def _pyarrow(what: str) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError(what, "pyarrow", "parquet") from None
    return parquet, pyarrow
