"""The ledger of a report: its table, its sentences, and the run that fills it."""

import dataclasses
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import kolmo
from kolmo.engine.ledgering import RECORD, Ledger
from kolmo.errors import InputError
from kolmo.measure import Plan
from kolmo.report.ledger import LEDGER, ledger_lines
from tests.ledgers import report_with_ledger

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


A, B = normal(64, 48), normal(96, 32)

MODEL = {
    "layers.0.weight": A,
    "layers.10.weight": normal(64, 48).astype(np.float16).astype(np.float32),
    "layers.2.weight": normal(64, 48),
    "twin": A.copy(),
    "minus": -B,
    "b": B,
    "average": 0.99 * A + 0.01 * normal(64, 48),
    "mask": np.tri(24, dtype=np.float32),
    "ones": np.ones(48, np.float32),
    "also ones": np.ones(64, np.float32),
    "sparse": normal(64, 48) * (RANDOM.random((64, 48)) < 0.1),
}
EVERY_ROLE = ["weight", "copy", "buffer", "other"]


@pytest.fixture(scope="module")
def report():
    return report_with_ledger({"m": MODEL}, spectra=True, roles=EVERY_ROLE)


def test_a_row_for_each_tensor_in_the_order_of_the_checkpoint(report):
    ledger = report.ledger
    assert list(ledger.columns) == LEDGER == ["checkpoint", *RECORD]
    assert ledger.tensor.tolist() == report.coverage.tensor[report.coverage.measured].tolist()
    assert set(ledger.tensor) == set(MODEL)
    assert ledger.numel.dtype == "Int64"


def test_the_sentences_say_each_kind_of_fact_once(report):
    lines = report.ledger_lines()
    wanted = [
        "1 tensor is the negative: b of minus",
        "1 tensor is an exact copy: twin of layers.0.weight",
        "1 tensor is nearly a copy: average of layers.0.weight",
        "1 tensor is a lower triangular mask: mask",
        "2 tensors are constant: also ones, ones",
        "1 tensor is float32 that holds float16: the last 13 bits of each weight are zero: "
        "layers.10.weight",
    ]
    assert [line for line in lines if line in wanted] != []
    assert set(wanted) <= set(lines)
    assert len(set(lines)) == len(lines)
    sparse = report.ledger.set_index("tensor").zeros["sparse"]
    assert f"1 tensor has many exact zeros: sparse ({100 * sparse:.3g} %)" in lines


def test_names_stand_in_natural_order():
    model = {f"h.{n}": np.ones(9, np.float32) for n in (10, 9, 1, 100)}
    lines = report_with_ledger({"m": model}).ledger_lines()
    assert lines == ["4 tensors are constant: h.1, h.9, h.10 and 1 more"]


def test_several_checkpoints_are_told_apart():
    report = report_with_ledger({"a": {"v": np.zeros(9)}, "b": {"w": np.ones(9)}})
    assert report.ledger_lines() == ["a: 1 tensor is constant: v", "b: 1 tensor is constant: w"]
    assert report.ledger.absmax.tolist() == [0, 1]


def test_what_is_true_of_several_checkpoints_is_said_once():
    ones, zeros = {"w": np.ones(9)}, {"v": np.zeros(9)}
    report = report_with_ledger({"a": ones, "b": ones, "c": ones})
    assert report.ledger_lines() == ["all: 1 tensor is constant: w"]
    report = report_with_ledger({"a": ones, "b": zeros, "c": ones})
    assert report.ledger_lines() == [
        "a, c: 1 tensor is constant: w",
        "b: 1 tensor is constant: v",
    ]


@pytest.mark.parametrize("suffix", ["json", "csv", "parquet"])
def test_it_is_saved_and_loaded_with_the_report(report, tmp_path, suffix):
    report.save(tmp_path / f"report.{suffix}")
    loaded = kolmo.load_report(tmp_path / f"report.{suffix}")
    assert loaded.ledger.equals(report.ledger)
    assert loaded.ledger_lines() == report.ledger_lines()


def test_a_report_without_one_says_so(report):
    plain = dataclasses.replace(report, provenance={})
    assert plain.ledger_lines() == []
    with pytest.raises(InputError, match="no ledger"):
        plain.ledger  # noqa: B018


