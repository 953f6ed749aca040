"""The header of a mosaic file: what describes a mosaic, as JSON has it, to bytes and back.

Version 4 has its fields as numbers and texts, as the header of a container has them; versions 2 and
3 have JSON. docs/formats/mosaic.md specifies both.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from kolmo.checkpoints.allowance import opening
from kolmo.checkpoints.json_text import load_json
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.container.fields import (
    deflate,
    inflate,
    lengthened,
    list_bytes,
    names_bytes,
    read_list,
    read_names,
    read_text,
    shortened,
    text_bytes,
)
from kolmo.container.header import NUMBERED
from kolmo.errors import InputError

VERSIONS = 2, 3, 4
"""Versions that are read; the last is written."""

_CODERS = "packed", "mixed"
_NONE, _ONE, _ROWS, _OTHERS = range(4)  # scales of a tensor; what has no blocks comes after
_INFLATED = 1 << 24  # bytes of an inflated header of JSON, at most: that of 100,000 tensors

Entry = Sequence[Any]
"""Name, shape, and how a tensor is stored; see docs/formats/mosaic.md."""


def encode_header(header: Mapping[str, Any]) -> bytes:
    """A header of version 4, with its length before it.

    >>> tensors = [["w", [2, 4], 0], ["step", [], "int64"], ["again", [2, 4], ["w"]]]
    >>> header = {"block_size": 2, "motifs": [2, "float32"], "dtype": "float32",
    ...           "indices": "packed", "tensors": tensors}
    >>> data = encode_header(header)
    >>> len(data), read_header_fields("x", Reader(data), 4) == header
    (33, True)
    """
    (k, motif_dtype), tensors = header["motifs"], header["tensors"]
    names = [name for name, _, _ in tensors]
    places = {name: place for place, name in enumerate(names)}
    dtypes = [NUMBERED.index(name) for name in (motif_dtype, header["dtype"])]
    first = [header["block_size"], k, *dtypes, _CODERS.index(header["indices"]), len(names)]
    absent, metadata = header.get("absent", ()), header.get("metadata")
    told = "" if metadata is None else json.dumps(metadata, separators=(",", ":"), allow_nan=False)
    body = b"".join(
        [
            *map(number_bytes, first),
            names_bytes(names),
            *(list_bytes(shape) for _, shape, _ in tensors),
            shortened([_kind(entry, places) for entry in tensors]),
            number_bytes(len(absent)) + names_bytes(absent),
            text_bytes(told),
        ]
    )
    packed = deflate(body)
    return number_bytes(len(packed)) + packed


def read_header_fields(path: str, reader: Reader, version: int) -> Any:
    """The header at the beginning of what is read, not yet checked; the path is for messages.

    Raises
    ------
    ValueError, IndexError
        If it is none; and what zlib raises of damaged bytes.
    InputError
        If it has far more in it than a file of its size.
    """
    try:
        if version >= 4:
            return _from_fields(Reader(inflate(reader.take(reader.number()))))
        packed = reader.take(int.from_bytes(reader.take(4), "little"))
    except InputError as error:
        raise ValueError(str(error)) from None
    return _from_json(path, packed)


def _from_fields(fields: Reader) -> dict[str, Any]:
    size, k, motif_dtype, dtype, coder, count = (fields.number() for _ in range(6))
    names = read_names(fields, count)
    shapes = [read_list(fields) for _ in names]
    kinds = [_stored(kind, shape, names)
             for kind, shape in zip(lengthened(fields, count), shapes, strict=True)]  # fmt: skip
    absent, told = read_names(fields, fields.number()), read_text(fields)
    if fields.rest():
        raise InputError("the header says more than it should")
    return {
        "block_size": size,
        "motifs": [k, NUMBERED[motif_dtype]],
        "dtype": NUMBERED[dtype],
        "indices": _CODERS[coder],
        "tensors": [list(entry) for entry in zip(names, shapes, kinds, strict=True)],
        **({"absent": absent} if absent else {}),
        **({"metadata": load_json(told.encode(), "the metadata")} if told else {}),
    }


def _from_json(path: str, packed: bytes) -> Any:
    inflater = zlib.decompressobj()
    text = inflater.decompress(packed, _INFLATED)
    if not inflater.eof:
        raise ValueError("the header is too long, or cut off")
    with opening(path):
        return load_json(text, path)


def _kind(entry: Entry, places: Mapping[str, int]) -> int:
    """How a tensor is stored, as a number."""
    _, _, stored = entry
    if isinstance(stored, str):
        return _OTHERS + 2 * NUMBERED.index(stored)
    if isinstance(stored, list):
        return _OTHERS + 1 + 2 * places[stored[0]]
    return int(stored) if stored <= _ONE else _ROWS


def _stored(kind: int, shape: Sequence[int], names: Sequence[str]) -> int | str | list[str]:
    """Undo `_kind`."""
    number, is_alias = divmod(kind - _OTHERS, 2)
    if kind < _OTHERS:
        return shape[0] if kind == _ROWS else kind
    return [names[number]] if is_alias else NUMBERED[number]
