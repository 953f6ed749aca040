"""Verdicts: structure is found where it is, not found where it is not, and else untested."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

import kolmo
from kolmo.errors import InputError
from kolmo.pvalues import draws_needed, permutation_p
from kolmo.report import significance

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


@pytest.mark.parametrize("estimator", ["xz:1", "context", "mosaic"])
def test_a_mosaic_has_structure_and_the_same_model_shuffled_has_none(estimator):
    """The values are the same, and so is every order-0 length: only places differ."""
    mosaic = kolmo.open_checkpoint(DATA / "momos.safetensors")
    random = np.random.default_rng(9)
    shuffled = {
        name: random.permutation(tensor.read().reshape(-1)).reshape(tensor.shape)
        for name, tensor in mosaic.items()
    }
    options = {"quantizers": ["symmetric:8"], "nulls": ["shuffled"], "draws": 39, "scope": "model"}
    sources = {"mosaic": mosaic, "shuffled": shuffled}
    report = kolmo.compare(sources, estimators=[estimator, "kt"], **options)
    found, none = said(report)[:2]
    assert found.startswith("mosaic, symmetric:8: structure beyond the value distribution: ")
    assert re.search(r"\d+\.\d+ % ± \d+\.\d+ \(bound, .*; 39 shuffles, p = \.05\)", found)
    assert re.match(r"shuffled, symmetric:8: no (structure found|verdict on structure)", none)
    kt = report.table[report.table.estimator == "kt"].set_index("checkpoint")
    assert kt.bits["mosaic"] == kt.bits["shuffled"]
    row = report.table[report.table.checkpoint == "mosaic"].iloc[0]
    share = float(re.search(r": (\d+\.\d+) %", found)[1])
    assert share == pytest.approx(100 * (1 - row.bits / row.null_bits), abs=0.06)


def test_the_range_of_a_verdict_is_that_of_one_more_draw():
    report = analyze(
        {"w": np.random.default_rng(1).normal(size=(64, 64))}, ["xz:1@packed"], draws=5
    )
    row = report.table.iloc[0]
    widths = stats.t.ppf(0.975, 4) * row.null_sd * math.sqrt(1 + 1 / 5)
    shown = float(re.search(r"untested: .* % ± (\d\.\d+) ", report.summary())[1])
    assert shown == pytest.approx(100 * widths / row.null_bits, abs=0.05)  # it has one decimal


def test_z_of_few_draws_names_them():
    for draws in (5, 39):
        report = analyze({"w": TILED}, ["context"], draws=draws)
        z = f"z = {report.table.z.iloc[0]:.1f}"
        assert re.search(
            rf"{z}, p = " if draws == 39 else rf"{z} of 5 draws$", report.summary(), re.M
        )


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
    assert lines[1] == "a test takes 39 draws, by draws=39; it had 5"
    assert lines[2] == "kt costs the same in every draw and is no evidence of structure"
    assert not any("structure beyond" in line or "no structure found" in line for line in lines)


def reach(figures):
    """How low the figures of each estimator reach, whichever of them is the actual one."""
    rows = pd.DataFrame(
        {
            "bits": figures[:, 0],
            "null_bits": figures[:, 1:].mean(axis=1),
            "null_sd": figures[:, 1:].std(axis=1, ddof=1),
            "null_draws": figures.shape[1] - 1,
        }
    )
    return significance._reach(rows)[0].to_numpy()


@given(hnp.arrays(np.float64, (3, 8), elements=st.floats(1, 1000)), st.integers(1, 7))
def test_the_lead_is_chosen_alike_whichever_figure_is_the_actual_one(figures, other):
    """So that among exchangeable figures p stays valid, as if there had been no choice."""
    swapped = figures.copy()
    swapped[:, [0, other]] = figures[:, [other, 0]]
    assert reach(swapped) == pytest.approx(reach(figures), abs=1e-6)
    assert (reach(figures) <= figures.min(axis=1) + 1e-6).all()


def test_one_figure_apart_from_all_others_is_reached_exactly():
    assert reach(np.array([[3.0, 9, 9, 9, 9]])) == pytest.approx([3])


def table_of(figures):
    """A table of objects × estimators × figures, the first of which is the actual one."""
    columns = ["tensor", "estimator", "bits", "null_bits", "null_sd", "null_draws", "p"]
    rows = [
        (f"t{i}", f"e{e}", x[0], x[1:].mean(), x[1:].std(ddof=1), x.size - 1,
         permutation_p(x[0], x[1:]))
        for i, estimators in enumerate(figures)
        for e, x in enumerate(estimators)
    ]  # fmt: skip
    same = {"checkpoint": "m", "scope": "tensor", "quantizer": "sign", "kind": "bound"}
    return pd.DataFrame(rows, columns=columns).assign(
        **same, null="shuffled", saturated=False, numel=9, covered=9
    )


def test_choosing_among_four_estimators_raises_no_more_alarms():
    """Of 1,000 objects without structure at most 5 % (within 3 sd) have a lead with p ≤ .05; of
    the shortest actual figure, the choice that suggests itself, far more have."""
    figures = np.random.default_rng(2).normal(1000, 10, (1000, 4, 40))
    rows = significance.family_rows(table_of(figures), "shuffled")
    assert rows.groupby("tensor").lead.sum().eq(1).all()
    limit = 0.05 * 1000 + 3 * np.sqrt(0.05 * 0.95 * 1000)
    assert (rows[rows.lead].p <= 0.05).sum() <= limit
    shortest = rows.loc[rows.groupby("tensor").bits.idxmin()]
    assert (shortest.p <= 0.05).sum() > limit


def test_where_there_is_structure_the_best_bound_leads():
    report = analyze({"w": TILED}, ["zstd:3@packed", "xz:1@packed", "lz76", "kt"])
    rows = significance.family_rows(report.table, "shuffled")
    bounds = rows[rows.kind == "bound"]
    assert rows[rows.lead].estimator.tolist() == [bounds.estimator[bounds.bits.idxmin()]]
    assert rows[rows.lead].tests.tolist() == [1]


def test_without_a_null_it_says_what_to_run():
    report = kolmo.analyze({"w": TILED}, quantizers=["sign"], estimators=["kt"])
    assert said(report) == [
        'no verdict on structure without draws to compare with: measure with nulls="auto"'
    ]
    uniform = kolmo.analyze({"w": TILED}, quantizers=["sign"], estimators=["kt"], draws=2,
                            nulls=["uniform"])  # fmt: skip
    assert said(uniform)[0].startswith("no verdict on structure without draws")


def test_p_of_a_fitted_null_is_called_approximate():
    """A shuffle's is not: it is exact."""
    report = kolmo.analyze({"w": NOISE}, quantizers=["symmetric:4"], estimators=["zstd:3@packed"],
                           nulls=["shuffled", "gaussian"], draws=39, scope="model")  # fmt: skip
    measured, *lines = report.summary().split("Verdicts:\n")[0].splitlines()[1], *said(report)
    shuffled, gaussian = measured.split("; ")[1:3]
    assert re.search(r"shuffled null, .*p = [\d.]+$", shuffled)
    assert re.search(r"gaussian null, .*p ≈ [\d.]+$", gaussian)
    assert lines[-1].startswith("p-values of the gaussian null are approximate")
    assert not any("approximate" in line for line in said(analyze({"w": NOISE})))


