"""Plans tell from a header what a run then does."""

import collections
import json

import ml_dtypes
import numpy as np
import pytest

import kolmo
from kolmo.analysis import make_plan, measurements_of
from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.defaults import DEFAULT_MEASUREMENTS
from kolmo.engine.feeding import HELD
from kolmo.options import Settings
from kolmo.planning import foresee, plan_text
from kolmo.rates import Rates

SHAPES = {"emb": (100, 64), "q": (64, 64), "k": (64, 64), "norm": (64,), "bias": (3,), "none": (0,)}


def no_load(start, stop):
    raise AssertionError("a weight was read")


def header(shapes=SHAPES, dtype=ml_dtypes.bfloat16):
    tensors = [
        WeightTensor(name, shape, np.dtype(dtype), no_load) for name, shape in shapes.items()
    ]
    return Checkpoint(tensors, source="model.safetensors", format="safetensors")


def plan_of(**options):
    settings = Settings(**options)
    return make_plan(settings, measurements_of(settings, 0))


@pytest.fixture
def rates(tmp_path):
    return Rates(tmp_path / "rates.json")


def outlook_of(rates, shapes=SHAPES, threads=1, dtype=ml_dtypes.bfloat16, **options):
    return foresee(header(shapes, dtype), plan_of(**options), threads, rates)


def test_the_default_plan_reads_no_weight(rates):
    outlook = outlook_of(rates)
    assert (outlook.tensors, outlook.weights) == (6, 14_659)
    assert len(outlook.rows) == 2 * sum(map(len, DEFAULT_MEASUREMENTS.values()))
    assert outlook.read == 2 * 14_659


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quantizers": ["sign"], "estimators": ["bdm", "bdm,ndim=2", "ctm"]},
        {"quantizers": ["native", "symmetric:8"], "estimators": ["lowrank", "kt", "lz76"]},
        {"quantizers": ["native"], "estimators": ["gzip:9,sample=32768"]},
    ],
)
def test_a_run_measures_what_was_planned(rates, options):
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    table = kolmo.analyze(arrays, nulls=[], **options).table
    outlook = foresee(kolmo.open_checkpoint(arrays), plan_of(**options), 2, rates)
    measured = table[table["bits"].notna()]
    ran = collections.Counter(
        (row.quantizer, row.estimator, row.scope) for row in measured.itertuples()
    )
    planned = {
        (row.quantizer, row.estimator.partition("@")[0], row.scope): (
            row.tensors if row.scope == "tensor" else int(row.tensors > 0)
        )
        for row in outlook.rows
        if row.tensors
    }
    assert planned == dict(ran)


def test_what_is_refused_is_told_with_its_reason(rates):
    outlook = outlook_of(rates, quantizers=["native"], estimators=["lowrank"], dtype=np.float32)
    for row in outlook.rows:
        assert (row.tensors, row.weights, row.seconds) == (0, 0, 0)
        (reason,) = row.refused
        assert row.refused[reason] == 6
        assert "quantize first" in reason
    assert "refused" in plan_text(outlook)


def test_a_sample_is_told(rates):
    shapes = {"a": (300, 300), "b": (4, 4)}
    outlook = outlook_of(rates, shapes, quantizers=["native"], estimators=["xz,sample=32768"])
    tensor, model = outlook.rows
    assert (tensor.tensors, tensor.sampled) == (2, 1)
    assert model.sampled == 1
    assert "1 exact, 1 sampled" in plan_text(outlook)


def test_a_model_of_parts_that_add_up_costs_nothing_more(rates):
    options = {"quantizers": ["sign"], "estimators": ["kt"]}
    both, model = outlook_of(rates, **options), outlook_of(rates, scope="model", **options)
    assert both.rows[1].seconds == 0
    assert model.rows[0].seconds == pytest.approx(both.rows[0].seconds)
    again = outlook_of(rates, quantizers=["sign"], estimators=["zstd:3"])
    assert again.rows[1].seconds == pytest.approx(again.rows[0].seconds)


