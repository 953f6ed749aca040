"""The .kmo file (docs/formats/kmo.md)."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import zlib
from functools import partial
from typing import Any

import numpy as np

from tests.formats import rounding, simple
from tests.formats.bits import Reader, demand, width_of
from tests.formats.context import context
from tests.formats.grid import grid
from tests.formats.mixing import mixing
from tests.formats.mosaic_code import mosaic
from tests.formats.predictive import predictive
from tests.formats.records import records
from tests.formats.trellis import trellis

MAGICS = (b"kmo\x01", b"kmo\x02", b"kmo\x03")
ROLES = ("weight", "book-keeping", "buffer", "optimizer", "copy", "other")
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
    *("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3b11fnuz", "float8_e3m4", "float8_e4m3"),
    *("float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"),
    *("int4", "uint4", "int2", "uint2"),
)
WIDTHS = (1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 2, *[1] * 15)
NARROW = {21: 6, 22: 6, 23: 4, 24: 4, 25: 4, 26: 2, 27: 2}
DICTIONARY_TEXT = (
    b".gamma.beta.alpha.conv1.conv2.downsample.bn1.bn2.running_mean.running_var"
    b"num_batches_tracked.q_proj.k_proj.v_proj.o_proj.gate_proj.up_proj.down_proj.mlp.fc1.fc2"
    b"model.layers.0.transformer.h.0.blocks.0.lm_head.embed_tokens.pooler.dense.classifier"
    b"embeddings.word_embeddings.position_embeddings.token_type_embeddings.LayerNorm.norm"
    b"encoder.layer.0.attention.self.query.key.value.output.intermediate.dense.bias.weight"
)


@dataclasses.dataclass
class Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: int
    parameters: int
    copy: int
    role: int = 0
    weights: int = 0
    kept: bool = False
    values: list[float] = dataclasses.field(default_factory=list)
    symbols: list[int] = dataclasses.field(default_factory=list)

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclasses.dataclass
class Part:
    tensor: int
    start: int
    stop: int
    shape: tuple[int, ...]


@dataclasses.dataclass
class Unit:
    code: int
    size: int
    parts: list[Part]
    data: bytes = b""


@dataclasses.dataclass
class File:
    quantizer: str
    tensors: list[Tensor]
    units: list[Unit]

    def sort(self, tensor: Tensor) -> tuple[int, str]:
        """Alphabet and format of a tensor's symbols."""
        name, _, value = self.quantizer.partition(",")[0].partition(":")
        if self.is_native(tensor):
            floating = 9 <= tensor.dtype < 24
            bits = NARROW.get(tensor.dtype, 8 * WIDTHS[tensor.dtype])
            return 1 << bits, DTYPES[tensor.dtype] if floating else ""
        if name == "sign":
            return 2, ""
        if name == "nmse":
            return 2 * min(32_767, math.ceil(32 / math.sqrt(12 * float(value)))) + 1, ""
        if name == "lossy":
            demand(tensor.values[0] in range((1 << 24) + 1), "levels that are no number of them")
            return 2 * int(tensor.values[0]) + 1, ""
        number = int(value)
        alphabet = {"symmetric": (1 << number) - 1, "affine": 1 << number, "codebook": number}
        return alphabet[name], ""

    def is_native(self, tensor: Tensor) -> bool:
        name = self.quantizer.partition(":")[0]
        return name == "native" or tensor.kept or (name == "lossy" and not tensor.values)


# --- the file -------------------------------------------------------------------------------


def read_file(data: bytes) -> File:
    """The tensors with their symbols."""
    demand(data[:4] in MAGICS, "another magic")
    foot = Reader(data[: -1 - min(5, len(data) - 4) : -1])
    length = foot.varint()
    end = len(data) - foot.place
    begin = end - 4 - 16 - length
    demand(begin >= 4, "a header that begins too early")
    header, digest = data[begin : begin + length], data[begin + length : end - 4]
    checksum(data[:4] + header + digest, data[end - 4 : end])
    file = read_header(header, data[3])
    check_rules(file)
    take_units(file, data[4:begin])
    decode_units(file)
    demand(digest_of(file) == digest, "another digest")
    return file


def checksum(data: bytes, crc: bytes) -> None:
    demand(zlib.crc32(data) == int.from_bytes(crc, "little"), "a wrong checksum")


