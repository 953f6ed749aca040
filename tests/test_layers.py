"""Layers of a report: their order, bounds, tests and shares, from tables that are known."""

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import kolmo
from kolmo.errors import InputError
from kolmo.report.layers import GROUPS, LAYERS
from kolmo.report.significance import family_rows
from kolmo.report.terminal import show

PLAIN = np.random.default_rng(0).normal(size=(24, 48)).astype(np.float32)
SORTED = np.sort(PLAIN, axis=0)
MODEL = {
    "h.10.attn.q.weight": PLAIN,
    "h.9.mlp.fc1.weight": SORTED,
    "h.100.ln.weight": np.ones(48, np.float32),
    "head.weight": PLAIN[:8].copy(),
    "h.9.mlp.fc1.bias": PLAIN[0].copy(),
}
NATURAL = [
    *("h.9.mlp.fc1.bias", "h.9.mlp.fc1.weight", "h.10.attn.q.weight", "h.100.ln.weight"),
    "head.weight",
]
OPTIONS = {"quantizers": ["symmetric:4"], "estimators": ["kt", "zstd", "bdm"], "store": None}


@pytest.fixture(scope="module")
def report():
    return kolmo.analyze(MODEL, nulls=["shuffled"], draws=39, name="m", **OPTIONS)


@pytest.fixture(scope="module")
def layers(report):
    return report.layers().set_index("tensor")


def test_a_row_for_each_tensor_in_natural_order(report, layers):
    assert list(report.layers().columns) == LAYERS
    assert list(layers.index) == NATURAL
    assert layers.kind.tolist() == ["bias", "mlp", "q", "norm", "head"]
    assert layers.depth.tolist()[:4] == [9, 9, 10, 100]
    assert layers.depth.isna().tolist() == [False] * 4 + [True]
    assert layers.weights.tolist() == [MODEL[name].size for name in NATURAL]


def test_the_bound_is_the_shortest(report, layers):
    bounds = report.plain.query("kind == 'bound' and scope == 'tensor'")
    shortest = bounds.groupby("tensor").bits_per_weight.min()
    assert layers.bits_per_weight.to_dict() == shortest.to_dict()


def test_structure_is_where_weights_are_in_order(layers):
    assert layers.verdict["h.9.mlp.fc1.weight"] == "structure"
    assert layers.verdict["h.10.attn.q.weight"] == "none"
    assert layers.verdict["h.100.ln.weight"] == "no test"  # every shuffle of ones is the same
    assert layers.reason["h.100.ln.weight"]
    assert layers.p["h.9.mlp.fc1.weight"] == pytest.approx(2 / 40)
    assert layers.share["h.9.mlp.fc1.weight"] == 1
    assert layers.share.sum() == 1


def test_figures_are_those_of_the_leading_test(report, layers):
    tests = family_rows(report.table, "shuffled")
    for _, lead in tests[tests.lead & (tests.scope == "tensor")].iterrows():
        row = layers.loc[lead.tensor]
        assert row.of_null == lead.bits / lead.null_bits
        assert row.arrangement == pytest.approx(1 - row.of_null)
        assert (row.p, row.draws, row.null) == (lead.p, 39, "shuffled")


def test_lines_say_it_in_one_sentence(layers):
    row = layers.loc["h.9.mlp.fc1.weight"]
    assert row.line == (
        f"h.9.mlp.fc1 (mlp, 1,152): {row.bits_per_weight:.4g} b/w, arrangement "
        f"{100 * row.arrangement:.2g} % ± {100 * row.spread:.1g} (structure, p = 0.05, shuffled)"
    )
    assert layers.line["h.100.ln.weight"].endswith("b/w, no test")


def test_without_a_test_nothing_is_claimed():
    untested = kolmo.analyze(MODEL, **OPTIONS).layers()
    assert set(untested.verdict) == {"no test"}
    assert untested.reason.str.len().all()
    assert untested[["arrangement", "p", "share", "structure_bits"]].isna().all().all()
    few = kolmo.analyze(MODEL, nulls=["shuffled"], draws=5, **OPTIONS).layers()
    assert set(few.verdict) == {"undecided", "no test"}
    assert few.reason.str.contains("5 draws cannot reach .05").any()
    assert few.structure_bits.isna().all()


def with_samples(report, **columns):
    """The report with tests of a half of each tensor against two nulls."""
    rows = report.table[(report.table.scope == "tensor") & (report.table.estimator == "zstd:19")]
    halves = rows.assign(
        scope="sample", sampled=0.5, numel=rows.numel // 2, covered=rows.covered / 2, bits=900.0,
        null_bits=1000.0, null_sd=10.0, p=0.025, quantizer="nmse:0.001,axis=tensor",
    )  # fmt: skip
    scaled = halves.assign(null="scaled", null_bits=950.0)
    table = pd.concat([report.table, halves, scaled], ignore_index=True)
    return dataclasses.replace(report, table=table)


def test_samples_are_tested_against_the_null_that_keeps_most(report):
    layers = with_samples(report).layers().set_index("tensor")
    assert list(layers.index) == NATURAL
    row = layers.loc["h.10.attn.q.weight"]
    assert (row.null, row.arrangement, row.verdict) == ("scaled", 1 - 900 / 950, "structure")
    assert row.structure_bits == 200  # of the whole tensor, against shuffles
    assert row.weights == PLAIN.size
    assert layers.share.tolist() == pytest.approx([0.2] * 5)


def test_groups_are_sums_of_layers(report, layers):
    kinds = report.layer_groups()
    assert list(kinds.columns) == GROUPS
    assert kinds.group.tolist() == ["q", "mlp", "norm", "head", "bias"]
    assert kinds.weights.sum() == layers.weights.sum()
    depths = report.layer_groups("depth").set_index("group")
    assert depths.tensors.tolist() == [2, 1, 1, 1]
    nine = layers[layers.depth == 9]
    bits = (nine.bits_per_weight * nine.weights).sum() / nine.weights.sum()
    assert depths.bits_per_weight[9] == pytest.approx(bits)
    assert (depths.share[9], depths.tested[100]) == (1, 0)


def test_what_cannot_be_asked(report):
    whole = kolmo.analyze(MODEL, scope="model", **OPTIONS)
    with pytest.raises(InputError, match="no tensor scope"):
        whole.layers()
    with pytest.raises(InputError, match="unknown way to group layers 'size'"):
        report.layer_groups("size")
    with pytest.raises(InputError, match="quantizer 'sign'"):
        report.layers("sign")


def test_native_bounds_are_taken_if_there_are_any():
    options = {**OPTIONS, "quantizers": ["symmetric:4", "native"], "estimators": ["kt"]}
    report = kolmo.analyze({"w": PLAIN}, **options)
    assert report.layers().quantizer.tolist() == ["native"]
    assert report.layers("symmetric:4").quantizer.tolist() == ["symmetric:4"]


def test_a_terminal_lists_tensors_in_natural_order(report, capsys):
    show(report)
    printed = capsys.readouterr().out
    places = [printed.index(name.rpartition(".")[0]) for name in NATURAL[1:4]]
    assert places == sorted(places)


def test_the_shell_prints_a_line_for_each_layer():
    command = [sys.executable, "-m", "kolmo", "analyze", "data/trained.safetensors", "--layers"]
    command += ["-q", "sign", "-e", "kt", "--no-store"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = printed[printed.index("Layers:") :].splitlines()[1:]
    assert len(lines) == 10
    assert lines[1].startswith("  layers.0 (mlp, 4,096): ")
