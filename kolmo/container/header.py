"""The header of a container: its fields, as plain values, to bytes and back.

The quantizer, the tensors and the units are numbers and texts, deflated with a preset dictionary.
The quantizer's parameters follow in codes of their own. docs/formats/kmo.md specifies every field.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

from kolmo.checkpoints.base import Role
from kolmo.codes.numbers import Reader, number_bytes
from kolmo.container.names import mark, unmark
from kolmo.container.parameters import decode_parameters, encode_parameters
from kolmo.errors import InputError
from kolmo.symbols import Shape

NUMBERED = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
    *("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3b11fnuz", "float8_e3m4", "float8_e4m3"),
    *("float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn"),
    *("int4", "uint4", "int2", "uint2"),
)
"""Names of dtypes. A dtype's number in files is its place here: a contract."""

ROLES = (
    Role.WEIGHT,
    Role.BOOKKEEPING,
    Role.BUFFER,
    Role.OPTIMIZER,
    Role.COPY,
    Role.OTHER,
)
"""A role's number in files is its place here: a contract."""

_INFLATED = 1 << 20  # bytes that any header may have, inflated
_RATIO = 64  # a larger one may have this many times its deflated size


@dataclasses.dataclass(frozen=True)
class Header:
    """The fields of a header, not yet checked.

    Attributes
    ----------
    quantizer : str
    names : sequence of str
    shapes : sequence of shapes
    dtypes : sequence of int
        Places in `NUMBERED`.
    copies : sequence of int
        For each tensor 0, or 1 + the number of the tensor that it is a copy of.
    roles : sequence of int
        Places in `ROLES`.
    weights : sequence of int
        For each tensor 0, or 1 + the number of weights that it stands for: of a tensor of the role
        weight, where they are not as many as its symbols.
    parameters : sequence of sequences of float
    units : sequence of (code, size, runs)
        A run is (first, how many), or (tensor, 0, start, stop).
    """

    quantizer: str
    names: Sequence[str]
    shapes: Sequence[Shape]
    dtypes: Sequence[int]
    copies: Sequence[int]
    roles: Sequence[int]
    weights: Sequence[int]
    parameters: Sequence[Sequence[float]]
    units: Sequence[tuple[int, int, Sequence[tuple[int, ...]]]]


def encode_header(header: Header) -> bytes:
    """The header's bytes.

    >>> units = [(0, 6, [(0, 1)])]
    >>> header = Header("symmetric:8", ["w"], [(2, 3)], [10], [0], [0], [0], [[0.5]], units)
    >>> len(encode_header(header)), decode_header(encode_header(header)) == header
    (27, True)
    """
    body = _text(header.quantizer) + number_bytes(len(header.names))
    body += _names(header.names) + b"".join(map(_list, header.shapes))
    counts = [len(parameters) for parameters in header.parameters]
    lists = (header.dtypes, counts, header.copies, header.roles, header.weights)
    body += b"".join(map(_shorten, lists))
    body += number_bytes(len(header.units)) + b"".join(_unit(*unit) for unit in header.units)
    packed = _deflate(body)
    return number_bytes(len(packed)) + packed + encode_parameters(header.parameters)


def decode_header(data: bytes, version: int = 3) -> Header:
    """Undo `encode_header`; InputError or zlib.error if the bytes are no header, or too many.

    In version 1 every tensor is a weight. Before version 3 no name has marks, and no parameters are
    apart.
    """
    outer = Reader(data)
    reader = Reader(_inflate(outer.take(outer.number())))
    quantizer = _read_text(reader)
    names = _read_names(reader, version)
    shapes = [tuple(_read_list(reader)) for _ in names]
    dtypes, counts, copies = (_lengthen(reader, len(names)) for _ in range(3))
    none = [0] * len(names)
    roles, weights = (none if version == 1 else _lengthen(reader, len(names)) for _ in range(2))
    units = [_read_unit(reader) for _ in range(reader.number())]
    if reader.rest():
        raise InputError("the header says more than it should")
    rest = outer.rest()
    if version < 3 and rest and rest[0] > 1:
        raise InputError("the parameters are of a later version")
    parameters = decode_parameters(rest, counts)
    lists = (dtypes, copies, roles, weights)
    return Header(quantizer, names, shapes, *lists, parameters, units)


