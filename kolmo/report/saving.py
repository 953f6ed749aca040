"""Reports as files: parquet, CSV, JSON; written whole, read with care."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kolmo.checkpoints.origins import sha256
from kolmo.errors import InputError
from kolmo.files import Paths, check_output, check_readable, marked, pyarrow_modules, write_text
from kolmo.forms import listed, one_of, read_json, record
from kolmo.replacing import write_atomically, write_together
from kolmo.report.columns import COLUMNS, COVERAGE, TableRows, is_known
from kolmo.report.data import KINDS, ReportData
from kolmo.report.schema import check_details, check_provenance, check_table, check_values
from kolmo.report.table import normalize, normalize_coverage

if TYPE_CHECKING:
    import pandas as pd

DAMAGE = (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError)
"""What reading a damaged table raises."""

_ROWS = 1 << 16  # that any file may have
_SUFFIXES = (".parquet", ".csv", ".json")


def to_json(data: ReportData) -> str:
    """A whole report as one JSON document."""
    document = {"table": _json_rows(data.rows), **_meta(data)}
    return json.dumps(document, indent=1, allow_nan=False)


def save_report(data: ReportData, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a report; see `kolmo.Report.save`."""
    path = Path(path)
    check_report_output(path, files_of(data.provenance), overwrite)
    if path.suffix == ".json":
        write_text(path, to_json(data))
    elif path.suffix == ".csv":
        _write_csv(data, path)
    else:
        write_atomically(path, lambda file: _write_parquet(data, file))


def check_report_output(path: Path, inputs: Paths = (), overwrite: bool = False) -> None:
    """InputError unless a report can be written there; only another report is replaced unasked."""
    check_output(path, _SUFFIXES, own=_is_report, inputs=inputs, overwrite=overwrite)
    if path.suffix == ".csv":
        check_output(_meta_path(path), own=_is_meta, inputs=inputs, overwrite=overwrite)


def files_of(provenance: Mapping[str, Any]) -> list[str]:
    """The files that a report is of."""
    sources, base = provenance.get("sources"), provenance.get("base")
    told = [*(sources.values() if isinstance(sources, Mapping) else ()), base]
    files = [each.get("files") for each in told if isinstance(each, Mapping)]
    return [file for each in files if isinstance(each, Mapping) for file in each]


def _write_csv(data: ReportData, path: Path) -> None:
    """The table, and beside it the rest, which names the table's digest: the two are of one run."""
    digest = ""

    def write_table(file: Path) -> None:
        nonlocal digest
        data.plain.to_csv(file, index=False)
        digest = sha256(str(file))

    def write_meta(file: Path) -> None:
        file.write_text(_meta_json(data, table_sha256=digest), encoding="utf-8")

    write_together({path: write_table, _meta_path(path): write_meta})


# --- what is one ------------------------------------------------------------------------------

_is_json = marked(rb'\A\{\s*"table": \[(\s*\{\s*"checkpoint": |\],\s*"kind": )')
_is_csv = marked(rb"\A" + ",".join(COLUMNS[:9]).encode())
_is_meta = marked(rb'\A\{\s*"kind": "\w+",\s*"(coverage|table_sha256)": ')


def _is_report(path: Path) -> bool:
    """Whether a file is a report, of this version or another."""
    if path.suffix == ".json":
        return _is_json(path)
    return _is_csv(path) if path.suffix == ".csv" else _is_parquet(path)


def _is_parquet(path: Path) -> bool:
    schema = schema_of(path)
    return schema is not None and b"kolmo" in (schema.metadata or {})


def schema_of(path: Path) -> Any:
    """The schema of a parquet file; None of another."""
    parquet, arrow = pyarrow_modules(f"reading {path}")
    try:
        return parquet.read_schema(path)
    except (OSError, arrow.ArrowException):
        return None


# --- written ----------------------------------------------------------------------------------


def _meta(data: ReportData) -> dict[str, Any]:
    coverage = _json_rows(data.entries)
    return {"kind": data.kind, "coverage": coverage, "provenance": data.provenance}


def _json_rows(rows: TableRows) -> list[dict[str, Any]]:
    return [{name: _json_value(value) for name, value in row.items()} for row in rows.records()]


def _meta_json(data: ReportData, **more: str) -> str:
    facts = _meta(data)
    return json.dumps({"kind": facts.pop("kind"), **more, **facts}, indent=1, allow_nan=False)


def _write_parquet(data: ReportData, path: Path) -> None:
    parquet, arrow = pyarrow_modules(f"writing {path}")
    table = arrow.Table.from_pandas(data.plain, preserve_index=False)
    meta = {**(table.schema.metadata or {}), b"kolmo": _meta_json(data).encode()}
    parquet.write_table(table.replace_schema_metadata(meta), path)


