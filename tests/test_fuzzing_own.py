"""What fuzzing found in our own files and texts: each once, as small as it can be."""

import csv
import json
import zipfile
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest

import kolmo
from kolmo.calibration.journal import Journal
from kolmo.cli.lossy_options import with_inputs
from kolmo.errors import InputError
from kolmo.files import read_sealed, sealed, unsealed
from kolmo.lossy.evaluating import named_function
from kolmo.rates import Rates
from kolmo.report.conditions import Condition
from kolmo.series.metrics import align
from momos.checkpoint import motifs_for
from momos.lab.config import TrainConfig
from momos.lab.records import read_record, write_record
from momos.lab.training import train

HUGE = 10**400
METRICS = {"step": [0, 1], "loss": [2.0, 1.0]}


# --- reports --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def documents():
    """Saved reports of each kind, as JSON has them."""
    weights = {"h.0.w": np.arange(40, dtype=np.float32).reshape(5, 8), "b": np.ones(4, np.float32)}
    steps = {n: {"w": np.arange(8, dtype=np.float32) % (n + 2)} for n in (0, 1)}
    quick = {"estimators": ["kt", "planes"], "quantizers": ["native"]}
    made = {
        "measurement": kolmo.analyze(weights, **quick, nulls=["shuffled"], scope="both"),
        "trajectory": kolmo.trajectory(
            steps, metrics={"step": [0, 1], "loss": [2.0, 1.0]}, **quick
        ),
        "delta": kolmo.delta(weights, {n: a + 1 for n, a in weights.items()}, scope="both"),
    }
    return {kind: report.to_json() for kind, report in made.items()}


def row(**values):
    return lambda document: document["table"][0].update(values)


def provenance(**values):
    return lambda document: document["provenance"].update(values)


def series(**values):
    return lambda document: document["provenance"]["series"].update(values)


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("measurement", row(bits=HUGE), "bits of row 1 is no number"),
        ("measurement", row(numel=10**19), "numel of row 1 is no number"),
        ("measurement", row(bits=1e308), "bits of row 1 is no number"),
        ("measurement", row(bits=True), "bits of row 1 is a number, not a bool"),
        ("measurement", row(covered=0.0), "bits_per_weight is not bits over covered weights"),
        ("measurement", row(covered=None), "are known together"),
        ("measurement", row(kind="guess"), "its kind is none"),
        ("measurement", row(scope="galaxy"), "its scope is none"),
        ("measurement", row(shape="xxx"), "its shape is none"),
        ("measurement", row(shape=["5", "8"]), "shape of row 1 is a text, not a list"),
        ("measurement", row(quantizer="nmse:"), "sets no distortion"),
        ("measurement", row(null_draws=0.5), "its null_draws is none"),
        ("measurement", row(p=1.5), "its p is none"),
        ("measurement", row(details="no JSON"), "details of row 1 is an object"),
        ("measurement", row(tensor=None), "a tensor's row names no tensor"),
        ("measurement", provenance(problems="none"), "provenance, problems is a list"),
        ("measurement", provenance(sources={"m": 1}), "provenance, sources, m is an object"),
        ("measurement", provenance(settings={"budget": {"seconds": "x"}}), "seconds is a number"),
        ("measurement", provenance(ledger={"records": [{}], "compared": {}}), "has no checkpoint"),
        ("trajectory", series(steps={}), "an object that is not empty"),
        ("trajectory", series(steps={"x": 1}), "series has no step of step 0"),
        ("trajectory", series(metrics={"step": [0], "loss": [1, 2]}), "of different lengths"),
        ("trajectory", series(metrics={"loss": [1, 2]}), "no step at each of their rows"),
        ("trajectory", provenance(series=None), "series is an object, not null"),
        ("delta", provenance(base=3), "provenance, base is an object"),
        ("delta", row(details={"tensors": {"x": "many"}}), "tensors, x is a whole number"),
        ("delta", row(details=""), "details of row 1 is an object"),
    ],
)
def test_what_no_run_has_made_is_refused_when_it_is_loaded(
    documents, tmp_path, kind, change, message
):
    document, path = json.loads(documents[kind]), tmp_path / "r.json"
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=rf"r\.json: not a report, or damaged .*{message}"):
        kolmo.load_report(path)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"finished": true', '"finished": NaN', "NaN is no number of JSON"),
        ('"finished": true', '"finished": 1e400', "finished is a finite number"),
        ('"finished": true', '"finished": true, "finished": true', "stands twice"),
        ('"problems": []', '"problems": [], "x": 1e400', "x is a finite number"),
        ('"problems": []', '"problems": [], "x": ' + "[" * 99 + "]" * 99, "nested more than 32"),
        ('"problems": []', '"problems": [], "x": ' + "[" * 9999 + "]" * 9999, "RecursionError"),
    ],
)
def test_texts_that_are_no_json_of_ours(documents, tmp_path, before, after, message):
    path = tmp_path / "r.json"
    assert before in documents["measurement"]
    path.write_text(documents["measurement"].replace(before, after))
    with pytest.raises(InputError, match=message):
        kolmo.load_report(path)


def test_every_sound_report_is_loaded_as_it_was(documents, tmp_path):
    for kind, text in documents.items():
        path = tmp_path / f"{kind}.json"
        path.write_text(text)
        assert kolmo.load_report(path).to_json() == text


