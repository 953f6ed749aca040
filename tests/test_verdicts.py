"""Verdicts: structure is found where it is, not found where it is not, and else untested."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kolmo
from kolmo.errors import InputError
from kolmo.significance import draws_needed
from kolmo.verdicts import family_rows

DATA = Path(__file__).parent.parent / "data"
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(size=(40, 60)).astype(np.float32)
TILED = np.tile(NOISE[:, :6], 10)


def said(report):
    """The verdicts, one a line."""
    text = report.summary()
    return [line.strip() for line in text.split("Verdicts:\n")[1].splitlines()]


def analyze(source, estimators=("zstd:3@packed",), draws=39, scope="model", **options):
    return kolmo.analyze(source, quantizers=["symmetric:4"], estimators=list(estimators),
                         nulls=["shuffled"], draws=draws, scope=scope, **options)  # fmt: skip


def test_a_mosaic_has_structure_and_a_shuffled_model_has_none():
    trained = kolmo.open_checkpoint(DATA / "trained.safetensors")
    random = np.random.default_rng(9)
    shuffled = {
        name: random.permutation(tensor.read().reshape(-1)).reshape(tensor.shape)
        for name, tensor in trained.items()
    }
    options = {"quantizers": ["symmetric:8"], "nulls": ["shuffled"], "draws": 39, "scope": "model"}
    sources = {"mosaic": DATA / "momos.safetensors", "shuffled": shuffled}
    report = kolmo.compare(sources, estimators=["xz:1"], **options)
    lines = said(report)
    assert re.fullmatch(
        r"mosaic, symmetric:8: structure beyond the value distribution: 5\d\.\d+ % ± 0\.\d+ "
        r"\(bound, xz:1@bytes; 39 shuffles, p = \.05\)", lines[0],
    )  # fmt: skip
    assert lines[1].startswith("shuffled, symmetric:8: no structure found beyond the value distr")
    assert "at α = .05" in lines[1]
    row = report.table[report.table.checkpoint == "mosaic"].iloc[0]
    share = float(re.search(r": (\d+\.\d+) %", lines[0])[1])
    assert share == pytest.approx(100 * (1 - row.bits / row.null_bits), abs=0.06)


def test_a_verdict_does_not_depend_on_threads():
    one, four = (analyze({"w": TILED}, threads=threads) for threads in (1, 4))
    assert one.summary() == four.summary()
    pd.testing.assert_frame_equal(
        one.table.drop(columns="seconds"), four.table.drop(columns="seconds")
    )


def test_too_few_draws_give_figures_and_no_verdict():
    lines = said(analyze({"w": TILED}, ["zstd:3@packed", "xz:1", "kt"], draws=5))
    assert "untested" in lines[0]
    assert "5 shuffles)" in lines[0]
    assert (
        lines[1] == "a test takes 39 draws, and 79 for 2 estimators at once, by --draws; it had 5"
    )
    assert lines[2] == "kt costs the same in every draw and is no evidence of structure"
    assert not any("structure beyond" in line or "no structure found" in line for line in lines)


def test_39_draws_are_too_few_for_two_estimators_at_once():
    """Holm's correction would need p ≤ .025 of one of them."""
    lines = said(analyze({"w": TILED}, ["zstd:3@packed", "xz:1@packed"]))
    assert "untested" in lines[0]
    lines = said(analyze({"w": TILED}, ["zstd:3@packed", "xz:1@packed"], draws=79))
    assert "structure beyond the value distribution" in lines[0]
    assert "p = .05 after Holm's correction over 2); " in lines[0]
    assert lines[0].endswith(" sees it too")


def test_without_a_null_it_says_what_to_run():
    report = kolmo.analyze({"w": TILED}, quantizers=["sign"], estimators=["kt"])
    assert said(report) == [
        "no verdict on structure without shuffles to compare with: measure with --null shuffled "
        '--draws 39 (nulls=["shuffled"], draws=39)'
    ]
    uniform = kolmo.analyze({"w": TILED}, quantizers=["sign"], estimators=["kt"], draws=2,
                            nulls=["uniform"])  # fmt: skip
    assert said(uniform)[0].startswith("no verdict on structure without shuffles")


def test_what_no_shuffle_moves_tells_nothing():
    lines = said(analyze({"w": TILED}, ["kt", "entropy"]))
    assert lines == [
        "model, symmetric:4: no verdict on structure beyond the value distribution: kt and entropy "
        "cost the same in every draw",
        "kt and entropy cost the same in every draw and are no evidence of structure",
    ]


def test_the_shortest_bound_is_named_where_it_sees_nothing():
    report = analyze({"w": TILED}, ["zstd:3@packed", "kt"])
    table = report.table.copy()
    table.loc[table.estimator == "kt", ["bits", "null_bits"]] = 10.0
    lines = said(dataclasses.replace(report, table=table))
    assert lines[0].endswith("; kt, the shortest bound, does not")


