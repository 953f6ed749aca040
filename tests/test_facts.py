"""What one module must know of another's result is a column, and never a phrase to look for."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.checkpoints.opening import open_source
from kolmo.codes.lengths import integer_bits, subset_bits
from kolmo.errors import InputError
from kolmo.quantize import get_quantizer, side_bits

NORMAL = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)


# --- side information of quantizers -----------------------------------------------------------


def side_bits_of(quantizer, array):
    tensor = array_tensor("w", np.asarray(array))
    return side_bits(get_quantizer(quantizer).fit(tensor), tensor)


@pytest.mark.parametrize(
    ("quantizer", "dtype", "bits"),
    [
        ("native", "float32", 0),
        ("sign", "float32", 0),
        ("symmetric:8", "float32", 1 + 32),
        ("symmetric:8", "float16", 1 + 16),
        ("symmetric:8", "float64", 1 + 64),
        ("symmetric:8", "int8", 1 + 8),
        ("affine:8", "float32", 1 + 2 * 32),
        ("affine:4,clip=90", "float32", 1 + 2 * 64),  # quantiles lie between the weights
    ],
)
def test_side_bits_of_scales(quantizer, dtype, bits):
    weights = (100 * np.random.default_rng(1).normal(size=64)).clip(-120, 120).astype(dtype)
    assert side_bits_of(quantizer, weights) == bits


def test_side_bits_of_a_codebook_say_which_values_of_all():
    weights = np.float32([0.5, -1, 3, 3])
    expected = 1 + integer_bits(3) + math.ceil(math.log2(math.comb(2**32, 3)))
    assert side_bits_of("codebook:4", weights) == expected


def test_an_empty_tensor_needs_no_parameters():
    assert side_bits_of("symmetric:8", np.empty(0, np.float32)) == 0


@pytest.mark.parametrize("size", [1025, 4096, 65536])
def test_subset_bits_beyond_the_exact_range_never_fall_short(size):
    exact = (math.comb(2**32, size) - 1).bit_length()
    assert exact <= subset_bits(size, 2**32) <= exact + 2


@pytest.mark.parametrize("estimator", ["kt", "zstd:3", "context", "mosaic", "gaussian"])
@pytest.mark.parametrize("quantizer", ["symmetric:8", "affine:4", "codebook:16"])
def test_a_bound_holds_what_undoes_the_quantizer(quantizer, estimator):
    tensor = array_tensor("w", NORMAL)
    coder = get_quantizer(quantizer).fit(tensor)
    accumulator = kolmo.get_estimator(estimator).start(NORMAL.shape, coder.alphabet)
    accumulator.update(coder.encode(NORMAL))
    symbols = accumulator.finish().bits
    found = kolmo.estimate(NORMAL, estimator, quantizer)
    assert found.side_bits == side_bits(coder, tensor) > 0
    assert found.bits == symbols + found.side_bits


def test_an_estimate_shows_side_bits_and_does_not_add_them():
    found = kolmo.estimate(NORMAL, "entropy", "symmetric:8")
    counts = np.unique(get_quantizer("symmetric:8").fit(array_tensor("w", NORMAL)).encode(NORMAL),
                       return_counts=True)[1]  # fmt: skip
    entropy = float(-(counts * np.log2(counts / NORMAL.size)).sum())
    assert found.kind == "estimate"
    assert found.side_bits == 33
    assert found.bits == pytest.approx(entropy)


def test_side_bits_of_a_model_are_those_of_its_tensors():
    table = kolmo.analyze(
        {"a": NORMAL, "b": NORMAL[:3].copy()}, quantizers=["symmetric:8"], estimators=["kt"]
    ).table
    assert table.set_index("scope")["side_bits"].to_dict() == {"tensor": 33.0, "model": 66.0}
    ratio = table["raw_bits"] / table["bits"]
    assert table["compression_ratio"].tolist() == ratio.tolist()


def test_a_codebook_as_long_as_its_tensor_saves_nothing():
    """Sorted weights, each a value of its own: the symbols cost little, the codebook all."""
    weights = np.sort(np.random.default_rng(1).normal(size=4096)).astype(np.float32)
    found = kolmo.estimate(weights.reshape(64, 64), "brotli", "codebook:4096")
    assert found.bits - found.side_bits < 8 * 4096
    assert found.bits_per_weight > 19.4  # what a container of these weights takes, all in all


@pytest.mark.parametrize("null", ["shuffled", "uniform", "gaussian"])
def test_nulls_hold_side_bits_too(null):
    """Order-0 codes cost the same in every shuffle: no side bits may come between."""
    table = kolmo.analyze(
        {"w": NORMAL}, quantizers=["symmetric:8"], estimators=["kt"], nulls=[null], draws=3,
        scope="tensor",
    ).table  # fmt: skip
    assert table["side_bits"].tolist() == [33.0]
    if null == "shuffled":
        assert table["null_bits"].tolist() == table["bits"].tolist()
    assert abs(table["null_bits"] - table["bits"]).max() < 0.2 * table["bits"].max()


# --- partial sums -----------------------------------------------------------------------------

MIXED = open_source(
    {"w": NORMAL, "ids": np.arange(8, dtype=np.int8)}
)  # `gaussian` takes the second only


@pytest.fixture(scope="module")
def mixed():
    return kolmo.compare(
        {"a": MIXED, "b": {**MIXED, "w": NORMAL + 1}},
        quantizers=["native"],
        estimators=["gaussian", "zstd:3"],
        nulls=["shuffled"],
        draws=39,
    )


def test_a_partial_figure_is_of_the_weights_that_it_describes(mixed):
    whole = mixed.table[mixed.table["scope"] == "model"].set_index(["checkpoint", "estimator"])
    row = whole.loc["a", "gaussian"]
    assert (row["covered"], row["numel"]) == (8, 1208)
    assert row["raw_bits"] == 64
    assert row["bits_per_weight"] == row["bits"] / 8
    assert row["compression_ratio"] == 64 / row["bits"]
    assert whole.loc["a", "zstd:3"]["covered"] == 1208


def test_a_partial_figure_never_leads(mixed):
    lines = mixed.summary().splitlines()
    assert "at most" in lines[1]
    assert "zstd" in lines[1]
    (shown,) = {line for line in lines if "gaussian" in line and "partial" in line}
    assert "describes 8 of 1,208 weights" in shown
    assert "%" not in shown  # of nothing that it could be compared with
    assert not any("gaussian" in line for line in lines[lines.index("Verdicts:") :])
    tests = mixed.significance()
    assert set(tests[tests["lead"]]["estimator"]) == {"zstd:3"}
    assert set(tests[tests["estimator"] == "gaussian"]["evidence"]) == {"partial"}
    assert set(mixed.attribution()["estimator"].dropna()) <= {"zstd:3", "gaussian"}
    of_models = mixed.attribution().query("scope == 'model'")
    assert of_models["estimator"].tolist() == ["zstd:3", "zstd:3"]


def test_figures_and_agreement_leave_partial_figures_out(mixed):
    labels = [text.get_text() for text in mixed.plot.compare().legends[0].get_texts()]
    assert any("zstd" in label for label in labels)
    assert not any("gaussian" in label for label in labels)
    with pytest.raises(InputError, match="two measurements"):
        mixed.agreement("models")


def test_only_partial_figures_are_nothing_to_compare():
    report = kolmo.analyze(MIXED, quantizers=["native"], estimators=["gaussian"], scope="model")
    assert "at most 1" not in report.summary()
    assert "partial: describes 8 of 1,208 weights" in report.summary()
    with pytest.raises(InputError, match="no value of a whole object"):
        report.plot.compare()


# --- one rule for every sum -------------------------------------------------------------------


def test_delta_refuses_what_analyze_refuses():
    good = {"a": NORMAL, "b": np.full((4, 4), np.nan, np.float32)}
    measured = kolmo.analyze(good, quantizers=["symmetric:8"], estimators=["kt"], scope="model")
    tuned = kolmo.delta(good, good, quantizers=["symmetric:8"])
    rows = tuned.table[tuned.table["scope"] == "model"]
    assert measured.table["bits"].isna().all()
    assert rows["bits"].isna().all()
    assert set(rows["note"]) == set(measured.table["note"])
    assert "delta is missing" in tuned.summary()


def test_delta_counts_the_parameters_of_its_quantizer():
    table = kolmo.delta(
        {"w": NORMAL}, {"w": NORMAL + np.float32(0.1)}, quantizers=["symmetric:8"], scope="tensor"
    ).table
    assert table["side_bits"].tolist() == [33.0, 33.0]


# --- notes are prose, the kind is a field -----------------------------------------------------


def test_no_conclusion_reads_a_note(mixed):
    """The words that once were read as facts may stand in any note."""
    phrase = "saturated; leaves out the float32 tensors: why; no p: 5 draws"
    other = dataclasses.replace(mixed, table=mixed.table.assign(note=phrase))
    pd.testing.assert_frame_equal(other.significance(), mixed.significance())
    pd.testing.assert_frame_equal(
        other.attribution().drop(columns="note"), mixed.attribution().drop(columns="note")
    )
    assert _verdicts(other) == _verdicts(mixed)


def _verdicts(report):
    return report.summary().partition("Verdicts:")[2]


def test_saturation_is_a_column():
    weights = {"w": np.random.default_rng(0).normal(size=400_000).astype(np.float32)}
    report = kolmo.analyze(weights, quantizers=["sign"], estimators=["bdm", "ctm"], scope="tensor")
    assert report.table["saturated"].tolist() == [True, False]
    assert report.table["note"].tolist() == ["", ""]
    assert "bdm is saturated" in report.summary()


def test_why_there_is_no_p_is_a_column():
    table = kolmo.analyze(
        {"w": NORMAL}, quantizers=["sign"], estimators=["kt"], nulls=["shuffled"], draws=5
    ).table
    assert set(table["p_missing"]) == {"5 draws cannot reach .05, 39 can"}
    assert set(table["note"]) == {""}


@pytest.mark.parametrize("suffix", ["json", "csv", "parquet"])
def test_the_kind_of_a_report_is_saved_with_it(tmp_path, suffix):
    report = kolmo.delta({"w": NORMAL}, {"w": NORMAL}, scope="model")
    assert report.kind == "delta"
    report.save(tmp_path / f"r.{suffix}")
    loaded = kolmo.load_report(tmp_path / f"r.{suffix}")
    assert loaded.kind == "delta"
    assert loaded.summary() == report.summary()
    assert loaded.table["saturated"].tolist() == report.table["saturated"].tolist()


def test_no_key_of_the_provenance_decides_the_kind():
    report = kolmo.analyze({"w": NORMAL}, quantizers=["sign"], estimators=["kt"], name="model")
    report.provenance.update(base={"source": "x"}, series={"steps": {}})
    assert report.kind == "measurement"
    assert report.summary().startswith("model: ")
    with pytest.raises(InputError, match="no series"):
        report.plot.trajectory()


def test_the_fast_path_has_the_same_side_bits():
    fast, plain = (
        kolmo.estimate(w, "qubd", "affine:8") for w in (NORMAL, np.asfortranarray(NORMAL))
    )
    assert fast == plain
    assert fast.side_bits == 65
