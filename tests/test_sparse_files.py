"""Opening reads kilobytes of files of 100 GB, whose values are holes."""

import struct

import numpy as np
import pytest

from kolmo.checkpoints import files
from kolmo.checkpoints.opening import open_source

ROWS, WIDTH = 83_333_333, 300
SIZE = 4 * ROWS * WIDTH


def varint(value):
    more = value >> 7
    return bytes([value & 0x7F | (0x80 if more else 0)]) + (varint(more) if more else b"")


def fasttext():
    settings = struct.pack("<2i", 793712314, 12)
    settings += struct.pack("<12id", WIDTH, 5, 5, 1, 5, 1, 2, 2, ROWS - 1, 3, 6, 100, 1e-4)
    dictionary = struct.pack("<3i2q", 1, 1, 0, 10, -1) + b"word\0" + struct.pack("<qb", 10, 0)
    output = struct.pack("<?2q", False, 1, WIDTH) + np.ones(WIDTH, np.float32).tobytes()
    return settings + dictionary + struct.pack("<?2q", False, ROWS, WIDTH), output


def mxnet():
    array = struct.pack("<Iii2q3i", 0xF993FAC9, 0, 2, ROWS, WIDTH, 1, 0, 0)
    return struct.pack("<3Q", 0x112, 0, 1) + array, struct.pack("<2Q", 1, 1) + b"w"


def darknet():
    return struct.pack("<3iq", 0, 2, 5, 1000), b""


def caffe():
    blob = b"\x2a" + varint(SIZE)
    sides = varint(ROWS) + varint(WIDTH)
    shape = b"\x3a" + varint(len(sides) + 2) + b"\x0a" + varint(len(sides)) + sides
    inner = shape + blob
    layer = b"\x0a\x01w\x3a" + varint(len(inner) + SIZE) + inner
    return b"\xa2\x06" + varint(len(layer) + SIZE) + layer, b""


CASES = {"x.bin": fasttext, "z.params": mxnet, "n.weights": darknet,
         "c.caffemodel": caffe}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_opening_reads_kilobytes(tmp_path, monkeypatch, name):
    head, tail = CASES[name]()
    with open(tmp_path / name, "wb") as file:
        file.write(head)
        file.truncate(len(head) + SIZE)
        file.seek(0, 2)
        file.write(tail)
    read, fetch = [], files.fill
    monkeypatch.setattr(files, "fill", lambda *place: read.append(len(place[2])) or fetch(*place))
    found = open_source(tmp_path / name)
    assert max(tensor.numel for tensor in found.values()) == ROWS * WIDTH
    assert 0 < sum(read) < 1 << 20
    if name == "x.bin":
        assert found["output"].read().tolist() == [[1.0] * WIDTH]
