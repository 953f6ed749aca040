"""MATLAB's files of version 5, written by scipy, whose reader is the judge."""

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError

RANDOM = np.random.default_rng(0)
W = RANDOM.normal(size=(3, 4, 2))
LAYERS = np.empty((1, 2), object)
LAYERS[0, 0] = {"name": "conv1", "weights": RANDOM.normal(size=(2, 3)).astype(np.float32)}
LAYERS[0, 1] = {"name": "relu", "weights": np.arange(4)}
NET = {
    "W": W,
    "half": np.float32([[1.5, 2.5]]),
    "small": np.float64([[1, 2, 3]]),
    "steps": np.int16([[1, -2]]),
    "mask": np.array([[True, False]]),
    "z": np.array([[1 + 2j, 3 - 4j]]),
    "layers": LAYERS,
    "meta": {"text": "words", "mean": RANDOM.normal(size=(1, 3))},
    "sparse": scipy.sparse.csc_matrix(np.eye(3)),
}
EXPECTED = {
    "W": W,
    "half": NET["half"],
    "small": NET["small"],
    "steps": NET["steps"],
    "mask": NET["mask"],
    "z.real": np.array([[1.0, 3.0]]),
    "z.imag": np.array([[2.0, -4.0]]),
    "layers.0.weights": LAYERS[0, 0]["weights"],
    "layers.1.weights": np.array([[0, 1, 2, 3]]),
    "meta.mean": NET["meta"]["mean"],
}


def save(path, contents, **options):
    scipy.io.savemat(path, contents, **options)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_variables_cells_and_structs(tmp_path, packed):
    found = open_source(save(tmp_path / "net.mat", NET, do_compression=packed))
    assert found.format == "MATLAB"
    assert list(found) == list(EXPECTED)
    for name, array in EXPECTED.items():
        tensor = found[name]
        assert (tensor.shape, tensor.dtype) == (array.shape, array.dtype)
        assert (tensor.read() == array).all()
    assert found["W"].load(3, 9).tolist() == W.ravel()[3:9].tolist()
    reasons = {entry.name: entry.reason for entry in found.skipped}
    assert set(reasons) == {"layers.0.name", "layers.1.name", "meta.text", "sparse"}
    assert "sparse array" in reasons["sparse"]


def test_numbers_stored_in_smaller_types_and_in_the_other_byte_order(tmp_path):
    """An array of doubles, of which MATLAB keeps whole numbers as bytes, big-endian."""
    array = b"".join(
        [
            b"\0\0\0\x06\0\0\0\x08" + b"\0\0\0\x06" + bytes(4),  # flags: double
            b"\0\0\0\x05\0\0\0\x08" + b"\0\0\0\x02\0\0\0\x03",  # 2 x 3
            b"\0\x01\0\x01" + b"w\0\0\0",  # name
            b"\0\0\0\x02\0\0\0\x06" + bytes([1, 2, 3, 4, 5, 250]) + bytes(2),
        ]
    )
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    (tmp_path / "w.mat").write_bytes(head + b"\0\0\0\x0e\0\0\0" + bytes([len(array)]) + array)
    assert scipy.io.loadmat(tmp_path / "w.mat")["w"].tolist() == [[1, 3, 5], [2, 4, 250]]
    found = open_source(tmp_path / "w.mat")
    assert found["w"].dtype == np.float64
    assert found["w"].read().tolist() == [[1, 3, 5], [2, 4, 250]]


def test_what_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"without arrays of numbers; it holds t \(text"):
        open_source(save(tmp_path / "t.mat", {"t": "words"}))
    path = save(tmp_path / "net.mat", NET)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="damaged or truncated"):
        open_source(path)
