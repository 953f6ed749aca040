"""Attempts to fool a reader that the facts of a ledger decide; all ten inputs are sound."""

import numpy as np
import pytest

from tests import fooling
from tests.fooling import SHAPES
from tests.ledgers import facts_of, report_with_ledger

WEIGHTS = [f"{name}.weight" for name in SHAPES]
EVERY_ROLE = ["weight", "copy", "buffer", "other"]


def test_one_outlier_is_seen_as_one():
    models = fooling.one_outlier()
    plain, outlier = (facts_of(models[name]) for name in ("init", "outlier"))
    for name in WEIGHTS:
        assert plain[name]["spare_bits"] < 1
        assert outlier[name]["peak"] > 12
        assert outlier[name]["spare_bits"] > 1.5
    (line,) = [
        line
        for line in report_with_ledger(models).ledger_lines()
        if "a fixed number of levels" in line
    ]
    assert line.startswith("outlier: 3 tensors have rare weights")


def test_bfloat16_in_float32_is_told():
    models = fooling.bfloat16_in_float32()
    plain, rounded = (facts_of(models[name]) for name in ("plain", "rounded"))
    assert all("holds" not in plain[name] for name in WEIGHTS)
    assert all(rounded[name]["holds"] == "bfloat16" for name in WEIGHTS)
    assert all(rounded[name]["trailing_zeros"] == 16 for name in WEIGHTS)
    lines = report_with_ledger(models).ledger_lines()
    assert any(
        line.startswith("rounded: 3 tensors are float32 that hold bfloat16") for line in lines
    )


def test_averages_and_copies_are_no_structure_of_the_network():
    model = fooling.averages_in_the_file()["both"]
    found = facts_of(model, roles=EVERY_ROLE)
    for name in WEIGHTS:
        average = found[f"m2.{name}"]
        assert (average["relation"], average["of"]) == ("alike", name)
        assert average["correlation"] > 0.999
        assert "relation" not in found[name]
    copy = found["fc2_again.weight"]
    assert (copy["relation"], copy["of"]) == ("copy", "fc2.weight")
    lines = report_with_ledger({"m": model}, roles=EVERY_ROLE).ledger_lines()
    assert "1 tensor is an exact copy: fc2_again.weight of fc2.weight" in lines
    assert any(
        line.startswith("3 tensors are nearly copies: m2.fc1.weight of fc1.weight, ")
        for line in lines
    )


def test_masks_and_positions_are_called_what_they_are():
    model = fooling.masks_and_positions()["buffers"]
    found = facts_of(model, roles=EVERY_ROLE)
    assert found["h.0.attn.causal"]["pattern"] == "lower triangular mask"
    assert found["embeddings.numbers"]["pattern"] == "range"
    assert {name: found[name].get("pattern") for name in WEIGHTS} == dict.fromkeys(WEIGHTS)
    lines = report_with_ledger({"m": model}, roles=EVERY_ROLE).ledger_lines()
    assert "1 tensor is a lower triangular mask: h.0.attn.causal" in lines
    assert "1 tensor is a range of equal steps: embeddings.numbers" in lines


@pytest.mark.parametrize(
    ("bits", "width", "groups"),
    [
        (8, 32, ("32", "32", "32")),
        (4, 64, ("32", "row", "row")),  # rows of 96 weights are no multiple of 64
        (4, 16, (None, None, None)),  # narrower than any that is tried
    ],
)
def test_dequantized_weights_are_told_with_their_groups(bits, width, groups):
    found = facts_of(fooling.dequantized(bits, width)["dequantized"])
    for name, group in zip(WEIGHTS, groups, strict=True):
        assert found[name].get("group") == group
        assert found[name].get("group_levels") == (2 ** (bits - 1) - 1 if group else None)


def test_rescaled_neurons_compute_the_same():
    models = fooling.rescaled_neurons()
    inputs = np.random.default_rng(9).normal(size=(50, SHAPES["fc1"][1]))
    plain, rescaled = (fooling.outputs(models[name], inputs) for name in ("plain", "rescaled"))
    assert np.abs(plain - rescaled).max() < 1e-5 * np.abs(plain).max()


@pytest.mark.parametrize(
    "attempt",
    [
        fooling.one_outlier,
        fooling.rescaled_neurons,
        fooling.row_and_column_scales,
        fooling.row_scales,
        fooling.sorted_codebook,
        fooling.odd_distributions,
    ],
)
def test_what_has_nothing_trivial_about_it_is_called_nothing_trivial(attempt):
    for model in attempt().values():
        for name, record in facts_of(model).items():
            assert record["dtype"] == "float32"
            assert "relation" not in record
            if not name.endswith("bias"):
                assert "pattern" not in record
                assert "holds" not in record or record["distinct"] <= 256
