"""The command line, as a user meets it: a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import kolmo

RANDOM = np.random.default_rng(0)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, weight=RANDOM.normal(size=(40, 30)).astype(np.float32), bias=np.zeros(40, "f4"))
    return str(path)


def run(*arguments, cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "kolmo", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )


def refused(result, message, code=2):
    assert result.returncode == code
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("kolmo: error: ")
    assert message in lines[-1]
    assert "Traceback" not in result.stderr


def test_analyze_prints_a_table_and_sentences(model):
    result = run("analyze", model, "-q", "native", "-q", "sign", "-e", "kt", "-e", "zstd:3")
    assert result.returncode == 0
    assert "bits/weight" in result.stdout
    assert "bits per weight (bound, " in result.stdout
    assert "1,240 of 1,240 weights measured" in result.stdout
    assert result.stderr == ""


def test_json_is_clean(model):
    result = run("analyze", model, "--json", "-e", "kt", "-q", "sign", "--null", "shuffled")
    document = json.loads(result.stdout)
    expected = kolmo.analyze(model, name="model", estimators=["kt"], quantizers=["sign"],
                             nulls=["shuffled"])  # fmt: skip
    assert [row["bits"] for row in document["table"]] == expected.table.bits.tolist()
    assert [row["null_bits"] for row in document["table"]] == expected.table.null_bits.tolist()


def test_output_files(model, tmp_path):
    saved, page = tmp_path / "r.json", tmp_path / "r.html"
    result = run("analyze", model, "-e", "kt", "-q", "sign", "-o", saved, "--html", page)
    assert result.returncode == 0
    assert len(kolmo.load_report(saved).table) == 3
    assert page.read_text().startswith("<!doctype html>")
    assert f"wrote {saved}" in result.stderr
    drawn = run("plot", saved, "-o", tmp_path / "figures", "--format", "svg")
    assert drawn.returncode == 0
    assert sorted(p.name for p in (tmp_path / "figures").iterdir()) == [
        "r-layers.svg",
        "r-models.svg",
    ]


def test_compare_and_names(model, tmp_path):
    result = run("compare", f"a={model}", f"b={model}", "-e", "kt", "-q", "sign", "--json")
    names = [row["checkpoint"] for row in json.loads(result.stdout)["table"]]
    assert names == ["a", "b"]
    both = run("analyze", model, model, "-e", "kt", "-q", "sign", "--json", "--scope", "model")
    assert both.returncode == 0
    refused(run("compare", f"a={model}", f"a={model}"), "NAME=SOURCE")
    refused(run("compare", model), "NAME=SOURCE")


def test_estimators_are_listed():
    result = run("estimators")
    assert result.returncode == 0
    listed = json.loads(run("estimators", "--json").stdout)
    names = [entry["name"] for entry in listed["estimators"]]
    assert {"gzip", "bdm", "mosaic", "kt"} <= set(names)
    assert all(name in result.stdout for name in names)


def test_version_and_help():
    assert run("--version").stdout.strip() == kolmo.__version__
    for arguments in ([], ["--help"], ["analyze", "--help"]):
        result = run(*arguments)
        assert result.returncode == 0
        assert "Usage" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "nothing.pt"], "nothing.pt: there is no such file"),
        (["analyze"], "sources"),
        (["analize"], "analize"),
        (["analyze", "MODEL", "--draws", "x"], "draws"),
        (["analyze", "MODEL", "-e", "gzp"], "did you mean gzip"),
        (["analyze", "MODEL", "-q", "affin:8"], "did you mean affine"),
        (["analyze", "MODEL", "--scope", "layer"], "unknown scope"),
        (["analyze", "MODEL", "--null", "shufled"], "did you mean shuffled"),
        (["analyze", "MODEL", "--null", "reference:nothing"], "nothing: there is no such file"),
        (["analyze", "MODEL", "--include", "zz*"], "leave none"),
        (["analyze", "MODEL", "-o", "r.xlsx"], "suffix must be"),
        (["analyze", "MODEL", "-o", "no/such/r.json"], "there is no directory"),
        (["analyze", "MODEL", "--html", "r.txt"], "suffix must be"),
        (["plot", "nothing.json"], "there is no such file"),
    ],
)
def test_bad_usage_is_one_line(model, tmp_path, arguments, message):
    refused(run(*[model if a == "MODEL" else a for a in arguments], cwd=tmp_path), message)


def test_nan_is_reported_and_the_rest_measured(tmp_path):
    path, saved = tmp_path / "m.npz", tmp_path / "r.json"
    np.savez(path, good=np.ones(50, "f4"), bad=np.float32([1, np.nan]))
    result = run("analyze", path, "-q", "native", "-q", "symmetric:8", "-e", "kt", "-o", saved)
    refused(result, "tensor 'bad' holds NaN, which symmetric:8 cannot express")
    assert "native" in result.stdout
    table = kolmo.load_report(saved).table
    assert table.bits.notna().sum() == 4  # native: both and the model; symmetric: good


def test_an_internal_failure_is_one_line(model, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import kolmo.analysis\n"
        "def fail(*a, **k): raise ZeroDivisionError('oops')\n"
        "kolmo.analysis.compare = fail\n"
    )
    refused(run("analyze", model, PYTHONPATH=str(tmp_path)), "ZeroDivisionError: oops", code=1)
    shown = run("analyze", model, PYTHONPATH=str(tmp_path), KOLMO_DEBUG="1")
    assert "Traceback" in shown.stderr


def test_a_closed_pipe_is_quiet(model):
    command = f"{sys.executable} -m kolmo analyze {model} -e kt --json | head -c 10"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def test_ctrl_c_keeps_what_is_done(tmp_path):
    path, saved = tmp_path / "m.npz", tmp_path / "r.json"
    small = {f"small{i}": np.ones(100, "f4") for i in range(5)}
    np.savez(path, **small, big=RANDOM.normal(size=(1500, 2000)).astype("f4"))
    command = [sys.executable, "-m", "kolmo", "analyze", path, "-q", "native", "-e", "xz:9",
               "-e", "kt", "-o", saved]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    time.sleep(5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "kolmo: error: interrupted" in errors
    report = kolmo.load_report(saved)
    assert report.provenance["complete"] is False
    assert {f"small{i}" for i in range(5)} <= set(report.table.tensor)
    assert not Path(f"{saved}.part").exists()
