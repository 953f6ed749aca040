"""Runs on Dask: the bits of one machine, whatever becomes of the workers."""

import json
import os
import pickle
import subprocess
import sys

import distributed
import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import kolmo
from kolmo.checkpoints.opening import open_source
from kolmo.engine import cluster, cutting, feeding
from kolmo.engine.cluster import Crew, crew_of, dask_executor
from kolmo.engine.jobs import FitJob, StripeJob
from kolmo.engine.pool import open_pool
from kolmo.engine.run import Run
from kolmo.errors import KolmoError, MissingExtraError
from tests.deadly import Deadly
from tests.test_cli import run
from tests.test_engine import plan_of

RANDOM = np.random.default_rng(5)
WEIGHTS = {
    f"layer.{i}.weight": RANDOM.normal(size=(16, 20 + i)).astype(np.float32) for i in range(7)
} | {"half": np.linspace(-1, 1, 60, dtype=np.float16)}
MEASURED = {
    "quantizers": ["sign", "symmetric:8"],
    "estimators": ["kt", "bdm,aggregate=sum", "zstd:3", "lz76"],
    "nulls": ["shuffled"],
    "draws": 2,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("cluster") / "model.safetensors"
    save_file(WEIGHTS, path)
    return path


@pytest.fixture(scope="module")
def workers():
    """A scheduler with two workers, processes of their own; a job may cost it one of them."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
        scheduler_kwargs={"allowed_failures": 1},
    ) as started:
        yield started.scheduler_address


@pytest.fixture(scope="module")
def executor(workers):
    with dask_executor(workers) as executor:
        yield executor


@pytest.fixture(scope="module")
def expected(path):
    return table(path)


def table(source, **options):
    return kolmo.analyze(source, name="m", **{**MEASURED, **options}).table.drop(columns="seconds")


# --- the same bits ----------------------------------------------------------------------------


def test_workers_give_the_bits_of_threads(path, executor, expected, monkeypatch):
    monkeypatch.setattr(cutting, "QUANTUM", 0)  # a job for each tensor
    pd.testing.assert_frame_equal(expected, table(path, executor=executor))


def test_stripes_are_sent_without_the_other_weights(executor, expected, monkeypatch):
    monkeypatch.setattr(feeding, "HELD", 0)
    monkeypatch.setattr(cutting, "STRIPE", 100)
    pd.testing.assert_frame_equal(expected, table(WEIGHTS, executor=executor))


def test_an_executor_of_any_client_will_do(path, workers, expected):
    with distributed.Client(workers) as client:
        pd.testing.assert_frame_equal(expected, table(path, executor=client.get_executor()))


def test_what_workers_find_is_kept_here(path, executor, expected, tmp_path, monkeypatch):
    store = tmp_path / "results.sqlite"
    table(path, executor=executor, store=store)

    def fail(self, meter):
        raise AssertionError("it is measured again")

    monkeypatch.setattr("kolmo.engine.jobs.TensorJob.run", fail)
    monkeypatch.setattr("kolmo.engine.jobs.StreamJob.run", fail)
    pd.testing.assert_frame_equal(expected, table(path, store=store))


@pytest.mark.parametrize("named", ["address", "file"])
def test_a_scheduler_is_named_by_address_or_file(path, workers, tmp_path, named):
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"type": "Scheduler", "address": workers}))
    where = workers if named == "address" else file
    done = run("analyze", path, "-q", "sign", "-e", "kt", "--json", "--dask", where)
    assert done.returncode == 0, done.stderr
    found = {row["tensor"]: row["bits"] for row in json.loads(done.stdout)["table"]}
    alone = kolmo.analyze(path, quantizers=["sign"], estimators=["kt"]).plain
    assert found == dict(zip(alone.tensor, alone.bits, strict=True))


# --- workers come and go ----------------------------------------------------------------------


def test_a_worker_that_is_killed_costs_nothing_but_time(path, executor, tmp_path, monkeypatch):
    monkeypatch.setattr(cutting, "QUANTUM", 0)
    marker, fatal = tmp_path / "killed", WEIGHTS["layer.4.weight"].size
    deadly = Deadly(fatal, os.getpid(), str(marker))
    options = {"estimators": [deadly, "kt", "zstd:3"], "quantizers": ["sign"]}
    alone = table(path, **options)
    assert not marker.exists()
    pd.testing.assert_frame_equal(alone, table(path, executor=executor, **options))
    assert marker.exists()


def test_a_job_that_kills_every_worker_ends_the_run(path, executor, monkeypatch):
    monkeypatch.setattr(cutting, "QUANTUM", 0)
    deadly = Deadly(WEIGHTS["half"].size, os.getpid())
    with pytest.raises(KolmoError, match="half failed: KilledWorker") as caught:
        table(path, executor=executor, estimators=[deadly], scope="tensor", nulls=[])
    kept = caught.value.report.table
    assert "\n" not in str(caught.value)
    assert set(kept.tensor) <= set(WEIGHTS) - {"half"}
    assert (kept.bits == [WEIGHTS[name].size for name in kept.tensor]).all()
    assert len(kept) >= len(WEIGHTS) - 4  # twice as many as workers were not done


def test_an_interrupted_run_leaves_no_jobs_behind(path, workers):
    def stop(done, total, label):
        raise KeyboardInterrupt

    with distributed.Client(workers) as client:
        with pytest.raises(kolmo.Interrupted):
            table(path, executor=client.get_executor(), progress=stop)
        assert {future.status for future in client.futures.values()} <= {"cancelled"}


def test_workers_are_counted_anew(executor, monkeypatch):
    with open_pool(executor, None) as pool:
        assert isinstance(pool.count, Crew)
        assert pool.workers == pool.count() <= 2
    with open_pool(executor, 1) as pool:
        assert (pool.workers, pool.count) == (1, None)


# --- errors -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def deserted():
    """A scheduler without workers."""
    with distributed.LocalCluster(
        n_workers=0, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as started:
        yield started.scheduler_address


def test_a_cluster_without_workers_is_given_up(path, deserted, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0)
    monkeypatch.setattr(cluster, "LOOK", 0)
    with dask_executor(deserted) as executor, pytest.raises(KolmoError, match="no workers") as hit:
        table(path, executor=executor)
    assert len(hit.value.report.table) == 0


def test_a_cluster_that_grows_is_given_jobs(deserted):
    with dask_executor(deserted) as executor:
        assert crew_of(executor)() == 1


@pytest.mark.parametrize("where", ["127.0.0.1:1", "nonsense://x", "missing.json", "list.json"])
def test_no_scheduler_is_one_line(path, tmp_path, monkeypatch, where):
    monkeypatch.setattr(cluster, "ANSWER", 0.1)
    (tmp_path / "list.json").write_text("[]")
    done = run("analyze", path, "--dask", where, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert where in done.stderr


def test_a_number_of_processes_is_a_number(path):
    done = run("analyze", path, "--dask", "local:many")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'many'" in done.stderr


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("dask", "distributed"):
            raise ImportError(f"{name} is missing")
sys.meta_path.insert(0, Missing())
from kolmo.cli import main
main()
"""


def test_without_dask_the_extra_is_named(path):
    command = [sys.executable, "-c", WITHOUT, "analyze", str(path), "--dask", "local:2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert ".[dask]" in done.stderr


def test_errors_come_back_from_workers():
    error = pickle.loads(pickle.dumps(MissingExtraError("ppmd", "pyppmd", "ppmd")))
    assert str(error) == str(MissingExtraError("ppmd", "pyppmd", "ppmd"))


# --- what is sent -----------------------------------------------------------------------------


def test_a_stripe_of_an_array_is_all_that_is_sent(monkeypatch):
    monkeypatch.setattr(feeding, "HELD", 0)
    monkeypatch.setattr(cutting, "STRIPE", 1000)
    weights = RANDOM.normal(size=(300, 100)).astype(np.float32)
    measured = Run(open_source({"w": weights}), plan_of("symmetric:8/kt"))
    (fit,) = measured.jobs()
    assert isinstance(fit, FitJob)
    stripes = list(measured.take(fit, fit.run(feeding.Meter())))
    assert len(stripes) == 30
    for stripe in stripes:
        assert isinstance(stripe, StripeJob)
        sent = pickle.dumps(stripe)
        assert len(sent) < weights.nbytes / 30 + 4000
        again, here = pickle.loads(sent).run(feeding.Meter()), stripe.run(feeding.Meter())
        for measurement, part in here.parts.items():
            found = again.parts[measurement].accumulator
            assert pickle.dumps(found) == pickle.dumps(part.accumulator)
