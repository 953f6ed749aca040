"""gensim's models, with their arrays in the pickle and beside it (tests/data/words/make.py)."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError

DATA = Path(__file__).parent / "data" / "words"
VECTORS = np.load(DATA / "word2vec.npy")


def of_training(found):
    return {name for name, tensor in found.items() if tensor.role is Role.OTHER}


def test_vectors_within_the_pickle():
    found = open_source(DATA / "vectors.kv")
    assert (found.format, found["vectors"].role) == ("gensim", None)
    assert found["vectors"].read().tobytes() == VECTORS.tobytes()
    assert of_training(found) == {"vectors_lockf", "expandos.count", "expandos.sample_int"}


def test_arrays_beside_the_pickle():
    found, truth = (
        open_source(DATA / "word2vec.model"),
        np.load(DATA / "word2vec.model.npz"),
    )
    weights = [name for name in found if name not in of_training(found)]
    assert sorted(weights) == ["syn1neg", "wv.vectors"]
    assert found["wv.vectors"].read().tobytes() == truth["vectors"].tobytes()
    assert found["syn1neg"].read().tobytes() == truth["syn1neg"].tobytes()
    assert len(found.files) == 4


def test_half_a_model_is_refused(tmp_path):
    for path in DATA.glob("word2vec.model*"):
        shutil.copy(path, tmp_path)
    (tmp_path / "word2vec.model.wv.vectors.npy").unlink()
    with pytest.raises(InputError, match=r"'wv.vectors' lies beside it .* copy that file to it"):
        open_source(tmp_path / "word2vec.model")