def test_what_no_shuffle_moves_tells_nothing():
    lines = said(analyze({"w": TILED}, ["kt", "entropy"]))
    assert lines == [
        "arrays, symmetric:4: no verdict on structure beyond the value distribution: kt and "
        "entropy cost the same in every draw",
        "kt and entropy cost the same in every draw and are no evidence of structure",
    ]


def test_the_shortest_bound_is_named_where_it_sees_nothing():
    report = analyze({"w": TILED}, ["zstd:3@packed", "kt"])
    table = report.table.copy()
    table.loc[table.estimator == "kt", ["bits", "null_bits"]] = 10.0
    lines = said(dataclasses.replace(report, table=table))
    assert lines[0].endswith("; kt, the shortest bound, costs the same in every draw")


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
        "arrays, symmetric:4: structure beyond the value distribution in 2 of 4 tensors after "
        "Holm's correction over 4 tests (b, d)"
    )
    tests = report.significance(scope="tensor")
    assert tests[tests.lead].estimator.eq("zstd:3").all()
    fewer = tests[tests.significant & (tests.bits < tests.null_bits)]  # the tests are two-sided
    assert fewer.tensor.tolist() == ["b", "d"]
    assert fewer.p_holm.tolist() == pytest.approx([4 * 2 / 160] * 2)
    assert tests[tests.estimator == "kt"].evidence.eq("the same in every draw").all()
    assert tests[tests.lead].tests.eq(4).all()
    assert tests[~tests.lead].p_holm.isna().all()


