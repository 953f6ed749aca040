"""A cursor in the header of a file of ggml, which reads forwards and believes no claim.

Numbers and texts are taken, or passed over, a window of the file at a time: windows grow while one
follows the other, so that a long vocabulary costs few reads, and are small after a leap over what
nobody wants. What a header claims is checked against the size of the file before it is believed.
"""

from __future__ import annotations

import struct
from typing import Any

from kolmo.checkpoints.allowance import ENTRY, allowance_for
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

_TEXTS = 8  # texts that are walked over count for one item
_FIRST, _LEAP, _MOST = 1 << 14, 1 << 10, 1 << 22  # bytes of a window: first, after a leap, at most
_TEXT = 1 << 12  # bytes of a text that is kept, at most
_NAME = 1 << 16  # bytes of a name, at most


def damaged(stored: Stored, why: str) -> InputError:
    """The error that says what is wrong with a file of this format."""
    return InputError(f"{stored.where}: a damaged or truncated GGUF file: {why}")


class HeaderCursor:
    """Reads forwards, a window of the file at a time.

    ``at`` is where it is, ``width`` of how many bytes lengths are, ``walked`` how many texts it has
    passed over one by one; ``head`` are the first bytes of the file, if they are known.
    """

    def __init__(self, stored: Stored, head: bytes = b"") -> None:
        self.stored, self.at, self.width = stored, 0, 8
        self._window, self._start, self._next = head, 0, _FIRST
        self._charge = allowance_for(stored.where, stored.size).charge
        self.walked = 0
        self._order, self._length = "<", struct.Struct("<Q")

    def set_form(self, big: bool, width: int) -> None:
        """The byte order, and of how many bytes lengths are."""
        self._order, self.width = ">" if big else "<", width
        self._length = struct.Struct(self._order + ("I" if width == 4 else "Q"))

    def take(self, size: int) -> bytes:
        """The next bytes."""
        self._hold(size)
        begin = self.at - self._start
        self.at += size
        return self._window[begin : begin + size]

    def skip(self, size: int) -> None:
        """Pass over bytes, which must be there."""
        if size > self.stored.size - self.at:
            raise damaged(self.stored, "it ends within its header")
        self.at += size

    def number(self, code: str) -> Any:
        """A number, by its code in `struct`."""
        form = self._order + code
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def length(self) -> int:
        """A length or a count."""
        return int(self._length.unpack(self.take(self.width))[0])

    def text(self) -> str:
        """A name."""
        size = self.length()
        if size > _NAME:
            raise damaged(self.stored, f"it has a name of {size:,} bytes")
        return self.take(size).decode("utf-8", "backslashreplace")

    def short_text(self) -> str | None:
        """A text, or None of a long one."""
        size = self.length()
        if size > _TEXT:
            self.skip(size)
            return None
        return self.take(size).decode("utf-8", "backslashreplace")

    def skip_texts(self, count: int, after: int = 0, longest: int = 1 << 63) -> None:
        """Pass over so many texts, each with so many bytes after it; only lengths are looked at."""
        self._expect(count, self.width + after, "texts")
        self._charge(count // _TEXTS)
        unpack, width = self._length.unpack_from, self.width
        while count:
            self._hold(width)
            window, at = self._window, self.at - self._start
            last, left = len(window) - width, count
            while count and at <= last:
                size = unpack(window, at)[0]
                if size > longest:
                    raise damaged(self.stored, f"it has a text of {size:,} bytes")
                at += width + size + after
                count -= 1
            self.walked += left - count
            self.skip(self._start + at - self.at)

    def items(self, count: int, size: int, what: str) -> range:
        """Numbers for so many things of at least so many bytes each, if they can be there."""
        self._expect(count, size, what)
        self._charge(ENTRY * count)
        return range(count)

    def _expect(self, count: int, size: int, what: str) -> None:
        if count * size > self.stored.size - self.at:
            raise damaged(self.stored, f"it claims {count:,} {what}, more than its bytes can hold")

    def _hold(self, size: int) -> None:
        """Have the next bytes in the window."""
        end = self._start + len(self._window)
        if self.at + size <= end:
            return
        left = self.stored.size - self.at
        if size > left:
            raise damaged(self.stored, "it ends within its header")
        if self._window:
            leapt = self.at >= end + len(self._window)
            self._next = _LEAP if leapt else min(2 * self._next, _MOST)
        wanted = min(max(size, self._next), left)
        self._charge(1)
        self._window, self._start = bytes(self.stored.read(self.at, wanted)), self.at
