"""Folders of files and the files in them, wherever they are: a disk, an archive, far away.

What a checkpoint says of its other files (the shards of an index, external data) is not trusted:
a `File` finds only files of the folder that it came from.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
from functools import cached_property
from pathlib import Path
from typing import Protocol

from kolmo.checkpoints.archives import Archive
from kolmo.checkpoints.stored import Stored, file_bytes
from kolmo.errors import InputError


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


@dataclasses.dataclass(frozen=True)
class LocalFolder:
    """A directory of this machine."""

    root: Path

    @property
    def where(self) -> str:
        return str(self.root)

    def names(self) -> list[str]:
        found = []
        for folder, inner, files in os.walk(self.root):
            inner[:] = [name for name in inner if not name.startswith(".")]
            under = Path(folder).relative_to(self.root)
            found += [(under / file).as_posix() for file in files]
        return sorted(found)

    def has(self, name: str) -> bool:
        return (self.root / name).is_file()

    def stored(self, name: str) -> Stored:
        path = self.root / name
        if not self.has(name):
            raise InputError(f"{self.where}: there is no file {name!r} in it")
        return file_bytes(path)

    def path(self, name: str) -> str:
        return str(self.root / name)


@dataclasses.dataclass(frozen=True)
class File:
    """A file of a folder."""

    folder: Folder
    name: str

    @classmethod
    def local(cls, path: Path) -> File:
        """The file of this path, and its folder."""
        return cls(LocalFolder(path.parent), path.name)

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
