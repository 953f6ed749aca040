"""The engine: jobs on any executor, in any cut, give the same bits."""

import concurrent.futures
import math
import multiprocessing
import pickle

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import kolmo
from kolmo.checkpoints.opening import open_source
from kolmo.checkpoints.stored import PlainLoad
from kolmo.engine import cutting, feeding
from kolmo.engine.jobs import FitJob, Job
from kolmo.engine.meters import Meter, SharedMeter, Stopped
from kolmo.engine.pool import Pool, Queue, open_pool
from kolmo.engine.run import Run
from kolmo.errors import KolmoError
from kolmo.estimators import get_estimator, sweep
from kolmo.estimators.base import CodeLength
from kolmo.measure import Measurement, Plan, Variant
from kolmo.quantize import get_quantizer

RANDOM = np.random.default_rng(3)
WEIGHTS = {
    f"layer.{i}.weight": RANDOM.normal(size=(17, 13 + i)).astype(np.float32) for i in range(6)
} | {"bias": RANDOM.normal(size=29).astype(np.float32), "half": np.ones((8, 8), np.float16)}
MEASURED = {
    "quantizers": ["sign", "symmetric:8"],
    "estimators": ["kt", "bdm", "bdm,aggregate=sum", "qubd", "zstd:3", "entropy", "lz76"],
    "nulls": ["shuffled", "uniform"],
    "draws": 2,
}


