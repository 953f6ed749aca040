"""The container: a file that holds a checkpoint's symbols, coded, and all that a decoder needs.

::

    magic ─ units, each with a checksum ─ header ─ digest ─ checksum ─ length of the header

A unit holds the symbols of several tensors, or of whole rows of one, that are coded together.
Nothing in a file is ever executed, and every claim is checked before it is acted upon.
docs/formats/kmo.md specifies every byte.
"""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Role
from kolmo.checkpoints.stored import Stored, file_bytes
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.container.header import NUMBERED, ROLES, Header, decode_header, encode_header
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError, KolmoError
from kolmo.files import expansion_limit, marked
from kolmo.quantize import Native, Quantizer, SymbolCoder
from kolmo.quantize.lossy import quantizer_of
from kolmo.spoken import command, option
from kolmo.symbols import Alphabet, Shape

VERSION = 3
"""The version of the format that is written; `VERSIONS` are read."""

VERSIONS = (1, 2, 3)

MAGIC = b"kmo" + bytes([VERSION])
is_container = marked(rb"\Akmo[\x01-\x1f]")
"""Whether a file is a container, of any version."""

CRC = 4
"""Bytes of a checksum."""

NATIVE = Native()
"""The quantizer of what is kept as it is, whatever the container's."""

UNIT_LIMIT = 1 << 25
"""Most symbols of a unit, which bounds the memory of a decoder."""

DIGEST = 16
"""Bytes of the SHA-256 that are kept."""

_LENGTH = 5  # most bytes of the header's length
_AXES = 1024  # most axes of a tensor
_DIMENSIONS = 16  # most dimensions of a part; a tensor of more is flattened


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor: its name, shape and dtype, and the coder that gives its symbols a meaning.

    ``packed_weights`` is the number of weights that it stands for, where they are not its
    symbols: of packed codes those of the logical tensor.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    coder: SymbolCoder
    copy_of: int | None = None
    role: Role = Role.WEIGHT
    packed_weights: int | None = None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def alphabet(self) -> Alphabet:
        """The alphabet of its symbols."""
        return self.coder.alphabet

    @property
    def weights(self) -> int:
        """Number of weights that it stands for; 0 unless its role is weight."""
        if self.role is not Role.WEIGHT:
            return 0
        return self.numel if self.packed_weights is None else self.packed_weights


@dataclasses.dataclass(frozen=True)
class Part:
    """The symbols [start, stop) of a flattened tensor, given by its number, and their shape."""

    tensor: int
    start: int
    stop: int
    shape: Shape


@dataclasses.dataclass(frozen=True)
class Unit:
    """Parts that are coded together; the code's number and the size of its bytes.

    While units are planned, ``source`` may hold where the same symbols occurred before: the number
    of a tensor and a place in it.
    """

    parts: tuple[Part, ...]
    code: int = 0
    size: int = 0
    source: tuple[int, int] | None = None

    @property
    def numel(self) -> int:
        return sum(part.stop - part.start for part in self.parts)


@dataclasses.dataclass(frozen=True)
class Contents:
    """The contents of a container's header and foot; its units lie in ``stored``, unread."""

    stored: Stored
    quantizer: Quantizer
    entries: tuple[Entry, ...]
    units: tuple[Unit, ...]
    digest: bytes
    file_bytes: int

    @property
    def where(self) -> str:
        """The file, for people: its path, or its URL."""
        return self.stored.where

    @property
    def path(self) -> Path:
        """Its path; of a file that is far away its name."""
        return Path(self.where.rpartition("/")[2] if "://" in self.where else self.where)

    @cached_property
    def _starts(self) -> list[int]:
        return list(accumulate((unit.size + CRC for unit in self.units), initial=len(MAGIC)))

    def read_unit(self, number: int) -> bytes:
        """The bytes of a unit; InputError if the checksum is wrong."""
        size = self.units[number].size
        data = _read(self.stored, self._starts[number], size + CRC)
        if zlib.crc32(data[:size]) != int.from_bytes(data[size:], "little") or len(data) < CRC:
            raise InputError(f"{self.where}: a checksum is wrong: the file is damaged")
        return data[:size]


