"""The header of a container: its fields, as plain values, to bytes and back.

The quantizer, the tensors and the units are numbers and texts, deflated with a preset dictionary.
The quantizer's parameters follow in codes of their own. docs/formats/kmo.md specifies every field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kolmo.checkpoints.base import Role
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
    body = text_bytes(header.quantizer) + number_bytes(len(header.names))
    body += names_bytes(header.names) + b"".join(map(list_bytes, header.shapes))
    counts = [len(parameters) for parameters in header.parameters]
    lists = (header.dtypes, counts, header.copies, header.roles, header.weights)
    body += b"".join(map(shortened, lists))
    body += number_bytes(len(header.units)) + b"".join(_unit(*unit) for unit in header.units)
    packed = deflate(body)
    return number_bytes(len(packed)) + packed + encode_parameters(header.parameters)


def decode_header(data: bytes, version: int = 3) -> Header:
    """Undo `encode_header`; InputError or zlib.error if the bytes are no header, or too many.

    In version 1 every tensor is a weight. Before version 3 no name has marks, and no parameters are
    apart.
    """
    outer = Reader(data)
    reader = Reader(inflate(outer.take(outer.number())))
    quantizer = read_text(reader)
    names = read_names(reader, reader.number(), marked=version >= 3)
    shapes = [tuple(read_list(reader)) for _ in names]
    dtypes, counts, copies = (lengthened(reader, len(names)) for _ in range(3))
    none = [0] * len(names)
    roles, weights = (none if version == 1 else lengthened(reader, len(names)) for _ in range(2))
    units = [_read_unit(reader) for _ in range(reader.number())]
    if reader.rest():
        raise InputError("the header says more than it should")
    rest = outer.rest()
    if version < 3 and rest and rest[0] > 1:
        raise InputError("the parameters are of a later version")
    parameters = decode_parameters(rest, counts)
    lists = (dtypes, copies, roles, weights)
    return Header(quantizer, names, shapes, *lists, parameters, units)


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
