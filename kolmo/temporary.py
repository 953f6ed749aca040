"""Temporary files without a name, which go however a program ends."""

from __future__ import annotations

import io
import os
import tempfile
from typing import IO, Any, cast

from kolmo.errors import KolmoError


def nameless_file() -> IO[bytes]:
    """An open temporary file, without a name where the system has such files.

    Raises
    ------
    KolmoError
        If there is no folder for it. Where there is no room, what writes to it raises one.

    >>> with nameless_file() as file:
    ...     _ = file.write(b"weights"), file.seek(2)
    ...     file.read()
    b'ights'
    """
    try:
        with tempfile.TemporaryFile(prefix="kolmo-", buffering=0) as opened:
            return cast(IO[bytes], io.BufferedRandom(_Temporary(os.dup(opened.fileno()), "r+b")))
    except OSError as error:
        raise _no_room(error) from None


class _Temporary(io.FileIO):
    """A file whose errors of writing are no errors of whatever is read meanwhile.

    The first one is told; what a buffer still holds is dropped when the file is closed.
    """

    _is_over = False

    def write(self, data: Any, /) -> int:
        if self._is_over:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._is_over = True
            raise _no_room(error) from None

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            raise _no_room(error) from None


def _no_room(error: OSError) -> KolmoError:
    return KolmoError(
        f"a temporary file cannot be written ({error.strerror}); name a folder with room in TMPDIR"
    )
