"""Reports: what is saved is loaded again; words, figures and page say what the table says."""

import dataclasses
import json
import pickle
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kolmo
from kolmo.errors import InputError
from kolmo.files import write_atomically

RANDOM = np.random.default_rng(0)
NASTY = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def report():
    models = {
        name: {
            "layer.weight": RANDOM.normal(size=(64, 40)).astype(np.float32),
            NASTY: np.tile(RANDOM.normal(size=10), 30).astype(np.float32),
            "broken": np.float32([1, np.nan]),
            "empty": np.zeros((0, 3), np.float32),
        }
        for name in ("one", "two & three")
    }
    return kolmo.compare(
        models,
        quantizers=["native", "sign"],
        estimators=["gzip:6", "kt", "bdm", "gzip:6,sample=131072@shuffle"],
        nulls=["shuffled"],
        draws=2,
        exclude=["layer.bias"],
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_save_and_load(report, tmp_path, suffix):
    path = tmp_path / f"r.{suffix}"
    report.save(path)
    loaded = kolmo.load_report(path)
    pd.testing.assert_frame_equal(loaded.table, report.table, check_exact=True)
    pd.testing.assert_frame_equal(loaded.coverage, report.coverage, check_exact=True)
    assert loaded.provenance == report.provenance
    assert loaded.summary() == report.summary()
    left = {"r.csv", "r.csv.meta.json"} if suffix == "csv" else {f"r.{suffix}"}
    assert {file.name for file in tmp_path.iterdir()} == left


def test_rows_say_what_the_table_says(report):
    fresh = pickle.loads(pickle.dumps(kolmo.Report.of(report)))
    rows = [*fresh.rows.records(scope="model"), *fresh.rows.records(scope="tensor")]
    table = fresh.table  # made now, and once
    assert table is fresh.table
    scopes = [table[table["scope"] == scope] for scope in ("model", "tensor")]
    told, listed = pd.DataFrame(rows, dtype=object), pd.concat(scopes).astype(object)
    listed = listed.reset_index(drop=True)
    pd.testing.assert_frame_equal(told.isna(), listed.isna())
    pd.testing.assert_frame_equal(told.fillna(0), listed.fillna(0))
    assert [row["numel"] for row in fresh.entries.records(tensor="broken")] == [2, 2]
    table.loc[0, "note"] = "changed"
    assert fresh.rows["note"][0] == "changed"  # they follow a table that somebody changes


def test_words_are_categories_and_nothing_is_an_object(report, tmp_path):
    for suffix in ("json", "csv", "parquet"):
        report.save(tmp_path / f"r.{suffix}")
        loaded = kolmo.load_report(tmp_path / f"r.{suffix}")
        for found, saved in ((loaded.table, report.table), (loaded.coverage, report.coverage)):
            assert (found.dtypes == saved.dtypes).all()
            assert "object" not in map(str, found.dtypes)
    table = report.table
    assert table["scope"].cat.categories.tolist() == ["tensor", "model"]  # as they appear
    assert table["quantizer"].cat.ordered
    assert str(table["covered"].dtype) == str(table["null_draws"].dtype) == "Int64"
    for made in (report.attribution(), report.agreement(), report.verdicts, report.layers()):
        assert "object" not in map(str, made.dtypes)


def test_a_table_that_is_given_is_read_as_one_that_was_made(report):
    given = dataclasses.replace(report, table=report.table.copy())
    assert given.summary() == report.summary()
    pd.testing.assert_frame_equal(given.plain, report.plain)
    assert (given.plain["tensor"].isna() == report.table["tensor"].isna()).all()


def _named(names, tmp_path_factory):
    weights = {name: np.arange(8, dtype=np.float32) for name in names}
    report = kolmo.compare({"m": weights}, quantizers=["sign"], estimators=["kt"])
    return report, tmp_path_factory.mktemp("named")


NAMES = st.text(st.characters(exclude_categories=()), min_size=1)


@settings(max_examples=10)  # of many names each
@given(names=st.sets(NAMES, min_size=8, max_size=30))
def test_any_name_of_a_tensor_can_be_saved_and_shown(names, tmp_path_factory):
    names = {name for name in names if name != "\0"}
    report, folder = _named({*names, "NA", "-1", "a\r\n", "\ud800", "\x1b[31m"}, tmp_path_factory)
    for suffix in ("json", "csv", "parquet"):
        report.save(folder / f"r.{suffix}")
        loaded = kolmo.load_report(folder / f"r.{suffix}")
        pd.testing.assert_frame_equal(loaded.table, report.table, check_exact=True)
        pd.testing.assert_frame_equal(loaded.coverage, report.coverage, check_exact=True)
    shown = report.summary() + "".join(report.table.tensor.dropna())
    assert all(line.isprintable() for line in shown.splitlines())
    assert {"a\\r\\n", "\\ud800", "\\x1b[31m", "NA", "-1"} <= set(report.table.tensor)
    report._repr_html_().encode()


def test_nothing_measured_is_a_report_too(tmp_path):
    report = kolmo.analyze({"w": np.float32([np.nan])}, quantizers=["sign"], estimators=["kt"])
    report.save(tmp_path / "r.csv")
    assert "0 weights in " in report.summary()
    bare = dataclasses.replace(report, table=report.table[:0])
    bare.to_html(tmp_path / "r.html")
    bare.save(tmp_path / "r.csv")
    assert kolmo.load_report(tmp_path / "r.csv").table.empty


@pytest.mark.parametrize("change", [
    lambda d: d["table"][0].pop("z"),
    lambda d: d["table"][0].update(surplus=1),
    lambda d: d["table"][0].update(bits="many"),
    lambda d: d["table"][0].update(numel=None),
    lambda d: d["coverage"][0].update(measured="maybe"),
    lambda d: d["coverage"][0].update(numel="x"),
    lambda d: d.update(table=[1, 2]),
    lambda d: d.update(coverage=7),
    lambda d: d.update(provenance="none"),
    lambda d: d.pop("provenance"),
])  # fmt: skip
def test_a_changed_document_is_refused(report, tmp_path, change):
    document = json.loads(report.to_json())
    change(document)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"r\.json: not a report"):
        kolmo.load_report(path)


