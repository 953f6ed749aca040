"""Containers and mosaics that claim much in few bytes, with right checksums."""

import json
import zlib

import numpy as np

from kolmo.codes.base import code_numbers
from kolmo.container.format import MAGIC, Entry, Unit, encode_end, part_of, with_checksum
from kolmo.container.repeats import REPEAT, source_bytes
from kolmo.quantize import Native

JUNK = bytes(range(1, 41))


def container(shapes, units, dtype="float32"):
    """A .kmo of tensors of these shapes; a unit is (code, bytes, [(tensor, start, stop), ...])."""
    dtype, native = np.dtype(dtype), Native()
    entries = [
        Entry(f"t{n}", shape, dtype, native.restore(dtype, [])) for n, shape in enumerate(shapes)
    ]
    made = [
        Unit(tuple(part_of(entries[t], t, a, b) for t, a, b in parts), code, len(data))
        for code, data, parts in units
    ]
    body = MAGIC + b"".join(with_checksum(data) for _, data, _ in units)
    return body + encode_end(native, entries, made, bytes(32))


def one_unit(code, numel, dtype="float32", shape=None, data=JUNK):
    return container([shape or (numel,)], [(code, data, [(0, 0, numel)])], dtype)


def many_units(code, count, numel, dtype="float32"):
    return container(
        [(numel,)] * count, [(code, JUNK, [(n, 0, numel)]) for n in range(count)], dtype
    )


def repeats(code, count, numel, dtype="uint8"):
    """A unit, and tensors that each repeat a quarter of it from other places on."""
    quarter = numel // 4
    units = [(code, JUNK, [(0, 0, numel)])]
    units += [
        (REPEAT, source_bytes(0, n % quarter), [(n, 0, quarter)]) for n in range(1, count + 1)
    ]
    return container([(numel,)] + [(quarter,)] * count, units, dtype)


def mosaic(header, body=JUNK):
    text = zlib.compress(json.dumps(header).encode() if isinstance(header, dict) else header, 9)
    content = b"momos\0\2\n" + len(text).to_bytes(4, "little") + text + body
    return content + zlib.crc32(content).to_bytes(4, "little")


def _mosaic(count, shape, motifs=2, size=1, indices="mixed", kind=0, body=None):
    tensors = [[f"t{n}", list(shape), kind] for n in range(count)]
    header = {"block_size": size, "motifs": [motifs, "float32"], "dtype": "float32",
              "indices": indices, "tensors": tensors}  # fmt: skip
    return mosaic(header, bytes(4 * motifs * size) + JUNK if body is None else body)


def zeros(code, dtype, numel=1 << 25, learned=1 << 18):
    """Zeros, coded by a code that has learned to expect them, and far more of them claimed."""
    from kolmo.codes.base import get_code
    from kolmo.symbols import Alphabet

    alphabet = Alphabet.of_dtype(np.dtype(dtype))
    taught = np.zeros((1 << 9, learned >> 9), alphabet.container)
    data = get_code(code).encode([taught], alphabet) + bytes(200)
    return one_unit(code, numel, dtype, (1 << 12, numel >> 12), data)


def squeezed(name, size):
    """A unit packed by a general compressor that unpacks to far more than it should."""
    from kolmo.codes.base import get_code
    from kolmo.symbols import Alphabet

    alphabet = Alphabet.of_dtype(np.dtype("uint8"))
    data = get_code(name).encode([np.zeros(size, np.uint8)], alphabet)
    return one_unit(code_numbers()[name], 1 << 16, "uint8", None, data)


STEPS, SIZE, WRONG = "decoding it would take", "claims to expand", "not those that were packed"
OWN_TRAPS = {
    "kmo-counts": (lambda: {"m.kmo": zeros(11, "uint8")}, STEPS),
    "kmo-predictive": (
        lambda: {"m.kmo": one_unit(15, 1 << 25, "float32", (1 << 12, 1 << 13))}, STEPS),
    "kmo-context-columns": (
        lambda: {"m.kmo": one_unit(9, 1 << 21, "float32", (1, 1 << 21))}, STEPS),
    "kmo-records": (lambda: {"m.kmo": zeros(14, "float32")}, STEPS),
    "kmo-repeats": (lambda: {"m.kmo": repeats(0, 100, 1 << 22)}, STEPS),
    "mosaic-mixed": (lambda: {"m.mosaic": _mosaic(1, (1 << 14, 1 << 14))}, SIZE),
    "mosaic-one-motif": (
        lambda: {"m.mosaic": _mosaic(1, (1 << 14, 1 << 14), 1, indices="packed", body=bytes(4))},
        SIZE,
    ),
    "mosaic-wide": (lambda: {"m.mosaic": _mosaic(1, (1, 1 << 28))}, SIZE),
}  # fmt: skip