# --- reading ----------------------------------------------------------------------------------


def read_report(path: str | os.PathLike[str]) -> ReportData:
    """Read what `save_report` wrote; see `kolmo.load_report`."""
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise InputError(f"{path}: a report is a .parquet, .csv or .json file")
    check_readable(path)
    try:
        table, meta = _READERS[path.suffix](path)
        return _checked(path, table, meta)
    except InputError:
        raise
    except (*DAMAGE, RecursionError) as error:
        raise InputError(f"{path}: not a report, or damaged ({reason(error)})") from None


def reason(error: Exception) -> str:
    """What is wrong; of errors that are no sentences, with their names."""
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def _read_json(path: Path) -> tuple[pd.DataFrame, Any]:
    import pandas as pd

    document = read_json(path.read_text(encoding="utf-8"))
    record(table=listed(record()))(document, "the report")
    rows = [_with_text(row) for row in document["table"]]
    if not all(list(row) == COLUMNS for row in rows):
        _check_age(path, list(rows[0]))
        raise InputError(f"{path}: not a report; its rows lack columns, or have others")
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object), document


def _with_text(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose details are JSON in a text, as the table has them, not objects."""
    details = row.get("details")
    return {**row, "details": json.dumps(details)} if isinstance(details, dict) else row


def _read_csv(path: Path) -> tuple[pd.DataFrame, Any]:
    import pandas as pd

    meta = _meta_path(path)
    if not meta.exists():
        raise InputError(f"{path}: its coverage and provenance, {meta.name}, are missing")
    check_readable(meta)
    facts = read_json(meta.read_text(encoding="utf-8"))
    told = facts.get("table_sha256") if isinstance(facts, dict) else None
    if told is not None and told != sha256(str(path)):
        raise InputError(
            f"{path}: is not the table that {meta.name} was written with: it was changed, or the "
            f"two are of different runs; measure again"
        )
    return pd.read_csv(path, dtype=object, keep_default_na=False, encoding="utf-8"), facts


def _read_parquet(path: Path) -> tuple[pd.DataFrame, Any]:
    parquet, arrow = pyarrow_modules(f"reading {path}")
    try:
        check_rows(path, parquet.read_metadata(path).num_rows)
        table = parquet.read_table(path)
    except arrow.ArrowException as error:
        raise InputError(f"{path}: not a report, or damaged ({error})") from None
    return table.to_pandas(), read_json((table.schema.metadata or {})[b"kolmo"].decode())


def check_rows(path: Path, rows: int) -> None:
    """InputError where a small file claims to be a huge table: no two rows are the same."""
    if rows > max(_ROWS, path.stat().st_size):
        raise InputError(f"{path}: claims {rows:,} rows, more than it has bytes")


_READERS = {".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}


def _checked(path: Path, table: pd.DataFrame, meta: Any) -> ReportData:
    import pandas as pd

    if list(table.columns) != COLUMNS:
        _check_age(path, list(table.columns))
        raise InputError(f"{path}: not a report; its columns are {list(table.columns)[:5]}...")
    _META(meta, "the report")
    coverage = pd.DataFrame(meta["coverage"], columns=COVERAGE, dtype=object)
    for frame in (coverage,) if path.suffix == ".csv" else (coverage, table):
        for name in frame.columns:
            check_values(name, frame[name].tolist())
    data = ReportData(
        normalize(table), normalize_coverage(coverage), meta["provenance"], meta["kind"]
    )
    check_table(data.plain)
    check_details(data.plain, data.kind)
    check_provenance(data.provenance, data.kind, data.rows["checkpoint"])
    return data


_META = record(kind=one_of(*KINDS), coverage=listed(record()), provenance=record())


def _check_age(path: Path, columns: list[str]) -> None:
    """InputError for a report of an older version, which lacks columns that came later."""
    lacks = [column for column in COLUMNS if column not in columns]
    older = columns == [column for column in COLUMNS if column in columns]
    if older and lacks and _LATER.issuperset(lacks):
        raise InputError(
            f"{path}: saved by an older kolmo, without {', '.join(lacks)}: measure again"
        )


_LATER = {"nmse", "p_t", "null_draws", "p"}
"""Columns that reports of earlier versions lack."""


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON-ready dictionaries; missing and infinite values become null."""
    return _json_rows(TableRows.of(table))


def _json_value(value: Any) -> Any:
    is_finite = not isinstance(value, float) or math.isfinite(value)
    return value if is_known(value) and is_finite else None


def _meta_path(path: Path) -> Path:
    return path.with_name(path.name + ".meta.json")
