"""MXNet's files, written here as its ndarray.cc says, in all the layouts that it has had."""

import struct

import ml_dtypes
import numpy as np
import pytest

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError

CODES = {"float32": 0, "float64": 1, "float16": 2, "uint8": 3, "int32": 4, "int8": 5, "int64": 6,
         "bool": 7, "bfloat16": 12}  # fmt: skip
RANDOM = np.random.default_rng(0)
ARRAYS = {
    "arg:conv0_weight": RANDOM.normal(size=(4, 3, 2, 2)).astype(np.float32),
    "arg:conv0_bias": RANDOM.normal(size=4).astype(np.float16),
    "aux:norm_moving_mean": RANDOM.normal(size=4).astype(np.float64),
    "arg:low": RANDOM.normal(size=5).astype(ml_dtypes.bfloat16),
    "arg:steps": np.arange(6).reshape(2, 3),
}


def written(array, version=2):
    sides, axes = array.shape, array.ndim
    context = struct.pack("<3i", 1, 0, CODES[array.dtype.name])
    head = {
        0: struct.pack(f"<I{axes}I", axes, *sides),
        1: struct.pack(f"<Ii{axes}q", 0xF993FAC8, axes, *sides),
        2: struct.pack(f"<Iii{axes}q", 0xF993FAC9, 0, axes, *sides),
        3: struct.pack(f"<Iii{axes}q", 0xF993FACA, 0, axes, *sides),
    }
    return head[version] + context + array.tobytes()


def file_of(arrays, names):
    named = b"".join(struct.pack("<Q", len(name)) + name.encode() for name in names)
    counts = struct.pack("<3Q", 0x112, 0, len(arrays))
    return counts + b"".join(arrays) + struct.pack("<Q", len(names)) + named


def opened(tmp_path, data):
    (tmp_path / "net-0000.params").write_bytes(data)
    return open_source(tmp_path / "net-0000.params")


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_arrays_in_every_layout(tmp_path, version):
    found = opened(tmp_path, file_of([written(a, version) for a in ARRAYS.values()], ARRAYS))
    assert found.format == "MXNet"
    assert list(found) == [name[4:] for name in ARRAYS]
    for name, array in ARRAYS.items():
        tensor = found[name[4:]]
        assert (tensor.shape, tensor.dtype) == (array.shape, array.dtype)
        assert tensor.read().tobytes() == array.tobytes()
    assert found["norm_moving_mean"].role is Role.BUFFER
    assert found["conv0_weight"].role is None


def test_arrays_without_names_and_arrays_never_filled(tmp_path):
    empty = struct.pack("<Iii", 0xF993FAC9, 0, 0)
    found = opened(tmp_path, file_of([written(np.ones(3)), empty, written(np.zeros(2))], []))
    assert {name: tensor.numel for name, tensor in found.items()} == {"0": 3, "2": 2}
    scalar = opened(tmp_path, file_of([written(np.array(2.5), 3)], ["a"]))
    assert scalar["a"].read() == 2.5


def test_what_is_refused(tmp_path):
    sparse = struct.pack("<Ii", 0xF993FAC9, 1) + bytes(100)
    with pytest.raises(InputError, match=r"sparse array.*tostype"):
        opened(tmp_path, file_of([sparse], []))
    with pytest.raises(InputError, match="array 0 claims 800 bytes"):
        opened(tmp_path, file_of([written(np.ones(100))[:40]], []))
    with pytest.raises(InputError, match="one name"):
        opened(tmp_path, file_of([written(np.ones(3))] * 2, ["a", "a"]))
    with pytest.raises(InputError, match="without arrays"):
        opened(tmp_path, file_of([], []))
