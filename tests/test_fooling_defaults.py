"""Ten attempts to fool the defaults: inputs that cost little, or much, for a trivial reason."""

import numpy as np
import pytest

import kolmo
from tests import fooling


@pytest.fixture(scope="module")
def compared():
    """The report of the models of an attempt, by the defaults but for rows of single tensors."""
    known = {}

    def compare(attempt):
        if attempt not in known:
            known[attempt] = kolmo.compare(getattr(fooling, attempt)(), scope="model")
        return known[attempt]

    return compare


def bits(report):
    """Bits per weight of each checkpoint at equal distortion."""
    return report.at_distortion().set_index("checkpoint")["bits_per_weight"]


def verdict(report, question, checkpoint=None):
    rows = report.verdicts[report.verdicts["question"] == question]
    rows = rows if checkpoint is None else rows[rows["checkpoint"] == checkpoint]
    return rows["verdict"].astype(str).tolist()


def test_1_an_outlier_makes_no_network_simpler(compared):
    found = bits(compared("one_outlier"))
    assert found["outlier"] == pytest.approx(found["init"], rel=0.02)


def test_2_the_same_function_costs_the_same(compared):
    models, inputs = fooling.rescaled_neurons(), np.random.default_rng(0).normal(size=(50, 96))
    outputs = [fooling.outputs(models[name], inputs) for name in ("plain", "rescaled")]
    assert outputs[0] == pytest.approx(outputs[1], rel=1e-3, abs=1e-5)
    report = compared("rescaled_neurons")
    found = bits(report)
    assert found["rescaled"] == pytest.approx(found["plain"], rel=0.02)
    assert verdict(report, "order", "plain") == ["none"]
    assert verdict(report, "arrangement", "rescaled") == ["none"]


@pytest.mark.parametrize("attempt", ["row_and_column_scales", "row_scales"])
def test_3_and_4_scales_are_no_arrangement(compared, attempt):
    report = compared(attempt)
    assert verdict(report, "order") == ["structure"]
    assert verdict(report, "arrangement") == ["none"]


def test_5_stored_precision_is_told(compared):
    report = compared("bfloat16_in_float32")
    found = bits(report)
    assert found["rounded"] == pytest.approx(found["plain"], rel=0.02)
    assert any("hold bfloat16" in line for line in report.ledger_lines())
    assert "hold bfloat16" in report.summary()


def test_6_averages_and_copies_are_no_structure(compared):
    report = compared("averages_in_the_file")
    assert verdict(report, "order") == ["none"]


def test_7_masks_and_positions_are_no_structure(compared):
    report = compared("masks_and_positions")
    assert verdict(report, "order") == ["none"]
    tested = report.table[report.table["scope"] == "sample"]["tensor"].dropna()
    assert not {"h.0.attn.causal", "embeddings.numbers"} & set(tested)


def test_8_a_codebook_is_paid_for():
    weights = fooling.sorted_codebook()["sorted"]
    report = kolmo.analyze(weights, quantizers=["codebook:4096"], nulls=[], scope="model")
    assert (report.table["bits"] >= report.table["side_bits"]).all()
    assert report.table["side_bits"].min() > 16 * 4096


def test_9_dequantized_weights_are_told(compared):
    report = compared("dequantized")
    assert report.ledger["group"].astype(str).str.len().gt(0).sum() >= 3
    assert "multiples of one step" in report.summary()


@pytest.mark.parametrize("name", list(fooling.odd_distributions()))
def test_10_odd_values_in_no_order_are_no_structure(compared, name):
    assert verdict(compared("odd_distributions"), "order", name) == ["none"]
