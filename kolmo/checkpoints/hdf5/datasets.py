"""A file's datasets as lazy tensors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.allowance import EXPANSION, charge_entry
from kolmo.checkpoints.base import Role, Skipped, WeightTensor
from kolmo.checkpoints.containers import is_supported
from kolmo.checkpoints.files import native, native_dtype
from kolmo.checkpoints.grids import Grid
from kolmo.checkpoints.hdf5 import headers
from kolmo.checkpoints.hdf5.chunks import Chunked, Place, places
from kolmo.checkpoints.hdf5.groups import Link, attributes, links
from kolmo.checkpoints.hdf5.headers import Hdf5Message, first, messages
from kolmo.checkpoints.hdf5.layouts import UNDO, Placement, fill_of, filters_of, placement_of
from kolmo.checkpoints.hdf5.source import Hdf5Source, damaged
from kolmo.checkpoints.hdf5.types import OPAQUE, Datatype, dataspace, datatype
from kolmo.checkpoints.narrow import of_parts
from kolmo.checkpoints.recent import Recent
from kolmo.checkpoints.stored import PlainLoad, Stored, memory_bytes
from kolmo.dtypes import PARTS
from kolmo.errors import InputError

_EXPANSION = 1032  # times the file's size that datasets may claim in all: the most of deflate
_LEAST = 1 << 22  # bytes that they may always claim
_MEMORY = 1 << 27  # bytes that a chunk may always have
_CHUNK = 16  # bytes of a file at least for each chunk, in its index
_CHUNKS = 1 << 16  # chunks that a dataset may always claim
_DEPTH = 256  # groups in each other

_NOTED = {
    form.__name__: np.dtype(form)
    for form in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
}
"""What Keras notes in an attribute where it stores bytes without a dtype."""


Load = Callable[[int, int], NDArray[Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class Hdf5Dataset:
    """One dataset: its path in the file, and its tensor or why there is none.

    ``guess`` says how bytes without a dtype are read, where that is so.
    """

    path: tuple[str, ...]
    content: WeightTensor | Skipped
    guess: str = ""


class Hdf5:
    """A file's datasets, and the attributes of its groups, read when asked.

    Raises
    ------
    InputError
        If it is damaged.
    """

    def __init__(self, stored: Stored) -> None:
        self.source, self.where = Hdf5Source(stored), stored.where
        self._recent, self._claimed = Recent(), 0
        self._groups: dict[tuple[str, ...], list[Hdf5Message]] = {}

    @cached_property
    def datasets(self) -> list[Hdf5Dataset]:
        """All of them, in the order of their groups; each once, whatever names it has."""
        return list(self._walk())

    def attributes(self, *path: str) -> dict[str, Any]:
        """The attributes of a group: texts, lists of texts, numbers; none of what is no group."""
        self.datasets  # noqa: B018 (finds the groups)
        return attributes(self.source, self._groups.get(path, []))

    def _walk(self) -> Iterator[Hdf5Dataset]:
        seen = {self.source.root: ""}
        left: list[tuple[tuple[str, ...], Link]] = [((), Link("", self.source.root))]
        while left:
            path, link = left.pop()
            charge_entry(name := ".".join(path))
            if path and (other := _elsewhere(name, link, seen)):
                yield Hdf5Dataset(path, other)
                continue
            seen[link.address] = name
            found = messages(self.source, link.address)
            if first(found, headers.LAYOUT):
                yield self._dataset(path, found)
                continue
            self._groups[path] = found
            inner = links(self.source, found)
            if len(path) > _DEPTH:
                raise damaged(self.where)
            left += [((*path, link.name), link) for link in reversed(inner)]

    def _dataset(self, path: tuple[str, ...], found: list[Hdf5Message]) -> Hdf5Dataset:
        name = ".".join(path)
        space, kind = first(found, headers.DATASPACE), first(found, headers.DATATYPE)
        layout = first(found, headers.LAYOUT)
        if not space or not kind or not layout:
            raise damaged(self.where)
        shape = dataspace(self.source, space)
        of = datatype(self.source, kind)
        dtype, guess = self._dtype(of, found)
        if shape is None or dtype is None:
            why = of.what if shape is not None else "an empty dataset"
            return Hdf5Dataset(
                path, Skipped(name, why, 0 if of.is_text else math.prod(shape or (0,)))
            )
        if not is_supported(dtype) and dtype.name not in PARTS:
            return Hdf5Dataset(
                path, Skipped(name, f"dtype {dtype} is not supported", math.prod(shape))
            )
        made = self._tensor(name, shape, dtype, found, layout)
        return Hdf5Dataset(path, made, guess)

    def _dtype(self, of: Datatype, found: list[Hdf5Message]) -> tuple[np.dtype[Any] | None, str]:
        if of.kind != OPAQUE:
            return of.dtype, ""
        noted = _NOTED.get(str(attributes(self.source, found).get("dtype", "")))
        if noted is not None:
            return (noted if noted.itemsize == of.size else None), ""
        if of.size == 2:
            return _NOTED["bfloat16"], "2 bytes a number without a dtype, read as bfloat16"
        return None, ""

    def _tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        found: list[Hdf5Message],
        layout: Hdf5Message,
    ) -> WeightTensor | Skipped:
        numel = math.prod(shape)
        laid = placement_of(self.source, layout, len(shape))
        filters, refusal = filters_of(self.source, found)
        claimed, there = numel * dtype.itemsize, self.source.stored.size
        if first(found, headers.EXTERNAL):
            refusal = "its numbers lie in another file, which is not opened"
        elif self._claimed + claimed > _EXPANSION * there + _LEAST or any(n >> 62 for n in shape):
            refusal = "claims far more than the file can hold"
        elif laid.chunked and _count(shape, laid.chunked) > there // _CHUNK + _CHUNKS:
            refusal = "claims more chunks than the file can hold"
        elif laid.chunked and laid.chunked.size > max(_MEMORY, EXPANSION * there):
            refusal = "claims chunks of far more bytes than the file has"
        if refusal := laid.refusal or refusal:
            return Skipped(name, refusal, numel)
        self._claimed += claimed
        fill = fill_of(self.source, found, dtype)
        where = f"{self.where}: dataset {name!r}"
        if laid.chunked:
            if laid.chunked.item != dtype.itemsize:
                raise damaged(where)
            chunks = _Chunks(self.source, where, laid.chunked, shape, dtype, filters)
            grid = Grid(shape, laid.chunked.sides, dtype, chunks.decode, fill, self._recent)
            return _tensor_of(name, shape, dtype, grid.load)
        return _tensor_of(name, shape, dtype, self._run(where, laid, claimed, dtype, fill))

    def _run(self, where: str, laid: Placement, size: int, dtype: np.dtype[Any], fill: Any) -> Load:
        """Numbers in one run of bytes; where none were written, all are the fill value."""
        if laid.compact is not None:
            values = memory_bytes(laid.compact, where).part(0, size)
        elif laid.run and self.source.is_set(laid.run[0]):
            values = self.source.values(laid.run[0], laid.run[1]).part(0, size)
        else:
            return lambda start, stop: np.full(stop - start, fill, dtype)
        return PlainLoad(dataclasses.replace(values, where=where), dtype)


class _Chunks:
    """The chunks of a dataset; where they lie is read from the file when the first is wanted."""

    def __init__(
        self,
        source: Hdf5Source,
        where: str,
        layout: Chunked,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        filters: list[int],
    ) -> None:
        self._source, self._where, self._layout = source, where, layout
        self._shape, self._dtype, self._filters = shape, dtype, filters

    @cached_property
    def _places(self) -> dict[tuple[int, ...], Place]:
        return places(self._source, self._layout, self._shape, bool(self._filters))

    def decode(self, index: tuple[int, ...]) -> NDArray[Any] | None:
        """One chunk, unpacked."""
        place = self._places.get(index)
        if place is None:
            return None
        address, stored, mask = place
        data = bytes(self._source.values(address, stored).read(0, stored))
        size = self._layout.size
        for at, number in reversed(list(enumerate(self._filters))):
            if not mask >> at & 1:
                try:
                    data = UNDO[number](data, size + 4, self._layout.item)
                except ValueError as error:
                    raise InputError(f"{self._where}: a chunk is damaged: {error}") from None
        if len(data) != size:
            raise InputError(
                f"{self._where}: a chunk has {len(data):,} bytes, not {size:,}; it is damaged"
            )
        return np.frombuffer(data, self._dtype).reshape(self._layout.sides)


def _tensor_of(name: str, shape: tuple[int, ...], dtype: np.dtype[Any], load: Load) -> WeightTensor:
    """A tensor in this machine's byte order; complex numbers as their parts."""

    def in_order(start: int, stop: int) -> NDArray[Any]:
        return native(load(start, stop))

    own = load if isinstance(load, PlainLoad) else in_order
    made = WeightTensor(name, shape, native_dtype(dtype), own)
    return of_parts(made, PARTS[dtype.name]) if dtype.name in PARTS else made


def _elsewhere(name: str, link: Link, seen: dict[int, str]) -> Skipped | None:
    """What is said of a name whose object is in another file, or was met before."""
    if link.is_external:
        return Skipped(name, f"a link to another file, {link.target[:200]!r}; not followed")
    if link.target:
        return Skipped(name, f"a link to {link.target[:200]!r} in this file", role=Role.COPY)
    if link.address in seen:
        other = seen[link.address]
        return Skipped(name, f"the same object as {other!r}", role=Role.COPY, copy_of=other)
    return None


def _count(shape: tuple[int, ...], chunked: Chunked) -> int:
    return math.prod(-(-n // c) for n, c in zip(shape, chunked.sides, strict=True))
