"""Mosaics: exact round trips, sizes, the figures of the paper, and files that lie."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kolmo.errors import InputError
from momos.blocks import Partition
from momos.models import MLP
from momos.mosaic import Mosaic
from momos.packing import index_bits, index_dtype, pack, unpack
from momos.projection import MoMos, ProjectionConfig, project_checkpoint
from momos.tensors import read_metadata, same_bits

DTYPES = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]


@given(st.integers(1, 70), st.integers(0, 300), st.integers(0, 10))
def test_pack_is_the_binary_digits_and_unpacks(motifs, count, seed):
    indices = np.random.default_rng(seed).integers(0, motifs, count)
    bits = index_bits(motifs)
    packed = pack(indices, bits)
    digits = "".join(f"{i:0{bits}b}" for i in indices.tolist()) if bits else ""
    assert "".join(f"{byte:08b}" for byte in packed).startswith(digits)
    assert packed.size == -(-len(digits) // 8)
    assert np.array_equal(unpack(packed, count, bits), indices)


def test_packing_works_in_pieces():
    indices = np.random.default_rng(0).integers(0, 1002, 200_001)
    assert np.array_equal(unpack(pack(indices, 10), indices.size, 10), indices)


@st.composite
def mosaics(draw):
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    size, motifs = draw(st.integers(1, 9)), draw(st.integers(1, 20))
    shapes = draw(st.lists(st.lists(st.integers(0, 6), max_size=3), min_size=1, max_size=4))
    partition = Partition({f"w{i}": tuple(shape) for i, shape in enumerate(shapes)}, size)
    table = random.normal(size=(motifs, size)).astype(dtype)
    table[random.random(table.shape) < 0.2] = -0.0
    indices = random.integers(0, motifs, partition.count).astype(index_dtype(motifs))
    dense = {"bias": random.normal(size=3).astype(np.float32), "steps": np.array(7)}
    dense = dense if draw(st.booleans()) else {}
    names = tuple(random.permutation([*partition.shapes, *dense]).tolist())
    return Mosaic(partition, table, indices, dense, names)


@given(mosaics())
@settings(max_examples=40)
def test_save_and_load_are_exact(tmp_path_factory, mosaic):
    path = tmp_path_factory.mktemp("mosaic") / "m.safetensors"
    mosaic.save(path)
    loaded = Mosaic.load(path)
    expected, found = mosaic.arrays(), loaded.arrays()
    assert list(found) == list(expected) == list(mosaic.names)
    assert all(same_bits(found[name], expected[name]) for name in expected)
    assert same_bits(loaded.motifs, mosaic.motifs)
    assert loaded.description_length() == mosaic.description_length()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_projected_model_comes_back_bit_for_bit(tmp_path, dtype):
    model = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).to(dtype)
    with torch.no_grad():
        model[0].weight[0, :4] = torch.tensor([-0.0, 0.0, -0.0, 0.0])
    projector = MoMos(model, motifs=4, exclude=["1.*"])
    projector.project()
    for mosaic in (projector.mosaic(), Mosaic.from_model(model, 4, exclude=["1.*"])):
        state = Mosaic.load(mosaic.save(tmp_path / "m.safetensors")).state_dict()
        expected = model.state_dict()
        assert list(state) == list(expected)
        for name, tensor in expected.items():
            assert state[name].dtype == tensor.dtype
            assert (
                state[name].numpy(force=True).tobytes() == tensor.numpy().tobytes()
                if (dtype != torch.bfloat16)
                else torch.equal(state[name], tensor)
            )
        model.load_state_dict(state)


def test_from_model_keeps_negative_zeros_apart_and_reads_through_padding():
    weights = {"w": np.array([0, -0.0, 1, 0, 0, 0, -0.0], np.float32)}
    mosaic = Mosaic.from_model(weights, block_size=2)
    assert len(mosaic.motifs) == 4  # (0, −0), (1, 0), (0, 0), and (−0, padding)
    assert same_bits(mosaic.arrays()["w"], weights["w"])
    ends = Mosaic.from_model({"w": np.array([5, 6, 5], np.float32)}, block_size=2)
    assert len(ends.motifs) == 1  # the padded end is the beginning of (5, 6)


@given(st.integers(1, 9), st.integers(0, 99), st.sampled_from(DTYPES))
@settings(max_examples=40)
def test_from_model_is_exact_and_has_each_block_once(size, seed, dtype):
    random = np.random.default_rng(seed)
    values = np.array([0, -0.0, 1], dtype)
    tensors = {n: random.choice(values, s) for n, s in [("a", (4, 5)), ("b", (3,)), ("c", (17,))]}
    mosaic = Mosaic.from_model(tensors, size)
    found = mosaic.arrays()
    assert all(same_bits(found[name], tensors[name]) for name in tensors)
    rows = [row.tobytes() for row in mosaic.motifs]
    assert len(set(rows)) == len(rows)


def test_from_model_of_a_projected_model_drops_unused_motifs_only():
    model = MLP([16, 16, 4])
    projector = MoMos(model, motifs=20)
    stats = projector.project()
    found = Mosaic.from_model(model)
    assert len(projector.mosaic().motifs) == 20
    assert len(found.motifs) <= stats.motifs_used


@pytest.mark.parametrize(("capacity", "rac"), [(0.01, 11.35), (0.05, 6.60), (0.10, 4.78)])
def test_relative_algorithmic_compression_of_the_paper(capacity, rac):
    model = MLP([784, 256, 256, 256, 256, 10])
    partition = Partition({n: tuple(p.shape) for n, p in model.named_parameters()}, 4)
    assert (partition.numel, partition.count) == (400_906, 100_227)
    k = ProjectionConfig(capacity=capacity).motif_count(partition.count)
    indices = np.zeros(partition.count, np.uint16)
    mosaic = Mosaic(partition, np.zeros((k, 4), np.float32), indices, {}, tuple(partition.shapes))
    bits = index_bits(k)
    assert mosaic.description_length(bits=32) == k * 4 * 32 + 100_227 * bits
    assert mosaic.relative_algorithmic_compression(bits=32) == pytest.approx(rac, abs=0.005)


def test_description_length_counts_dense_tensors_unless_told():
    weights = {"w": np.ones((4, 4), np.float32), "b": np.zeros(3, np.float32)}
    mosaic = Mosaic.from_model(weights, exclude=["b"])
    assert mosaic.description_length() == 1 * 4 * 32 + 4 * 0 + 3 * 32
    assert mosaic.description_length(8) == 1 * 4 * 8 + 3 * 32
    assert mosaic.description_length(dense=False) == 128
    assert mosaic.relative_algorithmic_compression(dense=False) == 16 * 32 / 128
    assert mosaic.relative_algorithmic_compression() == (16 + 3) * 32 / (128 + 96)
    with pytest.raises(InputError, match="at least 1"):
        mosaic.description_length(0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("capacity", [0.001, 0.01, 0.2])
def test_the_file_is_as_large_as_the_description(tmp_path, capacity, dtype):
    random = np.random.default_rng(0)
    weights = {f"layers.{i}.weight": random.normal(size=(64, 256)).astype(dtype) for i in range(4)}
    weights["norm"] = np.ones(64, dtype)
    config = ProjectionConfig(capacity=capacity, exclude=("norm",))
    mosaic, _ = project_checkpoint(weights, config)
    size = mosaic.save(tmp_path / "m.safetensors").stat().st_size
    described = mosaic.description_length() / 8
    assert described <= size <= 1.02 * described + 4096


def test_the_same_mosaic_gives_the_same_bytes(tmp_path):
    weights = {"w": np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)}
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        project_checkpoint(weights, ProjectionConfig(motifs=3))[0].save(path, {"epoch": 3})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert read_metadata(paths[0])["epoch"] == 3


# --- files that lie ---------------------------------------------------------------------------


def write(path, *, motifs=None, indices=None, extra=None, **metadata):
    """A mosaic file of 3 motifs of 2 floats and 6 blocks, changed as told."""
    described = {"mosaic": 1, "block_size": 2, "shapes": {"w": [3, 4]}, "names": ["w"]} | metadata
    tensors = {
        "motifs": np.arange(6, dtype=np.float32).reshape(3, 2) if motifs is None else motifs,
        "indices": pack(np.array([0, 1, 2, 2, 1, 0]), 2) if indices is None else indices,
        **(extra or {}),
    }
    tensors = {name: array for name, array in tensors.items() if array is not False}
    text = described if isinstance(described, str) else json.dumps(described)
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"momos": text}))
    return path


def test_the_file_of_these_tests_is_sound(tmp_path):
    assert Mosaic.load(write(tmp_path / "m")).arrays()["w"].tolist()[0] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mosaic": 2}, "version 2"),
        ({"block_size": 0}, "damaged"),
        ({"block_size": "2"}, "damaged"),
        ({"block_size": True}, "damaged"),
        ({"block_size": 3}, "its blocks 3"),
        ({"shapes": {"w": [-3, 4]}}, "damaged"),
        ({"shapes": {"w": [3, 4.0]}}, "damaged"),
        ({"shapes": {"w": 12}}, "damaged"),
        ({"shapes": [["w", 12]]}, "damaged"),
        ({"shapes": {"w": [1] * 65}}, "damaged"),
        ({"shapes": {"w": [3, 6]}}, "9 blocks"),
        ({"shapes": {"w": [2**40, 2**40]}}, "claims to expand"),
        ({"shapes": {"w": [2**30]}}, "claims to expand"),
        ({"names": ["w", "v"]}, "list of names"),
        ({"names": []}, "list of names"),
        ({"names": ["w", "w"]}, "list of names"),
        ({"names": [1]}, "damaged"),
        ({"motifs": np.zeros((2, 2), np.int32)}, "no table of motifs"),
        ({"motifs": np.zeros((0, 2), np.float32)}, "no table of motifs"),
        ({"motifs": np.zeros(4, np.float32)}, "no table of motifs"),
        ({"motifs": False}, "no table of motifs"),
        ({"indices": False}, "indices"),
        ({"indices": np.zeros(2, np.float16)}, "indices"),
        ({"indices": np.zeros(3, np.uint8)}, "indices"),
        ({"indices": np.array([255, 255], np.uint8)}, "names motif 3, there are 3"),
        ({"extra": {"dense.w": np.zeros(2, np.float32)}}, "list of names"),
        ({"extra": {"else": np.zeros(2, np.float32)}}, "list of names"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        Mosaic.load(write(tmp_path / "m", **changes))


def test_one_motif_takes_no_indices_but_cannot_claim_the_world(tmp_path):
    one = {"motifs": np.ones((1, 2), np.float32), "indices": np.zeros(0, np.uint8)}
    assert Mosaic.load(write(tmp_path / "m", **one)).arrays()["w"].all()
    with pytest.raises(InputError, match="claims to expand"):
        Mosaic.load(write(tmp_path / "m", **one, shapes={"w": [2**45]}))


@given(st.data())
@settings(max_examples=60)
def test_damaged_bytes_are_an_input_error_or_a_sound_mosaic(tmp_path_factory, data):
    path = write(tmp_path_factory.mktemp("fuzz") / "m")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        mosaic = Mosaic.load(path)
    except InputError:
        return
    assert sum(array.size for array in mosaic.arrays().values()) == mosaic.partition.numel


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 100, b"{}" * 50])
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    path = tmp_path / "m"
    path.write_bytes(content)
    with pytest.raises(InputError, match="m: "):
        Mosaic.load(path)


def test_an_ordinary_checkpoint_is_no_mosaic(tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.numpy.save_file({"w": np.ones(3, np.float32)}, path)
    with pytest.raises(InputError, match="not a mosaic file"):
        Mosaic.load(path)
    with pytest.raises(InputError, match=r"no such file|cannot be read"):
        Mosaic.load(tmp_path / "absent")
