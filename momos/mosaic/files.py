"""Mosaic files: small, checked, and nothing in them is ever executed.

::

    magic ─ header, JSON ─ motifs ─ scales and dense tensors ─ indices ─ checksum

The indices are coded by `kolmo.codes.mixing`, or at ceil(log2 k) bits each where that is shorter;
motifs are numbered by falling use. docs/formats/mosaic.md specifies every byte.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kolmo.codes import mixing
from kolmo.codes.numbers import Reader
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError
from kolmo.files import EXPANSION, check_readable, marked
from kolmo.floats import is_float
from kolmo.symbols import container
from momos.mosaic.blocks import Array, Partition
from momos.mosaic.headers import VERSIONS, encode_header, read_header_fields
from momos.mosaic.packing import index_bits, pack, unpack
from momos.mosaic.parts import Parts

_MAGIC = b"momos\0"
_LEAST = 1 << 26  # bytes that any mosaic may expand to
_BLOCK = 16  # bytes that the number of a motif takes for each block, while they are decoded

is_mosaic = marked(rb"\Amomos\0")
"""Whether a file is a mosaic file, of any version."""


Made = TypeVar("Made", bound=Parts)


def encode_parts(mosaic: Parts, metadata: Mapping[str, Any] | None = None) -> bytes:
    """A mosaic as the bytes of a file.

    Raises
    ------
    InputError
        If the metadata is not JSON-ready.
    """
    mosaic = _in_order(mosaic)
    k, size = mosaic.motifs.shape
    counts = np.bincount(mosaic.indices.astype(np.int64), minlength=k)
    order = np.argsort(-counts, kind="stable")
    ranks = np.empty(k, np.int64)
    ranks[order] = np.arange(k)
    coder, stream = _encode_indices(ranks[mosaic.indices], k, mosaic.partition)
    values = [mosaic.scales.get(name, mosaic.dense.get(name)) for name in mosaic.names]
    header = {
        "block_size": size,
        "motifs": [k, mosaic.motifs.dtype.name],
        "dtype": (mosaic.dtype or mosaic.motifs.dtype).name,
        "indices": coder,
        "tensors": [_entry(mosaic, name) for name in mosaic.names],
        **({"absent": list(mosaic.absent)} if mosaic.absent else {}),
        **({"metadata": dict(metadata)} if metadata else {}),
    }
    try:
        described = encode_header(header)
    except (TypeError, ValueError) as error:
        raise InputError(f"the metadata of a mosaic must be JSON: {error}") from None
    body = [_raw(mosaic.motifs[order]), *(_raw(a) for a in values if a is not None), stream]
    magic = _MAGIC + bytes([VERSIONS[-1]]) + b"\n"
    content = b"".join([magic, described, *body])
    return content + zlib.crc32(content).to_bytes(4, "little")


def _in_order(mosaic: Parts) -> Parts:
    """The mosaic with its blocks in the order of ``names``, in which a file has its tensors."""
    shapes = mosaic.partition.shapes
    names = [name for name in mosaic.names if name in shapes]
    if names == list(shapes):
        return mosaic
    parts = {name: mosaic.indices[start:stop] for name, start, stop, _ in mosaic.partition.spans()}
    partition = Partition({name: shapes[name] for name in names}, mosaic.partition.block_size)
    indices = np.concatenate([parts[name] for name in names])
    return dataclasses.replace(mosaic, partition=partition, indices=indices)


def _entry(mosaic: Parts, name: str) -> list[Any]:
    """Name, shape, and how it is stored: the dtype of a dense tensor, else the number of scales;
    of an alias, a list of the name of its tensor."""
    if name in mosaic.aliases:
        return [name, list(mosaic.shape(name)), [mosaic.aliases[name]]]
    if name in mosaic.dense:
        array = mosaic.dense[name]
        return [name, list(array.shape), array.dtype.name]
    scale = mosaic.scales.get(name)
    return [name, list(mosaic.partition.shapes[name]), 0 if scale is None else scale.size]


def _raw(array: Array) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def _encode_indices(ranks: Array, motifs: int, partition: Partition) -> tuple[str, bytes]:
    """Name and bytes of the shorter of two codes."""
    ends = np.cumsum([rows * columns for rows, columns in partition.tables()])
    parts = np.split(ranks, ends[:-1]) if len(ends) else []
    tables = [p.reshape(t) for p, t in zip(parts, partition.tables(), strict=True)]
    bits = index_bits(motifs)
    if motifs <= mixing.ALPHABET:
        mixed = mixing.encode(tables, motifs)
        if 8 * len(mixed) < ranks.size * bits:
            return "mixed", mixed
    return "packed", pack(ranks, bits)


# --- reading --------------------------------------------------------------------------------


def decode_parts(path: str, content: bytes, made: type[Made]) -> Made:
    """Undo `encode_parts`: the mosaic, of the class to be made; the path is for messages."""
    header, body = _parse_content(path, content)
    _check_size(path, header, len(body))
    tensors, reader = header["tensors"], Reader(body)
    try:
        motifs, scales, dense = _read_values(reader, header)
    except InputError:
        raise InputError(f"{path}: the file ends before the tensors that it claims do") from None
    shapes = {name: tuple(shape) for name, shape, stored in tensors if isinstance(stored, int)}
    partition = Partition(shapes, header["block_size"])
    indices = _decode_indices(path, reader.rest(), header["indices"], len(motifs), partition)
    names = tuple(name for name, _, _ in tensors)
    aliases = {name: stored[0] for name, _, stored in tensors if isinstance(stored, list)}
    return made(
        partition, motifs, indices, dense, names, scales, DTYPES[header["dtype"]], aliases,
        tuple(header.get("absent", ())),
    )  # fmt: skip


def read_header(path: Path) -> dict[str, Any]:
    """Header of a mosaic file: block size, motifs, dtypes, tensors, and its ``metadata``."""
    return checked_header(str(path), read_file(path))


def checked_header(path: str, content: bytes) -> dict[str, Any]:
    """The header in the bytes of a file, its claims checked; the path is for messages."""
    header, body = _parse_content(path, content)
    _check_size(path, header, len(body))
    return header


def read_file(path: Path) -> bytes:
    """All bytes of a file; InputError if it cannot be read."""
    check_readable(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _read_values(
    body: Reader, header: Mapping[str, Any]
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """The motifs, and the scales or the values of each tensor that has them, by name."""
    motifs = _read_array(body, (header["motifs"][0], header["block_size"]), header["motifs"][1])
    scales, dense = {}, {}
    for name, shape, stored in header["tensors"]:
        if isinstance(stored, str):
            dense[name] = _read_array(body, tuple(shape), stored)
        elif isinstance(stored, int) and stored:
            scales[name] = _read_array(body, (stored,), "float32")
    return motifs, scales, dense


def _read_array(body: Reader, shape: tuple[int, ...], name: str) -> Array:
    dtype = DTYPES[name]
    part = body.take(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(part, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _parse_content(path: str, content: bytes) -> tuple[dict[str, Any], bytes]:
    """The header, checked, and the body of a file whose checksum is right."""
    if content[:6] != _MAGIC:
        raise InputError(f"{path}: not a mosaic file (momos project and momos train write them)")
    if len(content) < 7 or content[6] not in VERSIONS:
        raise InputError(
            f"{path}: a mosaic of version {content[6] if len(content) > 6 else 'none'}; "
            f"this program reads {' and '.join(map(str, VERSIONS))}"
        )
    if len(content) < 16 or zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "little"):
        raise InputError(f"{path}: its checksum is wrong: the file is damaged or cut off")
    reader = Reader(content[8:-4])
    header = _read_header(path, reader, content[6])
    if header is None:
        raise InputError(f"{path}: its description of the mosaic is damaged")
    return header, reader.rest()


def _read_header(path: str, reader: Reader, version: int) -> dict[str, Any] | None:
    """The header; None unless every value is of the right type and in range."""
    try:
        header = read_header_fields(path, reader, version)
        (k, motif_dtype), tensors = header["motifs"], header["tensors"]
        sound = (
            _is_count(header["block_size"], least=1)
            and _is_count(k, least=1)
            and _is_float(motif_dtype)
            and _is_float(header["dtype"])
            and header["indices"] in ("mixed", "packed")
            and all(map(_is_entry, tensors))
            and len({name for name, _, _ in tensors}) == len(tensors)
            and _are_aliases(tensors)
            and all(isinstance(name, str) for name in header.get("absent", ()))
        )
    except (zlib.error, ValueError, KeyError, IndexError, TypeError):
        return None
    return header if sound else None


def _is_entry(entry: Any) -> bool:
    name, shape, stored = entry
    if not (isinstance(name, str) and isinstance(shape, list) and len(shape) <= 64):
        return False
    if not all(map(_is_count, shape)):
        return False
    if isinstance(stored, list):
        return len(stored) == 1 and isinstance(stored[0], str)
    if isinstance(stored, str):
        return stored in DTYPES
    return _is_count(stored) and stored in (0, 1, shape[0] if shape else 1)


def _are_aliases(tensors: list[Any]) -> bool:
    """Whether each alias is of a tensor of its shape that is none."""
    shapes = {name: shape for name, shape, stored in tensors if not isinstance(stored, list)}
    aliases = [(shape, stored[0]) for _, shape, stored in tensors if isinstance(stored, list)]
    return all(shapes.get(name) == shape for shape, name in aliases)


def _is_count(value: Any, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**48


def _is_float(name: Any) -> bool:
    return isinstance(name, str) and name in DTYPES and is_float(DTYPES[name])


def _check_size(path: str, header: Mapping[str, Any], size: int) -> None:
    """Refuse a small file that claims to be a huge model."""
    width, block = DTYPES[header["dtype"]].itemsize, header["block_size"]
    sizes = [
        math.prod(shape) for _, shape, scales in header["tensors"] if not isinstance(scales, str)
    ]
    expanded = sum(width * size + _BLOCK * -(-size // block) for size in sizes)
    if expanded > max(_LEAST, EXPANSION * size):
        raise InputError(
            f"{path}: claims to expand to {expanded:,} bytes, over {EXPANSION} times the "
            f"file's size; it is damaged, or made to fill your memory"
        )


def _decode_indices(
    path: str, stream: bytes, coder: str, motifs: int, partition: Partition
) -> Array:
    bits, count = index_bits(motifs), partition.count
    if coder == "packed":
        if len(stream) != -(-count * bits // 8):
            raise InputError(
                f"{path}: {count:,} blocks of {motifs:,} motifs need {-(-count * bits // 8):,} "
                f"bytes of indices, the file holds {len(stream):,}"
            )
        indices: Array = unpack(stream, count, bits)
        if indices.size and int(indices.max()) >= motifs:
            raise InputError(f"{path}: an index names a motif that is not there")
    else:
        try:
            tables = mixing.decode(stream, partition.tables(), motifs)
        except InputError as error:
            raise InputError(f"{path}: its indices are damaged: {error}") from None
        indices = np.concatenate([np.zeros(0, np.uint32), *(t.reshape(-1) for t in tables)])
    return indices.astype(container(motifs)) if bits else indices