def part_of(entry: Entry, number: int, start: int, stop: int) -> Part:
    """A part of a tensor, in the shape of whole rows where it has whole rows, else flat."""
    row = math.prod(entry.shape[1:])
    if len(entry.shape) > _DIMENSIONS:
        return Part(number, start, stop, (stop - start,))
    if (start, stop) == (0, entry.numel):
        return Part(number, start, stop, entry.shape)
    if row and start % row == 0 and stop % row == 0:
        return Part(number, start, stop, ((stop - start) // row, *entry.shape[1:]))
    return Part(number, start, stop, (stop - start,))


# --- writing --------------------------------------------------------------------------------


def with_checksum(data: bytes) -> bytes:
    """A unit's bytes as they are in the file."""
    return data + zlib.crc32(data).to_bytes(CRC, "little")


def encode_end(
    quantizer: Quantizer, entries: Sequence[Entry], units: Sequence[Unit], digest: bytes
) -> bytes:
    """The bytes of the header and the foot."""
    header = Header(
        str(quantizer),
        [entry.name for entry in entries],
        [entry.shape for entry in entries],
        [NUMBERED.index(entry.dtype.name) for entry in entries],
        [0 if entry.copy_of is None else entry.copy_of + 1 for entry in entries],
        [ROLES.index(entry.role) for entry in entries],
        [0 if entry.packed_weights is None else entry.packed_weights + 1 for entry in entries],
        [entry.coder.parameters() for entry in entries],
        [(unit.code, unit.size, _runs(unit, entries)) for unit in units],
    )
    return with_foot(encode_header(header), digest[:DIGEST])


def with_foot(header: bytes, digest: bytes, magic: bytes = MAGIC) -> bytes:
    """A header's bytes and the foot: digest, checksum, length of the header."""
    crc = zlib.crc32(magic + header + digest).to_bytes(CRC, "little")
    return header + digest + crc + number_bytes(len(header))[::-1]


def _runs(unit: Unit, entries: Sequence[Entry]) -> list[tuple[int, ...]]:
    """Parts as runs: (first, count) for whole tensors, (tensor, 0, start, stop) for others."""
    runs: list[tuple[int, ...]] = []
    for part in unit.parts:
        if (part.start, part.stop) != (0, entries[part.tensor].numel):
            runs.append((part.tensor, 0, part.start, part.stop))
        elif runs and len(runs[-1]) == 2 and sum(runs[-1]) == part.tensor:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((part.tensor, 1))
    return runs


# --- reading --------------------------------------------------------------------------------


def read_contents(source: Path | Stored, max_bytes: int | None = None) -> Contents:
    """Read the contents of a container; all its claims are checked, except those about symbols.

    Parameters
    ----------
    source : Path or Stored
        A file, or the bytes of one wherever they are.
    max_bytes : int, optional
        What it may expand to.

    Raises
    ------
    InputError
        If the file cannot be read, is no container, is damaged, or would expand to more bytes than
        ``max_bytes`` (by default 1,024 times its size, and at least 256 MiB).
    """
    stored = source if isinstance(source, Stored) else file_bytes(source)
    path, size = stored.where, stored.size
    head = _read(stored, 0, len(MAGIC))
    foot = _read(stored, max(len(MAGIC), size - _LENGTH), _LENGTH)
    _check_magic(path, head)
    length, taken = _read_length(path, foot)
    start = size - taken - CRC - DIGEST - length
    if start < len(MAGIC):
        raise InputError(f"{path}: the file is cut off")
    end = _read(stored, start, size - start)
    data, digest = end[:length], end[length : length + DIGEST]
    if with_foot(data, digest, head) != end:
        raise InputError(f"{path}: its header's checksum is wrong: the file is damaged or cut off")
    contents = _checked_contents(stored, data, digest, head[-1])
    if start != len(MAGIC) + sum(unit.size + CRC for unit in contents.units):
        raise InputError(f"{path}: the units that it claims do not fill the file")
    _check_expansion(contents, max_bytes)
    return contents


def _read(stored: Stored, offset: int, size: int) -> bytes:
    """Bytes [offset, offset + size), fewer where they end."""
    begin, end = min(offset, stored.size), min(offset + size, stored.size)
    return bytes(stored.read(begin, end - begin))


def _check_magic(path: str, head: bytes) -> None:
    if head[:-1] != MAGIC[:-1]:
        raise InputError(f"{path}: not a kolmo container ({command('pack')} writes them)")
    if head[-1] not in VERSIONS:
        known = f"{VERSIONS[0]} to {VERSIONS[-1]}"
        raise InputError(
            f"{path}: a container of another version, or damaged; this program reads {known}"
        )


def _read_length(path: str, foot: bytes) -> tuple[int, int]:
    """The header's length, and the number of bytes that hold this length."""
    reader = Reader(foot[::-1])
    try:
        return reader.number(), len(foot) - len(reader.rest())
    except InputError:
        raise InputError(f"{path}: the file is cut off") from None


def _checked_contents(stored: Stored, data: bytes, digest: bytes, version: int) -> Contents:
    try:
        header = decode_header(data, version)
        quantizer = quantizer_of(header.quantizer)
        entries = _read_entries(header, quantizer)
        units = _read_units(header, entries)
        _check_units(entries, units)
    except (zlib.error, KolmoError, ValueError, LookupError):
        raise InputError(f"{stored.where}: its header contradicts itself, or is none") from None
    return Contents(stored, quantizer, entries, units, digest, stored.size)


def _read_entries(header: Header, quantizer: Quantizer) -> tuple[Entry, ...]:
    if len(set(header.names)) != len(header.names):
        raise ValueError("no name is there twice")
    entries: list[Entry] = []
    each = (header.names, header.shapes, header.dtypes, header.copies, header.parameters)
    for name, shape, number, copy, parameters, role, weights in zip(
        *each, header.roles, header.weights, strict=True
    ):
        if len(shape) > _AXES:
            raise ValueError("a shape is of fewer axes")
        if weights and role:
            raise ValueError("only weights stand for weights")
        dtype, original = DTYPES[NUMBERED[number]], copy - 1 if copy else None
        own = quantizer if is_quantized(ROLES[role], original, entries) else NATIVE
        coder = own.restore(dtype, parameters)
        if not coder.fits(shape):
            raise ValueError("a coder has the scales of its tensor's rows and columns")
        packed = weights - 1 if weights else None
        entries.append(Entry(name, shape, dtype, coder, original, ROLES[role], packed))
        _check_copy(entries)
    return tuple(entries)


def is_quantized(role: Role, copy_of: int | None, entries: Sequence[Entry]) -> bool:
    """Whether the container's quantizer applies: to weights and their copies; all else is kept as
    it is."""
    if copy_of is not None and copy_of < len(entries) and role is Role.COPY:
        return is_quantized(entries[copy_of].role, None, entries)
    return role in (Role.WEIGHT, Role.COPY)


def _check_copy(entries: Sequence[Entry]) -> None:
    """ValueError unless the last entry is no copy, or a copy of an earlier entry that is no copy
    itself, with as many symbols and of the same dtype."""
    copy = entries[-1]
    if copy.copy_of is None:
        return
    first = entries[copy.copy_of]
    alike = (copy.numel, copy.dtype, copy.alphabet) == (first.numel, first.dtype, first.alphabet)
    if first.copy_of is not None or not alike:
        raise ValueError("a copy is like its original")


def _read_units(header: Header, entries: Sequence[Entry]) -> tuple[Unit, ...]:
    """The units; ValueError if they have more parts than tensors that are each whole once."""
    left = len(entries) + sum(len(runs) for _, _, runs in header.units)
    units: list[Unit] = []
    for code, size, runs in header.units:
        parts: list[Part] = []
        for first, count, *borders in runs:
            left -= 1 if borders else count
            if left < 0:
                raise ValueError("no tensor is whole twice")
            if borders:
                parts.append(part_of(entries[first], first, *borders))
            else:
                numbers = range(first, first + count)
                parts += [part_of(entries[n], n, 0, entries[n].numel) for n in numbers]
        units.append(Unit(tuple(parts), code, size))
    return tuple(units)


def _check_units(entries: Sequence[Entry], units: Sequence[Unit]) -> None:
    """ValueError unless each symbol is in one unit, in order, and each unit has one alphabet."""
    reached = [0] * len(entries)
    for unit in units:
        alphabets = {entries[part.tensor].alphabet for part in unit.parts}
        if len(alphabets) != 1 or not 0 < unit.numel <= UNIT_LIMIT:
            raise ValueError("a unit is of one alphabet, and not too long")
        for part in unit.parts:
            if part.start != reached[part.tensor] or not part.start < part.stop:
                raise ValueError("parts follow each other")
            reached[part.tensor] = part.stop
    for entry, stop in zip(entries, reached, strict=True):
        if stop != (0 if entry.copy_of is not None else entry.numel):
            raise ValueError("every tensor is whole")


def _check_expansion(contents: Contents, max_bytes: int | None) -> None:
    """Refuse a small file that claims to be a huge model."""
    claimed = claimed_bytes(contents)
    limit = expansion_limit(contents.file_bytes) if max_bytes is None else max_bytes
    if claimed > limit:
        raise InputError(
            f"{contents.where}: claims to expand to {claimed:,} bytes, over the limit of "
            f"{limit:,}; {if_trusted(contents)}"
        )


def claimed_bytes(contents: Contents) -> int:
    """Bytes of all its weights."""
    return sum(entry.numel * entry.dtype.itemsize for entry in contents.entries)


def if_trusted(contents: Contents) -> str:
    """What can be done with a file that passes a limit, whatever command was given it."""
    return (
        f"if you trust it, verify and unpack take {option('max_bytes', claimed_bytes(contents))}; "
        f"all else reads what unpack writes"
    )
