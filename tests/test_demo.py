"""kolmo demo: the bundled networks, measured with the defaults, wherever kolmo is installed."""

import json

import kolmo
from kolmo.cli.demo import NETWORKS, networks
from tests.house import ROOT
from tests.test_cli import run


def test_the_networks_are_those_of_the_repository():
    assert list(networks()) == list(NETWORKS)
    for name, path in networks().items():
        assert path.read_bytes() == (ROOT / "data" / f"{name}.safetensors").read_bytes()


def test_it_tells_the_story_and_draws_it(tmp_path):
    done = run("demo", "-o", tmp_path / "demo.png", "--threads", 1)
    assert done.returncode == 0, done.stderr
    for name, meaning in NETWORKS.items():
        assert f"{name:8} {meaning}" in done.stdout
        assert f"{name}: 17,290 weights in 10 tensors" in done.stdout
    assert "Verdicts:" in done.stdout
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_its_figures_are_those_of_compare(tmp_path, monkeypatch):
    monkeypatch.setattr("kolmo.cli.demo.NETWORKS", {"random": NETWORKS["random"]})
    done = run("demo", "--json", "-o", tmp_path / "demo.html")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["table"]
    report = kolmo.compare(networks(), quantizers=["sign"], estimators=["kt"], scope="model")
    told = {
        row["checkpoint"]: row["bits"]
        for row in rows
        if (row["quantizer"], row["estimator"], row["scope"]) == ("sign", "kt", "model")
    }
    assert told == report.table.set_index("checkpoint").bits.to_dict()
    assert "<html" in (tmp_path / "demo.html").read_text()


def test_an_unknown_format_is_refused_before_anything_is_measured(tmp_path):
    done = run("demo", "-o", tmp_path / "demo.txt")
    assert done.returncode == 2
    assert "the suffix must be .html" in done.stderr