def test_rows_are_told_from_what_lies_beyond_them():
    """Rows of two scales: structure beyond the values, none beyond what each row holds."""
    scaled = NOISE * np.repeat([0.05, 1], 20)[:, None].astype(np.float32)
    report = kolmo.analyze({"w": scaled}, quantizers=["symmetric:4"], estimators=["zstd:3@packed"],
                           nulls=["shuffled", "row-shuffled"], draws=39, scope="model")  # fmt: skip
    lines = said(report)
    assert "structure beyond the value distribution: " in lines[0]
    assert "no structure found beyond what each row holds at α = .05: " in lines[1]
    assert "39 row shuffles" in lines[1]


def tensors(draws, scope="tensor"):
    model = {"a": NOISE, "b": TILED, "c": NOISE[::-1].copy(), "d": TILED[:, ::-1].copy()}
    return analyze(model, ["zstd:3@packed", "kt"], draws, scope)


def test_tensors_are_counted_after_holms_correction():
    report = tensors(draws_needed(4))
    assert said(report)[0] == (
        "model, symmetric:4: structure beyond the value distribution in 2 of 4 tensors after "
        "Holm's correction over 4 tests (b, d)"
    )
    tests = report.significance(scope="tensor")
    fewer = tests[tests.significant & (tests.bits < tests.null_bits)]  # the tests are two-sided
    assert fewer.tensor.tolist() == ["b", "d"]
    assert fewer.p_holm.tolist() == pytest.approx([4 * 2 / 160] * 2)
    assert tests[tests.estimator == "kt"].evidence.eq("the same in every draw").all()
    assert tests[tests.evidence == ""].tests.eq(4).all()


def test_tensors_that_cannot_be_corrected_are_not_named():
    lines = said(tensors(39))
    assert re.search(
        r"2 of 4 tests on 4 tensors have p ≤ \.05 .* where chance makes 0\.1", lines[0]
    )
    assert "Holm's correction over 4 tests takes 159 draws, not 39" in lines[0]
    assert "takes 159 draws, not 3" in said(tensors(3))[0]


def test_significance_asks_for_draws_enough():
    with pytest.raises(InputError, match=r"39 draws of shuffled cannot reach α = 0.05 after Holm's "
                       "correction over 4 tests: measure with draws=159"):  # fmt: skip
        tensors(39).significance(scope="tensor")
    with pytest.raises(InputError, match="draws=39"):
        analyze({"w": NOISE}, draws=5).significance()
    with pytest.raises(InputError, match="draws=199"):
        analyze({"w": NOISE}).significance(alpha=0.01)
    with pytest.raises(InputError, match=r"nulls=\['row-shuffled'\]"):
        analyze({"w": NOISE}).significance("row-shuffled")
    assert analyze({"w": TILED}).significance().significant.tolist() == [True]


def test_a_code_that_loses_by_the_order_is_no_structure():
    report = analyze({"w": NOISE})
    table = report.table.assign(bits=report.table.null_bits + 100, p=0.05)
    lines = said(dataclasses.replace(report, table=table))
    assert "its order is not random, but no code gains by it: −" in lines[0]


def test_saturated_bdm_is_no_evidence():
    large = {"w": RANDOM.normal(size=(700, 700)).astype(np.float32)}
    report = kolmo.analyze(large, quantizers=["sign"], estimators=["bdm"], nulls=["shuffled"],
                           draws=2, scope="model")  # fmt: skip
    assert family_rows(report.table, "shuffled").evidence.tolist() == ["saturated"]
    lines = said(report)
    assert lines[0].endswith(": bdm is saturated")
    assert any(line.startswith("bdm is saturated in 1 of 1 measurements") for line in lines)


def test_planes_are_counted_in_words():
    report = kolmo.analyze({"w": NOISE}, quantizers=["native", "sign"], estimators=["planes"])
    counts = report.bitplanes().query("scope == 'model'").groupby("quantizer").differs.sum()
    assert said(report)[-1] == (
        f"model: {counts['native']} of 32 (native) and {counts['sign']} of 1 (sign) bit-planes "
        f"differ from coin flips (planes; α = .05 after Holm's correction)"
    )


def test_noise_raises_no_more_alarms_than_the_level():
    """Of 80 tensors of noise at most some 5 % have p ≤ .05; and none is left after correction."""
    random = np.random.default_rng(5)
    noise = {f"w{i}": random.normal(size=150).astype(np.float32) for i in range(80)}
    report = kolmo.analyze(noise, quantizers=["sign"], estimators=["lz76"], draws=39,
                           nulls=["shuffled"], scope="tensor")  # fmt: skip
    alarms = (report.table.p <= 0.05).sum()
    assert alarms <= 0.05 * 80 + 3 * np.sqrt(0.05 * 0.95 * 80)
    assert report.table.p.notna().all()
    assert not (family_rows(report.table, "shuffled").p_holm <= 0.05).any()
