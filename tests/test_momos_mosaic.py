"""Mosaics: exact round trips, sizes, the figures of the paper, and files that lie."""

from __future__ import annotations

import json
import zlib

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kolmo.codes.numbers import Reader
from kolmo.container.fields import deflate
from kolmo.errors import InputError
from kolmo.symbols import container
from momos.checkpoint import project_checkpoint
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab.models import MLP
from momos.mosaic.blocks import Partition
from momos.mosaic.files import read_header
from momos.mosaic.headers import encode_header, read_header_fields
from momos.mosaic.mosaic import Mosaic
from momos.mosaic.packing import index_bits, pack, unpack
from momos.sampled.projection import MoMos
from momos.tensors import same_bits

DTYPES = [np.float16, np.float32, np.float64, ml_dtypes.bfloat16]


@given(st.integers(1, 70), st.integers(0, 300), st.integers(0, 10))
def test_pack_is_the_binary_digits_and_unpacks(motifs, count, seed):
    indices = np.random.default_rng(seed).integers(0, motifs, count)
    bits = index_bits(motifs)
    packed = pack(indices, bits)
    digits = "".join(f"{i:0{bits}b}" for i in indices.tolist()) if bits else ""
    assert "".join(f"{byte:08b}" for byte in packed).startswith(digits)
    assert len(packed) == -(-len(digits) // 8)
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
    indices = random.integers(0, motifs, partition.count).astype(container(motifs))
    dense = {"bias": random.normal(size=3).astype(np.float32), "steps": np.array(7)}
    dense = dense if draw(st.booleans()) else {}
    names = tuple(random.permutation([*partition.shapes, *dense]).tolist())
    scales = {
        name: random.normal(size=draw(st.sampled_from([1, shape[0] if shape else 1])))
        for name, shape in partition.shapes.items()
        if draw(st.booleans())
    }
    scales = {name: scale.astype(np.float32) for name, scale in scales.items() if scale.size}
    stored = np.dtype(draw(st.sampled_from(DTYPES)))
    return Mosaic(partition, table, indices, dense, names, scales, stored)


@given(mosaics())
@settings(max_examples=40)
def test_save_and_load_are_exact(tmp_path_factory, mosaic):
    path = tmp_path_factory.mktemp("mosaic") / "m.safetensors"
    mosaic.save(path)
    loaded = Mosaic.load(path)
    expected, found = mosaic.arrays(), loaded.arrays()
    assert list(found) == list(expected) == list(mosaic.names)
    assert all(same_bits(found[name], expected[name]) for name in expected)
    rows = [sorted(row.tobytes() for row in m.motifs) for m in (loaded, mosaic)]
    assert rows[0] == rows[1]  # numbered anew, by falling use
    assert (np.diff(np.bincount(loaded.indices, minlength=len(loaded.motifs))) <= 0).all()
    assert loaded.encode() == mosaic.encode() == loaded.encode()
    assert 8 * path.stat().st_size == mosaic.code_length()
    assert loaded.description_length() == mosaic.description_length()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_projected_model_comes_back_bit_for_bit(tmp_path, dtype):
    model = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).to(dtype)
    with torch.no_grad():
        model[0].weight[0, :4] = torch.tensor([-0.0, 0.0, -0.0, 0.0])
    projector = MoMos(model, SampledMosaic(motifs=4, exclude=("1.*",)))
    projector.project()
    for mosaic in (projector.mosaic(), Mosaic.from_model(model, 4, exclude=("1.*",))):
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
    projector = MoMos(model, SampledMosaic(motifs=20))
    stats = projector.project()
    found = Mosaic.from_model(model)
    assert len(projector.mosaic().motifs) == 20
    assert len(found.motifs) <= stats.motifs_used


@pytest.mark.parametrize(("capacity", "rac"), [(0.01, 11.35), (0.05, 6.60), (0.10, 4.78)])
def test_relative_algorithmic_compression_of_the_paper(capacity, rac):
    model = MLP([784, 256, 256, 256, 256, 10])
    partition = Partition({n: tuple(p.shape) for n, p in model.named_parameters()}, 4)
    assert (partition.numel, partition.count) == (400_906, 100_227)
    k = SampledMosaic(capacity=capacity).motif_count(partition.count)
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


