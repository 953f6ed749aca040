"""Limits of time: what is chosen, that samples hold the exact figure, that runs end."""

from itertools import pairwise

import numpy as np
import pytest

import kolmo
from kolmo.budgets import budget_seconds, within
from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.errors import InputError
from kolmo.estimators.sampled import Sampled
from kolmo.estimators.strata import make_strata
from kolmo.intervals import student_quantile
from kolmo.measure import Measurement, Plan
from kolmo.rates import Rates


def measured(estimator, symbols, alphabet, step=None):
    started = estimator.start(symbols.shape, alphabet)
    flat = symbols.reshape(-1)
    for start in range(0, flat.size, step or flat.size):
        started.update(flat[start : start + (step or flat.size)])
    return started.finish()


@pytest.fixture(scope="module")
def halves():
    """Weights of float16 whose rows have scales of their own."""
    draw = np.random.default_rng(1)
    scales = np.exp(draw.normal(size=(4096, 1)))
    return (draw.normal(size=(4096, 1024)) * scales).astype(np.float16).view(np.uint16)


@pytest.mark.parametrize("code", ["zstd:3", "zstd:3@shuffle"])
def test_intervals_hold_the_exact_figure(halves, code):
    whole = kolmo.get_estimator(code)
    exact, base = measured(whole, halves, 1 << 16).bits, Sampled.by(whole, 64, 0)
    found = [
        measured(Sampled(base.of, 64, 4096, 4096, seed, base.layout), halves, 1 << 16)
        for seed in range(12)
    ]
    inside = [abs(f.bits - exact) <= student_quantile(f.degrees) * f.standard_error for f in found]
    assert len({f.bits for f in found}) == 12
    assert sum(inside) >= 11


def test_chunks_and_skipping_change_no_bit(halves):
    sampled = Sampled("zstd:1", 64, 4096, 4096)
    once, pieces = (measured(sampled, halves, 1 << 16, step) for step in (None, 99_999))
    started = sampled.start(halves.shape, 1 << 16).inner
    for row in halves.reshape(-1, 2048):
        if started.needs(row.size):
            started.update(row)
        else:
            started.skip(row.size)
    assert once == pieces == started.finish()
    assert 0 < once.sampled < 1
    assert once.kind == "estimate"


def test_what_is_hardly_larger_than_its_sample_is_whole():
    symbols = np.random.default_rng(0).integers(0, 9, 10_000).astype(np.uint8)
    found = measured(Sampled("gzip:6"), symbols, 9)
    assert found == measured(kolmo.get_estimator("gzip:6"), symbols, 9)


@pytest.mark.parametrize("wrong", [{"of": "lz76"}, {"windows": 63}, {"windows": 2}, {"length": 0}])
def test_samples_that_tell_nothing_are_refused(wrong):
    with pytest.raises(InputError):
        Sampled(**wrong)


def test_strata_divide_everything_behind_the_first_stretch():
    shapes = [(300, 10), (7,), (200, 10), (300, 10), (5,)]
    stretches = sorted(s for stratum in make_strata(shapes, 8, 100, 50) for s in stratum.stretches)
    assert stretches[0][0] == 50
    assert stretches[-1][1] == 8012
    assert all(a[1] == b[0] for a, b in pairwise(stretches))


@pytest.mark.parametrize("wrong", ["", "5 days", "-3", "0", "nan", 0, -1.0])
def test_no_budget(wrong):
    with pytest.raises(InputError, match="budget"):
        budget_seconds(wrong)


def no_load(start, stop):
    raise AssertionError("a weight was read")


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("100h", ["exact"] * 3), ("80", ["exact", "sampled", "skipped"]), (1.1, ["skipped"] * 3)],
)
def test_choices_follow_from_the_header(budget, expected, tmp_path):
    rates = Rates(tmp_path / "rates.json")
    rates.factor = 1.0
    tensors = [WeightTensor(f"w{i}", (4096, 4096), np.dtype("f2"), no_load) for i in range(60)]
    native = kolmo.get_quantizer("native")
    plan = Plan(
        tuple(Measurement(native, kolmo.get_estimator(e)) for e in ("kt", "xz:6", "planes")),
        tensor_scope=False,
    )
    found = within(
        plan, {"m": Checkpoint(tensors, source="m", format="none")}, budget, threads=1, rates=rates
    )
    assert [row["how"] for row in found.budget["measurements"]] == expected
    assert [bool(found.reason(m, "model")) for m in plan.measurements] == [
        how == "skipped" for how in expected
    ]


def test_a_report_says_what_became_of_every_measurement():
    weights = {"w": np.random.default_rng(0).normal(size=(64, 64)).astype("f4")}
    options = {"quantizers": ["sign"], "estimators": ["kt", "bdm"], "store": None}
    free, bound = kolmo.analyze(weights, **options), kolmo.analyze(weights, budget="5m", **options)
    assert free.table.bits.tolist() == bound.table.bits.tolist()
    assert {m["how"] for m in bound.provenance["settings"]["budget"]["measurements"]} == {"exact"}
    assert "Budget of 300 s" in bound.summary()
    none = kolmo.analyze(weights, budget=0.01, **options)
    assert none.table.bits.isna().all()
    assert none.table.note.str.startswith("skipped: it takes about").all()
