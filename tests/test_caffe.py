"""Caffe's models, written here as its caffe.proto says."""

import struct

import numpy as np
import pytest

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError


def varint(value):
    data = bytearray()
    while True:
        data.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(data)


def field(number, value):
    """A field: an int as a varint, text, bytes or a message by its length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(array, old=False, packed=True):
    if old:
        shape = b"".join(field(n + 1, side) for n, side in enumerate(array.shape))
    else:
        shape = field(7, field(1, b"".join(map(varint, array.shape))))
    if array.dtype == np.float64:
        return shape + field(8, array.tobytes())
    if packed:
        return shape + field(5, array.tobytes())
    return shape + b"".join(varint(5 << 3 | 5) + struct.pack("<f", v) for v in array.ravel())


def layer(name, kind, *blobs):
    return field(100, field(1, name) + field(2, kind) + b"".join(field(7, b) for b in blobs))


RANDOM = np.random.default_rng(0)
W = RANDOM.normal(size=(4, 3, 2, 2)).astype(np.float32)
B = RANDOM.normal(size=4).astype(np.float32)
D = RANDOM.normal(size=(2, 600))
NET = (
    field(1, "net")
    + layer("data", "Input")
    + layer("conv1", "Convolution", blob(W), blob(B, packed=False))
    + layer("bn", "BatchNorm", blob(B), blob(B), blob(B[:1]))
    + layer("fc", "InnerProduct", blob(D))
    + layer("fc", "InnerProduct", blob(B))
)


def opened(tmp_path, data, name="net.caffemodel"):
    (tmp_path / name).write_bytes(data)
    return open_source(tmp_path / name)


def test_layers_have_their_blobs(tmp_path):
    found = opened(tmp_path, NET, "net.any")
    assert found.format == "Caffe"
    values = {"conv1.0": W, "conv1.1": B, "bn.0": B, "bn.1": B, "bn.2": B[:1], "fc.0": D,
              "fc (2).0": B}  # fmt: skip
    assert list(found) == list(values)
    for name, array in values.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
        assert found[name].read().tobytes() == array.tobytes()
    buffers = [name for name, tensor in found.items() if tensor.role is Role.BUFFER]
    assert buffers == ["bn.0", "bn.1", "bn.2"]


def test_layers_of_one_name_are_told_apart(tmp_path):
    names = ["a", "a (2)", "a", "a"]
    found = opened(tmp_path, b"".join(layer(name, "Scale", blob(B)) for name in names))
    assert list(found) == ["a.0", "a (2).0", "a (3).0", "a (4).0"]


def test_a_file_of_before_2015(tmp_path):
    old = field(4, "ip1") + field(5, 14) + field(6, blob(W, old=True))
    found = opened(tmp_path, field(1, "net") + field(2, old))
    assert found["ip1.0"].shape == (4, 3, 2, 2)
    assert found["ip1.0"].read().tobytes() == W.tobytes()


def test_what_is_refused(tmp_path):
    with pytest.raises(InputError, match="without blobs"):
        opened(tmp_path, field(1, "net") + layer("data", "Input"))
    wrong = field(7, field(1, varint(5))) + field(5, bytes(8))
    with pytest.raises(InputError, match=r"damaged \(blob 'a.0' has 8 bytes for \[5\]\)"):
        opened(tmp_path, layer("a", "Scale", wrong))
