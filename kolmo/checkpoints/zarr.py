"""zarr: arrays in chunks, each a value of its own in a folder or a database.

Version 2 (``.zarray``) and version 3 (``zarr.json``, also with shards, which hold chunks of their
own and an index of them); https://zarr-specs.readthedocs.io.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.allowance import EXPANSION
from kolmo.checkpoints.base import Skipped, WeightTensor
from kolmo.checkpoints.files import native, native_dtype
from kolmo.checkpoints.filters import Undo, inflate, uncheck, unzstd
from kolmo.checkpoints.grids import Grid
from kolmo.checkpoints.json_text import load_json
from kolmo.checkpoints.recent import Recent
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Stored
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError

ENDINGS = ("/.zarray", "/zarr.json")
"""How the descriptions of arrays are called."""

_DESCRIPTION = 1 << 20  # bytes of one at most
_LEAST = 1 << 27  # bytes that a chunk, or all missing ones, may always be
_CHUNKS = 1 << 16  # chunks that may always be missing
_INSIDE = 1 << 20  # chunks in a shard at most
_UNDO: dict[str, Undo] = {"zstd": unzstd, "gzip": inflate, "zlib": inflate, "crc32c": uncheck}
_MISSING = (1 << 64) - 1

Values = Mapping[str, Callable[[], Stored]]
"""What opens the value of each key."""


@dataclasses.dataclass(frozen=True)
class _Description:
    """An array: its shape, its outer and inner chunks, and how they are named and packed.

    ``inner`` are the sides of the chunks in a shard; those of the chunk itself without shards.
    ``codecs`` undo the packing, in the order in which it is undone.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    inner: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    key: Callable[[tuple[int, ...]], str]
    codecs: tuple[Undo, ...]
    order: tuple[int, ...] | None = None
    index_codecs: tuple[Undo, ...] = ()
    index_first: bool = False

    @property
    def is_sharded(self) -> bool:
        """Whether chunks hold chunks."""
        return bool(self.index_codecs) or self.inner != self.chunk


class _UnreadError(ValueError):
    """Something that a description may say, and that is not read."""


def arrays(values: Values, where: str) -> Iterator[tuple[str, WeightTensor | Skipped]]:
    """All arrays of a folder or database, by the paths of their descriptions.

    Raises
    ------
    InputError
        If a description is damaged.
    """
    recent = Recent()
    described = {_name(key): key for key in values if f"/{key}".endswith(ENDINGS)}
    counts = Counter(_owner(key, described) for key in values)
    for name, key in described.items():
        found = _array(name, key, values, counts[name] - 1, recent, where)
        if found is not None:
            yield name, found


def _name(key: str) -> str:
    """The array that a description is of."""
    return key.rpartition("/")[0]


def _owner(key: str, described: Mapping[str, str]) -> str | None:
    """The array that a value belongs to, by its key."""
    while key:
        key = key.rpartition("/")[0]
        if key in described:
            return key
    return None


