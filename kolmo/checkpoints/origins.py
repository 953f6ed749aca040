"""How a checkpoint was opened, so that another process opens the same one again."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class Origin:
    """What opens a checkpoint again, and what tells whether it is still the same.

    Attributes
    ----------
    source : str
        An absolute path or a URL.
    version : str
        A digest of what tells this version of each file behind it from any other.
    """

    source: str
    version: str

    @classmethod
    def of(cls, source: str, fingerprints: Mapping[str, str]) -> Origin:
        """The origin of what was opened there, with what tells the version of each of its files.

        >>> Origin.of("/a", {"/a": "size=1"}) == Origin.of("/a", {"/a": "size=2"})
        False
        """
        told = repr(sorted(fingerprints.items())).encode()
        return cls(source, hashlib.blake2b(told, digest_size=16).hexdigest())


class Version(NamedTuple):
    """What tells this version of a local file from an earlier or later one, unread.

    Attributes
    ----------
    size : int
        Negative where there is no file.
    written : int
        When it was written last, in nanoseconds, as all times here.
    inode : int
        The number that the file system gave the file.
    touched : int
        When its inode was changed last, which no program can set.
    """

    size: int
    written: int
    inode: int
    touched: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Version:
        """That of the file that is there now.

        >>> str(Version.of("/nowhere"))
        'absent'
        """
        try:
            return cls.told_by(os.stat(path))
        except OSError:
            return cls(-1, 0, 0, 0)

    @classmethod
    def told_by(cls, status: os.stat_result) -> Version:
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    def is_other(self, then: Version) -> bool:
        """Whether the file is no longer what it was.

        A file that took the place of another may have its size and its time of writing; it has
        another inode, touched at another time. Either may differ alone of the same file: network
        file systems give new numbers, and a new mode or a further link touches an inode.

        >>> then = Version(8, 100, 7, 100)
        >>> Version(8, 100, 9, 300).is_other(then), Version(8, 100, 7, 300).is_other(then)
        (True, False)
        """
        replaced = self.inode != then.inode and self.touched != then.touched
        return self[:2] != then[:2] or replaced

    def __str__(self) -> str:
        return "absent" if self.size < 0 else f"size={self.size} mtime_ns={self.written}"


def sha256(path: str) -> str:
    """The file's SHA-256, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
