"""analyze and compare: the table says what the estimators say, for any number of threads."""

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import kolmo
from kolmo.analysis import Interrupted
from kolmo.checkpoints.opening import open_source
from kolmo.codes.libraries import Zlib
from kolmo.defaults import DEFAULT_MEASUREMENTS
from kolmo.engine import cutting, feeding
from kolmo.errors import InputError
from kolmo.estimators import estimator_names
from kolmo.report.columns import COLUMNS

RANDOM = np.random.default_rng(7)
MODEL = {
    "dense.weight": RANDOM.normal(size=(40, 60)).astype(np.float32),
    "dense.bias": RANDOM.normal(size=40).astype(np.float32),
    "half": RANDOM.normal(size=(9, 9)).astype(np.float16),
    "steps": np.array(17, np.int64),
    "empty": np.zeros((0, 4), np.float32),
}
SOURCE = open_source(MODEL)  # all arrays, integers among them


def rows(report, **wanted):
    table = report.table
    for column, value in wanted.items():
        table = table[table[column].isna() if value is None else table[column] == value]
    return table


def test_the_table_has_the_columns_and_a_row_for_each_measurement():
    report = kolmo.analyze(SOURCE, quantizers=["native", "sign"], estimators=["gzip:9", "kt"])
    assert list(report.table.columns) == COLUMNS
    assert len(report.table) == (len(MODEL) + 1) * 2 * 2
    assert report.table.duplicated(["scope", "tensor", "quantizer", "estimator"]).sum() == 0


def test_tensor_scope_is_what_estimate_says():
    report = kolmo.analyze(
        SOURCE, quantizers=["symmetric:4"], estimators=["zstd:3@packed"], scope="tensor"
    )
    for name, weights in MODEL.items():
        code = kolmo.estimate(weights, "zstd:3@packed", "symmetric:4")
        row = rows(report, tensor=name).iloc[0]
        assert row.bits == code.bits
        assert row.raw_bits == 4 * weights.size
        assert (row.layout, row.estimator, row.kind) == ("packed", "zstd:3", "bound")
        assert row.bits_per_weight == pytest.approx(code.bits_per_weight, nan_ok=True)


def test_model_scope_runs_every_dtype_through_one_accumulator():
    report = kolmo.analyze(SOURCE, quantizers=["native"], estimators=["gzip:9"], scope="model")
    kinds = {}
    for weights in MODEL.values():
        kinds[weights.dtype] = kinds.get(weights.dtype, b"") + weights.tobytes()
    expected = sum(
        kolmo.estimate(np.frombuffer(data, dtype), "gzip:9").bits for dtype, data in kinds.items()
    )
    row = report.table.iloc[0]
    assert row.bits == expected
    assert row.numel == sum(weights.size for weights in MODEL.values())
    assert row.raw_bits == sum(8 * weights.nbytes for weights in MODEL.values())


def test_threads_and_chunks_do_not_matter(monkeypatch):
    def measured(threads):
        nulls = ["shuffled", "row-shuffled", "column-shuffled", "gaussian", "uniform"]
        report = kolmo.analyze(SOURCE, nulls=nulls, draws=2, threads=threads)
        return report.table.drop(columns="seconds")

    one = measured(1)
    pd.testing.assert_frame_equal(one, measured(4))
    monkeypatch.setattr(feeding, "HELD", 0)
    monkeypatch.setattr(feeding, "CHUNK", 97)
    monkeypatch.setattr(cutting, "STRIPE", 501)
    monkeypatch.setattr("kolmo.checkpoints.base.WeightTensor.chunks.__defaults__", (97, False))
    pd.testing.assert_frame_equal(one.drop(columns="null"), measured(2).drop(columns="null"))