def _array(
    name: str, key: str, values: Values, chunks: int, recent: Recent, where: str
) -> WeightTensor | Skipped | None:
    description = _json(values[key](), f"{where}: {key!r}")
    is_new = key.endswith("zarr.json")
    if is_new and description.get("node_type", "array") != "array":
        return None
    shape = _sides(description.get("shape"))
    if shape is None or len(shape) > AXES:
        raise InputError(f"{where}: {key!r} describes no array; it is damaged")
    try:
        found = _new(description, shape) if is_new else _old(description, shape)
    except _UnreadError as error:
        return Skipped(name, str(error), math.prod(shape))
    grid = math.prod(-(-n // c) for n, c in zip(shape, found.chunk, strict=True))
    missing = max(0, grid - max(0, chunks)) * math.prod(found.chunk) * found.dtype.itemsize
    inside = math.prod(found.chunk) // max(1, math.prod(found.inner))
    if missing > _LEAST or grid > 4 * chunks + _CHUNKS:
        return Skipped(name, "most of its chunks are missing", math.prod(shape))
    if inside > _INSIDE:
        return Skipped(name, f"in shards of more than {_INSIDE:,} chunks", math.prod(shape))
    prefix = f"{name}/" if name else ""
    chunked = _Chunks(found, prefix, values, f"{where}: array {name!r}")
    load = Grid(shape, found.inner, found.dtype, chunked.decode, found.fill, recent).load
    return WeightTensor(
        name, shape, native_dtype(found.dtype), lambda start, stop: native(load(start, stop))
    )


def _json(stored: Stored, what: str) -> dict[str, Any]:
    found = load_json(bytes(stored.read(0, min(stored.size, _DESCRIPTION))), what)
    if not isinstance(found, dict):
        raise InputError(f"{what} is no object of JSON; it is damaged")
    return found


# --- descriptions ------------------------------------------------------------------------------


def _old(said: Mapping[str, Any], shape: tuple[int, ...]) -> _Description:
    chunk = _chunk(said.get("chunks"), shape)
    separator = said.get("dimension_separator", ".")
    order = tuple(reversed(range(len(shape)))) if said.get("order") == "F" else None
    compressor, filters = said.get("compressor"), said.get("filters")
    if filters:
        raise _UnreadError("packed by filters of zarr, which are not undone")
    codecs = (_undo(compressor.get("id")),) if isinstance(compressor, dict) else ()
    dtype = _dtype(said.get("dtype"))
    separator = separator if separator in ("/", ".") else "."
    return _Description(
        shape, chunk, chunk, dtype, _fill(said.get("fill_value"), dtype),
        lambda index: separator.join(map(str, index)) or "0", codecs, order,
    )  # fmt: skip


def _new(said: Mapping[str, Any], shape: tuple[int, ...]) -> _Description:
    outer = _chunk(_setting(said.get("chunk_grid"), "chunk_shape"), shape)
    dtype = _dtype(said.get("data_type"))
    codecs: Any = said.get("codecs")
    inner, index_codecs, index_first = outer, tuple[Undo, ...](), False
    if _names(codecs) == ["sharding_indexed"]:
        shard = codecs[0]
        inner = _chunk(_setting(shard, "chunk_shape"), shape)
        if any(a % b for a, b in zip(outer, inner, strict=True)):
            raise _UnreadError("shards that do not hold whole chunks")
        index_codecs = _codecs(_setting(shard, "index_codecs"), 1)[2] or (_same,)
        index_first = _setting(shard, "index_location") == "start"
        codecs = _setting(shard, "codecs")
    big, order, undo = _codecs(codecs, len(shape))
    dtype = dtype.newbyteorder(">") if big else dtype
    return _Description(
        shape, outer, inner, dtype, _fill(said.get("fill_value"), dtype),
        _key(said.get("chunk_key_encoding")), undo, order, index_codecs, index_first,
    )  # fmt: skip


def _codecs(codecs: Any, rank: int) -> tuple[bool, tuple[int, ...] | None, tuple[Undo, ...]]:
    """Whether bytes are big-endian, the order of axes, and what undoes the packing."""
    big, order, undo = False, None, list[Undo]()
    for codec, name in zip(codecs if isinstance(codecs, list) else [], _names(codecs), strict=True):
        if name == "bytes":
            big = _setting(codec, "endian") == "big"
        elif name == "transpose":
            axes = _sides(_setting(codec, "order"))
            if axes is None or sorted(axes) != list(range(rank)):
                raise _UnreadError("axes in an order that does not exist")
            order = axes
        else:
            undo.insert(0, _undo(name))
    return big, order, tuple(undo)


def _names(codecs: Any) -> list[Any]:
    if not isinstance(codecs, list):
        raise _UnreadError("packed in a way that is not described")
    return [codec.get("name") if isinstance(codec, dict) else codec for codec in codecs]


def _setting(said: Any, name: str) -> Any:
    settings = said.get("configuration") if isinstance(said, dict) else None
    return settings.get(name) if isinstance(settings, dict) else None


def _key(said: Any) -> Callable[[tuple[int, ...]], str]:
    is_old = isinstance(said, dict) and said.get("name") == "v2"
    noted = _setting(said, "separator")
    separator = noted if noted in ("/", ".") else "." if is_old else "/"
    if is_old:
        return lambda index: separator.join(map(str, index)) or "0"
    return lambda index: separator.join(["c", *map(str, index)])


def _undo(name: Any) -> Undo:
    undo = _UNDO.get(str(name))
    if undo is None:
        raise _UnreadError(f"packed by {str(name)[:40]!r}, which is not undone")
    return undo


def _same(data: bytes, size: int, item: int) -> bytes:
    return data


def _sides(values: Any) -> tuple[int, ...] | None:
    is_sound = isinstance(values, list) and all(
        isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 62 for v in values
    )
    return tuple(values) if is_sound else None


def _chunk(values: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    found = _sides(values)
    if found is None or len(found) != len(shape) or 0 in found:
        raise _UnreadError("in chunks of a shape that does not exist")
    return found


def _dtype(name: Any) -> np.dtype[Any]:
    """A dtype by its name in version 3, such as ``float32``, or in version 2, such as ``<f4``."""
    if isinstance(name, str) and name in DTYPES:
        return DTYPES[name].newbyteorder("<")
    try:
        dtype = np.dtype(name) if isinstance(name, str) and name[:1] in "<>|" else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.newbyteorder("=") not in DTYPES.values():
        raise _UnreadError(f"dtype {str(name)[:40]} is not supported")
    return dtype


def _fill(value: Any, dtype: np.dtype[Any]) -> Any:
    """What entries of missing chunks are."""
    try:
        return np.asarray(float(value) if isinstance(value, str) else value or 0).astype(dtype)
    except (TypeError, ValueError, OverflowError):
        return np.zeros((), dtype)


# --- chunks --------------------------------------------------------------------------------


class _Chunks:
    """The chunks of an array, unpacked one by one."""

    def __init__(self, said: _Description, prefix: str, values: Values, where: str) -> None:
        self._said, self._prefix, self._values, self._where = said, prefix, values, where
        self._index = lru_cache(8)(self._read_index)

    def decode(self, index: tuple[int, ...]) -> NDArray[Any] | None:
        """The chunk (of a shard, the inner one) of these coordinates; None if it is missing."""
        said = self._said
        per = tuple(a // b for a, b in zip(said.chunk, said.inner, strict=True))
        outer = tuple(at // n for at, n in zip(index, per, strict=True))
        stored = self._stored(outer)
        if stored is not None and said.is_sharded:
            inside = tuple(at % n for at, n in zip(index, per, strict=True))
            stored = self._inner(stored, outer, per, inside)
        return None if stored is None else self._unpacked(stored)

    def _stored(self, outer: tuple[int, ...]) -> Stored | None:
        opening = self._values.get(self._prefix + self._said.key(outer))
        return opening() if opening else None

    def _unpacked(self, stored: Stored) -> NDArray[Any]:
        said = self._said
        data = self._undone(stored, said.codecs, math.prod(said.inner) * said.dtype.itemsize)
        values = np.frombuffer(data, said.dtype)
        if said.order is None:
            return values.reshape(said.inner)
        turned = values.reshape([said.inner[axis] for axis in said.order])
        return turned.transpose(np.argsort(said.order))

    def _undone(self, stored: Stored, codecs: Sequence[Undo], size: int) -> bytes:
        if size > max(_LEAST, EXPANSION * stored.size) or stored.size > size + _LEAST:
            raise self._damaged("it claims more than its bytes can hold")
        data = bytes(stored.read(0, stored.size))
        for undo in codecs:
            try:
                data = undo(data, size + 4, self._said.dtype.itemsize)
            except ValueError as error:
                raise self._damaged(str(error)) from None
        if len(data) != size:
            raise self._damaged(f"it has {len(data):,} bytes, not {size:,}")
        return data

    def _damaged(self, why: str) -> InputError:
        return InputError(f"{self._where}: a chunk is damaged: {why}")

    def _inner(
        self, shard: Stored, outer: tuple[int, ...], per: tuple[int, ...], inside: tuple[int, ...]
    ) -> Stored | None:
        at = 0
        for place, side in zip(inside, per, strict=True):
            at = at * side + place
        offset, size = struct.unpack_from("<QQ", self._index(outer, math.prod(per)), 16 * at)
        return None if offset == _MISSING else shard.part(offset, size)

    def _read_index(self, outer: tuple[int, ...], count: int) -> bytes:
        """Where the chunks of a shard lie: two numbers of 8 bytes for each."""
        shard = self._stored(outer)
        assert shard is not None
        size = 16 * count
        stored = size + (4 if uncheck in self._said.index_codecs else 0)
        begin = 0 if self._said.index_first else shard.size - stored
        return self._undone(shard.part(begin, stored), self._said.index_codecs, size)