def test_threads_and_processes_find_the_same(report):
    one = report_with_ledger({"m": MODEL}, spectra=True, roles=EVERY_ROLE, threads=1)
    assert one.ledger.equals(report.ledger)
    with ProcessPoolExecutor(1) as pool:
        away = report_with_ledger({"m": MODEL}, spectra=True, roles=EVERY_ROLE, executor=pool)
    assert away.ledger.equals(report.ledger)


def test_infinite_weights_and_odd_names_can_be_saved(tmp_path):
    model = {"w": np.array([1e300, -1e300, np.inf, 1.0]), "a\nb": np.zeros((0, 3), np.float32)}
    report = report_with_ledger({"m": model})
    report.save(tmp_path / "report.json")
    assert kolmo.load_report(tmp_path / "report.json").ledger.tensor.tolist() == ["w", "a\\nb"]


def test_spectra_are_made_where_they_are_affordable(monkeypatch):
    def ranks(spectra):
        kept = report_with_ledger({"m": {"w": A}}, spectra=spectra)
        return kept.ledger.effective_rank.notna().tolist()

    assert ranks(None) == ranks(True) == [True]
    monkeypatch.setattr("kolmo.engine.ledgering.AFFORDABLE", 0.001)
    assert (ranks(None), ranks(True), ranks(False)) == ([False], [True], [False])


def test_jobs_are_few_and_take_every_tensor_once():
    checkpoint = kolmo.open_checkpoint({f"w{n}": normal(8) for n in range(300)})
    ledger = Ledger(list(checkpoint.values()), Plan((), ledger=True))
    jobs = list(ledger.jobs(None))
    assert len(jobs) < 10
    assert [tensor for job in jobs for tensor in job.tensors] == list(checkpoint.values())
    assert list(Ledger(list(checkpoint.values()), Plan(())).jobs(None)) == []


def test_what_was_not_compared_is_said():
    report = report_with_ledger({"m": {"w": A}})
    kept = report.provenance["ledger"]
    ended = {**report.provenance, "ledger": {**kept, "compared": {"m": False}}}
    lines = dataclasses.replace(report, provenance=ended).ledger_lines()
    assert "the run ended before tensors were compared with each other" in lines


def test_the_documentation_names_every_column():
    page = (Path(__file__).parents[1] / "docs/ledger.md").read_text()
    assert [name for name in LEDGER if f"`{name}`" not in page] == []


def test_codes_of_quantized_tensors_are_not_called_floats_that_hold_few_values():
    record = {
        "checkpoint": "m",
        "tensor": "w",
        "dtype": "4-bit GPTQ",
        "numel": 4096,
        "zeros": 0.2,
        "holds": "float16",
        "trailing_zeros": 13,
        "group": "128",
        "group_levels": 7,
        "exponents": 4,
        "exponent_entropy": 1.5,
        "step_exponent": -9,
        "fixed_bits": 8.0,
    }
    kept = {"ledger": {"records": [record], "compared": {"m": True}}}
    assert ledger_lines(kept) == ["1 tensor has many exact zeros: w (20 %)"]


def test_what_the_store_knows_is_not_read_again(tmp_path, monkeypatch):
    options = {"spectra": True, "roles": EVERY_ROLE, "store": tmp_path / "results.sqlite"}
    first = report_with_ledger({"m": MODEL}, **options).ledger
    found = []
    for name in ("find_facts", "spectrum_of"):
        monkeypatch.setattr(f"kolmo.engine.ledgering.{name}", lambda *each: found.append(each))
    renamed = {f"x.{name}": weights for name, weights in MODEL.items()}
    again = report_with_ledger({"m": renamed}, **options).ledger
    assert found == []
    assert again.tensor.tolist() == [f"x.{name}" for name in first.tensor]
    names = ["tensor", "of"]
    assert again.drop(columns=names).equals(first.drop(columns=names))


def test_few_values_are_few_for_their_dtype():
    """Nearly all of 256 symbols are not few; 200 of 65,536 are."""
    codes = np.random.default_rng(0).integers(0, 200, size=4096)
    model = {"bytes": codes.astype(np.uint8), "bits": codes.astype(np.uint8) % 7}
    model["floats"] = (1 + codes / 1024).astype(np.float16)
    lines = report_with_ledger({"m": model}, roles=EVERY_ROLE).ledger_lines()
    assert "2 tensors hold at most 200 distinct values in all of it: bits, floats" in lines
