"""The container: a file that holds a checkpoint's symbols, coded, and all that a decoder needs.

::

    8 bytes   b"kolmo" 0, the version of the format, newline
    units     each: its code's bytes, then their CRC-32
    header    JSON, raw deflate with a dictionary: the writer, the quantizer, tensors, units
    32 bytes  SHA-256 of the SHA-256 of each tensor's symbols, as little-endian bytes, in order
    4 bytes   length of the header
    4 bytes   CRC-32 of the first 8 bytes and of all from the header to here

Numbers are little-endian. A unit is the symbols of some tensors, or of some whole rows of one, that
are coded together. Nothing in a file is ever executed, and all that it claims is checked before it
is acted upon.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from kolmo.checkpoints.base import EXTENDED_DTYPES
from kolmo.checkpoints.files import read_at
from kolmo.codec.base import Shape
from kolmo.errors import InputError
from kolmo.quantize import Quantizer, SymbolCoder, get_quantizer
from kolmo.text import printable

MAGIC = b"kolmo\0\x01\n"
CRC = 4
"""Bytes of a checksum."""

UNIT_LIMIT = 1 << 25
"""Symbols of a unit at most, and so what a decoder needs memory for at a time."""

GENEROUS = 1 << 30
"""Bytes that any container may expand to."""

EXPANSION = 1024
"""How many times its file's size a larger one may expand to, unless asked for."""

_FOOT = 40
_DIMENSIONS = 16  # of a part's shape at most; a tensor of more is flat
_HEADER = 1 << 28  # bytes of a header at most, inflated
_WORDS = (
    b".gamma.beta.alpha.conv1.conv2.downsample.bn1.bn2.running_mean.running_var"
    b"num_batches_tracked.q_proj.k_proj.v_proj.o_proj.gate_proj.up_proj.down_proj.mlp.fc1.fc2"
    b"model.layers.0.transformer.h.0.blocks.0.lm_head.embed_tokens.pooler.dense.classifier"
    b"embeddings.word_embeddings.position_embeddings.token_type_embeddings.LayerNorm.norm"
    b"encoder.layer.0.attention.self.query.key.value.output.intermediate.dense.bias.weight"
    b'affine:symmetric:8codebook:sign0x1.p+0"],["0x1.p-'
    b'"float64","int64","bfloat16","float16",[1],[64],[128],[256],[512],[768],[1024],'
    b'{"kolmo":"0.1.0","quantizer":"native","names":["layers.0.weight","layers.0.bias",'
    b'"layers.1.weight","layers.1.bias"],"shapes":[[64,64],[64]],"dtypes":["float32"],'
    b'"fitted":[[]],"copies":[],"units":[[2,[16,[0,1]]]}'
)
"""What headers often say, the likeliest last; a part of the format."""