def test_nulls_are_counted_draw_by_draw(rates):
    options = {"quantizers": ["sign"], "estimators": ["bdm"], "scope": "tensor"}
    plain = outlook_of(rates, **options).rows[0].seconds
    drawn = outlook_of(rates, nulls=["shuffled"], draws=39, **options)
    assert drawn.rows[0].seconds == pytest.approx(40 * plain)
    order_0 = {**options, "estimators": ["kt"]}
    assert (
        outlook_of(rates, nulls=["shuffled"], draws=39, **order_0).cpu_seconds
        == outlook_of(rates, **order_0).cpu_seconds
    )
    assert drawn.cpu_seconds > drawn.rows[0].seconds


@pytest.mark.parametrize("threads", [1, 2, 7, 64])
def test_threads_share_the_work_as_far_as_it_can_be_shared(rates, threads):
    shapes = {f"w{number}": (1000, 1000 + number) for number in range(9)}
    one, many = outlook_of(rates, shapes), outlook_of(rates, shapes, threads)
    longest = max(row.seconds for row in one.rows if row.scope == "model")
    assert one.wall_seconds == pytest.approx(one.cpu_seconds)
    assert many.cpu_seconds == pytest.approx(one.cpu_seconds)
    assert many.wall_seconds >= max(one.cpu_seconds / threads, longest) * (1 - 1e-9)
    assert many.wall_seconds <= one.cpu_seconds / threads + longest * (1 + 1e-9)


def test_seconds_grow_with_weights(rates):
    small = outlook_of(rates, {"w": (1000, 1000)})
    large = outlook_of(rates, {"w": (10_000, 10_000)})
    assert large.cpu_seconds > 20 * small.cpu_seconds


def test_a_large_tensor_is_read_twice_where_a_quantizer_is_fitted(rates):
    side = 1 << 14
    shapes = {"w": (side, side)}
    assert 2 * side * side > HELD
    once = outlook_of(rates, shapes, quantizers=["sign"], estimators=["kt"])
    twice = outlook_of(rates, shapes, quantizers=["symmetric:8"], estimators=["kt"])
    assert (once.read, twice.read) == (2 * side * side, 4 * side * side)


def test_the_header_of_a_70_b_model_is_enough(rates):
    shapes = {"emb": (128_256, 8192)}
    for layer in range(80):
        shapes |= {f"{layer}.{name}": (8192, 28_672) for name in ("gate", "up", "down")}
        shapes |= {f"{layer}.norm{number}": (8192,) for number in range(100)}
    outlook = outlook_of(rates, shapes, threads=64, quantizers=["sign"], estimators=["bdm", "kt"])
    assert outlook.tensors == 1 + 80 * 103
    assert outlook.wall_seconds == pytest.approx(outlook.cpu_seconds / 64)


def test_the_text_says_it_in_words(rates):
    text = plan_text(outlook_of(rates, threads=2), width=120)
    assert "model.safetensors: 6 tensors, 14,659 weights." in text
    assert "On 2 threads this takes about " in text
    assert "more than Python and its packages take" in text
    assert max(map(len, text.split("\n\n")[0].splitlines())) <= 120


def test_names_from_outside_do_no_harm(rates):
    checkpoint = header()
    checkpoint.source = "evil\x1b[31m[bold].safetensors"
    text = plan_text(foresee(checkpoint, plan_of(), 1, rates))
    assert "\x1b" not in text
    assert "[bold]" in text


def test_an_outlook_is_json(rates):
    outlook = outlook_of(rates)
    document = json.loads(json.dumps(outlook.to_dict()))
    assert document["weights"] == 14_659
    assert document["rows"][0]["estimator"] == str(plan_of().measurements[0].estimator)
    assert document["rows"][0]["known"] is True
