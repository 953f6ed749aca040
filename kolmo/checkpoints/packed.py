"""Archives of checkpoints, and compressed ones: zip, tar, gzip, bzip2, xz, zstandard.

An archive is looked into as a folder is, and a checkpoint in it is read in place. What is
compressed is unpacked to a temporary file first, within a limit (`kolmo.checkpoints.compressed`).
"""

from __future__ import annotations

import dataclasses
import functools
import re
import zipfile
from collections.abc import Callable

from kolmo.checkpoints.archives import Archive, ProgramArchive
from kolmo.checkpoints.base import Checkpoint
from kolmo.checkpoints.compressed import compression_of, spooled, unpacked
from kolmo.checkpoints.directories import open_folder
from kolmo.checkpoints.folders import File, PackedFolder, depth_of
from kolmo.checkpoints.formats import HEAD, open_file
from kolmo.checkpoints.magic import ZIP, is_tar
from kolmo.checkpoints.stored import Stored
from kolmo.checkpoints.tars import TORCH_2017, tar_members
from kolmo.errors import InputError

_DEEPEST = 3  # archives within archives
_SUFFIX = re.compile(r"\.(gz|gzip|bz2|xz|lzma|zst|zstd|z)$|(?<=\.t)(gz|bz2|xz|zst)$", re.I)


def open_packed(file: File) -> Checkpoint | None:
    """The checkpoint in an archive, or in a compressed file; None for a torch file of 2017.

    Raises
    ------
    InputError
        If there is none in it, or several; if it is damaged, encrypted, or unpacks to far more
        than its size; if archives are packed in archives many times over.
    """
    if depth_of(file.folder) >= _DEEPEST:
        raise InputError(f"{file.where}: packed in archives within archives; unpack it")
    head = file.head(HEAD)
    if head.startswith(ZIP):
        return _within(file, _zip_members(file))
    if is_tar(head):
        members = tar_members(file.stored)
        if set(members) >= TORCH_2017:
            return None
        return _within(file, {n: functools.partial(_same, s) for n, s in members.items()})
    return _open_compressed(file, head)


def open_llamafile(file: File) -> Checkpoint:
    """The model that a llamafile, a program for every system, carries in its zip archive.

    Raises
    ------
    InputError
        If it carries none, or several.
    """
    archive = ProgramArchive(file.stored)
    names = [name for name in archive.members if name.endswith(".gguf")]
    if not names:
        raise InputError(f"{file.where}: a llamafile without a model; name the .gguf file")
    return _within(file, {name: functools.partial(archive.record, name) for name in names})


def _within(file: File, members: dict[str, Callable[[], Stored]]) -> Checkpoint:
    folder = PackedFolder(file.where, members, depth_of(file.folder) + 1)
    opened = open_folder(folder)
    opened.files = tuple(file.files)
    return opened


def _same(stored: Stored) -> Stored:
    return stored


def _open_compressed(file: File, head: bytes) -> Checkpoint | None:
    form = compression_of(head)
    if form is None:
        return None
    inner = unpacked(file.stored, form)
    name = _SUFFIX.sub("", file.name.rpartition("/")[2]) or "checkpoint"
    depth = depth_of(file.folder) + 1
    folder = PackedFolder(file.where, {name: lambda: inner}, depth)
    opened = open_file(File(folder, name))
    opened.files = tuple(file.files)
    return opened


# --- zip ------------------------------------------------------------------------------------


def _zip_members(file: File) -> dict[str, Callable[[], Stored]]:
    members = file.archive.members
    return {
        name: functools.partial(_zip_member, file.archive, member)
        for name, member in members.items()
        if name and not name.endswith("/")
    }


def _zip_member(archive: Archive, member: zipfile.ZipInfo) -> Stored:
    """The bytes of a member, in place where it is not compressed."""
    where = f"{archive.where}/{member.filename}"
    if member.flag_bits & 1:
        raise InputError(f"{where}: it is encrypted; unpack the archive with its password")
    if member.compress_type == zipfile.ZIP_STORED:
        return dataclasses.replace(archive.record(member.filename), where=where)
    try:
        with (
            archive.stored.open() as file,
            zipfile.ZipFile(file) as opened,
            opened.open(member) as packed,
        ):
            return spooled(packed, where, archive.stored.size)
    except InputError:
        raise
    except Exception as error:  # zipfile and its decompressors raise anything
        kind = type(error).__name__
        raise InputError(f"{where}: damaged, or compressed in an unknown way ({kind})") from None