@pytest.mark.parametrize("lacks", [["nmse", "p_t"], ["nmse", "null_draws", "p", "p_t"]])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_a_report_of_an_older_kolmo_is_told_by_its_columns(report, tmp_path, suffix, lacks):
    path = tmp_path / f"r.{suffix}"
    old = report.table.drop(columns=lacks)
    dataclasses.replace(report, table=old).save(path)
    with pytest.raises(InputError, match=f"saved by an older kolmo, without {', '.join(lacks)}"):
        kolmo.load_report(path)


def test_deep_nesting_is_refused(tmp_path):
    path = tmp_path / "r.json"
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="damaged"):
        kolmo.load_report(path)


def test_a_failed_write_leaves_the_old_file(report, tmp_path):
    path = tmp_path / "r.json"
    path.write_text("old")

    def fail(file):
        file.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"r\.json: cannot be written \(No space left"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]


def test_json_is_strict(report):
    def refuse(text):
        raise AssertionError(f"{text} is not JSON")

    document = json.loads(report.to_json(), parse_constant=refuse)
    assert len(document["table"]) == len(report.table)
    assert set(document) == {"table", "kind", "coverage", "provenance"}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_damaged_files_are_refused(report, tmp_path, suffix):
    path = tmp_path / f"r.{suffix}"
    report.save(path)
    for data in (b"", path.read_bytes()[:100], b"a,b\n1,2\n", b'{"table": 3}'):
        path.write_bytes(data)
        with pytest.raises(InputError, match=str(path)):
            kolmo.load_report(path)


def test_wrong_paths(report, tmp_path):
    with pytest.raises(InputError, match="suffix must be"):
        report.save(tmp_path / "r.xlsx")
    with pytest.raises(InputError, match="cannot be written"):
        report.save("/proc/r.json")
    (tmp_path / "d.json").mkdir()
    with pytest.raises(InputError, match="is a directory"):
        report.save(tmp_path / "d.json")
    with pytest.raises(InputError, match="there is no directory"):
        report.save(tmp_path / "no" / "r.json")
    with pytest.raises(InputError, match="no such file"):
        kolmo.load_report(tmp_path / "r.json")
    with pytest.raises(InputError, match="a report is"):
        kolmo.load_report(tmp_path / "r.txt")
    (tmp_path / "r.csv").write_text("a\n")
    with pytest.raises(InputError, match=r"r\.csv\.meta\.json, are missing"):
        kolmo.load_report(tmp_path / "r.csv")


