"""Files that are none that is read are named, with advice (tests/data/strangers/make.py)."""

from pathlib import Path

import pytest

import kolmo
from kolmo.checkpoints.strangers import STRANGERS, stranger
from kolmo.errors import InputError

DATA = Path(__file__).parent / "data" / "strangers"


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("xgboost.json", "XGBoost"),
        ("xgboost.ubj", "XGBoost"),
        ("lightgbm.txt", "LightGBM"),
        ("catboost.cbm", "CatBoost"),
        ("catboost.json", "CatBoost"),
    ],
)
def test_boosted_trees_are_no_network(name, library):
    with pytest.raises(InputError) as refused:
        kolmo.open_checkpoint(DATA / name)
    assert str(refused.value) == (
        f"{DATA / name}: this is a {library} model (boosted trees), which is not read; it has no "
        f"weights of a network; give a neural network"
    ).replace("a XGB", "an XGB")


@pytest.mark.parametrize(
    ("head", "name", "what"),
    [
        (b"RKNN\0\0", "m.rknn", "RKNN"),
        (b"\1\2\3", "m.ncnn.bin", "ncnn"),
        (b"\1\2\3", "M.MNN", "MNN"),
        (b"B\0C\0N\0", "m.model", "CNTK"),
        (b"\4\0\0\0\1", "m.t7", "Torch7"),
        (b"X\n\0\0\0\3\0\4", "m.rds", "R "),
        (b"RDX3\nX\n\0\0\0\3", "m.RData", "R "),
        (b"HDF5-based Julia Data Format, version 0.1.1", "m.jld2", "Julia"),
        (b"\x20\0\0\0\3weights", "m.bson", "Julia"),
        (b"\0B<Nnet3> ", "final.mdl", "Kaldi"),
        (b'{"class_name": "Sequential"', "m.json", "Keras"),
        (b'<?xml version="1.0"?>\n<PMML xmlns', "m.pmml", "PMML"),
    ],
)
def test_strangers_are_named(tmp_path, head, name, what):
    (tmp_path / name).write_bytes(head + bytes(100))
    with pytest.raises(InputError, match=f"this is .*{what}.*, which is not read; ."):
        kolmo.open_checkpoint(tmp_path / name)


def test_what_is_not_known_has_no_name():
    assert stranger(b"\1\2\3\4" * 100, "model.bin") is None
    assert all(kind.what and kind.advice for kind in STRANGERS)
    assert all(kind.start or kind.ending for kind in STRANGERS)
