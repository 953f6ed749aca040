"""The sentences of a study: each says what its figures carry, whatever these are."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from kolmo.report.columns import COLUMNS
from kolmo.report.table import normalize
from momos.lab.arms import StudyConfig
from momos.lab.plots import story_figure
from momos.lab.story import ends, story
from momos.lab.words import findings, resolution

WEIGHTS = 1000
CONFIG = StudyConfig(quantizer="symmetric:8")


def point(arm, epoch, bounds, *, seed=0, quantizer="symmetric:8", draws=39, kind="bound", **facts):
    """A checkpoint's rows: by estimator its bits a weight, those of its shuffles, their sd, p."""
    rows = [
        {
            **dict.fromkeys(COLUMNS),
            "checkpoint": str(epoch),
            "scope": "model",
            "quantizer": quantizer,
            "estimator": estimator,
            "kind": kind,
            "numel": WEIGHTS,
            "covered": WEIGHTS,
            "bits": WEIGHTS * bits,
            "bits_per_weight": bits,
            "null": "shuffled",
            "sampled": 1,
            "null_draws": draws,
            "null_bits": WEIGHTS * own,
            "null_sd": WEIGHTS * sd,
            "p": p,
        }
        for estimator, (bits, own, sd, p) in bounds.items()
    ]
    facts = {"zero_tail": 1.0, "peak": 1.7, **facts}
    table = normalize(pd.DataFrame(rows, columns=COLUMNS))
    return table.assign(arm=arm, seed=seed, epoch=epoch, **facts)


def blind(bits):
    """A code that only counts: the same in every draw."""
    return (bits, bits, 0.0, 1.0)


def told(*points, table=None, config=CONFIG):
    """The findings of these checkpoints; of nothing but them if there are no finished ones."""
    trajectory = pd.concat(points, ignore_index=True)
    return findings(trajectory, finished() if table is None else table, config)


def finished(*runs):
    """A table of finished checkpoints: arm, accuracy, bits a weight."""
    rows = [
        {
            "arm": arm,
            "seed": 0,
            "test_accuracy": accuracy,
            "lossless": True,
            "sampled": 1,
            "nominal_bits_per_weight": 32,
            "file_bits_per_weight": math.nan,
            "file_bytes": math.nan,
            "kind": "bound",
            "quantizer": "native",
            "estimator": "kt",
            "numel": WEIGHTS,
            "bits": WEIGHTS * bits,
        }
        for arm, accuracy, bits in runs or [("init", 0.1, 25.0)]
    ]
    return pd.DataFrame(rows)


START = point("init", 0, {"kt": blind(8.0), "context": (8.03, 8.03, 0.001, 0.6)})
UNSURE = "The initial weights cost what their shuffles cost (p ≥ .6, 39 shuffles)."


def test_a_fall_of_values_alone_and_a_small_arrangement():
    end = point("dense", 60, {"kt": blind(7.6), "context": (7.63, 7.6323, 0.0005, 0.05)}, peak=6.3)
    assert told(START, end) == [
        "dense: bits at 8-bit resolution fall by 5.0 % in training (8.000 → 7.600 bits per "
        "weight). All of the fall is the distribution of the values. At the end their "
        "arrangement saves 0.030 % (context, not the shortest bound; 39 shuffles; p ≤ .05). The "
        "levels are scaled by the largest weight of a tensor, which grows from 1.7 to 6.3 standard "
        "deviations: most weights then share fewer levels.",
        UNSURE,
    ]


def test_a_rise_without_arrangement():
    end = point("dense", 60, {"kt": blind(8.4), "context": (8.42, 8.4201, 0.001, 0.35)}, peak=6.3)
    assert told(START, end)[0] == (
        "dense: bits at 8-bit resolution rise by 5.0 % in training (8.000 → 8.400 bits per "
        "weight). All of the rise is the distribution of the values. No arrangement was found at "
        "the end (context, not the shortest bound; 39 shuffles; p ≥ .35)."
    )


@pytest.mark.parametrize(("equal", "of_levels"), [(5.15, True), (4.9, False)])
def test_a_fall_at_fixed_levels_is_set_against_equal_errors(equal, of_levels):
    nmse = StudyConfig().quantizer
    assert nmse == "nmse:0.001,axis=tensor"
    lines = told(
        point("init", 0, {"kt": blind(8.0)}),
        point("dense", 60, {"kt": blind(7.6)}, peak=6.3),
        point("init", 0, {"kt": blind(5.0)}, quantizer=nmse),
        point("dense", 60, {"kt": blind(equal)}, quantizer=nmse, peak=6.3),
        config=StudyConfig(),
    )
    assert lines[0].startswith("dense: bits at a relative error of 0.001 " + (
        "rise by 3.0 %" if of_levels else "fall by 2.0 %"
    ))  # fmt: skip
    assert len(lines) == 1 + of_levels
    if of_levels:
        assert lines[1].startswith("dense: bits at 8-bit resolution fall by 5.0 %")
        assert lines[1].endswith("That is of the levels: at equal errors the bits do not fall.")


