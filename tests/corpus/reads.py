"""Folders that count what is read of their files."""

import dataclasses

from kolmo.checkpoints.folders import LocalFolder


@dataclasses.dataclass(frozen=True)
class Counting(LocalFolder):
    """A folder that keeps the number of bytes of each read of its files."""

    reads: list[int] = dataclasses.field(default_factory=list)

    def stored(self, name):
        stored = super().stored(name)

        def fetch(offset, size):
            self.reads.append(size)
            return stored.fetch(offset, size)

        return dataclasses.replace(stored, fetch=fetch)
