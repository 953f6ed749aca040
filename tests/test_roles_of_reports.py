"""Roles as a user meets them: what is measured, what the coverage says, what is refused."""

import json

import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.base import Checkpoint, Role, Skipped, array_tensor
from kolmo.errors import InputError

QUICK = {"quantizers": ["sign"], "estimators": ["kt"]}


def tensor(name, count, dtype=np.float32):
    return array_tensor(name, np.arange(count).astype(dtype))


@pytest.fixture
def checkpoint():
    """64 weights in two networks; 128 numbers of an optimizer, 5 of a buffer, and an epoch."""
    return Checkpoint(
        [tensor("a.weight", 61), tensor("b.bias", 3)],
        source="model.pt",
        format="torch",
        networks=["a", "b"],
        skipped=[
            Skipped("exp_avg", "Adam's moments", 128, Role.OPTIMIZER, tensor("m", 128)),
            Skipped("positions", "integers", 5, Role.BUFFER, tensor("positions", 5, np.int64)),
            Skipped("epoch", "not a tensor but int"),
        ],
    )


def test_weights_are_measured_and_the_rest_is_counted_by_role(checkpoint):
    report = kolmo.analyze(checkpoint, **QUICK)
    assert report.coverage_line() == (
        "64 of 64 weights measured; left out: 128 optimizer, 5 buffer; 1 entry without numbers; "
        "2 networks: a, b"
    )
    assert report.coverage.set_index("tensor").role.to_dict() == {
        "a.weight": "weight", "b.bias": "weight", "exp_avg": "optimizer", "positions": "buffer",
        "epoch": "other",
    }  # fmt: skip
    assert report.coverage_line() in report.summary()
    assert set(report.table.tensor.dropna()) == {"a.weight", "b.bias"}


def test_other_roles_are_measured_where_they_are_asked_for(checkpoint):
    report = kolmo.analyze(checkpoint, **QUICK, roles=["optimizer", Role.BUFFER])
    assert set(report.table.tensor.dropna()) == {"exp_avg", "positions"}
    assert report.coverage_line().startswith(
        "128 of 128 optimizer and 5 of 5 buffer measured; left out: 64 weight; 1 entry"
    )
    assert report.table[report.table.scope == "model"].numel.item() == 133


def test_weights_that_names_leave_out_are_named(checkpoint):
    line = kolmo.analyze(checkpoint, **QUICK, exclude=["b.*"]).coverage_line()
    assert line.startswith(
        "61 of 64 weights measured; skipped: b.bias (excluded by 'b.*'; 3 weights); left out: "
    )


@pytest.mark.parametrize(("roles", "message"), [
    (["weigt"], "unknown role 'weigt'; known: weight, book-keeping, buffer, optimizer, copy, ot"),
    ("weigt", "unknown role 'weigt'"),
    ([], "no role was given"),
    (["copy"], r"model.pt: nothing to measure: there is no copy in it; it holds 64 weight, 128 op"),
])  # fmt: skip
def test_roles_that_do_not_fit_are_refused(checkpoint, roles, message):
    for measure in (kolmo.analyze, lambda c, **o: kolmo.delta(c, c, **o)):
        with pytest.raises(InputError, match=message):
            measure(checkpoint, roles=roles)


def test_weights_of_no_number_are_nothing_to_measure():
    with pytest.raises(InputError, match="nothing to measure: its tensors are empty"):
        kolmo.analyze({"empty": np.zeros((0, 3), np.float32)}, **QUICK)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_reports_of_before_there_were_roles_are_read(checkpoint, tmp_path, suffix):
    report = kolmo.analyze(checkpoint, **QUICK)
    kolmo.Report(
        report.table, report.coverage.drop(columns="role"), report.provenance
    ).save(tmp_path / f"old.{suffix}")  # fmt: skip
    old = kolmo.load_report(tmp_path / f"old.{suffix}")
    assert old.coverage.set_index("tensor").role.to_dict() == {
        "a.weight": "weight", "b.bias": "weight", "exp_avg": "other", "positions": "other",
        "epoch": "other",
    }  # fmt: skip
    assert old.coverage_line().startswith("64 of 64 weights measured; left out: 133 other")
    assert json.loads(old.to_json())["coverage"][0]["role"] == "weight"
