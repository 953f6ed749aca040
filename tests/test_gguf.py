"""GGUF: versions, byte orders, parts, types, and files that are damaged or hostile."""

import dataclasses
import os

import numpy as np
import pytest

import kolmo
from kolmo.checkpoints.folders import File, LocalFolder
from kolmo.checkpoints.gguf import open_gguf
from tests.corpus.gguf import floats, gguf, normal


def opened(path, data):
    path.write_bytes(data)
    return kolmo.open_checkpoint(path)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("big", [False, True])
def test_versions_and_byte_orders(tmp_path, version, big):
    metadata = {"general.name": "a", "tokens": ["x", "yy", ""], "scores": [("f32", 1), ("f32", 2)],
                "nested": [[("u8", 1)], [("u8", 2), ("u8", 3)]], "long": "y" * 9999}  # fmt: skip
    arrays = {"a": normal(3, 5), "b": normal(2, 3, 4, seed=1), "c": normal(7, seed=2)}
    data = gguf({k: floats(v, big) for k, v in arrays.items()}, metadata, version, big)
    found = opened(tmp_path / "x.gguf", data)
    assert (found.format, list(found), found.skipped) == ("gguf", list(arrays), [])
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert found[name].read().dtype == np.float32
        np.testing.assert_array_equal(found[name].read(), array)


class Counting(LocalFolder):
    """A folder that counts the bytes that are read of its files."""

    def stored(self, name):
        stored = super().stored(name)

        def fetch(offset, size):
            self.read.append(size)
            return stored.fetch(offset, size)

        return dataclasses.replace(stored, fetch=fetch)


def test_a_file_of_100_gb_is_opened_in_kilobytes(tmp_path):
    path = tmp_path / "x.gguf"
    data = gguf({"small": floats(normal(32)), "big": ((1 << 16, 1 << 20), 1, b"")})
    path.write_bytes(data)
    os.truncate(path, len(data) + (1 << 37))
    folder = Counting(tmp_path)
    object.__setattr__(folder, "read", [])
    found = open_gguf(File(folder, path.name))
    assert found.numel == 2**36 + 32
    assert sum(folder.read) <= 1 << 14
    np.testing.assert_array_equal(found["big"].load(2**36 - 5, 2**36), np.zeros(5, np.float16))
    assert sum(folder.read) <= (1 << 14) + 10
