"""Folders of files and the files in them, wherever they are: a disk, an archive, far away.

What a checkpoint says of its other files (the shards of an index, external data) is not trusted:
a `File` finds only files of the folder that it came from.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

from kolmo.checkpoints.archives import Archive
from kolmo.checkpoints.stored import Stored, file_bytes
from kolmo.errors import InputError
from kolmo.files import check_readable


class Folder(Protocol):
    """Files by their names, which are relative and have slashes: ``unet/model.safetensors``.

    Attributes
    ----------
    where : str
        Where it is, for people.
    """

    @property
    def where(self) -> str: ...

    def names(self) -> list[str]:
        """All files in it and below it, sorted."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        ...

    def stored(self, name: str) -> Stored:
        """The bytes of a file, unread; InputError if there is none or it lies elsewhere."""
        ...

    def path(self, name: str) -> str:
        """The local file behind it, for provenance; empty if there is none."""
        ...


MOST = 100_000
"""Files that a folder may have, with all below it."""


@dataclasses.dataclass(frozen=True)
class LocalFolder:
    """A directory of this machine.

    Attributes
    ----------
    root : Path
    named : str
        The file that the user named, which may be a link to anywhere. Any other file must lie in
        the folder, or be one of the blobs (``models--x--y/blobs``) that folders in the cache of the
        Hugging Face Hub, and folders downloaded by it, link to.
    """

    root: Path
    named: str = ""

    @property
    def where(self) -> str:
        return str(self.root)

    def names(self) -> list[str]:
        return list(self._names)

    @cached_property
    def _names(self) -> list[str]:
        found: list[str] = []
        for folder, inner, files in os.walk(self.root, onerror=self._unlisted):
            inner[:] = [name for name in inner if not name.startswith(".")]
            under = Path(folder).relative_to(self.root)
            found += [(under / file).as_posix() for file in files]
            if len(found) > MOST:
                raise InputError(
                    f"{self.where}: holds more than {MOST:,} files; name the one that you mean"
                )
        return sorted(found)

    def _unlisted(self, error: OSError) -> None:
        """A folder that cannot be listed is no empty one; one within it may be somebody else's."""
        if error.filename == os.fspath(self.root):
            raise InputError(f"{self.where}: cannot be listed ({error.strerror})")

    def has(self, name: str) -> bool:
        return os.path.isfile(self.root / name)

    def stored(self, name: str) -> Stored:
        path = self.root / name
        if not self.has(name):
            if os.path.exists(path):
                check_readable(path)
            raise InputError(f"{self.where}: there is no file {name[:200]!r} in it")
        if name != self.named and not self._is_inside(path):
            raise InputError(
                f"{path}: this is a link out of its folder, to {os.path.realpath(path)}, which is "
                f"not followed; copy that file here, or name it"
            )
        return file_bytes(path)

    def path(self, name: str) -> str:
        return str(self.root / name)

    def _is_inside(self, path: Path) -> bool:
        """Whether a file lies in the folder, or is a blob in the cache of a hub."""
        real = Path(os.path.realpath(path))
        blobs = real.parent
        is_blob = blobs.name == "blobs" and blobs.parent.name.startswith("models--")
        return is_blob or real.is_relative_to(os.path.realpath(self.root))


@dataclasses.dataclass(frozen=True)
class SubFolder:
    """A folder within another one."""

    above: Folder
    name: str

    @property
    def where(self) -> str:
        return f"{self.above.where.rstrip('/')}/{self.name}"

    def names(self) -> list[str]:
        return list(self._names)

    @cached_property
    def _names(self) -> list[str]:
        start = f"{self.name}/"
        return [name[len(start) :] for name in self.above.names() if name.startswith(start)]

    def has(self, name: str) -> bool:
        return self.above.has(f"{self.name}/{name}")

    def stored(self, name: str) -> Stored:
        return self.above.stored(f"{self.name}/{name}")

    def path(self, name: str) -> str:
        return self.above.path(f"{self.name}/{name}")


@dataclasses.dataclass(frozen=True, eq=False)
class PackedFolder:
    """The files in an archive, each of which is found, or unpacked, when it is asked for first.

    ``depth`` counts the archives that it lies in, itself included.
    """

    where: str
    members: Mapping[str, Callable[[], Stored]]
    depth: int

    def names(self) -> list[str]:
        return sorted(self.members)

    def has(self, name: str) -> bool:
        return name in self.members

    def stored(self, name: str) -> Stored:
        if name not in self.members:
            raise InputError(f"{self.where}: there is no {name[:200]!r} in the archive")
        if name not in self._found:
            self._found[name] = self.members[name]()
        return self._found[name]

    @cached_property
    def _found(self) -> dict[str, Stored]:
        return {}

    def path(self, name: str) -> str:
        return ""


def depth_of(folder: Folder) -> int:
    """How many archives a folder lies in, one within the other."""
    if isinstance(folder, SubFolder):
        return depth_of(folder.above)
    return folder.depth if isinstance(folder, PackedFolder) else 0


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a folder."""

    folder: Folder
    name: str

    @classmethod
    def local(cls, path: Path) -> File:
        """The file of this path, and its folder."""
        return cls(LocalFolder(path.parent, path.name), path.name)

    @cached_property
    def stored(self) -> Stored:
        """Its bytes, unread."""
        return self.folder.stored(self.name)

    @property
    def exists(self) -> bool:
        """Whether there is such a file in the folder."""
        return self.folder.has(self.name)

    @property
    def where(self) -> str:
        """Where it is, for people."""
        return self.stored.where

    @property
    def files(self) -> list[str]:
        """The local file behind it, for provenance; none if it is not on this machine."""
        path = self.folder.path(self.name)
        return [path] if path else []

    def head(self, size: int = 512) -> bytes:
        """Its first bytes, fewer where it is shorter."""
        return bytes(self.stored.read(0, min(size, self.stored.size)))

    @cached_property
    def archive(self) -> Archive:
        """The zip archive that it is; InputError if it is none, or damaged."""
        return Archive(self.stored)

    def beside(self, name: str) -> File:
        """The file of a name that is relative to this one's; the name is not trusted.

        Raises
        ------
        InputError
            If it would lie outside the folder.
        """
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(self.name), name))
        leaves = inside.startswith(("../", "/")) or inside in ("..", ".")
        if not name or "\0" in name or "\\" in name or os.path.isabs(name) or leaves:
            raise InputError(
                f"{self.where}: it points outside its folder, to {name[:200]!r}; not followed"
            )
        return File(self.folder, inside)
