"""GGUF files, byte by byte: of every version and byte order, sound and damaged."""

import struct

import numpy as np

NUMBERS = {"u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"),
           "i32": (5, "i"), "f32": (6, "f"), "bool": (7, "?"), "u64": (10, "Q"),
           "i64": (11, "q"), "f64": (12, "d")}  # fmt: skip


class Writer:
    """Packs numbers in a byte order, and counts in the width of a version."""

    def __init__(self, version=3, big=False):
        self.order = ">" if big else "<"
        self.wide = "I" if version == 1 else "Q"
        self.version = version

    def pack(self, codes, *numbers):
        return struct.pack(self.order + codes, *numbers)

    def count(self, number):
        return self.pack(self.wide, number)

    def text(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        return self.count(len(data)) + data

    def value(self, value):
        """The type and the value: a text, a pair of a type and a number, or a list of such."""
        if isinstance(value, str | bytes):
            return self.pack("I", 8), self.text(value)
        if isinstance(value, list):
            kinds, values = zip(*map(self.value, value), strict=True)
            return self.pack("I", 9), kinds[0] + self.count(len(values)) + b"".join(values)
        kind, number = value
        return self.pack("I", NUMBERS[kind][0]), self.pack(NUMBERS[kind][1], number)

    def pair(self, key, value):
        return self.text(key) + b"".join(self.value(value))

    def entry(self, name, sides, kind, offset):
        """``sides`` are those of the file: the fastest first."""
        counts = b"".join(map(self.count, sides))
        return self.text(name) + self.pack("I", len(sides)) + counts + self.pack("IQ", kind, offset)


def gguf(tensors, metadata=None, version=3, big=False, alignment=32):
    """A file: ``tensors`` are names with (row-major shape, type, bytes)."""
    write = Writer(version, big)
    metadata = {"general.architecture": "llama", **(metadata or {})}
    head = (
        b"GGUF" + write.pack("I", version) + write.count(len(tensors)) + write.count(len(metadata))
    )
    head += b"".join(write.pair(key, value) for key, value in metadata.items())
    body = b""
    for name, (shape, kind, data) in tensors.items():
        head += write.entry(name, shape[::-1], kind, len(body))
        body += padded(data, alignment)
    return padded(head, alignment) + body


def padded(data, step):
    return data + bytes(-len(data) % step)


def floats(array, big=False):
    """An array of float32 as a tensor of `gguf`."""
    return array.shape, 0, array.astype(">f4" if big else "<f4").tobytes()


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
