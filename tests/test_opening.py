"""Archives, compressed files, and what files are that are no checkpoint."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import torch
import zstandard

import kolmo
from kolmo.checkpoints import formats
from kolmo.checkpoints.allowance import EXPANSION
from kolmo.errors import InputError, KolmoError
from tests.checkpoints import save_torch

WEIGHTS = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones(5, "f2")}
PLAIN = safetensors.numpy.save(WEIGHTS)
PACKERS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zst": zstandard.ZstdCompressor().compress,
}


def torch_bytes(legacy=False):
    file = io.BytesIO()
    state = {name: torch.from_numpy(array) for name, array in WEIGHTS.items()}
    torch.save(state, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def npz_bytes():
    file = io.BytesIO()
    np.savez(file, **WEIGHTS)
    return file.getvalue()


CONTENTS = {
    "model.safetensors": PLAIN,
    "model.pt": torch_bytes(),
    "model.pth": torch_bytes(legacy=True),
    "model.npz": npz_bytes(),
}


def assert_weights(path):
    found = kolmo.open_checkpoint(path)
    assert set(found) == set(WEIGHTS)
    for name, array in WEIGHTS.items():
        assert found[name].read().tobytes() == array.tobytes()
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
    assert found.files == (str(path),)
    assert list(found.hashes()) == [str(path)]
    return found


def zipped(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


# --- archives and compressed files ----------------------------------------------------------


@pytest.mark.parametrize("form", PACKERS)
@pytest.mark.parametrize("name", CONTENTS)
def test_compressed_files(tmp_path, form, name):
    path = tmp_path / f"{name}.{form}"
    path.write_bytes(PACKERS[form](CONTENTS[name]))
    assert assert_weights(path).format == kolmo.open_checkpoint(path).format


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
                                         zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])  # fmt: skip
@pytest.mark.parametrize("name", CONTENTS)
def test_zip_archives(tmp_path, compression, name):
    members = {"m/README.md": b"x", f"m/{name}": CONTENTS[name], "__MACOSX/m/._model.pt": b"x"}
    path = zipped(tmp_path / "x.zip", members, compression)
    assert assert_weights(path).source == f"{path}/m/{name}"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("name", CONTENTS)
def test_tar_archives(tmp_path, mode, name):
    members = {"./m/config.json": b"{}", f"./m/{name}": CONTENTS[name], "m/optimizer.pt": b"x"}
    assert_weights(tarred(tmp_path / "x.tar", members, mode))


def test_a_folder_in_an_archive_is_chosen_from_as_any_folder(tmp_path):
    shards = {
        f"m/model-{n:05}-of-00002.safetensors": safetensors.numpy.save({name: array})
        for n, (name, array) in enumerate(WEIGHTS.items(), 1)
    }
    path = tarred(tmp_path / "x.tar.gz", {**shards, "m/pytorch_model.bin": b"never read"}, "w:gz")
    assert_weights(path)


def test_archives_within_archives_are_read_within_limits(tmp_path):
    data, paths = CONTENTS["model.safetensors"], []
    for depth in range(5):
        paths.append(zipped(tmp_path / f"{depth}.zip", {f"{depth}.zip" if depth else "m": data}))
        data = paths[-1].read_bytes()
    assert_weights(paths[0])
    assert_weights(paths[2])
    with pytest.raises(InputError, match="packed in archives within archives; unpack it"):
        kolmo.open_checkpoint(paths[3])


def test_several_checkpoints_in_an_archive(tmp_path):
    path = zipped(tmp_path / "x.zip", {"a.safetensors": PLAIN, "b.safetensors": PLAIN})
    with pytest.raises(InputError) as caught:
        kolmo.open_checkpoint(path)
    assert str(caught.value) == (
        f"{path}: holds 2 checkpoints; name one: a.safetensors, b.safetensors (after unpacking it)"
    )


def test_what_archives_hold_is_never_written_or_sought_elsewhere(tmp_path):
    path = zipped(tmp_path / "x.zip", {"../../escaped.safetensors": PLAIN})
    with pytest.raises(KolmoError):
        kolmo.open_checkpoint(path)
    index = b'{"weight_map": {"a": "../model.safetensors"}}'
    outside = tmp_path / "model.safetensors"
    outside.write_bytes(PLAIN)
    with pytest.raises(InputError, match="points outside its folder"):
        kolmo.open_checkpoint(zipped(tmp_path / "y.zip", {"m.safetensors.index.json": index}))
    with tarfile.open(tmp_path / "z.tar", "w") as archive:
        info = tarfile.TarInfo("model.safetensors")
        info.type, info.linkname = tarfile.SYMTYPE, str(outside)
        archive.addfile(info)
    with pytest.raises(InputError, match="no checkpoint in this archive"):
        kolmo.open_checkpoint(tmp_path / "z.tar")


@pytest.mark.parametrize("form", ["gz", "xz", "zst", "zip"])
def test_bombs_stop_at_their_limit(tmp_path, form, monkeypatch):
    monkeypatch.setattr("kolmo.checkpoints.allowance.UNPACKED", 1 << 20)
    zeros = bytes(8 << 20)
    if form == "zip":
        path = zipped(tmp_path / "x.zip", {"m.safetensors": zeros}, zipfile.ZIP_DEFLATED)
    else:
        path = tmp_path / f"m.safetensors.{form}"
        path.write_bytes(PACKERS[form](zeros))
    assert path.stat().st_size * EXPANSION < len(zeros)
    with pytest.raises(InputError, match=r"over 64 times its\s+size; unpack it yourself"):
        kolmo.open_checkpoint(path)


@pytest.mark.parametrize("form", PACKERS)
def test_a_compressed_file_that_is_cut_is_never_read_in_part(tmp_path, form):
    whole = PACKERS[form](CONTENTS["model.pth"])
    for size in (1, 5, len(whole) // 2, len(whole) - 20):
        path = tmp_path / f"m.pth.{form}"
        path.write_bytes(whole[:-size])
        with pytest.raises(InputError, match=r"damaged or truncated|not a checkpoint"):
            kolmo.open_checkpoint(path)


@pytest.mark.parametrize("form", ["gz", "bz2", "xz", "zst"])
def test_a_compressed_file_of_several_streams_is_read_whole(tmp_path, form):
    path = tmp_path / f"m.safetensors.{form}"
    path.write_bytes(PACKERS[form](PLAIN[:70]) + PACKERS[form](PLAIN[70:]))
    assert_weights(path)


def test_a_member_without_a_name(tmp_path):
    path = zipped(tmp_path / "x.zip", {"z": b"x", "model.safetensors": PLAIN})
    data = bytearray(path.read_bytes())
    for sign, at in ((b"PK\x03\x04", 26), (b"PK\x01\x02", 28)):
        begin = data.index(sign) + at
        data[begin : begin + 4] = bytes([0, 0, 1, 0])  # its name is now an extra field
    path.write_bytes(data)
    assert_weights(path)


def test_an_encrypted_archive(tmp_path):
    path = zipped(tmp_path / "x.zip", {"m.safetensors": PLAIN})
    data = bytearray(path.read_bytes())
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(sign) + at] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="it is encrypted; unpack the archive with its password"):
        kolmo.open_checkpoint(path)


# --- messages -------------------------------------------------------------------------------

TEXT = {
    "a.safetensors": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 123\n",
        "a Git LFS pointer, not the file itself; run  git lfs pull  in its repository",
    ),
    "b.bin": (
        b"../.git/annex/objects/xx/yy/MD5E-s1--ab/MD5E-s1--ab\n",
        "a git-annex pointer, not the file itself; run  git annex get",
    ),
    "b2.bin": (b"/annex/objects/MD5E-s1--ab\n", "a git-annex pointer"),
    "c.pt": (b"\n<!DOCTYPE html>", "an HTML page, not a checkpoint; download the raw file"),
    "d.pt": (b"Entry not found", "the error that a server sent in place of the file"),
    "d2.pt": (b'{"error":"Repository not found"}', "the error that a server sent"),
    "e.py": (b"import torch\n", "Python source, which is not run"),
    "f.json": (b'{"model_type": "bert"}', "the configuration of a model (JSON), not its weights"),
    "g.json": (b'{\n "cells": []}', "a notebook"),
    "h.json": (b"[1, 2]", "JSON that is no index of a checkpoint"),
    "i.yaml": (b"a: 1\n", "a configuration (YAML)"),
    "j": (b"hello\nworld\n", "a text, not a checkpoint"),
    "k.xml": (b"<?xml version='1.0'?><Error/>", "an XML document"),
    "l.onnx.dvc": (b"outs:\n- md5: abc\n", "a DVC pointer, not the file itself; run  dvc pull"),
}
BINARY = {
    "a.pdf": (b"%PDF-1.7\n\x00", "a PDF document"),
    "b.png": (b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG picture"),
    "c.jpg": (b"\xff\xd8\xff\xe0" + bytes(20), "a JPEG picture"),
    "d.parquet": (b"PAR1" + bytes(20), "a Parquet table"),
    "e.db": (b"SQLite format 3\0" + bytes(20), "an SQLite database"),
    "f.so": (b"\x7fELF\x02\x01\x01" + bytes(20), "a program or library for Linux (ELF)"),
    "g.engine": (b"ftrt" + bytes(20), "a TensorRT engine, a program for one sort of GPU"),
    "h.plan": (b"\x01\x02\x03" + bytes(20), "a TensorRT engine"),
    "i.pte": (b"\x10\x00\x00\x00ET12" + bytes(20), "an ExecuTorch program"),
    "j.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(20), "a 7-Zip archive; unpack it"),
    "k.zip": (b"PK\x05\x06" + bytes(18), "an empty zip archive"),
    "l.safetensors": (bytes(4096), "begins with zeros, as unfinished downloads do; download it"),
    "m.bin.part": (b"\x01\x02\xff", "a download that is not finished, by its name"),
    "n.safetensors": (b"\x05\0\0", "called as safetensors is, but does not begin as one does"),
    "o.pt": (b"", "the file is empty; download or copy it again"),
    "p.dat": (b"\x01\xff\x02", "not a checkpoint of a known format (safetensors, "),
    "q.pt": (b"PK\x03\x04" + bytes(90), "a damaged or truncated zip archive, whose directory"),
    "r.tar": (bytes(257) + b"ustar" + bytes(99), "a damaged or truncated tar archive"),
    "s.gz": (b"\x1f\x8b\x08" + bytes(50), "a gzip file that is damaged or truncated; download"),
    "t.zst": (b"\x28\xb5\x2f\xfd" + bytes(50), "a zstandard file that is damaged or truncated"),
}


@pytest.mark.parametrize("name", [*TEXT, *BINARY])
def test_refusals_say_what_a_file_is_and_what_helps(tmp_path, name):
    data, message = {**TEXT, **BINARY}[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        kolmo.open_checkpoint(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert message in said
    assert "\n" not in said
    assert ("damaged" in said) == (name[0] in "nqrst" and name in BINARY)


def test_documents_are_zip_archives_too(tmp_path):
    path = zipped(tmp_path / "x.docx", {"[Content_Types].xml": b"x", "word/document.xml": b"x"})
    with pytest.raises(InputError, match="this is a Word document; give a checkpoint"):
        kolmo.open_checkpoint(path)


def test_a_download_that_is_not_finished(tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(PLAIN)
    (tmp_path / "m.safetensors.aria2").write_bytes(b"\0")
    with pytest.raises(InputError, match=r"not finished \(m\.safetensors\.aria2 lies beside it\)"):
        kolmo.open_checkpoint(path)


def test_a_part_of_a_distributed_checkpoint(tmp_path):
    save_torch(tmp_path / "__0_0.distcp", {"w": torch.ones(3)})
    with pytest.raises(
        InputError, match=rf"that is a folder \(torch's distributed checkpoint\); give {tmp_path}"
    ):
        kolmo.open_checkpoint(tmp_path / "__0_0.distcp")


# --- formats of other packages --------------------------------------------------------------


def test_a_format_of_another_package(tmp_path, monkeypatch):
    """What an entry point of the group ``kolmo.checkpoints`` would load."""
    path = tmp_path / "x.toy"
    path.write_bytes(b"TOY1" + PLAIN)
    with pytest.raises(InputError, match="not a checkpoint of a known format"):
        kolmo.open_checkpoint(path)
    toy = formats.Format(
        "toy", lambda head, file: head.startswith(b"TOY1"), f"{__name__}:open_toy", (".toy",)
    )
    with formats._registry.lent(toy):
        assert kolmo.open_checkpoint(path).format == "toy"
        assert "toy" in formats.known()
    assert "toy" not in formats.known()


def open_toy(file):
    found = kolmo.open_checkpoint(WEIGHTS)
    return kolmo.checkpoints.Checkpoint(found.values(), source=file.where, format="toy")


def test_names_and_endings_of_formats_are_their_own():
    names = [format.name for format in (*formats.FORMATS, *formats.FOLDERS)]
    assert len(set(names)) == len(names)
    endings = [ending for format in formats.FORMATS for ending in format.endings]
    assert len(set(endings)) == len(endings)
    assert all(ending.startswith(".") and ending == ending.lower() for ending in endings)
