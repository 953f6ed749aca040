"""Readers meet bad input: one clear line, nothing executed, nothing allocated on a mere claim."""

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import kolmo
from kolmo.errors import InputError
from tests.checkpoints import RANDOM, contents, save_torch, write_shards

# --- bad input ------------------------------------------------------------------------------


def bad(path, data, message):
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        kolmo.open_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00", "not a checkpoint"),
        (b"garbage that is nothing", "not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML page"),
        (b"\n <html>", "HTML page"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (pickle.dumps({"a": 1}), "Python pickle"),
        (b"PK\x03\x04 but nothing more", "zip archive"),
        (b"\x93NUMPY\x01\x00\x10\x00{'descr': garbage}", "npy header"),
        (b'{"weight_map": {"a": "b", }}', "not valid JSON"),
    ],
)
def test_what_is_no_checkpoint(tmp_path, data, message):
    bad(tmp_path / "x.safetensors", data, message)


def test_missing(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        kolmo.open_checkpoint(tmp_path / "nothing.pt")
    with pytest.raises(InputError, match="no checkpoint in this directory"):
        kolmo.open_checkpoint(tmp_path)
    with pytest.raises(InputError, match="cannot open a int"):
        kolmo.open_checkpoint(3)
    with pytest.raises(InputError, match="no tensor in it; it holds 'a'"):
        kolmo.open_checkpoint({"a": "text"})


def test_an_ambiguous_directory(tmp_path):
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, w=np.ones(2))
    with pytest.raises(InputError, match=r"holds 2 checkpoints; name one: a\.npz, b\.npz"):
        kolmo.open_checkpoint(tmp_path)


def safetensors_bytes(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack("<Q", 10**9) + b"{}", "header claims 1,000,000,000 bytes"),
        (safetensors_bytes({"a": ENTRY}, b"1234"), "truncated"),
        (safetensors_bytes({"a": ENTRY}, b"12345678extra"), "longer than its header"),
        (safetensors_bytes({"a": {**ENTRY, "shape": [3]}}, b"12345678"), "not F32"),
        (safetensors_bytes({"a": {**ENTRY, "shape": [-2]}}, b"12345678"), "not that of a tensor"),
        (safetensors_bytes({"a": {**ENTRY, "shape": [1 << 62, 4]}}, b"12345678"), "not F32"),
        (safetensors_bytes({"a": {**ENTRY, "data_offsets": [0, 1 << 50]}}), "truncated"),
        (safetensors_bytes({"a": {**ENTRY, "data_offsets": [8, 0]}}), "not that of a tensor"),
        (safetensors_bytes({"a": ENTRY, "b": ENTRY}, b"12345678"), "overlaps"),
        (safetensors_bytes({"a": {"dtype": "F32"}}), "not that of a tensor"),
        (safetensors_bytes({"a": 3}), "not that of a tensor"),
        (safetensors_bytes(b'{"a": 1, "a": 2}'), "a key occurs twice"),
        (safetensors_bytes(b"{" * 5000), "not valid JSON"),
        (safetensors_bytes(b'{"a": {"more": NaN}}'), "NaN is no number of JSON"),
        (safetensors_bytes({"\ud800": ENTRY}, b"12345678"), "surrogates not allowed"),
        (safetensors_bytes(json.dumps({"a": ENTRY}).encode("utf-16-le"), b"12345678"), "not valid"),
    ],
)
def test_broken_safetensors(tmp_path, data, message):
    bad(tmp_path / "x.safetensors", data, message)


def test_an_unknown_safetensors_dtype_is_skipped(tmp_path):
    header = {"a": ENTRY, "b": {"dtype": "F5", "shape": [4], "data_offsets": [8, 10]}}
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors_bytes(header, bytes(10)))
    found = kolmo.open_checkpoint(path)
    assert list(found) == ["a"]
    assert found.skipped[0].reason == "dtype F5 is not supported"


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "../outside.safetensors"}, "points outside its folder"),
        ({"a": "/etc/passwd"}, "points outside its folder"),
        ({"a": "sub/../../x"}, "points outside its folder"),
        ({"a": "missing.safetensors"}, "names 'missing.safetensors', which is not in"),
        ({"other": "model-00002-of-00010.safetensors"}, "which does not hold it"),
        ({}, "names no tensor"),
        ({"a": 3}, "weight_map"),
        (["a"], "weight_map"),
    ],
)
def test_broken_indexes(tmp_path, weight_map, message):
    index = write_shards(tmp_path)
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InputError, match=message):
        kolmo.open_checkpoint(index)


