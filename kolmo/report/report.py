"""Report: the table of a run with its coverage and provenance; save it, load it, read it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kolmo.errors import InputError, MissingExtraError
from kolmo.report.rows import COLUMNS
from kolmo.text import printable

if TYPE_CHECKING:
    from kolmo.report.figures.plots import Plots

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
        from kolmo.report.figures.plots import Plots

        return Plots(self)

    def summary(self) -> str:
        """What was found, in sentences with their figures."""
        from kolmo.report.words import summarize

        return summarize(self)

    def attribution(self) -> pd.DataFrame:
        """Where each object's raw bits go: noise floor + structure + marginal = raw bits.

        All three are of the best bound of the object (the shortest that was measured), in bits and
        per weight:

        - ``noise_floor``: what the weights cost, ``bits``;
        - ``structure``: what their places save, shuffled − actual, the mean over the shuffles,
          whose standard deviation is ``structure_sd``;
        - ``marginal``: what their values alone save, raw − shuffled.

        A part is negative where a code does worse than it would without: a tiny tensor's marginal,
        say. ``p`` is the bound's in the table, which does not know that it was chosen for its bits;
        `significance` does. ``effective_bits`` is the number of bit-planes that differ from noise
        where the estimator ``planes`` was run (their mean over the weights where dtypes differ).
        ``note`` says why a value is missing.

        Raises
        ------
        InputError
            If the report has no null ``shuffled``.
        """
        from kolmo.report.attribution import attribution

        return attribution(self.table)

    def bitplanes(self) -> pd.DataFrame:
        """What every bit-plane costs, the most significant first, as ``planes`` measured it.

        ``saved`` is the share of the plane's bits that its code saves; ``p`` the exact p-value of
        fair coin flips saving as much, ``p_holm`` the same after Holm's correction over the planes
        of the object, ``differs`` whether that is at most .05.

        Raises
        ------
        InputError
            If the estimator ``planes`` was not measured.
        """
        from kolmo.report.attribution import bitplanes

        return bitplanes(self.table)

    def significance(
        self, null: str = "shuffled", scope: str = "model", alpha: float = 0.05
    ) -> pd.DataFrame:
        """The tests of every object against a null, and Holm's correction over them.

        An object is tested by one estimator, its ``lead``: the bound whose figures, the actual
        one and those of the draws alike, reach lowest, so that ``p`` stays valid (estimates lead
        where no bound can tell). What costs the same in every draw, and a saturated BDM, leads
        nothing; ``evidence`` says so. ``tests`` is the number of leads of the checkpoint and
        quantizer in the scope, ``p_holm`` corrected over them; tests are two-sided.

        Parameters
        ----------
        null : str
            As the table spells it. The p-values of shuffles are exact, those of ``gaussian``
            approximate (`kolmo.nulls`).
        scope : {"model", "tensor"}
        alpha : float
            The chance of any false ``significant`` in a family is at most this.

        Raises
        ------
        InputError
            If there are too few draws to reach alpha; the message says how many it takes.
        """
        from kolmo.report.verdicts import significance

        return significance(self.table, null, scope, alpha)

    def agreement(self, over: str = "tensors") -> pd.DataFrame:
        """Rank correlation (Spearman 1904) of the bits per weight of each pair of measurements.

        Parameters
        ----------
        over : {"tensors", "models"}
            The tensors of each checkpoint, or all checkpoints. A correlation of fewer than three
            objects, or of a constant, is missing; ``note`` says why.
        """
        from kolmo.report.agreement import agreement

        return agreement(self.table, over)

    def coverage_line(self) -> str:
        """How many of the weights were measured, and what was not, with the reason."""
        from kolmo.report.words import coverage_line

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
            write_atomically(path, lambda file: _write(file, self.to_json()))
        elif path.suffix == ".csv":
            write_atomically(path, lambda file: self.table.to_csv(file, index=False))
            write_atomically(_meta_path(path), lambda file: _write(file, self._meta()))
        else:
            write_atomically(path, self._write_parquet)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write a page that needs nothing else: summary, figures, table, coverage, provenance."""
        from kolmo.report.html import page

        path = Path(path)
        check_output(path, (".html", ".htm"))
        write_atomically(path, lambda file: _write(file, page(self)))

    def _repr_html_(self) -> str:
        from kolmo.report.html import fragment

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
    except InputError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: not a report, or damaged ({what})") from None


