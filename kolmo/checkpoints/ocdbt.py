"""OCDBT, TensorStore's database of keys and values in a folder
(https://google.github.io/tensorstore/kvstore/ocdbt).

``manifest.ocdbt`` says where the root of a B+tree lies; its leaves hold short values and say where
in the files of the folder the long ones are. Checksums are not looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from kolmo.checkpoints.allowance import allowance_for
from kolmo.checkpoints.cursor import BytesCursor
from kolmo.checkpoints.filters import unzstd
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.stored import Stored, memory_bytes
from kolmo.errors import InputError

MANIFEST = "manifest.ocdbt"

_MANIFEST, _NODE = 0x0CDB3A2A, 0x0CDB20DE  # marks
_MOST = 1 << 26  # bytes of an unpacked node
_NODE_ITEMS = 32  # that a node counts for
_TEXT = 4  # items that a key, or the name of a file, counts for
_NOWHERE = 1 << 63  # an offset of what is not there


@dataclasses.dataclass(frozen=True)
class _Place:
    """Bytes of a file of the folder; ``base`` goes before the paths of files named in them."""

    path: str
    base: str
    offset: int
    length: int


def values_of(manifest: File) -> dict[str, Stored]:
    """The values of the latest version by their keys, unread.

    Raises
    ------
    InputError
        If the database is damaged, or names files outside its folder.
    """
    found: dict[str, Stored] = {}
    root = _root(manifest)
    left, seen = [(root, b"")] if root else [], set[_Place]()
    charge = allowance_for(manifest.where, manifest.stored.size).charge
    while left:
        place, prefix = left.pop()
        if place in seen:  # a tree whose branches meet is none
            raise damaged(manifest.where)
        stored = _stored(manifest, place)
        node = _Decoder.unpacked(manifest, stored, _NODE, place.base)
        seen.add(place)
        charge(_NODE_ITEMS, node.size)
        if node.number(1):
            left += reversed(_children(node, prefix))
        else:
            found.update(_leaf(node, prefix, manifest))
    return found


def damaged(where: str) -> InputError:
    """The error of a database that contradicts itself."""
    return InputError(f"{where}: a damaged or truncated database of TensorStore (OCDBT)")


def _stored(manifest: File, place: _Place) -> Stored:
    return manifest.beside(place.path).stored.part(place.offset, place.length)


def _root(manifest: File) -> _Place | None:
    """The root of the latest version, which is the last that the manifest lists."""
    decoder = _Decoder.unpacked(manifest, manifest.stored, _MANIFEST)
    decoder.take(16)
    if decoder.varint():
        raise InputError(
            f"{manifest.where}: a database of TensorStore with numbered manifests, which are not "
            f"read; save the checkpoint again"
        )
    decoder.varints(2)
    decoder.take(1)
    decoder.take(4 if decoder.varint() else 0)
    files = decoder.files()
    count = decoder.varint()
    decoder.varints(count)
    decoder.take(count)
    numbers, offsets, lengths = (decoder.varints(count) for _ in range(3))
    if not count or not lengths[-1] or offsets[-1] >= _NOWHERE:
        return None
    return decoder.place(files, numbers[-1], offsets[-1], lengths[-1])


def _children(node: _Decoder, prefix: bytes) -> list[tuple[_Place, bytes]]:
    """The nodes below a node, with what their keys begin by."""
    files, count = node.files(), node.entries()
    prefixes, suffixes = [0, *node.varints(count - 1)], node.varints(count)
    common = node.varints(count)
    keys = node.texts(prefixes, suffixes)
    columns = [node.varints(count) for _ in range(3)]
    places = [node.place(files, *row) for row in zip(*columns, strict=True)]
    shared = [prefix + key[:size] for key, size in zip(keys, common, strict=True)]
    return list(zip(places, shared, strict=True))


def _leaf(node: _Decoder, prefix: bytes, manifest: File) -> Iterator[tuple[str, Stored]]:
    """The keys and values of a leaf: long values lie in files, short ones in the leaf."""
    files, count = node.files(), node.entries()
    prefixes, suffixes = [0, *node.varints(count - 1)], node.varints(count)
    keys = [(prefix + key).decode("utf-8", "replace") for key in node.texts(prefixes, suffixes)]
    lengths, kinds = node.varints(count), node.varints(count)
    far = [at for at, kind in enumerate(kinds) if kind]
    numbers, offsets = node.varints(len(far)), node.varints(len(far))
    places = {
        at: node.place(files, number, offset, lengths[at])
        for at, number, offset in zip(far, numbers, offsets, strict=True)
    }
    for at, key in enumerate(keys):
        if at in places:
            yield key, _stored(manifest, places[at])
        else:
            yield key, memory_bytes(node.take(lengths[at]), manifest.where)


class _Decoder(BytesCursor):
    """The numbers and texts of a node, one after the other."""

    def __init__(self, data: bytes, where: str, base: str) -> None:
        super().__init__(data, where)
        self.base = base
        self._charge = allowance_for(where, len(data)).charge

    def damaged(self) -> InputError:
        return damaged(self.where)

    @classmethod
    def unpacked(cls, manifest: File, stored: Stored, mark: int, base: str = "") -> _Decoder:
        """A node or a manifest after its header: mark, length, version, compression."""
        if not 18 <= stored.size <= _MOST:
            raise damaged(manifest.where)
        raw = cls(bytes(stored.read(0, stored.size)), manifest.where, base)
        is_marked = int.from_bytes(raw.take(4), "big") == mark
        if not is_marked or raw.number(8) != stored.size or raw.varint() > 1:
            raise damaged(manifest.where)
        packed = raw.varint()
        data = raw.take(len(raw.data) - raw.at - 4)
        if packed > 1:
            raise damaged(manifest.where)
        try:
            return cls(unzstd(data, _MOST) if packed else data, manifest.where, base)
        except ValueError:
            raise damaged(manifest.where) from None

    @property
    def size(self) -> int:
        """Bytes of a node, unpacked."""
        return len(self.data)

    def number(self, size: int) -> int:
        """The next number, of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def entries(self) -> int:
        """How many entries a node has; one without any is none."""
        count = self.varint()
        if count == 0:
            raise damaged(self.where)
        return count

    def texts(self, prefixes: list[int], suffixes: list[int]) -> list[bytes]:
        """Texts of which each begins as the one before it does."""
        found: list[bytes] = []
        last = b""
        for prefix, suffix in zip(prefixes, suffixes, strict=True):
            if prefix > len(last):
                raise damaged(self.where)
            last = last[:prefix] + self.take(suffix)
            self._charge(_TEXT, len(last))
            found.append(last)
        return found

    def place(self, files: list[tuple[str, str]], number: int, offset: int, length: int) -> _Place:
        """Bytes of a file by its number in the table."""
        if number >= len(files):
            raise damaged(self.where)
        return _Place(*files[number], offset, length)

    def files(self) -> list[tuple[str, str]]:
        """The table of files: the path of each, and the part of it that goes before the paths of
        files that are named within."""
        count = self.varint()
        if count == 0:
            return []
        prefixes, suffixes = [0, *self.varints(count - 1)], self.varints(count)
        bases = self.varints(count)
        paths = [path.decode("utf-8", "replace") for path in self.texts(prefixes, suffixes)]
        return [
            (self.base + path, self.base + path.encode()[:base].decode("utf-8", "replace"))
            for path, base in zip(paths, bases, strict=True)
        ]
