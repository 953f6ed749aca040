"""What objects look like at a prompt, in a notebook and in a list."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import kolmo
import momos

DATA = Path(__file__).parent.parent / "data"
LONG = "a.very.long.name." * 9 + "weight"


@pytest.fixture(scope="module")
def report():
    sources = {
        "<a>": {LONG: np.ones((8, 8), "f4"), "b": np.zeros(6, "f4")},
        "b": [np.ones(9, "f4")],
    }
    return kolmo.compare(
        sources, quantizers=["sign", "native"], estimators="kt", nulls="shuffled", draws=2
    )


def test_a_report_prints_its_summary_and_is_one_line_in_a_list(report):
    assert str(report) == report.summary()
    assert repr([report]) == "[Report of 2 checkpoints, 79 weights, 10 measurements: complete]"
    lost = kolmo.analyze({"w": np.full(4, np.nan, "f4")}, quantizers="sign", estimators="kt")
    assert repr(lost) == "Report of 1 checkpoint, 0 weights, 0 measurements: not complete"


def test_a_series_says_what_it_is(report):
    series = {step: {"w": np.ones(9, "f4")} for step in (1, 2)}
    found = kolmo.trajectory(series, quantizers="sign", estimators="kt")
    assert repr(found) == "Trajectory of 2 checkpoints, 18 weights, 2 measurements: complete"


def test_a_summary_is_a_text_whose_lines_are_lines(report):
    text = report.summary()
    assert isinstance(text, str)
    assert repr(text) == str(text) == f"{text}"
    assert "\n" in repr(text)
    assert "&lt;a&gt;" in text._repr_html_()
    assert "word-break: normal" in text._repr_html_()
    assert json.loads(json.dumps(text)) == pickle.loads(pickle.dumps(text)) == text


def test_figures_are_listed(report):
    assert repr(report.plot).startswith("<figures of a report: .layers(), .compare(), ")
    names = [word.rstrip(",>") for word in repr(report.plot).split() if word.startswith(".")]
    assert all(callable(getattr(report.plot, name[1:-2])) for name in names)


def test_checkpoints_and_their_tensors():
    checkpoint = kolmo.open_checkpoint({LONG: np.ones((4, 3), "f4"), "<b>": np.zeros(2, "f8")})
    assert repr(checkpoint) == "<Checkpoint arrays in memory: 2 tensors, 14 weights>"
    tensors = [repr(tensor) for tensor in checkpoint.values()]
    assert tensors[1] == "<WeightTensor <b>: float64 [2], 2 weights>"
    assert "…" in tensors[0]
    assert len(tensors[0]) < 120
    shown = checkpoint._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "4 × 3" in shown
    many = kolmo.open_checkpoint({f"w{n}": np.full(3, n, "f4") for n in range(50)})
    assert many._repr_html_().count("<tr>") == 21
    assert "and 30 tensors more" in many._repr_html_()


def test_code_lengths_and_certificates(tmp_path):
    code = kolmo.estimate(np.ones(4000, "f4"), "kt", "sign")
    assert repr(code) == (
        f"<CodeLength: {code.bits:.10g} bits of 4,000 weights, "
        f"{code.bits_per_weight:.4g} bits per weight (bound)>"
    )
    certificate = kolmo.pack({"w": np.ones(4000, "f4")}, tmp_path / "w.kmo")
    assert repr(certificate) == (
        f"<Certificate w.kmo: K(w) ≤ {certificate.bits:,} bits, "
        f"{certificate.bits_per_weight:.4g} for each of 4,000 weights, native>"
    )
    assert str(certificate).splitlines()[-1] in certificate._repr_html_()


def test_mosaics():
    mosaic = momos.Mosaic.load(DATA / "momos.mosaic")
    assert repr(mosaic).startswith("<Mosaic: 17,290 weights, ")
    assert f"{mosaic.description_length():,} bits" in mosaic._repr_html_()