def check_output(path: Path, suffixes: tuple[str, ...]) -> None:
    """InputError unless a file of one of these suffixes can be written there."""
    if path.suffix not in suffixes:
        raise InputError(f"{path}: the suffix must be {' or '.join(suffixes)}")
    if path.suffix == ".parquet":
        _pyarrow(f"writing {path}")
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no directory {str(folder)!r}")
    if path.is_dir():
        raise InputError(f"{path}: is a directory")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write to a file beside it, then rename, so that a reader never sees a half."""
    temporary = None
    try:
        handle, name = tempfile.mkstemp(path.suffix, ".kolmo-", path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _read_json(path: Path) -> tuple[pd.DataFrame, Any]:
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = document["table"]
    if not all(list(row) == COLUMNS for row in rows):
        _check_age(path, list(rows[0]))
        raise InputError(f"{path}: not a report; its rows lack columns, or have others")
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object), document


def _read_csv(path: Path) -> tuple[pd.DataFrame, Any]:
    meta = _meta_path(path)
    if not meta.exists():
        raise InputError(f"{path}: its coverage and provenance, {meta.name}, are missing")
    table = pd.read_csv(path, dtype=object, keep_default_na=False, encoding="utf-8")
    return table, json.loads(meta.read_text(encoding="utf-8"))


def _read_parquet(path: Path) -> tuple[pd.DataFrame, Any]:
    parquet, arrow = _pyarrow(f"reading {path}")
    try:
        table = parquet.read_table(path)
    except arrow.ArrowException as error:
        raise InputError(f"{path}: not a report, or damaged ({error})") from None
    return table.to_pandas(), json.loads((table.schema.metadata or {})[b"kolmo"])


_READERS = {".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}


def _checked(path: Path, table: pd.DataFrame, meta: Any) -> Report:
    if list(table.columns) != COLUMNS:
        _check_age(path, list(table.columns))
        raise InputError(f"{path}: not a report; its columns are {list(table.columns)[:5]}...")
    coverage = pd.DataFrame(meta["coverage"], columns=_COVERAGE, dtype=object)
    return Report(normalize(table), normalize_coverage(coverage), dict(meta["provenance"]))


def _check_age(path: Path, columns: list[str]) -> None:
    """A p-value cannot be had from an older report, whose draws are gone: say so."""
    if columns == [column for column in COLUMNS if column not in ("null_draws", "p")]:
        raise InputError(
            f"{path}: saved by an older kolmo, without null_draws and p: measure again"
        )


_COVERAGE = ["checkpoint", "tensor", "numel", "measured", "reason"]
_NAMED = ("checkpoint", "tensor", "reason")
_MAY_MISS = ("tensor", "layout", "kind", "null")  # text that is missing, rather than empty


def normalize(table: pd.DataFrame) -> pd.DataFrame:
    """The table with one dtype a column, whatever file it came from."""
    table = table.copy()
    for column in table.columns:
        table[column] = _text(table[column]) if column in _TEXT else _numbers(table[column])
    return table


def _text(column: pd.Series) -> pd.Series:
    absent = None if column.name in _MAY_MISS else ""
    shown = [absent if _is_absent(value) else printable(str(value)) for value in column]
    return pd.Series(shown, index=column.index, dtype=object)


def _numbers(column: pd.Series) -> pd.Series:
    # float() reads back every bit of what repr() wrote; pandas' own reader may not.
    values = [math.nan if _is_absent(value) else float(value) for value in column]
    numbers = pd.Series(values, index=column.index, dtype="float64")
    return numbers.astype("int64") if column.name == "numel" else numbers


def _is_absent(value: Any) -> bool:
    return value is None or value == "" or value != value


def normalize_coverage(coverage: pd.DataFrame) -> pd.DataFrame:
    """The coverage with one dtype a column, its text fit to be shown."""
    if not coverage["measured"].isin([True, False]).all():
        raise ValueError("the coverage says neither true nor false for a tensor")
    coverage = coverage.astype({"numel": "int64", "measured": bool})
    for column in _NAMED:
        coverage[column] = _text(coverage[column])
    return coverage


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON-ready dictionaries; what is missing, or infinite, becomes null."""
    finite = table.astype(object).where(table.notna(), None)
    rows: list[dict[str, Any]] = finite.to_dict(orient="records")  # type: ignore[assignment]
    return [{str(k): v if _is_json(v) else None for k, v in row.items()} for row in rows]


def _is_json(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _meta_path(path: Path) -> Path:
    return path.with_name(path.name + ".meta.json")


def _pyarrow(what: str) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError(what, "pyarrow", "parquet") from None
    return parquet, pyarrow