@pytest.mark.parametrize("quantizer", ["symmetric:4", "sign"])
def test_threads_do_not_matter_to_any_estimator(quantizer):
    weights = {name: RANDOM.normal(size=(24, 30)).astype(np.float32) for name in "abc"}

    def measured(threads):
        options = {"quantizers": [quantizer], "estimators": estimator_names(), "draws": 2}
        report = kolmo.analyze(weights, nulls=["shuffled"], threads=threads, **options)
        return report.table.drop(columns="seconds")

    one = measured(1)
    assert one.bits.notna().sum() > 60
    pd.testing.assert_frame_equal(one, measured(4))


def test_the_order_of_tensors_does_not_matter_to_their_nulls():
    weights = {name: RANDOM.normal(size=(24, 30)).astype(np.float32) for name in "abc"}
    there, back = (
        kolmo.analyze({name: weights[name] for name in names}, quantizers=["sign"], draws=3,
                      estimators=["lz76"], nulls=["shuffled", "uniform"], scope="tensor")
        .table.set_index(["tensor", "null"]).null_bits
        for names in ("abc", "cab")
    )  # fmt: skip
    assert there.to_dict() == back.to_dict()
    assert there.nunique() > 2


def test_nulls_have_mean_sd_and_z():
    structured = {"w": np.tile(RANDOM.normal(size=50), 80).astype(np.float32)}
    report = kolmo.analyze(
        structured,
        quantizers=["native"],
        estimators=["xz:6"],
        nulls=["shuffled", "gaussian"],
        draws=3,
    )
    assert len(report.table) == 4
    row = rows(report, scope="tensor", null="shuffled").iloc[0]
    assert row.null_bits > 3 * row.bits
    assert row.null_sd > 0
    assert row.z == pytest.approx((row.bits - row.null_bits) / row.null_sd)
    assert row.null_draws == 3
    assert math.isnan(row.p)
    assert row.p_missing == "3 draws cannot reach .05, 39 can"
    assert row.note == ""
    single = kolmo.analyze(
        structured, quantizers=["native"], estimators=["xz:6"], nulls=["shuffled"], draws=1
    )
    assert math.isnan(single.table.loc[0, "null_sd"])
    assert math.isnan(single.table.loc[0, "z"])
    assert single.table.loc[0, "p_missing"].startswith("1 draw cannot reach .05")
    assert "untested" in single.summary()


def test_p_values_count_the_draws_on_either_side():
    noise = {"w": np.random.default_rng(3).normal(size=600).astype(np.float32)}
    repeated = {"w": np.tile(noise["w"][:60], 10)}
    options = {"quantizers": ["symmetric:4"], "nulls": ["shuffled"], "draws": 39}
    for weights, wanted in ((repeated, 2 / 40), (noise, None)):
        report = kolmo.analyze(weights, estimators=["xz:1@packed", "kt"], scope="tensor", **options)
        code, blind = report.table.iloc[0], report.table.iloc[1]
        assert code.p == wanted if wanted else code.p > 0.05
        assert (blind.p, blind.null_sd, blind.null_bits) == (1, 0, blind.bits)
        assert report.table.note.eq("").all()


def test_row_and_column_shuffles_measure_what_lies_beyond_rows_and_columns():
    scales = np.repeat([1.0, 100.0], 32)[:, None]
    weights = (RANDOM.normal(size=(64, 64)) * scales).astype(np.float32)
    report = kolmo.analyze(
        {"w": weights, "bias": weights[0]},
        quantizers=["symmetric:8"],
        estimators=["zstd:3"],
        nulls=["shuffled", "row-shuffled", "column-shuffled"],
        draws=2,
    )
    found = report.table[report.table.tensor == "w"].set_index("null")
    assert found.bits.iloc[0] < 0.9 * found.null_bits["shuffled"]
    assert found.bits.iloc[0] < 0.9 * found.null_bits["column-shuffled"]
    assert found.bits.iloc[0] == pytest.approx(found.null_bits["row-shuffled"], rel=0.02)
    assert report.table.null_bits.notna().all()


def test_without_nulls_their_columns_are_missing():
    report = kolmo.analyze(SOURCE, quantizers=["sign"], estimators=["kt"])
    assert (
        report.table[["null", "null_draws", "null_bits", "null_sd", "z", "p"]].isna().all(axis=None)
    )


