"""MATLAB's files of version 5 of own making, against scipy."""

import struct
import zlib

import numpy as np
import scipy.io

from tests.fuzz.damage import NAMES as ODD_NAMES
from tests.fuzz.hand import SIDES, Hand
from tests.fuzz.judging import difference, read_whole
from tests.fuzz.kinds import Fuzzer

CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8",
           15: "u8"}  # fmt: skip
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
          13: "u8"}  # fmt: skip
KINDS = {code: kind for kind, code in STORED.items()}
CELL, STRUCT, TEXT, MATRIX, PACKED = 1, 2, 4, 14, 15
LOGICAL, COMPLEX = 0x200, 0x800
TABLES = [shape for shape in SIDES if len(shape) > 1]
NAMES = ("w", "b", "emb", "layers", "net_1", "x9")


class Writer:
    """The bytes of a file in one order."""

    def __init__(self, hand):
        self.hand, self.order = hand, hand.any("<<<>")

    def file(self):
        """The whole."""
        hand = self.hand
        text = hand.put(b"MATLAB 5.0 MAT-file", b"", b"MATLAB 7.3 MAT-file").ljust(116)
        version = self._pack("H", hand.put(0x100, 0x200, 0, 0x101))
        mark = hand.put({"<": b"IM", ">": b"MI"}[self.order], b"IM", b"MI", b"XX")
        body = b"".join(self._variable(name) for name in hand.some(NAMES, 4))
        data = text + bytes(8) + version + mark + body
        return hand.put(data, data[:-1], data + bytes(8), data[: len(data) // 2], data + b"\0")

    def _variable(self, name):
        made = self._array(self.hand.put(name, *ODD_NAMES), 0)
        if self.hand.below(3):
            return made
        packed = zlib.compress(made, 1)
        packed = self.hand.put(packed, packed[:-1], packed + b"\0", zlib.compress(made + bytes(8)))
        return self._pack("II", PACKED, self.hand.count(len(packed)) % 2**32) + packed

    def _array(self, name, depth):
        hand = self.hand
        shape, way = list(hand.any(TABLES)), hand.below(8)
        if depth < 3 and way == 0:
            return self._cell(name, depth)
        if depth < 3 and way == 1:
            return self._struct(name, depth)
        if way == 2:
            head = self._head(TEXT, 0, [1, 3], name)
            return self._element(MATRIX, head + self._element(16, b"abc"))
        kind = hand.any(list(CLASSES))
        flags = hand.any((0, 0, 0, LOGICAL if kind == 9 else 0, COMPLEX if kind in (6, 7) else 0))
        parts = [self._values(kind, flags, shape) for _ in range(2 if flags == COMPLEX else 1)]
        parts = hand.put(parts, [], parts * 2)
        return self._element(MATRIX, self._head(kind, flags, shape, name) + b"".join(parts))

    def _values(self, kind, flags, shape):
        """In the type of the class, or in a smaller one."""
        hand = self.hand
        stored = CLASSES[kind] if hand.below(2) else "u1"
        count = int(np.prod(shape, dtype=int))
        if stored == "u1":
            data = bytes(hand.below(2 if flags == LOGICAL else 128) for _ in range(count))
        else:
            numbers = hand.random.integers(0, 100, count)
            data = numbers.astype(f"{self.order}{stored}").tobytes()
        data = hand.put(data, data[:-1], data + b"\0", b"")
        return self._element(hand.put(KINDS[stored], 0, 8, 10, 14, 16, *STORED), data)

    def _cell(self, name, depth):
        many = self.hand.below(3)
        held = b"".join(self._array("", depth + 1) for _ in range(many))
        return self._element(MATRIX, self._head(CELL, 0, [1, many], name) + held)

    def _struct(self, name, depth):
        hand = self.hand
        fields = hand.some(("a", "bb", "weight"), 3)
        names = b"".join(field.encode().ljust(8, b"\0") for field in fields)
        head = self._head(STRUCT, 0, [1, 1], name)
        head += self._element(5, self._pack("i", hand.put(8, 0, 1, 7, 256)))
        held = b"".join(self._array("", depth + 1) for _ in fields)
        return self._element(MATRIX, head + self._element(1, names) + held)

    def _head(self, kind, flags, shape, name):
        hand = self.hand
        word = hand.put(kind, 0, 3, 5, 16, 17, 18, *CLASSES) | hand.put(flags, 0x200, 0x800, 0x400)
        sides = [hand.put(side, hand.count(side) % 2**31, -1) for side in shape]
        sides = hand.put(sides, [*sides, 1], sides[:1])
        made = self._element(6, self._pack("II", word, 0))
        made += self._element(5, b"".join(self._pack("i", side) for side in sides))
        return made + self._element(1, name.encode("ascii", "replace"))

    def _element(self, kind, data):
        """With its type and size, in one word where it is short."""
        hand, size = self.hand, self.hand.count(len(data)) % 2**32
        if 0 < len(data) <= 4 and kind != MATRIX and hand.below(2):
            return self._pack("I", (size % 65536) << 16 | kind) + data.ljust(4, b"\0")
        return self._pack("II", kind, size) + data + bytes(-len(data) % 8)

    def _pack(self, form, *values):
        return struct.pack(self.order + form, *values)


def write(folder, random):
    """One file."""
    (folder / "m.mat").write_bytes(Writer(Hand(random)).file())
    return folder / "m.mat"


# --- against scipy --------------------------------------------------------------------------


def library(path):
    """The arrays as scipy reads them, by kolmo's names."""
    stored, own = (scipy.io.loadmat(path, mat_dtype=given) for given in (False, True))
    names = [name for name in own if not name.startswith("__")]
    found = {k: v for name in names for k, v in _flat(name, stored[name], own[name])}
    if not found:
        raise TypeError("no arrays")
    return found


def _flat(name, stored, own):
    """Arrays of numbers in an array, in the types of their classes; of complex numbers scipy would
    make real ones there, and they are left to kolmo."""
    if not isinstance(own, np.ndarray):
        return
    pairs = enumerate(zip(stored.reshape(-1, order="F"), own.reshape(-1, order="F"), strict=True))
    if own.dtype.names:
        for number, (first, second) in pairs:
            above = f"{name}.{number}" if own.size > 1 else name
            for field in own.dtype.names:
                yield from _flat(f"{above}.{field}", first[field], second[field])
    elif own.dtype == object:
        for number, (first, second) in pairs:
            yield from _flat(f"{name}.{number}", first, second)
    elif own.dtype.kind in "biuf" and own.size and stored.dtype.kind != "c":
        yield name, own.astype(own.dtype.newbyteorder("="), order="C")


OURS_ALONE = (
    "no arrays",  # but complex ones
    "Did not read any bytes",  # what comes after the last variable
    "could not read bytes",  # the bytes that would fill up the last one to 8
    "Expecting matrix here",  # an element that is no array, which kolmo passes over
    "Expecting miMATRIX type here",
    "Did not fully consume compressed",  # what comes after the end of packed bytes
    "in SDE format",  # a short element of more than 4 bytes, of which 4 are there
    "referenced before assignment",  # scipy's own fault, at a class that there is not
)
"""What scipy alone refuses: parts of its messages."""


def judge(path, found):
    """How what kolmo reads differs from scipy, which believes any count, even that of a text which
    kolmo leaves out, and is shown no other."""
    if found is None or found.left_out:
        return None
    return difference(path, found, library, OURS_ALONE)


FUZZERS = [Fuzzer("MATLAB written", write, read_whole, judge)]