class Attack:
    def __reduce__(self):
        return os.system, ("touch /tmp/kolmo-was-here",)


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_torch_file_is_run(tmp_path, legacy):
    path = save_torch(tmp_path / "x.pt", {"w": torch.ones(2), "bomb": Attack()}, legacy)
    found = kolmo.open_checkpoint(path)
    assert found["w"].read().tolist() == [1, 1]
    reasons = {entry.name: entry.reason for entry in found.skipped}
    assert reasons == {"bomb": "not a tensor but a call of 'posix.system', which was not made"}
    assert not Path("/tmp/kolmo-was-here").exists()


@pytest.mark.parametrize("name", ["builtins.eval", "builtins.exec", "os.system", "torch.load"])
def test_names_are_never_looked_up(tmp_path, name):
    module, _, attribute = name.rpartition(".")
    code = f"\x80\x02c{module}\n{attribute}\n.".encode("latin1")
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", code)
        archive.writestr("x/version", "3")
    with pytest.raises(InputError, match=f"no arrays in it; it holds: the name '{name}'"):
        kolmo.open_checkpoint(path)


def torch_file(path, contents, change):
    """A torch file of these contents, the bytes of whose first storage are changed."""
    with zipfile.ZipFile(save_torch(path, contents)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, change(data) if name.endswith("data/0") else data)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:100], "claims 4,000 bytes, the file has 100 for it"),
        (lambda data: data + bytes(16), "claims 4,000 bytes, its record has 4,016"),
    ],
)
def test_a_torch_storage_that_claims_what_is_not_so(tmp_path, change, message):
    path = torch_file(tmp_path / "x.pt", {"w": torch.ones(1000)}, change)
    with pytest.raises(InputError, match=message):
        contents(path)


def test_a_torch_record_may_end_within_an_entry(tmp_path):
    path = torch_file(tmp_path / "x.pt", {"w": torch.ones(3)}, lambda data: data + bytes(3))
    assert kolmo.open_checkpoint(path)["w"].read().tolist() == [1, 1, 1]


def test_an_empty_view_may_begin_anywhere(tmp_path):
    empty = torch.as_strided(torch.ones(4), (0, 7), (7, 1), 400)
    path = save_torch(tmp_path / "x.pt", {"w": torch.ones(3), "empty": empty})
    found = kolmo.open_checkpoint(path)
    assert {name: tensor.read().shape for name, tensor in found.items()} == {
        "w": (3,),
        "empty": (0, 7),
    }


def test_a_compressed_torch_record_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}, 2))
        archive.writestr("x/data/0", bytes(10**6))
    with pytest.raises(InputError, match="compressed"):
        kolmo.open_checkpoint(path)


def npy_bytes(header, data=b"", version=b"\x01\x00"):
    text = (repr(header) if isinstance(header, dict) else header).encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy_bytes({"descr": "<f4", "fortran_order": False, "shape": (2,)}, b"123"), "claims 8"),
        (npy_bytes({"descr": "<f4", "fortran_order": False, "shape": (10**15,)}), "claims"),
        (npy_bytes({"descr": "<f4", "fortran_order": False, "shape": (-1,)}), "does not exist"),
        (npy_bytes({"descr": "|O", "fortran_order": False, "shape": (1,)}, b"x" * 8), "object"),
        (
            npy_bytes({"descr": "<M8[D]", "fortran_order": False, "shape": (1,)}, b"x" * 8),
            "datetime",
        ),
        (npy_bytes("__import__('os')"), "npy header"),
        (npy_bytes("", bytes(9), b"\x04\x00"), "version 4.0 is none of 1.0, 2.0 and 3.0"),
    ],
)
def test_broken_npy(tmp_path, data, message):
    bad(tmp_path / "x.npy", data, message)
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", data)
    with pytest.raises(InputError, match=r"x\.npz"):
        kolmo.open_checkpoint(path)


def test_a_damaged_npz_member(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, w=RANDOM.normal(size=1000))
    data = bytearray(path.read_bytes())
    data[600:640] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        contents(path)