def test_scales_multiply_tensors_or_their_rows():
    partition = Partition({"a": (2, 2), "b": (2, 1, 2), "c": (3,)}, 1)
    motifs = np.array([[0], [1], [-2]], np.float16)
    indices = np.array([1, 2, 0, 1, 1, 2, 2, 1, 2, 2, 2], np.uint8)
    scales = {"a": np.array([0.5], np.float32), "b": np.array([3, 4], np.float32)}
    mosaic = Mosaic(partition, motifs, indices, {}, ("a", "b", "c"), scales, np.dtype("f4"))
    found = mosaic.arrays()
    assert found["a"].tolist() == [[0.5, -1], [0, 0.5]]
    assert found["b"].tolist() == [[[3, -6]], [[-8, 4]]]
    assert found["c"].tolist() == [-2, -2, -2]
    assert all(array.dtype == np.float32 for array in found.values())
    assert mosaic.description_length() == 3 * 16 + 11 * 2 + 3 * 32


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("capacity", [0.001, 0.01, 0.05])
def test_the_file_is_no_larger_than_the_description(tmp_path, capacity, dtype):
    random = np.random.default_rng(0)
    weights = {f"layers.{i}.weight": random.normal(size=(64, 256)).astype(dtype) for i in range(4)}
    weights["norm"] = np.ones(64, dtype)
    config = LearnedMosaic(capacity=capacity, exclude=("norm",))
    mosaic, _ = project_checkpoint(weights, config)
    size = mosaic.save(tmp_path / "m.mosaic").stat().st_size
    header = 8 + 1 + (tmp_path / "m.mosaic").read_bytes()[8] + 4
    assert header < 80
    assert size - header <= mosaic.description_length() / 8 + 1


def test_the_file_is_as_large_as_its_parts_are_worth(tmp_path):
    random = np.random.default_rng(0)
    partition = Partition({"a": (300, 400), "b": (200, 300)}, 1)
    share = [0.9, 0.04, 0.03, 0.02, 0.01]
    indices = random.choice(5, size=partition.count, p=share).astype(np.uint8)
    motifs = random.normal(size=(5, 1)).astype(np.float16)
    mosaic = Mosaic(partition, motifs, indices, {}, ("a", "b"), dtype=np.dtype("f4"))
    entropy = -sum(p * np.log2(p) for p in share) * partition.count
    assert mosaic.code_length() == pytest.approx(entropy + 5 * 16 + 8 * 200, rel=0.01)


def test_the_same_mosaic_gives_the_same_bytes(tmp_path):
    weights = {"w": np.random.default_rng(0).normal(size=(9, 9)).astype(np.float32)}
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        project_checkpoint(weights, SampledMosaic(motifs=3))[0].save(path, {"epoch": 3})
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert read_header(paths[0])["metadata"] == {"epoch": 3}
    with pytest.raises(InputError, match="must be JSON"):
        Mosaic.from_model(weights).save(tmp_path / "c", {"epoch": object()})


# --- headers ----------------------------------------------------------------------------------


SIDES = st.lists(st.integers(0, 2**40), max_size=4)
KINDS = st.sampled_from([0, 1, "float32", "int64", "rows"])


@given(st.dictionaries(st.text(), st.tuples(SIDES, KINDS), max_size=9), st.data())
def test_every_header_comes_back(tensors, data):
    entries = [[name, shape, (shape[0] if shape else 1) if kind == "rows" else kind]
               for name, (shape, kind) in tensors.items()]  # fmt: skip
    if entries:
        name, shape, _ = data.draw(st.sampled_from(entries))
        entries.append([data.draw(st.text().filter(lambda t: t not in tensors)), shape, [name]])
    header = {
        "block_size": data.draw(st.integers(1, 2**40)),
        "motifs": [data.draw(st.integers(1, 2**40)), "float16"],
        "dtype": "bfloat16",
        "indices": data.draw(st.sampled_from(["packed", "mixed"])),
        "tensors": entries,
    }
    optional = {"absent": ["a.1", "a.2"], "metadata": {"epoch": 3, "of": ["x", None]}}
    header |= {key: optional[key] for key in data.draw(st.sets(st.sampled_from([*optional])))}
    encoded = encode_header(header)
    reader = Reader(encoded + b"more")
    assert read_header_fields("x", reader, 4) == header
    assert reader.rest() == b"more"


@given(st.binary(max_size=80))
def test_a_damaged_header_of_the_later_version_is_refused(body):
    """Its checksum right, and its length too."""
    packed = deflate(body)
    content = b"momos\0\x04\n" + bytes([len(packed)]) + packed + bytes(40)
    with pytest.raises(InputError, match=r"^x: "):
        Mosaic.decode(content + zlib.crc32(content).to_bytes(4, "little"), "x")


# --- files that lie ---------------------------------------------------------------------------


def write(path, *, body=None, header=None, **changes):
    """A mosaic file of 3 motifs of 2 floats and 6 blocks, changed as told, its checksum right."""
    described = {
        "block_size": 2,
        "motifs": [3, "float32"],
        "dtype": "float32",
        "indices": "packed",
        "tensors": [["w", [3, 4], 0]],
    } | changes
    if body is None:
        motifs = np.arange(6, dtype="<f4").tobytes()
        body = motifs + pack(np.array([0, 1, 2, 2, 1, 0]), 2)
    packed = zlib.compress(json.dumps(described).encode()) if header is None else header
    content = b"momos\0\x02\n" + len(packed).to_bytes(4, "little") + packed + body
    path.write_bytes(content + zlib.crc32(content).to_bytes(4, "little"))
    return path