def test_tensors_that_cannot_be_corrected_are_not_named():
    lines = said(tensors(39))
    assert re.search(r"2 of 4 tensors have p ≤ \.05 .* where chance makes 0\.1", lines[0])
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
    with pytest.raises(InputError, match='nulls="row-shuffled"'):
        analyze({"w": NOISE}).significance("row-shuffled")
    assert analyze({"w": TILED}).significance().significant.tolist() == [True]


def test_a_code_that_loses_by_the_order_is_no_structure():
    report = analyze({"w": NOISE})
    table = report.table.assign(bits=report.table.null_bits + 100, p=0.05)
    lines = said(dataclasses.replace(report, table=table))
    assert "arrays, symmetric:4: costs more than its shuffles, by more than chance: −" in lines[0]


def pair(draws, scope="model"):
    options = {"quantizers": ["symmetric:4"], "nulls": ["shuffled"], "draws": draws}
    noise = np.random.default_rng(3).normal(size=(2, 40, 40))
    sources = {"tiled": {"a": TILED, "b": TILED}, "noise": {"a": noise[0], "b": noise[1]}}
    return kolmo.compare(sources, estimators=["lz76"], scope=scope, **options)


def test_several_verdicts_say_what_they_are_worth_together():
    lines = said(pair(39))
    assert lines[2] == (
        "of these 2 tests the chance of one false structure or more is up to 5 %; Holm's "
        "correction over them takes 79 draws"
    )
    assert said(pair(79))[2].endswith("; after Holm's correction 1 of them is significant")
    assert not any(
        "false structure" in line for line in [*said(pair(5)), *said(analyze({"w": TILED}))]
    )


def test_tensors_are_one_verdict_and_count_only_where_they_have_one():
    assert not any("false structure" in line for line in said(pair(39, "tensor")))
    lines = said(pair(79, "tensor"))
    assert any(line.startswith("of these 2 tests the chance") for line in lines)
    lines = said(pair(79, "both"))
    assert any("of these 4 tests the chance of one false structure or more is up to 10 %" in line
               for line in lines)  # fmt: skip


def test_so_many_verdicts_on_noise_raise_as_many_alarms_and_no_more():
    """2,000 reports of 6 verdicts on exchangeable figures: one or more in at most 15 %."""
    figures = np.random.default_rng(0).normal(size=(2000, 6, 40))
    p = np.array([[permutation_p(row[0], row[1:]) for row in report] for report in figures])
    fewer = figures[:, :, 0] < figures[:, :, 1:].mean(axis=2)
    share = ((p <= 0.05) & fewer).any(axis=1).mean()
    assert 0.10 < share < 0.15 + 2 * math.sqrt(0.15 * 0.85 / 2000)


def test_saturated_bdm_is_no_evidence():
    large = {"w": RANDOM.normal(size=(700, 700)).astype(np.float32)}
    report = kolmo.analyze(large, quantizers=["sign"], estimators=["bdm"], nulls=["shuffled"],
                           draws=2, scope="model")  # fmt: skip
    assert significance.family_rows(report.table, "shuffled").evidence.tolist() == ["saturated"]
    lines = said(report)
    assert lines[0].endswith(": bdm is saturated")
    assert any(line.startswith("bdm is saturated in 1 of 1 measurements") for line in lines)


def test_planes_are_counted_in_words():
    report = kolmo.analyze({"w": NOISE}, quantizers=["native", "sign"], estimators=["planes"])
    counts = report.bitplanes().query("scope == 'model'").groupby("quantizer").differs.sum()
    assert said(report)[-1] == (
        f"arrays: {counts['native']} of 32 (native) and {counts['sign']} of 1 (sign) bit-planes "
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
    assert not (significance.family_rows(report.table, "shuffled").p_holm <= 0.05).any()