@pytest.fixture
def path(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def table(source, **options):
    return kolmo.analyze(source, name="m", **{**MEASURED, **options}).table.drop(columns="seconds")


def plan_of(*specs):
    measurements = tuple(
        Measurement(get_quantizer(q), get_estimator(e)) for q, e in (s.split("/") for s in specs)
    )
    return Plan(measurements)


def weights_read(monkeypatch, file, *specs):
    """How many times the weights of a checkpoint each measurement of it reads, and its figures."""
    checkpoint, read = open_source(file), []
    into = PlainLoad.into

    def counted(load, start, stop, out):
        read.append(stop - start)
        into(load, start, stop, out)

    monkeypatch.setattr(PlainLoad, "into", counted)
    monkeypatch.setattr(PlainLoad, "__call__", None)
    run = Run(checkpoint, plan_of(*specs))
    for job in run.jobs():
        run.take(job, job.run(Meter()))
    monkeypatch.undo()
    bits = {(key[0], str(key[1])): result.outcome.bits for key, result in run.results().items()}
    return sum(read) / sum(tensor.numel for tensor in checkpoint.values()), bits


@pytest.mark.parametrize(("spec", "times"), [("native/kt", 1), ("symmetric:8/kt", 1),
                                             ("affine:4/entropy", 1), ("sign/bdm", 1),
                                             ("affine:4,clip=99/kt", 1)])  # fmt: skip
def test_what_counts_values_reads_them_once(tmp_path, monkeypatch, spec, times):
    weights = {name: RANDOM.normal(size=9000).astype(np.float16) for name in "ab"}
    save_file(weights, tmp_path / "m.safetensors")
    read, bits = weights_read(monkeypatch, tmp_path / "m.safetensors", spec)
    assert read == times
    monkeypatch.setattr(sweep, "_MANY", 1 << 20)  # the quantizer is fitted first
    assert weights_read(monkeypatch, tmp_path / "m.safetensors", spec)[1] == bits


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_a_late_fit_cannot_express_are_a_reason(wrong):
    weights = {"a": np.ones(9000, np.float16), "b": np.ones(9000, np.float16)}
    weights["a"][5000] = wrong
    found = kolmo.analyze(weights, quantizers=["symmetric:8"], estimators=["kt"]).table
    notes = found.set_index("tensor").note
    assert ("NaN" if np.isnan(wrong) else "an infinity") in notes["a"]
    assert not notes["b"]


# --- the same bits ----------------------------------------------------------------------------


def test_processes_give_the_same_bits(path):
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as executor:
        elsewhere = table(path, executor=executor)
    pd.testing.assert_frame_equal(table(path), elsewhere)


def test_threads_that_are_given_are_used_and_left_open(path):
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        pd.testing.assert_frame_equal(table(path), table(path, executor=executor))
        assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize("stripe", [1, 500, 3000])
def test_stripes_give_the_same_bits(path, monkeypatch, stripe):
    whole = table(path, nulls=[])
    monkeypatch.setattr(feeding, "HELD", 0)
    monkeypatch.setattr(feeding, "CHUNK", 100)
    monkeypatch.setattr(cutting, "STRIPE", stripe)
    run = Run(open_source(path), plan_of("sign/kt", "sign/bdm"))
    assert sum(isinstance(job, FitJob) for job in run.jobs()) == len(WEIGHTS)
    pd.testing.assert_frame_equal(whole, table(path, nulls=[]))


def test_a_stripe_that_cannot_be_expressed_is_a_reason(monkeypatch):
    broken = {**WEIGHTS, "layer.0.weight": WEIGHTS["layer.0.weight"].copy()}
    broken["layer.0.weight"][16, 3] = np.nan
    whole = table(broken)
    monkeypatch.setattr(feeding, "HELD", 0)
    monkeypatch.setattr(cutting, "STRIPE", 50)
    assert whole.note.str.contains("NaN").any()
    pd.testing.assert_frame_equal(whole, table(broken))


def test_jobs_pickle(path):
    for job in Run(open_source(path), plan_of("sign/kt", "native/zstd:3")).jobs():
        again = pickle.loads(pickle.dumps(job))
        assert again.symbols == job.symbols
        assert again.label == job.label


# --- the queue and the pool -------------------------------------------------------------------


class Sized(Job):
    symbols = 1
    label = "sized"

    def run(self, meter):
        return self.cost


def test_a_long_job_begins_in_time():
    queue = Queue(workers=2)
    short, long = [Sized(1.0, 0) for _ in range(20)], Sized(8.0, 0)
    queue.add([*short, long])
    taken = []
    while queue:
        taken.append(queue.take(lambda job: True))
    before = taken.index(long)
    assert taken[:before] == short[:before]
    assert 0 < before < 20
    assert sum(job.cost for job in taken[before + 1 :]) == pytest.approx(8, abs=1)


@pytest.mark.parametrize(("size", "beside"), [(60, 1), (50, 2), (25, 4), (500, 1)])
def test_jobs_that_hold_too_much_wait_for_each_other(size, beside):
    """An executor that does nothing until it is asked to has in its hands what fits."""
    handed, most = [], []

    class Idle(concurrent.futures.Executor):
        def submit(self, function, job):
            handed.append((future := concurrent.futures.Future(), job))
            return future

    def work(done, job):
        most.append(len(handed))
        while handed:
            future, _ = handed.pop()
            future.set_result(None)

    pool = Pool(Idle(), 4, memory=100)
    pool.run([Sized(1.0, size) for _ in range(8)], lambda job, found: (), work)
    assert most == [beside] * (8 // beside)


def test_one_partner_may_serve_two_tensors(tmp_path):
    """Its content is hashed once, and the run goes on all the same."""
    weights = np.ones((8, 8), np.float32)
    np.savez(tmp_path / "init.npz", w=weights)
    named = {"w": weights, "module.w": weights + 1}
    null = f"reference:{tmp_path / 'init.npz'}"
    options = {"nulls": [null], "quantizers": ["sign"], "estimators": ["kt"], "scope": "tensor"}
    rows = kolmo.analyze(named, store=tmp_path / "results.sqlite", **options).table
    assert rows.tensor.tolist() == ["w", "module.w"]
    assert rows.bits.notna().all()
    assert rows.null_bits.notna().all()


def test_jobs_may_follow_from_others():
    found = []

    def done(job, cost):
        found.append(cost)
        return [Sized(cost - 1, 0)] if cost > 1 else []

    with open_pool(None, 2) as pool:
        pool.run([Sized(3.0, 0)], done, lambda *_: None)
    assert found == [3, 2, 1]


def test_an_error_stops_what_is_running():
    class Failing(Sized):
        def run(self, meter):
            raise ZeroDivisionError("oops")

    class Endless(Sized):
        def run(self, meter):
            while True:
                meter.add(1)

    with open_pool(None, 2) as pool, pytest.raises(KolmoError, match="oops"):
        pool.run([Endless(1.0, 0), Failing(1.0, 0)], lambda job, found: (), lambda *_: None)


def test_a_meter_that_is_stopped_raises():
    meter = SharedMeter()
    meter.add(2)
    meter.stop()
    with pytest.raises(Stopped):
        meter.add(1)
    assert meter.taken == 3


@pytest.mark.parametrize("aggregate", ["pooled", "sum"])
def test_parts_of_neighbours_are_joined_where_that_is_the_same(monkeypatch, aggregate):
    arrays = {f"t{i}": RANDOM.normal(size=(5, 7 + i % 3)).astype(np.float32) for i in range(40)}
    arrays["t20"] = np.zeros((0, 3), np.float32)
    measured = {"quantizers": ["sign"], "estimators": ["kt", f"bdm,aggregate={aggregate}"]}
    joined = table(arrays, **measured, nulls=[])
    monkeypatch.setattr(cutting, "_MANY", 1)  # a job for each tensor
    pd.testing.assert_frame_equal(joined, table(arrays, **measured, nulls=[]))


# --- the store --------------------------------------------------------------------------------


def test_what_was_measured_is_looked_up(path, tmp_path, monkeypatch):
    store = tmp_path / "results.sqlite"
    first = table(path, store=store)

    def fail(self, meter):
        raise AssertionError("it is measured again")

    monkeypatch.setattr("kolmo.engine.jobs.TensorJob.run", fail)
    monkeypatch.setattr("kolmo.engine.jobs.StreamJob.run", fail)
    pd.testing.assert_frame_equal(first, table(path, store=store))


@pytest.mark.parametrize("held", [0, feeding.HELD])
def test_what_is_known_of_some_tensors_changes_no_bit_of_the_whole(
    path, tmp_path, monkeypatch, held
):
    whole, store = table(path, nulls=[]), tmp_path / "results.sqlite"
    monkeypatch.setattr(feeding, "HELD", held)
    table(path, nulls=[], store=store, scope="tensor", include=["layer*"])
    pd.testing.assert_frame_equal(whole, table(path, nulls=[], store=store))


def test_a_tensor_of_another_checkpoint_costs_a_hash(path, tmp_path, monkeypatch):
    store = tmp_path / "results.sqlite"
    table(path, store=store, scope="tensor")
    changed = {**WEIGHTS, "bias": WEIGHTS["bias"] + 1}
    save_file(changed, tmp_path / "next.safetensors")
    measured = []
    from kolmo.engine.jobs import TensorJob

    run = TensorJob.run

    def noted(self, meter):
        measured.extend(w.tensor.name for w in self.wanted)
        return run(self, meter)

    monkeypatch.setattr(TensorJob, "run", noted)
    again = table(tmp_path / "next.safetensors", store=store, scope="tensor")
    assert set(measured) == {"bias"}
    monkeypatch.undo()
    pd.testing.assert_frame_equal(again, table(tmp_path / "next.safetensors", scope="tensor"))


def test_an_interrupted_run_goes_on_where_it_stopped(path, tmp_path):
    def stop(done, total, label):
        if 2 * done > total:
            raise KeyboardInterrupt

    store, whole = tmp_path / "results.sqlite", table(path)
    with pytest.raises(kolmo.Interrupted) as caught:
        table(path, store=store, progress=stop)
    assert 0 < caught.value.done < caught.value.wanted
    assert str(store) in str(caught.value)
    pd.testing.assert_frame_equal(whole, table(path, store=store))


def test_figures_are_told_as_they_come(path):
    told = {}

    def each(checkpoint, tensor, results):
        told.setdefault((checkpoint, tensor), {}).update(results)

    rows = table(path, nulls=[], each=each).set_index(["tensor", "quantizer", "estimator"])
    assert {name for _, name in told} == set(WEIGHTS)
    for (_, name), results in told.items():
        for measurement, result in results.items():
            key = name, str(measurement.quantizer), measurement.estimator.label
            if isinstance(result.outcome, CodeLength):
                assert result.outcome.bits == rows.bits[key]
            else:
                assert math.isnan(rows.bits[key])


def test_a_single_tensor_is_the_whole_model():
    jobs = list(Run(open_source({"w": np.ones((8, 8))}), plan_of("sign/zstd:3")).jobs())
    assert len(jobs) == 1
    assert jobs[0].variant == Variant()