def test_reference_null_names_what_it_lacks(tmp_path):
    np.savez(tmp_path / "init.npz", **{"dense.weight": MODEL["dense.weight"]})
    report = kolmo.analyze(
        SOURCE,
        quantizers=["sign"],
        estimators=["kt"],
        nulls=[f"reference:{tmp_path / 'init.npz'}"],
        scope="tensor",
    )
    found = report.table.set_index("tensor")
    assert math.isnan(found.loc["dense.weight", "p"])
    assert found.loc["dense.weight", "p_missing"] == "reference is a single draw"
    assert found.loc["dense.weight", "null_bits"] == found.loc["dense.weight", "bits"]
    assert math.isnan(found.loc["dense.bias", "null_bits"])
    assert "has no tensor 'dense.bias'" in found.loc["dense.bias", "note"]
    assert not math.isnan(found.loc["dense.bias", "bits"])


def test_nan_is_a_marked_missing_value_and_a_problem():
    broken = {**MODEL, "broken": np.float32([1, np.nan])}
    report = kolmo.analyze(broken, quantizers=["native", "symmetric:8"], estimators=["gzip:9"])
    native = rows(report, quantizer="native")
    assert native.bits.notna().all()
    bad = rows(report, quantizer="symmetric:8", tensor="broken").iloc[0]
    assert math.isnan(bad.bits)
    assert "tensor 'broken' holds NaN" in bad.note
    assert math.isnan(rows(report, quantizer="symmetric:8", scope="model").iloc[0].bits)
    assert rows(report, quantizer="symmetric:8", tensor="half").iloc[0].bits > 0
    assert len(report.provenance["problems"]) == 1
    assert "broken" in report.provenance["problems"][0]


def test_coverage_lists_every_tensor():
    report = kolmo.analyze(SOURCE, quantizers=["sign"], estimators=["kt"], exclude=["dense.*"])
    covered = report.coverage.set_index("tensor")
    assert set(covered.index) == set(MODEL)
    assert covered.measured.to_dict() == {name: not name.startswith("dense.") for name in MODEL}
    assert covered.loc["dense.bias", "reason"] == "excluded by 'dense.*'"


def test_what_no_estimator_takes_is_not_counted_as_measured():
    report = kolmo.analyze(
        {"matrix": np.ones((8, 8), np.float32), "vector": np.ones(8, np.float32)},
        quantizers=["affine:8"],
        estimators=["qubd"],
        scope="tensor",
    )
    covered = report.coverage.set_index("tensor")
    assert covered.loc["matrix", "measured"]
    assert not covered.loc["vector", "measured"]
    assert covered.loc["vector", "reason"]
    assert report.provenance["problems"] == []


def test_defaults_apply_to_everything():
    report = kolmo.analyze(SOURCE, nulls=[])
    pairs = {(q, str(kolmo.get_estimator(e))) for q, es in DEFAULT_MEASUREMENTS.items() for e in es}
    assert len(report.table) == len(pairs) * (len(MODEL) + 1)
    missing = report.table[report.table.bits.isna()]
    assert set(missing.tensor) == {"steps", "empty"}  # they have no block
    assert set(missing.estimator) == {"bdm", "context"}  # which takes no 64-bit integers
    bdm = missing[missing.estimator == "bdm"]
    assert bdm.note.str.contains("no whole block").all()
    assert {"bound", "estimate"} <= set(report.table.kind)
    bdm = rows(report, scope="model", estimator="bdm").iloc[0]
    assert "leaves out the int64 tensors" in bdm.note


def test_provenance_is_json_and_complete():
    report = kolmo.analyze(SOURCE, quantizers=["sign"], estimators=["kt"])
    assert json.loads(json.dumps(report.provenance)) == report.provenance
    assert report.provenance["complete"] is True
    assert report.provenance["versions"]["numpy"] == np.__version__
    assert report.provenance["settings"]["measurements"] == [["sign", "kt"]]


