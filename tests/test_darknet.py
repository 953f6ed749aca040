"""Darknet's files, with the .cfg that tells their layers and without."""

import struct

import numpy as np
import pytest

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError
from tests.fuzz.damage import damaged

HEAD = struct.pack("<3iq", 0, 2, 5, 1000)
CFG = """
[net]
height=8
width=8
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
pad=1
[maxpool]
size=2
stride=2
[convolutional] # a plain one
filters=6
size=1
groups=2
[route]
layers = -1, 1
[connected]
output=5
[softmax]
"""
SIZES = {
    "0.convolutional.biases": (4,),
    "0.convolutional.scales": (4,),
    "0.convolutional.rolling_mean": (4,),
    "0.convolutional.rolling_variance": (4,),
    "0.convolutional.weights": (4, 3, 3, 3),
    "2.convolutional.biases": (6,),
    "2.convolutional.weights": (6, 2, 1, 1),
    "4.connected.biases": (5,),
    "4.connected.weights": (5, 160),
}
COUNT = sum(int(np.prod(shape)) for shape in SIZES.values())

CONV = "[convolutional]\nbatch_normalize=1\nsize={1}\npad=1\nstride=1\nfilters={0}\n"
POOL = "[maxpool]\nsize=2\nstride={}\n"
LAST = "[convolutional]\nsize=1\npad=1\nfilters=255\n[yolo]\n"
TINY = (
    "[net]\nheight=416\nwidth=416\nchannels=3\n"
    + "".join(CONV.format(n, 3) + POOL.format(2) for n in (16, 32, 64, 128, 256))
    + "".join([CONV.format(512, 3), POOL.format(1), CONV.format(1024, 3), CONV.format(256, 1)])
    + "".join([CONV.format(512, 3), LAST, "[route]\nlayers=-4\n", CONV.format(128, 1)])
    + "".join(["[upsample]\nstride=2\n[route]\nlayers=-1, 8\n", CONV.format(256, 3), LAST])
)


def write(tmp_path, count=COUNT, cfg=CFG, head=HEAD):
    path = tmp_path / "net.weights"
    path.write_bytes(head + np.arange(count, dtype=np.float32).tobytes())
    (tmp_path / "net.cfg").write_text(cfg)
    return path


def test_layers_as_the_cfg_tells_them(tmp_path):
    found = open_source(write(tmp_path))
    assert found.format == "Darknet"
    assert {name: tensor.shape for name, tensor in found.items()} == SIZES
    values = np.concatenate([tensor.read().ravel() for tensor in found.values()])
    assert values.tolist() == list(range(COUNT))
    buffers = [name for name, tensor in found.items() if tensor.role is Role.BUFFER]
    assert buffers == ["0.convolutional.rolling_mean", "0.convolutional.rolling_variance"]
    assert [file[-8:] for file in found.files] == [".weights", "/net.cfg"]


def test_a_published_network_has_its_published_size(tmp_path):
    """yolov3-tiny.weights has 35,434,956 bytes (https://pjreddie.com/darknet/yolo/)."""
    path = write(tmp_path, 0, TINY)
    with open(path, "r+b") as file:
        file.truncate(35_434_956)
    found = open_source(path)
    assert found.numel == (35_434_956 - 20) // 4
    assert found["22.convolutional.weights"].shape == (255, 256, 1, 1)


def test_the_first_layers_alone(tmp_path):
    found = open_source(write(tmp_path, 4 * 4 + 4 * 27))
    assert list(found) == list(SIZES)[:5]


@pytest.mark.parametrize(
    "cfg", ["", "[net]\n[lstm]\noutput=3\n", CFG.replace("filters=6", "filters=8")]
)
def test_without_a_cfg_that_fits_there_is_one_tensor(tmp_path, cfg):
    found = open_source(write(tmp_path, cfg=cfg))
    assert {name: tensor.shape for name, tensor in found.items()} == {"weights": (COUNT,)}
    assert "net.cfg does not fit" in found.skipped[0].reason
    (tmp_path / "net.cfg").unlink()
    found = open_source(tmp_path / "net.weights")
    assert "there is no .cfg beside it" in found.skipped[0].reason


def test_a_file_of_an_old_version(tmp_path):
    found = open_source(write(tmp_path, head=struct.pack("<4i", 0, 1, 0, 7)))
    assert found.numel == COUNT


def test_a_truncated_file(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match="damaged or truncated"):
        open_source(path)


def test_a_damaged_description_changes_no_weights(tmp_path):
    data = CFG.encode()
    for seed in range(200):
        path = write(tmp_path)
        made = damaged(data, [data], np.random.default_rng(seed))
        (tmp_path / "net.cfg").write_bytes(made)
        assert open_source(path).numel == COUNT
