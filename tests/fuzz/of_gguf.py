"""GGUF of own making: versions, orders, metadata of every type, against gguf-py if it is there."""

import numpy as np

from tests.corpus.gguf import NUMBERS, Writer, padded
from tests.fuzz.damage import NAMES as ODD_NAMES
from tests.fuzz.hand import NAMES, SIDES, Hand
from tests.fuzz.judging import difference, installed, read_whole
from tests.fuzz.kinds import Fuzzer

PLAIN = {0: 4, 1: 2, 24: 1, 25: 2, 26: 4, 27: 8, 28: 8, 30: 2}
BLOCKS = {
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    8: (32, 34),
    10: (256, 84),
    12: (256, 144),
    14: (256, 210),
}
ODD_TYPES = (4, 5, 9, 15, 31, 36, 39, 99, 2**31)


class Model:
    """The parts of one file."""

    def __init__(self, hand):
        self.hand = hand
        self.write = Writer(hand.put(3, 1, 2), hand.below(8) == 0)
        self.step = hand.any((32, 32, 64, 8))

    def file(self):
        """Its bytes."""
        hand, write = self.hand, self.write
        entries, body = self._tensors()
        pairs = [write.pair("general.architecture", "llama"), *self._pairs()]
        if self.step != 32 or hand.slips():
            step = hand.put(self.step, 0, 3, 2**31, 1)
            pairs.append(
                write.pair("general.alignment", (hand.put("u32", "u64", "i8"), step % 128))
            )
        pairs += [hand.any(pairs)] if hand.slips() else []
        version = hand.put(write.version, 0, 4, 3 << 16, 2**31)
        head = hand.put(b"GGUF", b"GGUX", b"GGJT") + write.pack("I", version)
        head += self._count(len(entries)) + self._count(len(pairs)) + b"".join(pairs + entries)
        data = padded(head, self.step) + body
        return hand.put(data, data[:-1], data + bytes(40), data[: len(data) // 2])

    def _count(self, number):
        return self.write.count(
            self.hand.count(number) % (1 << (32 if self.write.wide == "I" else 64))
        )

    def _pairs(self):
        return [self._text(f"k.{n}") + self._value(0) for n in range(self.hand.below(4))]

    def _text(self, text):
        data = self.hand.put(text.encode(), b"\xff\xfe", b"", b"a\0b")
        return self._count(len(data)) + data

    def _value(self, depth):
        """A number, a text, or a list of such, by its type."""
        hand, write = self.hand, self.write
        kind = hand.below(12 if depth < 3 else 10)
        if kind == 10:
            return write.pack("I", 8) + self._text("a text")
        if kind == 11:
            inner = [self._value(depth + 1) for _ in range(1)] * hand.below(4)
            kinds = inner[0][:4] if inner else write.pack("I", 4)
            return (
                write.pack("I", 9)
                + kinds
                + self._count(len(inner))
                + b"".join(v[4:] for v in inner)
            )
        code, form = list(NUMBERS.values())[kind]
        return write.pack("I", hand.put(code, 13, 255, 8, 9)) + write.pack(form, hand.below(2))

    def _tensors(self):
        hand, entries, body = self.hand, [], b""
        for name in hand.some(NAMES, 4):
            kind, shape, size = self._form()
            name = hand.put(name, *ODD_NAMES)
            offset = hand.put(len(body), hand.count(len(body)), len(body) + 1) % 2**64
            sides = b"".join(map(self._count, shape[::-1]))
            axes = self.write.pack("I", hand.count(len(shape)) % 2**32)
            place = self.write.pack("IQ", hand.put(kind, *ODD_TYPES, *PLAIN, *BLOCKS), offset)
            entry = self._text(name) + axes + sides + place
            entries += [entry, entry] if hand.slips() else [entry]
            body += padded(hand.bytes(size), self.step)
        return entries, body

    def _form(self):
        hand = self.hand
        if hand.below(3):
            kind, shape = hand.any(list(PLAIN)), hand.any(SIDES)
            return kind, shape, PLAIN[kind] * int(np.prod(shape, dtype=object))
        kind = hand.any(list(BLOCKS))
        weights, size = BLOCKS[kind]
        return kind, (3, 2 * weights), 6 * size


def write(folder, random):
    """One file."""
    (folder / "m.gguf").write_bytes(Model(Hand(random)).file())
    return folder / "m.gguf"


NUMERIC = set(PLAIN) - {30}
"""Types of which gguf-py gives numbers; of bfloat16 it gives bytes."""

# --- against gguf-py ------------------------------------------------------------------------


def library(path):
    """The arrays of plain numbers as gguf-py reads them."""
    from gguf import GGUFReader

    found = {}
    for tensor in GGUFReader(path).tensors:
        if int(tensor.tensor_type) in NUMERIC and tensor.n_elements:
            data = np.ascontiguousarray(tensor.data)
            data = data.astype(data.dtype.newbyteorder("=")).tobytes()
            shape = tuple(int(side) for side in tensor.shape[::-1])
            found[tensor.name] = np.frombuffer(data, f"V{len(data) // tensor.n_elements}").reshape(
                shape
            )
    return found


OURS_ALONE = (
    "file appears to be version",  # 1, which kolmo reads
    "UnicodeDecodeError",  # what is no text in a name is shown as such
    "GGMLQuantizationType",  # a type of a later version: its tensor is listed, the others are read
    "general.alignment",  # an integer of another width
    "tuple index out of range",  # a tensor without sides, and an empty array of metadata
)
"""What gguf-py alone refuses: parts of its messages."""


def judge(path, found):
    """How what kolmo reads differs from gguf-py, which believes any count and is shown no other."""
    return found and difference(path, found, library, OURS_ALONE)


FUZZERS = [Fuzzer("GGUF written", write, read_whole, judge if installed("gguf") else None)]
