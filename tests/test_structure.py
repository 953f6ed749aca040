"""The test of structure that a run makes by itself: verdicts on weights of known structure."""

import json

import numpy as np
import pytest

import kolmo
from kolmo.errors import InputError
from kolmo.pvalues import ALPHA
from kolmo.report.chains import chains

RANDOM = np.random.default_rng(7)
SIZE = (64, 48)


def noise(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def measured(weights, **options):
    options = {"quantizers": ["sign"], "estimators": ["kt"], "scope": "model", **options}
    return kolmo.analyze(weights, nulls="auto", **options)


def of(report, question):
    return report.verdicts.set_index("question").loc[question]


ROWS, COLUMNS = np.exp(0.7 * noise(SIZE[0], 1)), np.exp(0.7 * noise(1, SIZE[1]))

STRUCTURELESS = {
    "normal": noise(*SIZE),
    "uniform": RANDOM.uniform(-1, 1, SIZE).astype(np.float32),
    "heavy tails": RANDOM.standard_t(2, SIZE).astype(np.float32),
    "half zeros": noise(*SIZE) * RANDOM.integers(0, 2, SIZE).astype(np.float32),
    "few values": RANDOM.integers(0, 3, SIZE).astype(np.float32),
}


@pytest.mark.parametrize("kind", STRUCTURELESS)
def test_independent_weights_have_no_structure(kind):
    report = measured({"w": STRUCTURELESS[kind]})
    verdict = of(report, "order")
    assert verdict["verdict"] == "none"
    assert abs(verdict["share"]) < 0.01
    assert verdict["draws"] < 39  # it is settled early


@pytest.mark.parametrize(
    "weights",
    [noise(*SIZE) * ROWS, noise(*SIZE) * COLUMNS, noise(*SIZE) * ROWS * COLUMNS],
    ids=["rows", "columns", "both"],
)
def test_scales_of_rows_and_columns_are_no_arrangement(weights):
    report = measured({"w": weights})
    assert of(report, "order")["verdict"] == "structure"
    assert of(report, "arrangement")["verdict"] == "none"
    scale = of(report, "ledger: row scale")["share"] + of(report, "ledger: column scale")["share"]
    assert scale > 3 * abs(of(report, "ledger: arrangement")["share"])


def low_rank():
    return noise(SIZE[0], 2) @ noise(2, SIZE[1])


STRUCTURED = {
    "repeated rows": np.tile(noise(8, SIZE[1]), (8, 1)),
    "motifs": noise(10, 4)[RANDOM.integers(0, 10, 768)].reshape(SIZE),
    "low rank": low_rank(),
    "smooth": np.cumsum(noise(*SIZE), axis=1),
}


@pytest.fixture(scope="module")
def structured():
    """The reports of weights of structure, each made once."""
    return {kind: measured({"w": weights}) for kind, weights in STRUCTURED.items()}


@pytest.mark.parametrize("kind", STRUCTURED)
def test_arrangement_is_found(structured, kind):
    report = structured[kind]
    for question in ("order", "arrangement"):
        verdict = of(report, question)
        assert verdict["verdict"] == "structure"
        assert verdict["p"] <= ALPHA * (1 + 1e-12)
        assert verdict["share"] > verdict["spread"] > 0
    assert f"{verdict['share']:.1%}".removesuffix("%")[:2] in verdict["sentence"]


def test_two_equal_tensors_are_no_structure():
    """Averages of the weights in the same file make a model of two halves, and no network of
    structure."""
    weights = noise(*SIZE)
    report = measured({"w": weights, "average": weights * np.float32(1 + 2**-20)})
    assert of(report, "order")["verdict"] == "none"


def test_the_ledger_adds_up():
    report = measured({"w": low_rank(), "v": noise(*SIZE) * ROWS})
    steps = report.decomposition().set_index("step")["bits"]
    assert list(steps.index) == ["raw", "gaussian", "shuffled", "row-shuffled", "scaled", "actual"]
    ledger = report.verdicts[report.verdicts["question"].str.startswith("ledger")]
    assert ledger["saved"].sum() == pytest.approx(steps["gaussian"] - steps["actual"])
    whole = report.table[(report.table.scope == "sample") & report.table.tensor.isna()]
    single = report.table[(report.table.scope == "sample") & report.table.tensor.notna()]
    for null, rows in single.groupby("null"):
        row = whole[whole.null == null].iloc[0]
        assert rows.bits.sum() == pytest.approx(row.bits)
        assert rows.null_bits.sum() == pytest.approx(row.null_bits)
    assert set(report.decomposition(tensors=True)["tensor"]) == {"w", "v"}


def test_codes_that_were_the_shortest_are_named():
    found = chains(measured({"motifs": STRUCTURED["motifs"], "noise": noise(*SIZE)}).rows)
    assert found[0].details["taken"]["mosaic"] == 1


def test_a_large_checkpoint_is_tested_by_windows(monkeypatch):
    monkeypatch.setattr("kolmo.structure.sample.WEIGHTS", 1 << 14)
    weights = {"smooth": np.cumsum(noise(512, 256), axis=1), "noise": noise(512, 256)}
    report = measured(weights)
    row = report.table[(report.table.scope == "sample") & report.table.tensor.isna()].iloc[0]
    assert row.kind == "estimate"
    assert row.numel == 2 * 512 * 256
    assert row.sampled == pytest.approx(1 / 16, rel=0.3)
    assert json.loads(row.details)["windows"] >= 64
    assert of(report, "arrangement")["verdict"] == "structure"
    assert "windows" in of(report, "ledger: value distribution")["sentence"]


def test_it_is_the_default_and_can_be_left_out():
    weights = {"w": noise(40, 30)}
    asked = {"by itself": {}, "no nulls": {"nulls": []}, "estimators": {"estimators": ["kt"]}}
    scopes = {
        name: set(kolmo.analyze(weights, quantizers=["sign"], scope="model", **options).table.scope)
        for name, options in asked.items()
    }
    assert "sample" in scopes["by itself"]
    assert "sample" not in scopes["no nulls"] | scopes["estimators"]


def test_threads_do_not_matter():
    weights = {"w": noise(32, 24), "v": noise(24, 16)}
    one, two = (
        measured(weights, threads=threads).table.drop(columns="seconds") for threads in (1, 2)
    )
    assert one.equals(two)


def test_what_is_no_number_is_left_out_with_its_reason():
    broken = noise(*SIZE)
    broken[3, 4] = np.nan
    report = measured({"w": noise(*SIZE), "broken": broken})
    assert of(report, "order")["verdict"] == "none"
    assert "broken" not in set(report.table[report.table.scope == "sample"].tensor)
    assert any("'broken' holds NaN" in problem for problem in report.provenance["problems"])


def test_nothing_but_nan_has_no_verdict():
    with pytest.raises(InputError, match="no test of structure"):
        measured({"w": np.full((4, 4), np.nan, np.float32)}).decomposition()


def test_a_verdict_survives_saving(structured, tmp_path):
    report = structured["low rank"]
    report.save(tmp_path / "r.parquet")
    again = kolmo.load_report(tmp_path / "r.parquet")
    assert again.verdicts.equals(report.verdicts)
    assert again.verdict_lines() == report.verdict_lines()


def test_results_are_recalled(tmp_path):
    weights = {"w": noise(32, 24)}
    first = measured(weights, store=tmp_path / "results.db")
    again = measured(weights, store=tmp_path / "results.db")
    assert again.verdicts.equals(first.verdicts)
    sample = again.table[again.table.scope == "sample"]
    assert len(sample)
