"""A run that is killed again and again goes on where it stopped, and ends as if it had not been."""

import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import kolmo

OPTIONS = ["-q", "native", "-q", "sign", "-e", "kt", "-e", "lz78", "-e", "zstd:3", "--null"]
LINES = (3, 1, 5)
"""Lines of finished tensors after which each run is killed."""


@pytest.fixture
def path(tmp_path):
    random = np.random.default_rng(5)
    weights = {
        f"layer.{i}": random.normal(size=(300, 200 + i)).astype(np.float32) for i in range(12)
    }
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def start(path, store, saved):
    command = [sys.executable, "-m", "kolmo", "analyze", path, *OPTIONS, "shuffled"]
    return subprocess.Popen(
        [*command, "--draws", "3", "--lines", "--store", store, "-o", saved],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def test_a_run_that_is_killed_goes_on_where_it_stopped(path, tmp_path):
    store, saved = tmp_path / "results.sqlite", tmp_path / "report.json"
    for lines in LINES:
        process = start(path, store, saved)
        for _ in range(lines):
            assert process.stderr.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not saved.exists()
    process = start(path, store, saved)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    report = kolmo.load_report(saved)
    whole = kolmo.analyze(
        path,
        quantizers=["native", "sign"],
        estimators=["kt", "lz78", "zstd:3"],
        nulls=["shuffled"],
        draws=3,
    )
    pd.testing.assert_frame_equal(
        report.table.drop(columns="seconds"), whole.table.drop(columns="seconds")
    )
    assert report.provenance["complete"] is True