def take_units(file: File, data: bytes) -> None:
    reader = Reader(data)
    for unit in file.units:
        unit.data = reader.take(unit.size)
        checksum(unit.data, reader.take(4))
    demand(not reader.rest(), "units that do not fill the file")


def digest_of(file: File) -> bytes:
    each = [tensor_digest(file, tensor) for tensor in file.tensors]
    return hashlib.sha256(b"".join(each)).digest()[:16]


def tensor_digest(file: File, tensor: Tensor) -> bytes:
    container = f"<u{width_of(file.sort(tensor)[0])}"
    return hashlib.sha256(np.array(tensor.symbols, container).tobytes()).digest()


# --- the header -----------------------------------------------------------------------------


def numbers(*values: int) -> bytes:
    found = bytearray()
    for value in values:
        while value > 127:
            found.append(value & 127 | 128)
            value >>= 7
        found.append(value)
    return bytes(found)


def dictionary() -> bytes:
    found = DICTIONARY_TEXT
    for n in (16, 32, 128, 256, 384, 512, 768, 1024, 10, 64):
        found += 2 * (numbers(1, n) + numbers(2, n, n))
    texts = [f"{name}:{bits}" for name in ("affine", "codebook", "symmetric") for bits in (4, 8)]
    texts.append("native")
    for order in (("weight", "bias"), ("bias", "weight")):
        texts += [f"layers.{i}.{what}" for i in range(10) for what in order]
    return found + b"".join(numbers(len(text)) + text.encode() for text in texts)


def read_header(data: bytes, version: int) -> File:
    outer = Reader(data)
    deflated = outer.take(outer.varint())
    inflate = zlib.decompressobj(-15, zdict=dictionary())
    reader = Reader(inflate.decompress(deflated, max(1 << 20, 256 * len(deflated))))
    demand(inflate.eof and not inflate.unused_data, "too long a header, or one that is cut off")
    quantizer = reader.text()
    names = read_names(reader, version)
    shapes = [tuple(reader.list()) for _ in names]
    count = 3 if version == 1 else 5
    lists = [stretched(reader.list(), len(names)) for _ in range(count)]
    tensors = [Tensor(*fields) for fields in zip(names, shapes, *lists, strict=True)]
    for tensor in tensors:
        tensor.kept = is_kept(tensor, tensors)
    units = [read_unit(reader, tensors) for _ in range(reader.varint())]
    demand(not reader.rest(), "bytes after the last field")
    read_parameters(outer.rest(), tensors, version)
    return File(quantizer, tensors, units)


def read_names(reader: Reader, version: int) -> list[str]:
    names: list[str] = []
    before: list[int] = []
    for _ in range(reader.varint()):
        found, numbers = b"", []
        for place, text in enumerate(reader.take(reader.varint()).split(b"\xff")):
            if place and version > 2:
                demand(bool(text) and text[0] < 128, "half a mark")
                last = before[len(numbers)] if len(numbers) < len(before) else 0
                numbers.append(last + text[0] - 64)
                demand(numbers[-1] >= 0, "a number below 0")
                found, text = found + str(numbers[-1]).encode(), text[1:]
            elif place:
                found += b"\xff"
            runs = re.findall(rb"[0-9]+", text)
            numbers += [int(r) for r in runs if len(r) < 19 and (r == b"0" or r[:1] != b"0")]
            found += text
        names.append(found.decode("utf-8", "surrogatepass"))
        before = numbers
    return names


def is_kept(tensor: Tensor, tensors: list[Tensor]) -> bool:
    """Whether it is native whatever the quantizer."""
    if ROLES[tensor.role] == "copy" and tensor.copy:
        return is_kept(dataclasses.replace(tensors[tensor.copy - 1], copy=0), tensors)
    return ROLES[tensor.role] not in ("weight", "copy")


def stretched(found: list[int], count: int) -> list[int]:
    found = found * count if len(found) == 1 else found
    demand(len(found) == count, "a list of another length")
    return found


def read_unit(reader: Reader, tensors: list[Tensor]) -> Unit:
    unit = Unit(reader.varint(), reader.varint(), [])
    for _ in range(reader.varint()):
        first, count = reader.varint(), reader.varint()
        if count:
            whole = range(first, first + count)
            unit.parts += [part_of(tensors, n, 0, tensors[n].numel) for n in whole]
        else:
            unit.parts.append(part_of(tensors, first, reader.varint(), reader.varint()))
    return unit


