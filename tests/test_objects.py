"""Fitted models in pickles: trees are refused, and what has weights opens past odd arrays."""

import pickle

import joblib
import numpy as np
import pytest
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeRegressor

import kolmo
from kolmo.errors import InputError

X = np.random.default_rng(0).normal(size=(40, 3))
Y = np.arange(40) % 2


@pytest.mark.parametrize("dump", [joblib.dump, lambda o, path: path.write_bytes(pickle.dumps(o))])
@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(2),
        ExtraTreesRegressor(2),
        IsolationForest(n_estimators=2),
        DecisionTreeRegressor(max_depth=2),
        GradientBoostingClassifier(n_estimators=2),
        HistGradientBoostingClassifier(max_iter=2),
        AdaBoostClassifier(n_estimators=2),
    ],
)
def test_trees_are_refused(tmp_path, model, dump):
    dump(model.fit(X, Y), tmp_path / "model")
    with pytest.raises(InputError, match=rf"decision trees \(sklearn.*{type(model).__name__}\)"):
        kolmo.open_checkpoint(tmp_path / "model")


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        MLPClassifier((5,), max_iter=4000, tol=0.01),
        BaggingClassifier(LogisticRegression(), 2),
    ],
)
def test_other_models_open(tmp_path, model):
    joblib.dump(model.fit(X, Y), tmp_path / "model")
    found = kolmo.open_checkpoint(tmp_path / "model")
    assert any("coef" in name for name in found)


@pytest.mark.parametrize("odd", ["U7", "S3", "M8[s]", "c16", [("a", "<f4"), ("b", "<i8")]])
def test_joblib_reads_past_arrays_that_it_leaves_out(tmp_path, odd):
    values = {"odd": np.zeros(5, odd), "w": np.arange(6.0)}
    joblib.dump(values, tmp_path / "model")
    found = kolmo.open_checkpoint(tmp_path / "model")
    assert found["w"].read().tolist() == [0, 1, 2, 3, 4, 5]
    assert set(found) <= {"odd", "w"}