def test_the_file_of_these_tests_is_sound(tmp_path):
    assert Mosaic.load(write(tmp_path / "m")).arrays()["w"].tolist()[0] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_size": 0}, "description"),
        ({"block_size": "2"}, "description"),
        ({"block_size": True}, "description"),
        ({"block_size": 3}, "before the tensors"),
        ({"motifs": [0, "float32"]}, "description"),
        ({"motifs": [3, "int32"]}, "description"),
        ({"motifs": [3, "object"]}, "description"),
        ({"motifs": [3]}, "description"),
        ({"motifs": [2**40, "float32"]}, "before the tensors"),
        ({"dtype": "bool"}, "description"),
        ({"indices": "else"}, "description"),
        ({"tensors": [["w", [-3, 4], 0]]}, "description"),
        ({"tensors": [["w", [3, 4.0], 0]]}, "description"),
        ({"tensors": [["w", 12, 0]]}, "description"),
        ({"tensors": [["w", 12]]}, "description"),
        ({"tensors": [["w", [1] * 65, 0]]}, "description"),
        ({"tensors": [[1, [3, 4], 0]]}, "description"),
        ({"tensors": [["w", [3, 4], 2]]}, "description"),
        ({"tensors": [["w", [3, 4], True]]}, "description"),
        ({"tensors": [["w", [3, 4], "object"]]}, "description"),
        ({"tensors": [["w", [3, 4], 0], ["w", [3, 4], 0]]}, "description"),
        ({"tensors": [["w", [3, 6], 0]]}, "9 blocks"),
        ({"tensors": [["w", [3, 4], 3]]}, "bytes of indices|before the tensors"),
        ({"tensors": [["w", [2**40, 2**40], 0]]}, "claims to expand"),
        ({"tensors": [["w", [2**30], 0]]}, "claims to expand"),
        ({"tensors": [["w", [3, 4], 0], ["v", [2**40], "float32"]]}, "before the tensors"),
        ({"body": np.arange(6, dtype="<f4").tobytes() + b"\xff\xff"}, "a motif that is not there"),
        ({"body": b""}, "before the tensors"),
        ({"header": b"{}"}, "description"),
        ({"header": zlib.compress(b"[" * 100_000)}, "description"),
        ({"header": zlib.compress(b"[]")}, "description"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        Mosaic.load(write(tmp_path / "m", **changes))


def test_one_motif_takes_no_indices_but_cannot_claim_the_world(tmp_path):
    one = {"motifs": [1, "float32"], "body": np.ones(2, "<f4").tobytes()}
    assert Mosaic.load(write(tmp_path / "m", **one)).arrays()["w"].all()
    with pytest.raises(InputError, match="claims to expand"):
        Mosaic.load(write(tmp_path / "m", **one, tensors=[["w", [2**45], 0]]))


def test_another_version_is_named(tmp_path):
    content = bytearray(write(tmp_path / "m").read_bytes())
    content[6] = 9
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(InputError, match="version 9"):
        Mosaic.load(tmp_path / "m")


@given(st.data())
@settings(max_examples=60)
def test_damaged_bytes_are_an_input_error(tmp_path_factory, data):
    path = write(tmp_path_factory.mktemp("fuzz") / "m")
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with pytest.raises(InputError):
        Mosaic.load(path)


@given(st.data())
@settings(max_examples=60)
def test_a_damaged_body_with_a_right_checksum_is_an_input_error_or_sound(tmp_path_factory, data):
    random = np.random.default_rng(0)
    partition = Partition({"w": (20, 30)}, 1)
    indices = (random.random(600) < 0.1).astype(np.uint8) * random.integers(1, 3, 600)
    motifs = np.arange(3, dtype=np.float32)[:, None]
    whole = Mosaic(partition, motifs, indices.astype(np.uint8), {}, ("w",)).encode()[:-4]
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content += zlib.crc32(content).to_bytes(4, "little")
    path = tmp_path_factory.mktemp("fuzz") / "m"
    path.write_bytes(content)
    try:
        mosaic = Mosaic.load(path)
    except InputError:
        return
    assert sum(array.size for array in mosaic.arrays().values()) >= mosaic.partition.numel


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 100, b"{}" * 50])
def test_what_is_no_mosaic_file_is_refused(tmp_path, content):
    path = tmp_path / "m"
    path.write_bytes(content)
    with pytest.raises(InputError, match="m: not a mosaic file"):
        Mosaic.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        Mosaic.load(tmp_path / "absent")
