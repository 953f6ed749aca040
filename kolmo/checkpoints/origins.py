"""How a checkpoint was opened, so that another process opens the same one again."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping


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
        """The origin of what was opened there, with the `fingerprint` of each of its files.

        >>> Origin.of("/a", {"/a": "size=1"}) == Origin.of("/a", {"/a": "size=2"})
        False
        """
        told = repr(sorted(fingerprints.items())).encode()
        return cls(source, hashlib.blake2b(told, digest_size=16).hexdigest())


def fingerprint(path: str) -> str:
    """What tells this version of a local file from an earlier or later one, unread: its size,
    and the time of its last change in nanoseconds.

    >>> fingerprint("/nowhere")
    'absent'
    """
    try:
        status = os.stat(path)
    except OSError:
        return "absent"
    return f"size={status.st_size} mtime_ns={status.st_mtime_ns}"


def sha256(path: str) -> str:
    """The file's SHA-256, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
