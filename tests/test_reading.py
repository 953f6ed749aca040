"""Chunks whose memory is used again: the same weights, in few buffers.

`test_reopening` reads every input of the corpus so.
"""

import json
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kolmo.checkpoints import array_tensor
from kolmo.checkpoints.files import SLACK, place
from kolmo.checkpoints.opening import open_source
from kolmo.checkpoints.stored import memory_bytes, stored_tensor
from tests.checkpoints import tensors

WEIGHTS = np.random.default_rng(7).standard_normal((300, 7)).astype(ml_dtypes.bfloat16)


def written(folder: Path) -> list[Path]:
    """The same weights in plain files of three formats."""
    header = {"w": {"dtype": "BF16", "shape": [300, 7], "data_offsets": [0, WEIGHTS.nbytes]}}
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + WEIGHTS.tobytes()
    paths = [folder / "w.safetensors", folder / "w.pt", folder / "w.npy"]
    paths[0].write_bytes(data)
    torch.save({"w": torch.from_numpy(WEIGHTS.view(np.int16)).view(torch.bfloat16)}, paths[1])
    np.save(paths[2], WEIGHTS.view(np.float16))
    return paths


def test_plain_files_fill_one_buffer(tmp_path):
    for path in written(tmp_path):
        (tensor,) = open_source(path).values()
        starts = [chunk.ctypes.data for chunk in tensor.chunks(70, reuse=True)]
        fresh = list(tensor.chunks(70))
        assert max(starts) - min(starts) < SLACK
        assert b"".join(chunk.tobytes() for chunk in fresh) == WEIGHTS.tobytes()


def test_two_tensors_at_once_have_buffers_of_their_own(tmp_path):
    one, other = (next(iter(open_source(path).values())) for path in written(tmp_path)[:2])
    pairs = zip(one.chunks(70, reuse=True), other.chunks(70, reuse=True), strict=True)
    assert all(a.tobytes() == b.tobytes() and a.ctypes.data != b.ctypes.data for a, b in pairs)


@given(st.integers(0, 1 << 40), st.integers(1, 70), st.integers(0, 64))
def test_bytes_are_read_to_places_where_processors_copy_fast(offset, size, first):
    buffer = np.empty(size + SLACK + first, np.uint8)[first:]
    found = place(buffer, size, offset)
    address = found.__array_interface__["data"][0]
    assert found.size == size
    assert np.shares_memory(found, buffer)
    assert address % 64 == 0
    assert not 0 < (address - offset) % 4096 < 64


def test_arrays_in_memory_are_not_copied():
    (chunk,) = array_tensor("w", WEIGHTS).chunks(1 << 20, reuse=True)
    assert np.shares_memory(chunk, WEIGHTS)


@settings(max_examples=30)
@given(
    size=st.integers(1, 40),
    shape=st.tuples(st.integers(0, 9), st.integers(1, 9)),
    order=st.sampled_from("<>"),
)
def test_chunks_of_any_size_in_either_byte_order(size, shape, order):
    weights = np.arange(shape[0] * shape[1], dtype=f"{order}f4").reshape(shape)
    tensor = stored_tensor(memory_bytes(weights.tobytes(), "x"), "w", shape, weights.dtype)
    fresh = [chunk.tolist() for chunk in tensor.chunks(size)]
    reused = [chunk.tolist() for chunk in tensor.chunks(size, reuse=True)]
    assert fresh == reused
    assert [value for chunk in reused for value in chunk] == weights.ravel().tolist()


def test_live_torch_tensors_have_the_same_chunks():
    for tensor in open_source(tensors()).values():
        pieces = [chunk.tobytes() for chunk in tensor.chunks(5, reuse=True)]
        assert b"".join(pieces) == tensor.read().tobytes()