def test_compare_puts_all_in_one_table():
    report = kolmo.compare({"a": SOURCE, "b": SOURCE}, quantizers=["sign"], estimators=["kt"])
    first, second = rows(report, checkpoint="a"), rows(report, checkpoint="b")
    assert first.bits.tolist() == second.bits.tolist()


def test_an_interrupt_keeps_what_is_done():
    def stop(done, total, label):
        if 2 * done > total:
            raise KeyboardInterrupt

    options = {"quantizers": ["sign"], "estimators": ["lz78"], "nulls": ["shuffled"], "threads": 1}
    with pytest.raises(Interrupted) as caught:
        kolmo.analyze(SOURCE, **options, draws=60, progress=stop)
    report = caught.value.report
    assert "dense.weight" in set(report.table.tensor)
    assert report.provenance["complete"] is False
    assert report.table.note.str.contains("the run was interrupted").any()


def test_an_interrupt_before_anything_is_done_says_so():
    def stop(done, total, label):
        raise KeyboardInterrupt

    big = {"w": np.tile(RANDOM.normal(size=1 << 16), 32).astype(np.float32)}
    with pytest.raises(Interrupted) as caught:
        kolmo.analyze(big, quantizers=["native"], estimators=["context"], progress=stop)
    assert caught.value.report.table.empty
    covered = caught.value.report.coverage.set_index("tensor")
    assert covered.loc["w", "reason"] == "the run stopped before it"


def test_a_file_that_fails_halfway_keeps_what_is_done(tmp_path):
    from kolmo.checkpoints import Checkpoint, array_tensor
    from kolmo.checkpoints.base import WeightTensor

    def fail(start, stop):
        raise InputError("shard.bin: ends early")

    good = array_tensor("good", np.ones(100, np.float32))
    bad = WeightTensor("bad", (100,), np.dtype(np.float32), fail)
    checkpoint = Checkpoint([good, bad], source="shard.bin", format="arrays")
    with pytest.raises(InputError, match="ends early") as caught:
        kolmo.analyze(checkpoint, quantizers=["sign"], estimators=["kt"], threads=1)
    report = caught.value.report
    assert report.provenance["complete"] is False
    assert not report.coverage.set_index("tensor").loc["bad", "measured"]


def test_progress_reaches_its_total():
    calls = []
    kolmo.compare(
        {"a": SOURCE, "b": SOURCE},
        quantizers=["sign"],
        estimators=["kt"],
        progress=lambda done, total, label: calls.append((done, total)),
    )
    shares = [done / total for done, total in calls]
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantizers": []}, "nothing to measure"),
        ({"quantizers": "sgn"}, "did you mean sign"),
        ({"scope": "layer"}, "unknown scope"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"estimators": ["gzp"]}, "did you mean gzip"),
        ({"include": ["nothing*"]}, "leave none"),
        ({"include": "nothing*"}, "leave none"),
        ({"threads": 0}, "threads must be at least 1"),
    ],
)
def test_wrong_options_are_explained(options, message):
    with pytest.raises(InputError, match=message):
        kolmo.analyze(SOURCE, **options)


def test_a_bug_in_an_estimator_is_a_failure_not_a_number(monkeypatch):
    def broken(self, level, size):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(Zlib, "stream", broken)
    report = kolmo.analyze(SOURCE, quantizers=["sign"], estimators=["gzip", "kt"])
    is_broken = report.table["estimator"].str.startswith("gzip")
    assert report.table["bits"].isna().tolist() == is_broken.tolist()
    assert report.table["note"][is_broken].str.contains("oops").all()
    assert any("oops" in line for line in report.provenance["failures"])


def test_importing_kolmo_is_light():
    heavy = "('torch', 'matplotlib', 'pandas', 'numba')"
    heavy = f"import sys, kolmo; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", heavy], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_every_public_name_is_there():
    for name in kolmo.__all__:
        assert getattr(kolmo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        kolmo.analyse  # noqa: B018
