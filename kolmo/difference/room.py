"""Admission by bytes: what is under way at once holds no more memory than there is room for."""

from __future__ import annotations

import threading


class Room:
    """So many bytes, of which those who work take their share.

    A share larger than the whole is the whole: its owner then works alone.

    >>> room = Room(100)
    >>> room.take(70, 0), room.take(70, 0)
    (True, False)
    >>> room.give_back(70)
    >>> room.take(700, 0)
    True
    """

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._changed = threading.Condition()

    def take(self, size: int, timeout: float) -> bool:
        """Wait for room, at most so many seconds; whether there was."""
        size = min(size, self._size)
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= size, timeout):
                return False
            self._free -= size
            return True

    def give_back(self, size: int) -> None:
        with self._changed:
            self._free += min(size, self._size)
            self._changed.notify_all()