def test_a_table_of_parquet_that_claims_more_rows_than_it_has_bytes(documents, tmp_path):
    import pyarrow as arrow
    from pyarrow import parquet

    path = tmp_path / "r.parquet"
    columns = kolmo.report.columns.COLUMNS
    document = json.loads(documents["measurement"])
    meta = {b"kolmo": json.dumps({n: document[n] for n in document if n != "table"}).encode()}
    table = arrow.table({name: arrow.nulls(1 << 22) for name in columns})
    parquet.write_table(table.replace_schema_metadata(meta), path)
    assert path.stat().st_size < 1 << 18
    with pytest.raises(InputError, match=r"claims 4,194,304 rows"):
        kolmo.load_report(path)


def test_an_agreement_of_no_pair_says_so():
    weights = {"w": np.arange(9, dtype=np.float32)}
    report = kolmo.compare(
        {"a": weights, "b": weights}, quantizers=["native"], estimators=["kt", "gzip:6"],
        scope="tensor",
    )  # fmt: skip
    apart = (report.table.checkpoint == "a") == (report.table.estimator == "kt")
    few = kolmo.Report(report.table[apart], report.coverage, report.provenance)
    with pytest.raises(InputError, match="compared: none are of the same objects"):
        few.plot.agreement()


# --- names ----------------------------------------------------------------------------------


def test_names_of_metrics_are_shown_and_not_obeyed(tmp_path):
    name, path = "\x1b]0;title\x07\u202e", tmp_path / "m.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["step", name], [0, 2.0], [1, 1.0]])
    steps = {n: {"w": np.arange(8, dtype=np.float32) % (n + 2)} for n in (0, 1)}
    found = kolmo.trajectory(steps, metrics=path, estimators=["kt"], quantizers=["sign"])
    assert all(line.isprintable() for line in found.summary().splitlines())
    assert "\\x1b]0;title\\x07\\u202e: 2 → 1" in found.summary()


@pytest.mark.parametrize("steps", [[0, np.inf], [0, HUGE], ["0", "x"], [1, "x"], [None, None]])
def test_steps_of_metrics_are_finite(steps):
    table = pd.DataFrame({"step": pd.Series(steps, dtype=object), "loss": [2.0, 1.0]})
    with pytest.raises(InputError, match="holds values that are no numbers"):
        align(table, None, [0, 1])


# --- texts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["(" * 5000, "not " * 5000 + "p < 1", "(" * 99 + "p < 1"])
def test_conditions_within_conditions_without_end(text):
    with pytest.raises(InputError, match="nested more than 64 deep"):
        Condition.of(text)


@pytest.mark.parametrize("spec", ["..a:f", ".:f", "a b:c", "math:", "math:sqrt:x", "a\0b:c"])
def test_names_of_functions_that_are_none(spec):
    with pytest.raises(InputError, match="name a function as package"):
        named_function(spec)


def test_a_module_that_cannot_be_imported_is_said(tmp_path, monkeypatch):
    (tmp_path / "broken_metric.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"cannot be imported \(ZeroDivisionError"):
        named_function("broken_metric:loss")


# --- what interrupted runs leave ------------------------------------------------------------


def test_a_changed_text_is_not_unsealed():
    values = {"a": [1.5, None], "b": {"c": "é\ud800"}}
    text = sealed(values)
    assert unsealed(text) == values
    assert json.loads(text).keys() == {"a", "b", "checksum"}
    for place in range(len(text)):
        changed = text[:place] + chr(ord(text[place]) ^ 1) + text[place + 1 :]
        assert unsealed(changed) is None
        assert unsealed(text[:place]) is None


@pytest.mark.parametrize("damage", [b"", b"\xff", b"[" * 9999, b'{"a": 1, "checksum": "0"}'])
def test_files_that_are_not_whole_are_as_good_as_none(tmp_path, damage):
    path = tmp_path / "kept.json"
    path.write_bytes(damage)
    assert read_sealed(path) is None
    assert read_record(path, "k") is None
    refused = pytest.raises(InputError, match="another file") if damage else nullcontext()
    with refused, Journal(path) as journal:
        assert journal.find(None) is None
    assert Rates(path).factor > 0


def test_a_record_with_another_digit_is_measured_again(tmp_path):
    path = tmp_path / "record.json"
    write_record(path, {"key": "k", "accuracy": 0.75})
    assert read_record(path, "k")["accuracy"] == 0.75
    path.write_text(path.read_text().replace("0.75", "0.95"))
    assert read_record(path, "k") is None


def test_a_resumed_run_believes_no_damaged_weights(tmp_path):
    config = TrainConfig(epochs=2, hidden=8, layers=2)

    def stop(epoch, epochs, label):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, progress=stop)
    path = tmp_path / "resume.pt"
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda record: record.file_size)
    data = bytearray(path.read_bytes())
    data[largest.header_offset + 200 + largest.file_size // 2] ^= 1  # within a tensor
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"resume\.pt: damaged, .*checksum of .* is wrong"):
        train(config, tmp_path, resume=True)


# --- command lines --------------------------------------------------------------------------


@pytest.mark.parametrize("bits", ["0", "nan", "99999999999999999999"])
def test_bits_of_a_mosaic_that_no_index_has_are_a_line(bits):
    with pytest.raises(InputError, match=r"bits a weight are in \(0, 8\]"):
        motifs_for(float(bits))


def test_a_maker_of_inputs_that_fails_is_a_line():
    with pytest.raises(InputError, match="'math:sqrt' fails: TypeError"):
        with_inputs("w.npy", "math:sqrt")
