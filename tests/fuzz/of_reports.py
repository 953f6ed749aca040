"""Saved reports: refused when they are loaded, or everything works that there is of a report."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import kolmo
from kolmo.cli.documents import report_document
from kolmo.errors import InputError
from kolmo.report.columns import COLUMNS
from kolmo.report.conditions import Condition
from kolmo.report.terminal import show
from tests.fuzz.damage import mutated, pick
from tests.fuzz.kinds import Fuzzer, kind_of
from tests.fuzz.values import NAMES, changed, like

KEPT = Path(__file__).parents[1] / "data" / "reports.json.gz"
ROWS = 12
"""Rows of a report, at most: those of a few objects."""


# --- sound reports --------------------------------------------------------------------------


@cache
def sound() -> list[dict[str, Any]]:
    """Reports of every kind, as JSON has them; kept, for they take seconds to make."""
    return json.loads(gzip.decompress(KEPT.read_bytes()))


def keep() -> None:
    """Make them anew: ``python -c 'from tests.fuzz import of_reports; of_reports.keep()'``."""
    made = [_default(), _nulls(), _budget(), _trajectory(), _delta(), _function()]
    documents = [_without_time(json.loads(report.to_json())) for report in made]
    KEPT.write_bytes(gzip.compress(json.dumps(documents).encode(), mtime=0))


def _without_time(document: dict[str, Any]) -> dict[str, Any]:
    """A document that is the same whenever, and by whatever command, it is made."""
    for row in document["table"]:
        row["seconds"] = 0.25
    provenance = document["provenance"]
    for row in provenance["settings"].get("budget", {}).get("measurements", ()):
        row |= {"exact_seconds": 0.002, "seconds": 0.002, "how": "exact", "windows": 0}
    return {**document, "provenance": {**provenance, "command": "kolmo"}}


def _net(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        "h.0.attn.q.weight": random.normal(size=(16, 12)).astype(np.float32),
        "h.1.mlp.weight": np.tile(random.normal(size=(2, 8)), (6, 1)).astype(np.float16),
        "empty": np.zeros((0, 3), np.float32),
        "bad": np.float32([1, np.nan]),
    }


def _default() -> kolmo.Report:
    """With the test of structure and the ledger."""
    return kolmo.compare({"one": _net(0), "two": _net(1)}, estimators=["kt"], scope="both")


def _nulls() -> kolmo.Report:
    return kolmo.compare(
        {"one": _net(0), "two": _net(1)}, quantizers=["native", "nmse:0.01"], scope="both",
        estimators=["kt", "planes", "bdm"], nulls=["shuffled", "gaussian"], draws=39,
    )  # fmt: skip


def _budget() -> kolmo.Report:
    return kolmo.analyze(_net(0), quantizers=["native"], estimators=["kt", "bdm"], budget="5s")


def _trajectory() -> kolmo.Report:
    random = np.random.default_rng(0)
    steps = {n: {"w": random.normal(size=(9, 9)).round(2 - n).astype("f4")} for n in (0, 1, 2)}
    metrics = {"step": [0, 1, 3], "loss": [2.0, 1.0, 0.7], "accuracy": [0.1, 0.5, None]}
    return kolmo.trajectory(
        steps, metrics=metrics, relative=True, quantizers=["native", "sign"], estimators=["kt"]
    )


def _pair() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    base = {"w": random.normal(size=(12, 12)).astype("f4"), "v": np.ones(9, np.float32)}
    return base, {"w": base["w"] + np.float32(0.01), "v": base["v"] * 2}


def _delta() -> kolmo.Report:
    options = {"quantizers": ["native", "symmetric:4"], "nulls": ["shuffled"], "draws": 2}
    return kolmo.delta(*_pair(), **options, scope="both")


def _function() -> kolmo.Report:
    base, tuned = _pair()
    return kolmo.delta(base, tuned, evaluate=lambda n: 1 + float(np.square(n["w"]).mean()))


# --- damaged ones ---------------------------------------------------------------------------


def _document(random: np.random.Generator) -> dict[str, Any]:
    """A sound report, cut down to a few objects, and damaged."""
    document = dict(pick(sound(), random))
    rows, parts = document["table"], ("checkpoint", "scope", "tensor", "quantizer")
    objects = list(dict.fromkeys(tuple(row[name] for name in parts) for row in rows))
    chosen = {objects[int(n)] for n in random.integers(len(objects), size=4)}
    kept = [row for row in rows if tuple(row[name] for name in parts) in chosen]
    document["table"] = [_with_details(dict(row), random) for row in kept[:ROWS]]
    document["coverage"] = document["coverage"][:6]
    part = pick(["table"] * 4 + ["coverage", *["provenance"] * 3, "kind"], random)
    if part == "table" and random.random() < 0.6:
        _change_column(document["table"], random)
    elif random.random() < 0.1:
        return changed(document, random)
    else:
        document = {**document, part: changed({part: document[part]}, random).get(part)}
    return _fitted(document) if random.random() < 0.7 else document


def _fitted(document: dict[str, Any]) -> dict[str, Any]:
    """A document whose figures that follow from others do so, where there are any."""
    rows = document["table"]
    for row in rows if isinstance(rows, list) else ():
        with contextlib.suppress(TypeError, KeyError, ArithmeticError):
            if row["bits"] is not None:
                row["bits_per_weight"] = row["bits"] / row["covered"] if row["covered"] else None
                row["compression_ratio"] = row["raw_bits"] / row["bits"] if row["bits"] else None
    return document


def _with_details(row: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    """A row whose details are an object, as the command line prints them, or other ones."""
    if not row["details"] or random.random() < 0.3:
        return row
    details = json.loads(row["details"])
    return {**row, "details": changed(details, random) if random.random() < 0.3 else details}


def _change_column(rows: list[dict[str, Any]], random: np.random.Generator) -> None:
    """All rows of a column changed alike: most rules are of rows that belong together."""
    column, number = pick(COLUMNS, random), int(random.integers(1 << 30))
    for row in rows:
        row[column] = like(row[column], np.random.default_rng(number))


def _as_json(folder: Path, random: np.random.Generator) -> Path:
    path = folder / "report.json"
    text, depth = json.dumps(_document(random)), int(random.integers(2000))
    deep = "[" * depth + "]" * depth
    path.write_text(text.replace("null", deep, 1) if random.random() < 0.02 else text)
    if random.random() < 0.1:
        path.write_bytes(mutated(path.read_bytes(), [b"0"], random))
    return path


def _as_csv(folder: Path, random: np.random.Generator) -> Path:
    document, path = _document(random), folder / "report.csv"
    meta = {name: each for name, each in document.items() if name != "table"}
    with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
        csv.writer(file).writerows(_cells(document, random))
    path.with_name("report.csv.meta.json").write_text(json.dumps(meta))
    if random.random() < 0.1:
        path.write_bytes(mutated(path.read_bytes(), [b"0"], random))
    return path


def _cells(document: dict[str, Any], random: np.random.Generator) -> Iterator[list[str]]:
    rows = document.get("table")
    heads = list(COLUMNS)
    if random.random() < 0.1:
        heads.insert(int(random.integers(len(heads))), pick([*NAMES, *COLUMNS], random))
    yield heads
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            yield ["" if row.get(name) is None else _cell(row[name]) for name in heads]


def _cell(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _as_parquet(folder: Path, random: np.random.Generator) -> Path:
    import pyarrow as arrow
    from pyarrow import parquet

    document, path = _document(random), folder / "report.parquet"
    meta = {name: each for name, each in document.items() if name != "table"}
    rows = document.get("table")
    rows = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    columns = {name: _arrow([row.get(name) for row in rows], random) for name in COLUMNS}
    table = arrow.table(columns)
    if random.random() < 0.1:
        place, name = int(random.integers(len(COLUMNS))), pick([*NAMES, *COLUMNS], random)
        with_suppressed = name.encode(errors="replace").decode()
        table = table.set_column(place, with_suppressed, table.column(place))
    table = table.replace_schema_metadata({b"kolmo": json.dumps(meta).encode()})
    parquet.write_table(table, path, compression=pick(("NONE", "snappy", "zstd"), random))
    if random.random() < 0.2:
        path.write_bytes(mutated(path.read_bytes(), [b"0"], random))
    return path


def _arrow(values: list[Any], random: np.random.Generator) -> Any:
    """A column of parquet: of one type, which may be another one than it should be."""
    import pyarrow as arrow

    if random.random() < 0.02:
        kinds = (
            *(arrow.binary(), arrow.list_(arrow.int8()), arrow.timestamp("ns"), arrow.date32()),
            *(arrow.bool_(), arrow.decimal128(9, 2), arrow.struct([("a", arrow.int8())])),
            *(arrow.time64("ns"), arrow.duration("s"), arrow.uint64(), arrow.null()),
        )
        return arrow.nulls(len(values), pick(kinds, random))
    try:
        return arrow.array(values)
    except (arrow.ArrowException, OverflowError, UnicodeEncodeError):
        cells = [None if v is None else _cell(v).encode(errors="replace").decode() for v in values]
        return arrow.array(cells, arrow.string())


# --- what is tried on a report that was loaded ----------------------------------------------


def everything(report: kolmo.Report) -> dict[str, Callable[[], Any]]:
    """What there is of a report, but for its figures: each works, or says why not."""
    return {
        "summary": report.summary,
        "repr": lambda: repr(report),
        "coverage_line": report.coverage_line,
        "document": lambda: json.dumps(report_document(report), allow_nan=False),
        "to_json": report.to_json,
        "terminal": lambda: _shown(report),
        "verdicts": lambda: report.verdicts,
        "layers": report.layers,
        "layer_groups": report.layer_groups,
        "depths": lambda: report.layer_groups("depth"),
        "attribution": report.attribution,
        "bitplanes": report.bitplanes,
        "decomposition": report.decomposition,
        "decomposition of tensors": lambda: report.decomposition(tensors=True),
        "at_distortion": report.at_distortion,
        "significance": report.significance,
        "significance of tensors": lambda: report.significance(scope="tensor"),
        "agreement": report.agreement,
        "agreement of models": lambda: report.agreement("models"),
        "ledger": lambda: report.ledger,
        "ledger_lines": report.ledger_lines,
        "conditions": lambda: Condition.of("bits > null_bits or p < 0.5").holding(report.rows),
        "table": lambda: repr(report.table),
    }


def _shown(report: kolmo.Report) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        show(report, all_rows=True)
    assert all(line.isprintable() for line in out.getvalue().split("\n")), "control characters"


def works(path: Path, report: Any) -> str | None:
    """What fails of a report that was loaded; None where nothing does."""
    if report is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for name, use in [*everything(report).items(), *_slow(path, report).items()]:
            try:
                use()
            except InputError:
                continue
            except Exception as error:
                return f"{name}: {kind_of(error)}\n{traceback.format_exc(limit=-8)}"
    return None


def _slow(path: Path, report: Any) -> dict[str, Callable[[], Any]]:
    """What takes its time, and is tried on some reports, by their bytes: pages, figures, files."""
    from kolmo.report.figures.plots import figures  # which takes a second

    number = zlib.crc32(path.read_bytes()) % 24
    drawn: dict[str, Callable[[], Any]] = {
        "html": report._repr_html_,
        "page": lambda: report.to_html(path.with_name("page.html")),
        "figures": lambda: figures(report),
    }
    files = {suffix: partial(_again, path, report, suffix) for suffix in ("json", "csv", "parquet")}
    chosen = [drawn, files][number < 8]
    return dict([pick([*chosen.items()], np.random.default_rng(number))] if number < 12 else ())


def _again(path: Path, report: kolmo.Report, suffix: str) -> None:
    """AssertionError where a report is another one when it is saved and loaded again."""
    other = path.with_name(f"again.{suffix}")
    report.save(other)
    loaded = _loaded(other)
    assert loaded.table.equals(report.table), "its table is another one"
    assert loaded.coverage.equals(report.coverage), "its coverage is another one"
    assert loaded.provenance == report.provenance, "its provenance is another one"


def _loaded(path: Path) -> kolmo.Report:
    try:
        return kolmo.load_report(path)
    except InputError as error:
        raise AssertionError(f"what was saved is refused: {error}") from None


FUZZERS = [
    Fuzzer("report in JSON", _as_json, kolmo.load_report, works),
    Fuzzer("report in CSV", _as_csv, kolmo.load_report, works),
    Fuzzer("report in Parquet", _as_parquet, kolmo.load_report, works),
]
