"""Agreement: rank correlations against scipy and against known orders."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

import kolmo
from kolmo.errors import InputError
from kolmo.report.agreement import matrix, spearman

VALUES = st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), min_size=3, max_size=30).filter(
    lambda v: all(len(set(side)) > 1 for side in zip(*v, strict=True))
)


@given(VALUES)
def test_spearman_is_that_of_scipy(values):
    x, y = (pd.Series(side, dtype=float) for side in zip(*values, strict=True))
    assert spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)


@pytest.fixture(scope="module")
def report():
    """Zeros have a share of their own in each tensor, so that all counts order them alike."""
    random = np.random.default_rng(0)
    models = {
        name: {
            f"w{i}": (random.normal(size=4000) * (random.random(4000) < 0.1 * (i + shift))).astype(
                np.float32
            )
            for i in range(4)
        }
        for name, shift in (("a", 1), ("b", 2), ("c", 4))
    }
    return kolmo.compare(models, quantizers=["native", "symmetric:4"], estimators=["kt", "entropy"],
                         nulls=["shuffled"], draws=2)  # fmt: skip


@pytest.mark.parametrize(("over", "objects", "groups"), [("tensors", 4, 3), ("models", 3, 1)])
def test_measurements_that_count_the_same_agree(report, over, objects, groups):
    found = report.agreement(over)
    assert len(found) == groups * 6  # of four measurements
    assert (found.objects == objects).all()
    assert found.correlation.tolist() == pytest.approx([1] * len(found))
    assert found.few.all()  # fewer than six objects tell little
    assert found.checkpoint.nunique() == (3 if over == "tensors" else 0)
    names, values = matrix(found[: len(found) // groups])
    assert names == ["native kt", "native entropy", "symmetric:4 kt", "symmetric:4 entropy"]
    assert (values == values.T).all()


def test_agreement_is_what_the_table_says(report):
    table = report.table[(report.table.checkpoint == "b") & (report.table.scope == "tensor")]
    table = table.assign(bits_per_weight=np.random.default_rng(1).random(len(table)))
    found = dataclasses.replace(report, table=table).agreement()
    first = [table[(table.quantizer == q) & (table.estimator == e)].set_index("tensor")
             for q, e in (("native", "entropy"), ("symmetric:4", "kt"))]  # fmt: skip
    row = found[(found.a == "native entropy") & (found.b == "symmetric:4 kt")].iloc[0]
    wanted = spearmanr(first[0].bits_per_weight, first[1].bits_per_weight[first[0].index])
    assert row.correlation == pytest.approx(wanted.statistic)


@pytest.mark.parametrize("objects", [5, 6])
def test_six_objects_are_no_longer_few(objects):
    model = {f"w{n}": np.arange(9 * n + 9, dtype=np.float32) % (n + 2) for n in range(objects)}
    found = kolmo.analyze(model, quantizers=["native"], estimators=["kt", "entropy"]).agreement()
    assert found[["objects", "few"]].to_numpy().tolist() == [[objects, objects < 6]]


def test_too_few_objects_and_constants_are_missing_with_a_reason(report):
    two = report.table[report.table.tensor.isin(["w0", "w1"])]
    found = dataclasses.replace(report, table=two).agreement()
    assert found.correlation.isna().all()
    assert found.note.str.contains("2 objects measured by both, an order takes 3").all()
    flat = report.table.assign(bits_per_weight=1.0)
    assert dataclasses.replace(report, table=flat).agreement().note.str.contains("same").all()
    one = report.table[(report.table.quantizer == "native") & (report.table.estimator == "kt")]
    single = dataclasses.replace(report, table=one)
    with pytest.raises(InputError, match="two measurements"):
        single.agreement()
    with pytest.raises(InputError, match="unknown kind of object 'layers'"):
        report.agreement("layers")