def _deflate(body: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_words())
    return deflate.compress(body) + deflate.flush()


def _inflate(packed: bytes) -> bytes:
    inflate = zlib.decompressobj(-15, zdict=_words())
    body = inflate.decompress(packed, max(_INFLATED, _RATIO * len(packed)))
    if not inflate.eof or inflate.unused_data:
        raise InputError("the header is too long, or cut off")
    return body


# --- parts of it ----------------------------------------------------------------------------


def _names(names: Sequence[str]) -> bytes:
    """All names, with marks where that is shorter."""
    plain = [name.encode("utf-8", "surrogatepass") for name in names]
    ways = [b"".join(map(_sized, way)) for way in (plain, mark(plain))]
    return min(ways, key=lambda way: len(_deflate(way)))


def _read_names(reader: Reader, version: int) -> list[str]:
    names = [reader.take(reader.number()) for _ in range(reader.number())]
    if version >= 3:
        names = list(unmark(names))
    return [name.decode("utf-8", "surrogatepass") for name in names]


def _text(text: str) -> bytes:
    return _sized(text.encode("utf-8", "surrogatepass"))


def _sized(data: bytes) -> bytes:
    return number_bytes(len(data)) + data


def _read_text(reader: Reader) -> str:
    return reader.take(reader.number()).decode("utf-8", "surrogatepass")


def _list(numbers: Sequence[int]) -> bytes:
    return b"".join(map(number_bytes, (len(numbers), *numbers)))


def _read_list(reader: Reader) -> list[int]:
    return [reader.number() for _ in range(reader.number())]


def _shorten(numbers: Sequence[int]) -> bytes:
    return _list(numbers[:1] if len(set(numbers)) == 1 else numbers)


def _lengthen(reader: Reader, count: int) -> list[int]:
    numbers = _read_list(reader)
    numbers *= count if len(numbers) == 1 else 1
    if len(numbers) != count:
        raise InputError("the header lists too many tensors, or too few")
    return numbers


def _unit(code: int, size: int, runs: Sequence[tuple[int, ...]]) -> bytes:
    numbers = [code, size, len(runs), *(number for run in runs for number in run)]
    return b"".join(map(number_bytes, numbers))


def _read_unit(reader: Reader) -> tuple[int, int, list[tuple[int, ...]]]:
    code, size = reader.number(), reader.number()
    runs: list[tuple[int, ...]] = []
    for _ in range(reader.number()):
        run = (reader.number(), reader.number())
        runs.append(run if run[1] else (*run, reader.number(), reader.number()))
    return code, size, runs


# --- the preset dictionary ------------------------------------------------------------------


def _words() -> bytes:
    """The preset dictionary of DEFLATE, the likeliest words last; a part of the format."""
    shapes = [shape for n in (16, 32, 128, 256, 384, 512, 768, 1024, 10, 64)
              for shape in ((n,), (n, n), (n,), (n, n))]  # fmt: skip
    quantizers = [f"{q}:{bits}" for q in ("affine", "codebook", "symmetric") for bits in (4, 8)]
    names = [f"layers.{n}.{what}" for order in (("weight", "bias"), ("bias", "weight"))
             for n in range(10) for what in order]  # fmt: skip
    return b"".join([_WORDS, *map(_list, shapes), *map(_text, [*quantizers, "native", *names])])


_WORDS = (
    b".gamma.beta.alpha.conv1.conv2.downsample.bn1.bn2.running_mean.running_var"
    b"num_batches_tracked.q_proj.k_proj.v_proj.o_proj.gate_proj.up_proj.down_proj.mlp.fc1.fc2"
    b"model.layers.0.transformer.h.0.blocks.0.lm_head.embed_tokens.pooler.dense.classifier"
    b"embeddings.word_embeddings.position_embeddings.token_type_embeddings.LayerNorm.norm"
    b"encoder.layer.0.attention.self.query.key.value.output.intermediate.dense.bias.weight"
)
