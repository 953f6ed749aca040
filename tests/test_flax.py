"""Files of Flax: arrays, roles, shards; damaged and hostile ones."""

import shutil

import pytest

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.msgpack import MsgpackError, unpack
from kolmo.checkpoints.stored import Stored, memory_bytes
from kolmo.errors import InputError
from tests.written import DATA, contents, opened, same_in_pieces, truth, unpacked

INDEX = "flax_model.msgpack.index.json"
FILES = [name for name in truth("flax") if not name.startswith("flax_model")]


@pytest.mark.parametrize("name", FILES)
def test_arrays_are_those_of_flax(name, tmp_path):
    found = opened(unpacked(f"flax/{name}", tmp_path))
    wanted = truth("flax")[name]
    assert contents(found) == wanted
    assert not any(s.numel for s in found.skipped)
    assert found.format == "flax"
    assert same_in_pieces(found)


def test_what_is_no_array_is_said(tmp_path):
    found = opened(unpacked("flax/dtypes.msgpack", tmp_path))
    assert {(s.name, s.reason, s.numel) for s in found.skipped} == {
        ("lists", "not an array but a list of settings", 0),
        ("plain", "not an array but int", 0),
        ("text", "not an array but str", 0),
    }


def test_arrays_of_over_a_piece_are_whole(tmp_path):
    found = opened(unpacked("flax/pieces.msgpack", tmp_path))
    assert {t.name: t.shape for t in found.values()} == {"big": (9, 7), "half": (50,)}


def test_the_state_of_an_optimizer_has_its_role(tmp_path):
    found = opened(unpacked("flax/train_state.msgpack", tmp_path))
    roles = {t.name: t.role for t in found.values()}
    assert roles["params.Dense_0.kernel"] is None
    assert roles["opt_state.0.mu.Dense_0.kernel"] is Role.OPTIMIZER
    assert sum(t.numel for t in found.values() if t.role is None) == 5 * 3 + 3 + 3 * 2
    old = opened(unpacked("flax/old.msgpack", tmp_path))
    assert {t.name.split(".")[1] for t in old.values() if t.role is None} == {"target"}


def shards(folder):
    for name in truth("flax"):
        if name.startswith("flax_model"):
            unpacked(f"flax/{name}", folder)
    shutil.copy(DATA / "flax" / INDEX, folder / INDEX)
    return folder / INDEX


def test_shards_of_an_index(tmp_path):
    found = opened(shards(tmp_path))
    names = [name for name in truth("flax") if name.startswith("flax_model")]
    assert contents(found) == {k: v for name in names for k, v in truth("flax")[name].items()}
    assert len(found.files) == 3


def test_an_index_does_not_leave_its_folder(tmp_path):
    index = shards(tmp_path)
    index.write_text(index.read_text().replace("flax_model-00001", "../flax_model-00001"))
    with pytest.raises(InputError, match="points outside its folder"):
        opened(index)


def test_a_shard_that_lacks_an_array(tmp_path):
    index = shards(tmp_path)
    index.write_text(index.read_text().replace("a/x", "a/w"))
    with pytest.raises(InputError, match=r"'a\.w' should be in 'flax_model-00001-of-00002"):
        opened(index)


# --- msgpack ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("7f", 127),
        ("ff", -1),
        ("e0", -32),
        ("c0", None),
        ("c2", False),
        ("c3", True),
        ("ca3fc00000", 1.5),
        ("cbbff8000000000000", -1.5),
        ("ccff", 255),
        ("cdffff", 65535),
        ("ceffffffff", 2**32 - 1),
        ("cfffffffffffffffff", 2**64 - 1),
        ("d0ff", -1),
        ("d18000", -(2**15)),
        ("d280000000", -(2**31)),
        ("d38000000000000000", -(2**63)),
        ("a26162", "ab"),
        ("d9026162", "ab"),
        ("da00026162", "ab"),
        ("db000000026162", "ab"),
        ("c4026162", b"ab"),
        ("c500026162", b"ab"),
        ("c6000000026162", b"ab"),
        ("920102", [1, 2]),
        ("dc00020102", [1, 2]),
        ("dd000000020102", [1, 2]),
        ("81a16101", {"a": 1}),
        ("de0001a16101", {"a": 1}),
        ("df00000001c4016101", {"a": 1}),
    ],
)
def test_values_of_every_form(data, value):
    """By the tables of the specification."""
    found = unpack(memory_bytes(bytes.fromhex(data), "here"))
    assert found == value
    assert type(found) is type(value)


def test_long_bytes_and_extensions_stay_in_the_file():
    long = unpack(memory_bytes(b"\xc6\x00\x10\x00\x00" + bytes(1 << 20), "here"))
    assert isinstance(long, Stored)
    assert long.size == 1 << 20
    for head in ("d4", "c701", "c80001", "c900000001"):
        found = unpack(memory_bytes(bytes.fromhex(head + "07aa"), "here"))
        assert (found.code, bytes(found.stored.read(0, 1))) == (7, b"\xaa")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\x91" * 100_000,
        b"\x82\xa1a\x00\xa1a\x00",
        b"\x81\x90\x00",
        b"\xdb\x00\x10\x00\x00" + bytes(1 << 20),
        b"\x80\x00",
    ],
)
def test_what_is_not_sound(data):
    with pytest.raises(MsgpackError):
        unpack(memory_bytes(data, "here"))


def test_a_truncated_file_is_said_to_be_so(tmp_path):
    path = unpacked("flax/old.msgpack", tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="a damaged or truncated msgpack file"):
        opened(path)