def test_half_of_a_fall_is_arrangement():
    end = point("momos-0.05", 60, {"kt": blind(6.0), "mosaic": (4.0, 6.0, 0.0, 0.05)})
    (line, _) = told(START, end)
    assert "fall by 50 % in training (8.000 → 4.000" in line
    assert "50 % of the fall is the distribution of the values, 50 % their arrangement." in line
    assert "saves 33 % (mosaic; 39 shuffles; p ≤ .05)" in line


def test_a_part_that_is_hardly_there_is_no_finding():
    end = point("learned-0.3", 60, {"mosaic": (4.0, 4.002, 0.01, 0.2)})
    line = told(START, end)[0]
    assert "Nearly all of the fall is the distribution of the values. No arrangement was" in line


def test_values_and_arrangement_may_pull_against_each_other():
    end = point("dense", 60, {"mosaic": (7.2, 8.8, 0.01, 0.05)})
    line = told(START, end)[0]
    assert "fall by 10.0 %" in line
    assert "Their distribution alone makes 10 % more, their arrangement 20 % less." in line


def test_what_hardly_changes_is_no_finding():
    end = point("dense", 60, {"kt": blind(8.001), "context": (8.03, 8.03, 0.001, 1.0)})
    assert told(START, end)[0] == (
        "dense: bits at 8-bit resolution hardly change in training (8.000 → 8.001 bits per "
        "weight). No arrangement was found at the end (context, not the shortest bound; 39 "
        "shuffles; p ≥ 1)."
    )


def test_an_order_that_is_worse_than_chance_is_no_structure_found():
    end = point("dense", 60, {"context": (8.1, 8.0, 0.001, 0.05)})
    assert "arrangement costs more than chance, 1.2 % (context; 39 shuffles; p ≤ .05)" in told(
        START, end
    )[0]  # fmt: skip


def test_too_few_draws_are_no_test():
    start = point("init", 0, {"context": (8.0, 8.0, 0.001, math.nan)}, draws=3)
    end = point("dense", 60, {"context": (7.9, 8.0, 0.001, math.nan)}, draws=3)
    (line,) = told(start, end)
    assert "cost 1.2 % less than their shuffles (context; 3 shuffles)" in line
    assert "which is no test: 3 shuffles cannot reach p ≤ .05, 39 can" in line
    worse = point("dense", 60, {"context": (8.1, 8.0, 0.001, math.nan)}, draws=1)
    assert "cost 1.2 % more than their shuffles (context; 1 shuffle)" in told(start, worse)[0]
    assert "was found" not in line


def test_where_nothing_can_see_an_order_that_is_said():
    start, end = (point(a, e, {"kt": blind(8.0 - e / 60)}) for a, e in (("init", 0), ("dense", 60)))
    (line,) = told(start, end)
    assert line.endswith("No bound here can see an arrangement.")


def test_seeds_are_counted_and_their_spread_is_shown():
    points = []
    for seed, p in enumerate((0.05, 0.05, 0.4)):
        saved = 0.08 if p <= 0.05 else 0.001
        bounds = {"context": (7.0 + seed / 10, 7.0 + seed / 10 + saved, 0.01, p)}
        points += [START.assign(seed=seed), point("dense", 60, bounds, seed=seed)]
    line, other = told(*points)
    falls = [100 * (1 - bits / 8) for bits in (7.0, 7.1, 7.2)]
    assert f"fall by {np.mean(falls):.1f} ± {np.std(falls, ddof=1):.1f} %" in line
    assert "p ≤ .05 in 2 of 3 seeds)" in line
    assert other == UNSURE


def test_an_initialization_that_differs_from_its_shuffles_is_told():
    start = point("init", 0, {"context": (7.9, 8.0, 0.001, 0.05)})
    end = point("dense", 60, {"context": (7.8, 8.0, 0.001, 0.05)})
    assert told(start, end)[1] == "The initial weights differ from their shuffles too (p = .05)."