def test_summary_quotes_the_table(report):
    text = report.summary()
    whole = report.table[(report.table.scope == "model") & (report.table.checkpoint == "one")]
    best = whole[(whole.quantizer == "native") & (whole.kind == "bound")].bits_per_weight.min()
    said = float(re.search(r"native: at most (\S+) bits per weight \(bound, ", text)[1])
    assert best <= said <= 1.001 * best  # rounded up, so that "at most" stays true
    assert "sign: bdm is missing" in text or "sign: gzip:6 is missing" in text
    assert "tensor 'broken' holds NaN" in text
    assert "of its shuffled null" in text


def test_saturation_is_said_once():
    weights = {
        "large": RANDOM.normal(size=(700, 700)).astype(np.float32),
        "small": np.ones(50, "f4"),
    }
    text = kolmo.analyze(weights, quantizers=["sign"], estimators=["bdm", "ctm"]).summary()
    assert text.count("bdm is saturated in 2 of 3 measurements") == 1
    assert "ctm is saturated" not in text


def test_summary_compares_with_every_null():
    weights = {"w": RANDOM.normal(size=3000).astype(np.float32)}
    report = kolmo.analyze(weights, quantizers=["sign"], estimators=["zstd:3@packed", "bdm"],
                           nulls=["shuffled", "gaussian"], draws=2, scope="model")  # fmt: skip
    figures = report.summary().split("Verdicts:")[0]
    lines = [line for line in figures.splitlines() if "sign: " in line]
    assert ["bound, zstd:3@packed" in lines[0], "estimate, bdm" in lines[1]] == [True, True]
    for line, (_, rows) in zip(lines, report.table.groupby("estimator", sort=False), strict=True):
        for row in rows.itertuples():
            assert f"{100 * row.bits / row.null_bits:.2f} % of its {row.null} null" in line


def test_summary_tells_layouts_and_samples_apart():
    weights = {"w": RANDOM.normal(size=300_000).astype(np.float32)}
    specs = ["gzip:1,sample=131072@bytes", "gzip:1,sample=131072@shuffle"]
    report = kolmo.analyze(weights, quantizers=["native"], estimators=specs, scope="model")
    text = report.summary()
    assert "@bytes)" in text
    assert "@shuffle)" in text
    assert text.count("(estimate, ") == 2
    assert text.count("a sample of ") == 2
    assert text.count("±") == 4  # each beside its figure, and where the sample is named
    assert "at most" not in text  # a sample is no bound


def test_summary_of_single_tensors_says_what_it_lacks():
    report = kolmo.analyze({"w": np.ones(9, np.float32)}, quantizers=["sign"], estimators=["kt"],
                           scope="tensor")  # fmt: skip
    assert "needs the model scope" in report.summary()


def test_coverage_line(report):
    line = report.coverage_line()
    assert line.startswith("5,724 of 5,724 weights measured")
    part = dataclasses.replace(
        report, coverage=report.coverage.assign(measured=False, reason="why")
    )
    assert part.coverage_line() == (
        "0 of 5,724 weights measured; skipped: 8 tensors (why; 5,724 weights)"
    )
    reasons = [f"why {number}" for number in range(len(report.coverage))]
    each = dataclasses.replace(part, coverage=part.coverage.assign(reason=reasons))
    assert "; skipped: layer.weight (why 0; " in each.coverage_line()
    assert each.coverage_line().endswith("and for 3 more reasons")


def test_an_unfinished_report_says_so(report):
    part = dataclasses.replace(report, provenance={**report.provenance, "finished": False})
    assert "was not finished" in part.summary()


def test_the_page_is_whole_and_escaped(report, tmp_path):
    path = tmp_path / "r.html"
    report.to_html(path)
    page = path.read_text()
    assert NASTY not in page
    assert "&lt;script&gt;alert" in page
    assert "two &amp; three" in page
    assert "<h2>Agreement</h2>" in page
    assert "Bit-planes" not in page  # which were not measured
    assert "<h2>What was found</h2>" in page
    assert "no p: " not in page  # said once, in the summary
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # it needs nothing else
    assert "bits per weight" in page
    with pytest.raises(InputError, match="suffix"):
        report.to_html(tmp_path / "r.txt")


def test_a_notebook_shows_summary_and_table(report):
    shown = report._repr_html_()
    assert "at most" in shown
    assert "<table>" in shown
    assert NASTY not in shown
