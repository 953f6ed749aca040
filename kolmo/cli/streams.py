"""The standard streams, whatever became of them: closed, full, without the characters of a name."""

from __future__ import annotations

import io
import os
import sys


def prepare_streams() -> None:
    """Let a stream that is closed take what is printed, and go nowhere with it; let errors of what
    messages are written to stop nothing; let characters that an encoding lacks be escaped."""
    _open_closed()
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        sys.stderr = _unfailing(sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open_closed() -> None:
    """Python has no stream where the descriptor is closed, and the next file that is opened would
    get its number: whatever writes there would write into that file."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            if not _is_open(number):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class _Unfailing(io.FileIO):
    """A file that takes what cannot be written as written."""

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:
            return memoryview(data).nbytes  # type: ignore[arg-type]


def _unfailing(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    raw = _Unfailing(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), stream.encoding, line_buffering=True, write_through=True
    )