@pytest.mark.parametrize(("tail", "explained"), [(5.6, True), (1.0, False)])
def test_a_rise_at_full_precision_is_explained_where_zeros_are_filled(tail, explained):
    start = point("init", 0, {"kt": blind(25.2)}, quantizer="native", zero_tail=tail)
    end = point("dense", 60, {"kt": blind(26.52)}, quantizer="native", zero_tail=1.0)
    (line,) = told(start, end)
    assert "the weights of dense cost more after training than before: 25.20 → 26.52" in line
    assert ("end on 5.6 zero bits on average" in line) == explained
    fallen = point("dense", 60, {"kt": blind(20.0)}, quantizer="native", zero_tail=1.0)
    assert told(start, fallen) == []


def test_the_published_figure_stands_beside_that_of_the_shuffle():
    start, end = (
        point(arm, epoch, {"bdm": (bits, own, 0.001, 0.7)}, quantizer="sign", kind="estimate")
        for arm, epoch, bits, own in (("init", 0, 0.64, 0.64), ("dense", 60, 0.608, 0.6112))
    )
    assert told(start, end) == [
        "BDM of the signs, the figure of the paper, an estimate, in percent of the "
        "initialization's: dense 95.00 (shuffled 95.50, p = .7)."
    ]
    full = told(start, end.assign(saturated=True))[0]
    assert full.endswith(" It is saturated, and can hardly tell such networks apart.")


def test_the_smallest_of_the_good_arms_is_named():
    table = finished(("init", 0.1, 25), ("dense", 0.972, 26.5), ("qat4", 0.968, 3.4))
    assert told(START, table=table)[-1] == (
        "Best test accuracy: 0.972, dense, at 26.50 bits per weight; within 0.01 of it qat4 takes "
        "least, 3.40 (0.968)."
    )
    table = finished(("init", 0.1, 25), ("dense", 0.972, 26.5), ("qat4", 0.9, 3.4))
    assert told(START, table=table)[-1].endswith("dense, at 26.50 bits per weight.")
    table = finished(("init", 0.1, 25), ("dense", 0.972, 26.5))
    assert told(START, table=table) == [UNSURE]


# --- the story under the sentences, and its figure -----------------------------------------------


def test_parts_add_up_whichever_bound_is_shortest():
    start = point("init", 0, {"kt": blind(8.0), "mosaic": (8.1, 8.1, 0.0, 1.0)})
    end = point("momos-0.1", 60, {"kt": blind(7.5), "mosaic": (4.5, 7.6, 0.0, 0.05)})
    points = story(pd.concat([start, end]), "symmetric:8")
    assert points["epoch"].tolist() == [0, 60]
    (run,) = ends(points).to_dict("records")
    assert run["saved"] == pytest.approx(3.5)
    assert (run["by_values"], run["by_order"]) == pytest.approx((0.5, 3.0))
    assert (run["last_estimator"], run["last_shuffled_estimator"]) == ("mosaic", "kt")
    assert run["last_to_shuffled"] == pytest.approx(4.5 / 7.6)


def test_the_figure_has_a_line_for_each_arm_and_shows_a_tenth_of_a_percent():
    middle = point("dense", 30, {"context": (7.79, 7.8, 0.001, 0.3)}, draws=5)
    end = point("dense", 60, {"context": (7.7, 7.71, 0.001, 0.05)})
    mosaic = point("momos-0.1", 60, {"mosaic": (4.0, 8.0, 0.0, 0.05)})
    figure = story_figure(story(pd.concat([START, middle, end, mosaic]), "symmetric:8"), "Bits")
    left, right = figure.axes
    lines = {line.get_label(): line for line in left.lines}
    assert lines["dense"].get_xdata().tolist() == [0, 30, 60]
    assert lines["dense"].get_ydata() == pytest.approx([100, 100 * 7.79 / 8, 100 * 7.7 / 8])
    assert lines["momos-0.1"].get_ydata() == pytest.approx([100, 50])
    saved = right.lines[0].get_ydata()
    assert saved == pytest.approx([0, 100 * 0.01 / 7.8, 100 * 0.01 / 7.71])
    assert right.get_yscale() == "symlog"
    low, high = right.transData.transform([(0, 0), (0, saved[-1])])[:, 1]
    assert high - low > 20  # pixels between no arrangement and a tenth of a percent of it


@pytest.mark.parametrize(
    ("quantizer", "words"),
    [
        ("symmetric:4,axis=row", "at 4-bit resolution"),
        ("nmse:0.001,axis=tensor", "at a relative error of 0.001"),
        ("codebook:16", "seen through codebook:16"),
    ],
)
def test_what_weights_are_seen_through_is_told(quantizer, words):
    assert resolution(quantizer) == words