def part_of(tensors: list[Tensor], number: int, start: int, stop: int) -> Part:
    tensor = tensors[number]
    row, shape = math.prod(tensor.shape[1:]), (stop - start,)
    if len(tensor.shape) > 16:
        return Part(number, start, stop, shape)
    if (start, stop) == (0, tensor.numel):
        shape = tensor.shape
    elif row > 0 and start % row == 0 and stop % row == 0:
        shape = ((stop - start) // row, *tensor.shape[1:])
    return Part(number, start, stop, shape)


def read_parameters(data: bytes, tensors: list[Tensor], version: int) -> None:
    count = sum(tensor.parameters for tensor in tensors)
    if not count and not data:
        return
    demand(count <= max(1 << 24, 1024 * len(data)), "too many parameters")
    reader = Reader(data)
    kind = reader.take(1)[0]
    demand(kind < (4 if version > 2 else 2), "another kind of parameters")
    apart, small = [0] * count, iter(())
    if kind > 1:
        apart = coded(reader.take(reader.varint()), count, 2, "")
        small = iter(coded(reader.take(reader.varint()), sum(apart), 256, ""))
    alphabet, fmt = ((1 << 32, "float32"), (1 << 64, "float64"))[kind % 2]
    others = count - sum(apart)
    symbols = coded(reader.rest(), others, alphabet, fmt) if others else []
    demand(not reader.rest(), "more parameters than that")
    floats = iter(np.array(symbols, f"u{4 + 4 * (kind % 2)}").view(fmt).tolist())
    values = iter([float(next(small)) if flag else next(floats) for flag in apart])
    for tensor in tensors:
        tensor.values = [next(values) for _ in range(tensor.parameters)]


def coded(data: bytes, count: int, alphabet: int, fmt: str) -> list[int]:
    return decode_code(data[0], data[1:], [(count,)], alphabet, fmt)


def check_rules(file: File) -> None:
    demand(len({tensor.name for tensor in file.tensors}) == len(file.tensors), "names")
    reached = [0] * len(file.tensors)
    for unit in file.units:
        sorts = {file.sort(file.tensors[part.tensor]) for part in unit.parts}
        size = sum(part.stop - part.start for part in unit.parts)
        demand(len(sorts) == 1 and 0 < size <= 1 << 25, "a unit of two kinds, or too long")
        for part in unit.parts:
            demand(reached[part.tensor] == part.start < part.stop, "parts with a gap")
            reached[part.tensor] = part.stop
    for number, tensor in enumerate(file.tensors):
        demand(not tensor.weights or not tensor.role, "weights of what is no weight")
        demand(reached[number] == (0 if tensor.copy else tensor.numel), "a part is missing")
        demand(len(tensor.shape) <= 64 and tensor.copy <= number, "a shape or a copy")


# --- units ----------------------------------------------------------------------------------


def decode_code(
    code: int, data: bytes, shapes: list[tuple[int, ...]], alphabet: int, fmt: str
) -> list[int]:
    """The symbols of all parts, one after the other."""
    decoders = {0: simple.raw, 1: simple.constant, 2: partial(mosaic, decode=decode_code)}
    decoders |= {8: mixing, 9: context, 10: simple.byteplanes, 11: simple.counts, 14: records}
    decoders |= {13: partial(grid, decode=decode_code), 15: predictive, 16: trellis}
    if code in simple.EXPAND:
        symbols = simple.general(code, data, shapes, alphabet)
    else:
        symbols = decoders[code](data, shapes, alphabet, fmt)
    demand(all(0 <= symbol < alphabet for symbol in symbols), "a symbol out of the alphabet")
    demand(len(symbols) == sum(map(math.prod, shapes)), "another number of symbols")
    return symbols


def decode_units(file: File) -> None:
    for tensor in file.tensors:
        tensor.symbols = [-1] * (0 if tensor.copy else tensor.numel)
    for unit in file.units:
        if unit.code != 12:
            decode_unit(file, unit)
    repeats = [unit for unit in file.units if unit.code == 12]
    found = [repeated(file, unit) for unit in repeats]
    for unit, symbols in zip(repeats, found, strict=True):
        part = unit.parts[0]
        file.tensors[part.tensor].symbols[part.start : part.stop] = symbols
    for tensor in file.tensors:
        if tensor.copy:
            tensor.symbols = file.tensors[tensor.copy - 1].symbols


def decode_unit(file: File, unit: Unit) -> None:
    alphabet, fmt = file.sort(file.tensors[unit.parts[0].tensor])
    shapes = [part.shape for part in unit.parts]
    symbols, place = decode_code(unit.code, unit.data, shapes, alphabet, fmt), 0
    for part in unit.parts:
        size = part.stop - part.start
        file.tensors[part.tensor].symbols[part.start : part.stop] = symbols[place : place + size]
        place += size


def repeated(file: File, unit: Unit) -> list[int]:
    reader, (part,) = Reader(unit.data), unit.parts
    source, start = file.tensors[reader.varint()], reader.varint()
    demand(file.sort(source) == file.sort(file.tensors[part.tensor]), "another kind")
    symbols = source.symbols[start : start + part.stop - part.start]
    demand(len(symbols) == part.stop - part.start and -1 not in symbols, "a repeat of nothing")
    return symbols


# --- weights --------------------------------------------------------------------------------


def read_weights(data: bytes) -> dict[str, tuple[str, np.ndarray[Any, Any]]]:
    """Of each tensor the dtype's name, and its bit patterns in its shape."""
    file = read_file(data)
    return {tensor.name: weights_of(file, tensor) for tensor in file.tensors}


def weights_of(file: File, tensor: Tensor) -> tuple[str, np.ndarray[Any, Any]]:
    alphabet, _ = file.sort(tensor)
    name, dtype = file.quantizer.partition(":")[0], DTYPES[tensor.dtype]
    if file.is_native(tensor):
        bits = np.array(tensor.symbols, f"u{WIDTHS[tensor.dtype]}")
        return dtype, bits.reshape(tensor.shape)
    dtype = dtype if 9 <= tensor.dtype < 24 else "float32"
    if name in ("nmse", "lossy"):
        parameters = tensor.values[1:] if name == "lossy" else tensor.values
        values = on_grid(alphabet // 2, tensor.symbols, parameters)
    elif ",axis" in file.quantizer or ",group" in file.quantizer:
        values = in_groups(alphabet // 2, tensor.symbols, tensor.values)
    else:
        values = restored(name, alphabet, tensor.symbols, tensor.values)
    return dtype, rounding.to_bits(values, dtype).reshape(tensor.shape)


def restored(
    name: str, alphabet: int, symbols: list[int], parameters: list[float]
) -> np.ndarray[Any, Any]:
    if name == "sign":
        return np.array([1.0 if x == 1 else -1.0 for x in symbols])
    if name == "symmetric":
        (largest,), half = parameters, alphabet // 2
        return np.array([(x - half) * (largest / half) for x in symbols], np.float64)
    if name == "affine":
        low, high = parameters
        step = (high - low) / (alphabet - 1)
        return np.array([x * step + low for x in symbols], np.float64)
    return np.array([parameters[x] for x in symbols], np.float64)


def in_groups(half: int, symbols: list[int], parameters: list[float]) -> np.ndarray[Any, Any]:
    rows, columns, high, wide = (int(number) for number in parameters[:4])
    across = max(1, -(-columns // wide))
    scales = parameters[4:]
    demand(len(scales) == max(1, -(-rows // high)) * across, "another number of scales")
    found = []
    for place, x in enumerate(symbols):
        i, j = divmod(place, columns)
        found.append((x - half) * scales[i // high * across + j // wide])
    return np.array(found, np.float64)


def on_grid(half: int, symbols: list[int], parameters: list[float]) -> np.ndarray[Any, Any]:
    step, rest = parameters[0], parameters[5:]
    columns, r, c, f = (int(number) for number in parameters[1:5])
    demand(len(rest) == r + c + 2 * f, "another number of parameters")
    found = []
    for place, x in enumerate(symbols):
        i, j = divmod(place, columns)
        row = eighths(rest[i]) if r else 1.0
        column = eighths(rest[r + j]) if c else 1.0
        found.append((x - half) * ((step * row) * column))
    for place, value in zip(rest[r + c : r + c + f], rest[r + c + f :], strict=True):
        found[int(place)] = value
    return np.array(found, np.float64)


def eighths(code: float) -> float:
    """2^(−k/8), from square roots."""
    h = math.sqrt(0.5)
    q = math.sqrt(h)
    scale = 1.0
    for bit, root in ((4, h), (2, q), (1, math.sqrt(q))):
        scale *= root if int(code) & bit else 1.0
    return scale * 2.0 ** -(int(code) // 8)
