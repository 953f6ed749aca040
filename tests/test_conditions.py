"""Conditions on rows, and the runs that they fail."""

import json

import numpy as np
import pytest

import kolmo
from kolmo.errors import InputError
from kolmo.report.columns import COLUMNS, TableRows
from kolmo.report.conditions import Condition
from tests.test_cli import refused, run

ROWS = TableRows.made_of(
    [
        {"checkpoint": "a", "scope": "model", "estimator": "kt", "kind": "bound", "bits": 9,
         "null_bits": 8, "saturated": False, "numel": 3},
        {"checkpoint": "b", "scope": "model", "estimator": "zstd:3", "kind": "bound", "bits": 7,
         "saturated": True, "numel": 5},
        {"checkpoint": "a", "scope": "tensor", "tensor": "w", "estimator": "kt", "bits": 5,
         "null_bits": 4, "saturated": False, "numel": 3},
    ],
    COLUMNS,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("bits > 8", [0]),
        ("bits>=7", [0, 1]),
        ("bits < 1e1 and checkpoint != a", [1]),
        ("checkpoint == 'a' or checkpoint == \"b\"", [0, 1]),
        ("not (bits > 8 or bits < 2)", [1]),
        ("not bits > 8 and bits < 2 or bits == 9", [0]),  # not, and, or: the first binds most
        ("estimator == zstd:3", [1]),
        ("bits > null_bits", [0]),
        ("bits > null_bits or bits < 8", [0, 1]),  # unknown or true is true
        ("bits > null_bits and bits > 1", [0]),  # unknown and true is unknown
        ("not bits > null_bits or bits == 7", [1]),
        ("saturated == true", [1]),
        ("scope == tensor", [2]),
        ("tensor == w and bits > 4", [2]),
        ("scope != sample and bits == 5", [2]),
    ],
)
def test_what_holds(text, rows):
    assert Condition.of(text).holding(ROWS) == [ROWS.records()[number] for number in rows]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a column is missing"),
        ("bits", "after bits one of <=, >=, ==, !=, <, > is missing"),
        ("bits >", "a value is missing"),
        ("bits > many", "neither one nor a column of numbers"),
        ("bits > kind", "neither one nor a column of numbers"),
        ("bits > 3 4", "'4' is one too many"),
        ("(bits > 3", "a bracket is not closed"),
        ("kind > bound", "compare it by == or !="),
        ("bits > 3 and", "a column is missing before 'the end'"),
        ("bits = 3", "cannot be read"),
        ("bit_per_weight > 3", "did you mean bits_per_weight"),
        ("__import__('os') == 3", "unknown column '__import__'"),
        ("bits > 'a'", "neither one nor a column of numbers"),
    ],
)
def test_what_is_no_condition_says_why(text, message):
    with pytest.raises(InputError, match="condition ") as caught:
        Condition.of(text)
    assert message in str(caught.value)


def test_a_condition_that_no_row_decides_is_an_error():
    with pytest.raises(InputError, match="a column that it names is empty"):
        Condition.of("p < .05").holding(ROWS)
    tensors = TableRows.made_of(ROWS.records(scope="tensor"), COLUMNS)
    with pytest.raises(InputError, match="add 'and scope == tensor'"):
        Condition.of("bits > 3").holding(tensors)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "noise.npz"
    np.savez(path, weight=np.random.default_rng(0).normal(size=(40, 30)).astype("f4"))
    return path


OPTIONS = ("-q", "sign", "-e", "kt", "-e", "zstd:3")


def test_a_condition_that_holds_fails_the_run_when_all_is_written(model, tmp_path):
    saved = tmp_path / "r.json"
    result = run("analyze", model, *OPTIONS, "-o", saved, "--fail-if", "bits_per_weight > .9")
    assert result.returncode == 1
    assert "noise sign kt (bits_per_weight = " in result.stderr
    assert "noise sign zstd:3 (bits_per_weight = " in result.stderr
    assert result.stderr.splitlines()[-1].startswith("kolmo: error: --fail-if 'bits_per_weight")
    assert "bits/weight" in result.stdout
    assert len(kolmo.load_report(saved).table) == 4
    document = run("analyze", model, *OPTIONS, "--json", "--fail-if", "bits > 1 and kind == bound")
    assert document.returncode == 1
    assert len(json.loads(document.stdout)["table"]) == 4


def test_conditions_that_do_not_hold_fail_nothing(model):
    conditions = ["--fail-if", "bits_per_weight > 8", "--fail-if", "kind == estimate"]
    assert run("analyze", model, *OPTIONS, *conditions).returncode == 0
    more = run("analyze", model, *OPTIONS, *conditions, "--fail-if", "estimator == kt")
    refused(more, "noise sign kt (estimator = kt)", code=1)


def test_what_is_no_condition_is_refused_before_anything_is_measured(model):
    for text, message in (("bits_per_wait > 8", "did you mean bits_per_weight"), ("8", "column")):
        result = run("analyze", model, *OPTIONS, "--fail-if", text)
        refused(result, message)
        assert result.stdout == ""
    refused(run("analyze", model, *OPTIONS, "--fail-if", "p < .05"), "a column that it names")
