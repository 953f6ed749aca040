"""Files beside results: metrics, the store, and what interrupted runs leave."""

import csv
import functools
import json
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np

import kolmo
from kolmo.calibration.journal import Journal
from kolmo.files import sealed, unsealed
from kolmo.rates import Rates
from kolmo.store.database import checksum
from tests.fuzz.damage import damaged, pick
from tests.fuzz.kinds import Fuzzer, kind_of
from tests.fuzz.values import changed, like, some_value

# --- metrics --------------------------------------------------------------------------------

METRICS = {"step": [0, 1, 2, 3], "loss": [2.0, 1.5, 1.25, 1.0], "accuracy": [0.1, 0.2, None, 0.4]}


def metrics_written(folder, random):
    """A table of metrics with odd values, as CSV, Parquet or the state of a trainer."""
    columns = changed({name: list(values) for name, values in METRICS.items()}, random)
    columns = {name: v if isinstance(v, list) else [v] for name, v in columns.items()}
    write = pick((_csv, _parquet, _trainer_state), random)
    path = write(folder, columns, random)
    if random.random() < 0.2:
        path.write_bytes(bytes(damaged(path.read_bytes(), [b"1,2"], random)))
    return path


def _csv(folder, columns, random):
    path = folder / "metrics.csv"
    with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns])
        for place in range(max(map(len, columns.values()), default=0)):
            writer.writerow([v[place % len(v)] if v else "" for v in columns.values()])
    return path


def _parquet(folder, columns, random):
    import pyarrow as arrow
    from pyarrow import parquet

    made = {}
    for name, values in columns.items():
        name = name.encode(errors="replace").decode()
        try:
            made[name] = arrow.array(values)
        except (arrow.ArrowException, OverflowError, UnicodeEncodeError):
            made[name] = arrow.array([str(v).encode(errors="replace").decode() for v in values])
    if random.random() < 0.2:
        kinds = (arrow.binary(), arrow.timestamp("ns"), arrow.decimal128(9, 2), arrow.bool_(),
                 arrow.struct([("a", arrow.int8())]), arrow.list_(arrow.int8()))  # fmt: skip
        made[pick([*METRICS, "x"], random)] = arrow.nulls(4, pick(kinds, random))
    least = min(map(len, made.values()), default=0)
    path = folder / "metrics.parquet"
    table = arrow.table({name: each[:least] for name, each in made.items()})
    try:
        parquet.write_table(table, path)
    except arrow.ArrowNotImplementedError:  # objects without a key are no columns of Parquet
        path.write_bytes(b"PAR1")
    return path


def _trainer_state(folder, columns, random):
    rows = [
        {name: values[place] for name, values in columns.items() if place < len(values)}
        for place in range(max(map(len, columns.values()), default=0))
    ]
    if rows and random.random() < 0.3:
        place = int(random.integers(len(rows)))
        rows[place] = like(rows[place], random) if random.random() < 0.5 else some_value(random)
    path = folder / "trainer_state.json"
    path.write_text(json.dumps({"log_history": rows}))
    return path


def read_metrics(path):
    """A trajectory beside these metrics, in all its words."""
    steps = {step: {"w": np.arange(8, dtype=np.float32) % (step + 2)} for step in (0, 1, 2)}
    found = kolmo.trajectory(
        steps, metrics=path, estimators=["kt"], quantizers=["sign"], threads=1, relative=False
    )
    found.summary()
    return found


def metrics_are_kept(path, found):
    """Whether a report with these metrics is saved and loaded, and says nothing unprintable."""
    if found is None:
        return None
    again = path.with_name("report.json")
    try:
        found.save(again)
        loaded = kolmo.load_report(again)
    except Exception as error:
        return f"{kind_of(error)}\n{error}"
    if loaded.provenance != found.provenance:
        return "metrics are others after saving and loading"
    if not all(line.isprintable() for line in found.summary().split("\n")):
        return "control characters in a summary"
    if zlib.crc32(path.read_bytes()) % 8 == 0:
        loaded.plot.trajectory().savefig(path.with_name("x.png"), dpi=20)
    return None


# --- what interrupted runs leave ------------------------------------------------------------

KEPT = {
    "key": "k", "piece": "p", "of": "o", "rows": [{"bits": 1.0}], "values": {"0.5": 2.0},
    "machine": "m", "factor": 1.5, "sums": {"kt": [1.0, 2.0]}, "row": {"bits": 3.5},
}  # fmt: skip


def resumed_written(folder, random):
    """What a run kept, with a checksum, and then damaged, most often."""
    path = folder / "kept.json"
    if random.random() < 0.1:
        path.write_text(json.dumps(changed(KEPT, random)))
    elif random.random() < 0.1:
        path.write_text(sealed(KEPT) + pick(["", "\n", "}", '{"checksum": "', "\0"], random))
    else:
        path.write_bytes(bytes(damaged(sealed(KEPT).encode(), [sealed({"a": 1}).encode()], random)))
    return path


def read_resumed(path):
    """What each reader of such a file believes."""
    from momos.lab.records import read_record  # which imports torch

    text = path.read_text(errors="replace")
    return {
        "record": read_record(path, "k"),
        "journal": _rows(path),
        "rates": Rates(path)._sums,
        "text": unsealed(text),
    }


def _rows(path):
    with Journal(path) as journal:
        return journal._rows


def nothing_else_is_believed(path, found):
    """Whether what was believed is what was kept."""
    if found is None:
        return None
    for reader, right in (("record", KEPT), ("text", KEPT)):
        if found[reader] not in (None, right):
            return f"a damaged file is believed by {reader}"
    return (
        None if found["journal"] in ({}, {"p": KEPT["rows"]}) else "a damaged journal is believed"
    )


# --- the store ------------------------------------------------------------------------------

WEIGHTS = {"w": np.random.default_rng(0).normal(size=(8, 9)).astype(np.float32)}
MEASURED = {"estimators": ["kt", "bdm"], "quantizers": ["sign", "native"], "threads": 1}


@functools.cache
def stores():
    """The bytes of a store with the results of `WEIGHTS`, and its table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.sqlite"
        report = kolmo.analyze(WEIGHTS, store=path, **MEASURED)
        return path.read_bytes(), report.table[["bits", "estimator", "kind"]]


def store_written(folder, random):
    """A store that is damaged, or that holds texts of anybody's with right checksums."""
    data, _ = stores()
    path = folder / "results.sqlite"
    if random.random() < 0.5:
        path.write_bytes(bytes(damaged(data, [data[:512]], random)))
    else:
        path.write_bytes(data)
        _forge(path, random)
    return path


def _forge(path, random):
    """Change the texts of rows, with right checksums."""
    import sqlite3

    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT key, label, text FROM results").fetchall()
        for key, label, text in rows:
            text = _other_text(text, random)
            given = text, checksum(key, label, text), key
            database.execute("UPDATE results SET text = ?, checksum = ? WHERE key = ?", given)
    database.close()


def _other_text(text, random):
    if random.random() < 0.3:
        return bytes(damaged(text, [b"0"], random))
    return json.dumps(changed(json.loads(text), random)).encode()


def read_store(path):
    """A measurement with this store, in words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a damaged store is said to be one
        found = kolmo.analyze(WEIGHTS, store=path, **MEASURED)
    found.summary(), found.to_json(), found.layers()
    return found.table[["bits", "estimator", "kind"]]


FUZZERS = [
    Fuzzer("metrics of a series", metrics_written, read_metrics, metrics_are_kept),
    Fuzzer("resume files", resumed_written, read_resumed, nothing_else_is_believed),
    Fuzzer("store of results", store_written, read_store),
]
