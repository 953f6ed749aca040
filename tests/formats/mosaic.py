"""The .mosaic file (docs/formats/mosaic.md)."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import numpy as np

from tests.formats.bits import Reader, demand, packed_bits
from tests.formats.kmo import DTYPES, WIDTHS, dictionary, read_names, stretched
from tests.formats.mixing import decode_tables
from tests.formats.mosaic_code import index_table
from tests.formats.rounding import to_bits, to_floats

Array = np.ndarray[Any, Any]
MAGICS = b"momos\0\x02\n", b"momos\0\x03\n", b"momos\0\x04\n"


def read_weights(data: bytes) -> dict[str, tuple[str, Array]]:
    """Of each tensor the dtype's name, and its bit patterns in its shape."""
    demand(data[:8] in MAGICS, "another magic")
    demand(zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little"), "a wrong checksum")
    reader = Reader(data[8:-4])
    if data[6] < 4:
        header = json.loads(zlib.decompress(reader.take(int.from_bytes(reader.take(4), "little"))))
    else:
        header = read_fields(reader.take(reader.varint()))
    count, motif_dtype = header["motifs"]
    size, tensors = header["block_size"], header["tensors"]
    demand(len({name for name, _, _ in tensors}) == len(tensors), "two equal names")
    motifs = take_array(reader, (count, size), motif_dtype)
    stored = [take_stored(reader, *entry) for entry in tensors]
    cut = [shape for _, shape, kind in tensors if isinstance(kind, int)]
    indices = read_indices(reader.rest(), header["indices"], count, cut, size)
    found = {}
    for (name, shape, kind), values in zip(tensors, stored, strict=True):
        if isinstance(kind, list):
            continue
        if isinstance(kind, str):
            found[name] = (kind, values)
            continue
        blocks = [next(indices) for _ in range(-(-math.prod(shape) // size))]
        bits = motifs[np.array(blocks, int)].reshape(-1)[: math.prod(shape)].reshape(shape)
        found[name] = (header["dtype"], scaled(bits, motif_dtype, values, header["dtype"]))
    return {name: found[kind[0] if isinstance(kind, list) else name] for name, _, kind in tensors}


def read_fields(deflated: bytes) -> dict[str, Any]:
    """The header of version 4, as one of version 3 has it."""
    reader = Reader(zlib.decompressobj(-15, zdict=dictionary()).decompress(deflated))
    size, count, motif_dtype, dtype, coder = (reader.varint() for _ in range(5))
    names = read_names(reader, 3)
    shapes = [reader.list() for _ in names]
    kinds: list[Any] = []
    for kind, shape in zip(stretched(reader.list(), len(names)), shapes, strict=True):
        if kind < 3:
            kinds.append(shape[0] if kind == 2 else kind)
        else:
            kinds.append(DTYPES[(kind - 3) // 2] if kind % 2 else [names[(kind - 4) // 2]])
    found = {
        "block_size": size,
        "motifs": (count, DTYPES[motif_dtype]),
        "dtype": DTYPES[dtype],
        "indices": ("packed", "mixed")[coder],
        "tensors": list(zip(names, shapes, kinds, strict=True)),
        "absent": read_names(reader, 3),
        "metadata": json.loads(reader.text() or "null"),
    }
    demand(not reader.rest(), "bytes after the last field")
    return found


def take_array(reader: Reader, shape: tuple[int, ...], dtype: str) -> Array:
    """Bit patterns."""
    width = WIDTHS[DTYPES.index(dtype)]
    data = reader.take(math.prod(shape) * width)
    return np.frombuffer(data, f"<u{width}").reshape(shape)


def take_stored(reader: Reader, name: str, shape: list[int], kind: Any) -> Array | None:
    if isinstance(kind, list):
        return None
    if isinstance(kind, str):
        return take_array(reader, tuple(shape), kind)
    demand(kind in (0, 1, shape[0] if shape else 1), "another number of scales")
    return take_array(reader, (kind,), "float32").view(np.float32) if kind else None


def read_indices(data: bytes, code: str, count: int, shapes: list[Any], size: int) -> Any:
    tables = [index_table(tuple(shape), size) for shape in shapes]
    total = sum(rows * columns for rows, columns in tables)
    if code == "packed":
        found = packed_bits(data, total, (count - 1).bit_length())
    else:
        demand(code == "mixed", "an unknown code")
        found = decode_tables(data, tables, count)
    demand(all(index < count for index in found), "a motif that is not there")
    return iter(found)


def scaled(bits: Array, motif_dtype: str, scales: Array | None, dtype: str) -> Array:
    if scales is None:
        if motif_dtype == dtype:
            return bits
        return to_bits(to_floats(bits, motif_dtype), dtype).reshape(bits.shape)
    rows = scales.reshape(-1, *[1] * (bits.ndim - 1))
    products = to_floats(bits, motif_dtype).astype(np.float32) * rows
    return to_bits(products.astype(np.float64), dtype).reshape(bits.shape)