_DTYPES = {
    np.dtype(name).name: np.dtype(name)
    for name in ("bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
} | {dtype.name: dtype for dtype in EXTENDED_DTYPES.values()}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One tensor: what it is, and what its symbols mean."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    coder: SymbolCoder
    copy_of: int | None = None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    def kind(self, quantizer: Quantizer) -> str:
        """The kind that codes are told: a floating-point format, or none."""
        return quantizer.format(self.dtype)


@dataclasses.dataclass(frozen=True)
class Part:
    """The symbols [start, stop) of the flattened tensor of a number, and their shape."""

    tensor: int
    start: int
    stop: int
    shape: Shape


@dataclasses.dataclass(frozen=True)
class Unit:
    """Parts that are coded together; the code's number and how many bytes it took."""

    parts: tuple[Part, ...]
    code: int = 0
    size: int = 0

    @property
    def numel(self) -> int:
        return sum(part.stop - part.start for part in self.parts)


@dataclasses.dataclass(frozen=True)
class Contents:
    """What the header and the foot of a container say."""

    path: Path
    writer: str
    quantizer: Quantizer
    entries: tuple[Entry, ...]
    units: tuple[Unit, ...]
    digest: bytes
    file_bytes: int

    @cached_property
    def _starts(self) -> list[int]:
        return list(accumulate((unit.size + CRC for unit in self.units), initial=len(MAGIC)))

    def read_unit(self, number: int) -> bytes:
        """A unit's bytes, whose checksum is right."""
        size = self.units[number].size
        data = bytes(read_at(self.path, self._starts[number], size + CRC))
        if zlib.crc32(data[:size]) != int.from_bytes(data[size:], "little") or len(data) < CRC:
            raise InputError(f"{self.path}: a checksum is wrong: the file is damaged")
        return data[:size]


def part_of(entry: Entry, number: int, start: int, stop: int) -> Part:
    """A part in the shape of whole rows, or flat where it is not of such."""
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
    """A unit as it is in the file."""
    return data + zlib.crc32(data).to_bytes(CRC, "little")


def encode_end(
    writer: str,
    quantizer: Quantizer,
    entries: Sequence[Entry],
    units: Sequence[Unit],
    digest: bytes,
) -> bytes:
    """The header and the foot."""
    header = {
        "kolmo": writer,
        "quantizer": str(quantizer),
        "names": [entry.name for entry in entries],
        "shapes": [list(entry.shape) for entry in entries],
        "dtypes": _shorten([entry.dtype.name for entry in entries]),
        "fitted": _shorten([list(map(_to_hex, e.coder.parameters())) for e in entries]),
        "copies": [[n, e.copy_of] for n, e in enumerate(entries) if e.copy_of is not None],
        "units": [[unit.code, unit.size, *_runs(unit, entries)] for unit in units],
    }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    packed = deflate_header(text)
    end = packed + digest + len(packed).to_bytes(4, "little")
    return end + zlib.crc32(MAGIC + end).to_bytes(4, "little")


def deflate_header(text: str) -> bytes:
    """The header's bytes; `_WORDS` spare it what most of them say."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_WORDS)
    return deflate.compress(text.encode("utf-8", "surrogatepass")) + deflate.flush()


def _to_hex(number: float) -> str:
    mantissa, _, exponent = number.hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}"


def _shorten(values: list[Any]) -> list[Any]:
    """One value for all, where they are the same."""
    return values[:1] if all(value == values[0] for value in values) else values


def _runs(unit: Unit, entries: Sequence[Entry]) -> list[list[int]]:
    """Parts as [first tensor, how many whole ones], or [tensor, start, stop]."""
    runs: list[list[int]] = []
    for part in unit.parts:
        if (part.start, part.stop) != (0, entries[part.tensor].numel):
            runs.append([part.tensor, part.start, part.stop])
        elif runs and len(runs[-1]) == 2 and sum(runs[-1]) == part.tensor:
            runs[-1][1] += 1
        else:
            runs.append([part.tensor, 1])
    return runs


# --- reading --------------------------------------------------------------------------------


def read_contents(path: Path, max_bytes: int | None = None) -> Contents:
    """What a container says it holds, every claim of it checked but those about symbols.

    Raises
    ------
    InputError
        If it cannot be read, is no container, is damaged, or would expand to more bytes than
        ``max_bytes`` (by default 1,024 times its size, and at least 1 GiB).
    """
    size, head, foot = _read_ends(path)
    _check_magic(path, head)
    length = int.from_bytes(foot[32:36], "little")
    start = size - _FOOT - length
    if len(foot) < _FOOT or start < len(MAGIC):
        raise InputError(f"{path}: the file is cut off")
    packed = bytes(read_at(path, start, length))
    if zlib.crc32(head + packed + foot[:36]) != int.from_bytes(foot[36:], "little"):
        raise InputError(f"{path}: its header's checksum is wrong: the file is damaged or cut off")
    contents = _checked_contents(path, packed, foot[:32], size)
    if start != len(MAGIC) + sum(unit.size + CRC for unit in contents.units):
        raise InputError(f"{path}: the units that it claims do not fill the file")
    _check_expansion(contents, max_bytes)
    return contents


def _read_ends(path: Path) -> tuple[int, bytes, bytes]:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return size, bytes(read_at(path, 0, 8)), bytes(read_at(path, max(8, size - _FOOT), _FOOT))


def _check_magic(path: Path, head: bytes) -> None:
    if head[:6] != MAGIC[:6]:
        raise InputError(f"{path}: not a kolmo container (kolmo pack writes them)")
    if head != MAGIC:
        raise InputError(
            f"{path}: a container of another version, or damaged; this program reads {MAGIC[6]}"
        )


def _checked_contents(path: Path, packed: bytes, digest: bytes, size: int) -> Contents:
    try:
        header = json.loads(_inflate(packed))
        quantizer = get_quantizer(header["quantizer"])
        entries = _read_entries(header, quantizer)
        units = tuple(_read_unit(unit, entries) for unit in header["units"])
        _check_units(entries, units, quantizer)
        writer = printable(header["kolmo"])[:40]
    except (zlib.error, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path}: its header contradicts itself, or is none") from None
    return Contents(path, writer, quantizer, entries, units, digest, size)


def _inflate(packed: bytes) -> str:
    inflate = zlib.decompressobj(-15, zdict=_WORDS)
    text = inflate.decompress(packed, _HEADER)
    if not inflate.eof or inflate.unused_data:
        raise ValueError("the header is too long, or cut off")
    return text.decode("utf-8", "surrogatepass")


def _read_entries(header: dict[str, Any], quantizer: Quantizer) -> tuple[Entry, ...]:
    names, copies = header["names"], dict(header["copies"])
    count = len(names)
    if len(set(names)) != count or not all(isinstance(name, str) for name in names):
        raise ValueError("names are strings, none twice")
    fitted, dtypes = _lengthen(header["fitted"], count), _lengthen(header["dtypes"], count)
    entries = []
    for number, (name, shape) in enumerate(zip(names, header["shapes"], strict=True)):
        if len(shape) > 64 or not all(map(_is_count, shape)):
            raise ValueError("a shape is of counts")
        dtype = _DTYPES[dtypes[number]]
        coder = quantizer.restore(dtype, [float.fromhex(text) for text in fitted[number]])
        entries.append(Entry(name, tuple(shape), dtype, coder, copies.get(number)))
    for number, original in copies.items():
        _check_copy(entries, number, original)
    return tuple(entries)


def _lengthen(values: list[Any], count: int) -> list[Any]:
    return values * count if len(values) == 1 else values


def _check_copy(entries: list[Entry], number: int, original: int) -> None:
    """A copy is of an earlier tensor that is none, with as many symbols of the same kind."""
    if not (_is_count(number) and _is_count(original) and original < number):
        raise ValueError("a copy is of an earlier tensor")
    copy, first = entries[number], entries[original]
    if first.copy_of is not None or (copy.numel, copy.dtype) != (first.numel, first.dtype):
        raise ValueError("a copy is like its original")


def _read_unit(unit: list[Any], entries: Sequence[Entry]) -> Unit:
    code, size, *runs = unit
    if not _is_count(code) or not _is_count(size) or code > 255:
        raise ValueError("a unit has a code and a size")
    parts: list[Part] = []
    for first, *rest in runs:
        if not all(map(_is_count, [first, *rest])):
            raise ValueError("a part is of counts")
        if len(rest) == 1:
            numbers = range(first, first + min(rest[0], len(entries)))
            parts += [part_of(entries[n], n, 0, entries[n].numel) for n in numbers]
        else:
            start, stop = rest
            parts.append(part_of(entries[first], first, start, stop))
    return Unit(tuple(parts), code, size)


def _check_units(entries: Sequence[Entry], units: Sequence[Unit], quantizer: Quantizer) -> None:
    """Every symbol is in one unit, in order, and a unit's are all alike."""
    reached = [0] * len(entries)
    for unit in units:
        kinds = {(entries[p.tensor].coder.alphabet, entries[p.tensor].kind(quantizer))
                 for p in unit.parts}  # fmt: skip
        if len(kinds) != 1 or not 0 < unit.numel <= UNIT_LIMIT:
            raise ValueError("a unit is of one kind, and not too long")
        for part in unit.parts:
            if part.start != reached[part.tensor] or not part.start < part.stop:
                raise ValueError("parts follow each other")
            reached[part.tensor] = part.stop
    for entry, stop in zip(entries, reached, strict=True):
        if stop != (0 if entry.copy_of is not None else entry.numel):
            raise ValueError("every tensor is whole")


def _check_expansion(contents: Contents, max_bytes: int | None) -> None:
    """Refuse a small file that claims to be a huge model."""
    claimed = sum(entry.numel * entry.dtype.itemsize for entry in contents.entries)
    limit = max(GENEROUS, EXPANSION * contents.file_bytes) if max_bytes is None else max_bytes
    if claimed > limit:
        raise InputError(
            f"{contents.path}: claims to expand to {claimed:,} bytes, over the limit of "
            f"{limit:,}; if you trust the file, raise it (max_bytes, --max-bytes)"
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**48
