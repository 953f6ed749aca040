"""What the schemes of quantized checkpoints share: arrays, settings, and tensors read by rows."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Codes, WeightTensor
from kolmo.checkpoints.narrow import unpack
from kolmo.dtypes import bits_of
from kolmo.errors import InputError
from kolmo.symbols import Alphabet

Array = NDArray[Any]
Arrays = Mapping[str, WeightTensor]

SMALL = 1 << 16
"""Bytes of an array, at most, that may be read on opening: settings, shapes, states."""


WIDEST = 1 << 28
"""Codes of a row, at most: a row is read as a whole."""


@dataclasses.dataclass(frozen=True)
class Logical:
    """A logical tensor, and the arrays of the file that it stands for.

    Attributes
    ----------
    tensor : WeightTensor
        With `Codes`, whose ``stored`` names the arrays that hold the codes.
    needed : dict
        By name of an array that the weights need besides, what it is: ``scales``.
    beside : dict
        The same of arrays that belong to it but that its weights do not need, such as the scale of
        a layer's inputs.
    replaces : tuple of str
        The arrays in whose place it comes; those of its codes where none are named.
    """

    tensor: WeightTensor
    needed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    beside: Mapping[str, str] = dataclasses.field(default_factory=dict)
    replaces: tuple[str, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """The names of the arrays in whose place it comes."""
        held = self.tensor.codes
        return self.replaces or tuple(t.name for t in held.stored) if held else self.replaces


@dataclasses.dataclass(frozen=True)
class Unknown:
    """Arrays that look packed and are not understood, and why."""

    names: tuple[str, ...]
    reason: str


class NotUnderstood(Exception):
    """Why arrays that look like those of a scheme are not: their shapes or dtypes differ."""


class QuantSettings:
    """What a configuration file says of quantization; it is not trusted."""

    def __init__(self, config: Mapping[str, Any] | None) -> None:
        self.values = _section(config or {})

    @property
    def method(self) -> str:
        """The method that it names, in lower case; empty if none."""
        keys = ("quant_method", "quant_algo", "quantization_method", "format")
        return next((str(self.values[k]).lower() for k in keys if self.values.get(k)), "")

    def number(self, *keys: str, of: Mapping[str, Any] | None = None) -> int | None:
        """The first of these that is a positive integer."""
        values = self.values if of is None else of
        found = [values.get(key) for key in keys]
        return next((n for n in found if type(n) is int and 0 < n < 1 << 31), None)

    def text(self, key: str) -> str:
        """What a key says, in lower case; empty if it says nothing."""
        return str(self.values.get(key, ""))[:80].lower()


_SECTIONS = ("quantization_config", "compression_config", "quantization")


def _section(config: Mapping[str, Any], depth: int = 0) -> Mapping[str, Any]:
    """The part of a configuration that is about quantization."""
    for key in (*_SECTIONS, "text_config", "llm_config"):
        inner = config.get(key)
        if isinstance(inner, Mapping) and depth < 3:
            found = inner if key in _SECTIONS else _section(inner, depth + 1)
            if found:
                return found
    return {}


# --- reading arrays -------------------------------------------------------------------------


def stems(arrays: Arrays, ending: str) -> Iterator[str]:
    """What stands before the ending in the names that have it: a module's name and a dot."""
    for name in arrays:
        if name.endswith(ending):
            stem = name.removesuffix(ending)
            if not stem or stem.endswith("."):
                yield stem


def present(names: Mapping[str, str], arrays: Arrays) -> dict[str, str]:
    """Those of the names that are arrays."""
    return {name: what for name, what in names.items() if name in arrays}


def demand(truth: object, reason: str) -> None:
    """NotUnderstood with a reason, unless it is true."""
    if not truth:
        raise NotUnderstood(reason)


def rows_of(tensor: WeightTensor, first: int, last: int) -> Array:
    """Rows [first, last) of an array, as a matrix: all axes but the last one are its rows."""
    width = tensor.shape[-1]
    return tensor.load(first * width, last * width).reshape(last - first, width)


def as_bytes(words: Array) -> NDArray[np.uint8]:
    """Integers as bytes along the last axis, the least significant first."""
    width = words.dtype.itemsize
    little = np.ascontiguousarray(words).view(f"u{width}").astype(f"<u{width}", copy=False)
    return little.view(np.uint8)


def unpack_words(words: Array, bits: int) -> NDArray[np.uint8]:
    """The codes in words along the last axis, from the least significant bit on; a code may begin
    in one word and end in the next."""
    return unpack(as_bytes(words), bits)


def unpack_padded(words: Array, bits: int) -> NDArray[np.uint8]:
    """The codes in words along the last axis where none lies in two words."""
    shifts = np.arange(0, 32 - bits + 1, bits, dtype=np.uint32)
    codes = (np.ascontiguousarray(words).view(np.uint32)[..., None] >> shifts) & np.uint32(
        (1 << bits) - 1
    )
    return codes.astype(np.uint8).reshape(*words.shape[:-1], -1)


def floats(tensor: WeightTensor) -> NDArray[np.float32]:
    """A whole array of numbers as float32, in its shape."""
    return tensor.read().astype(np.float32)


def stored_bits(tensors: Sequence[WeightTensor]) -> int:
    """Bits of arrays in the file."""
    return sum(tensor.numel * bits_of(tensor.dtype) for tensor in tensors)


class Latest:
    """Keeps the parts of a tensor while its pieces are read: those that were asked for last."""

    _COUNT = 2  # parts that one tensor needs in turn

    def __init__(self) -> None:
        self._kept: dict[object, Any] = {}

    def of(self, key: object, make: Callable[[], Any]) -> Any:
        kept = self._kept  # other threads put another dict in its place, and do not change it
        if key in kept:
            return kept[key]
        parts = make()
        self._kept = {**dict(list(kept.items())[1 - self._COUNT :]), key: parts}
        return parts


# --- logical tensors ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Rows:
    """How a quantized tensor is read: some rows of codes at a time, in a stack of matrices.

    Attributes
    ----------
    width : int
        Codes in a row. Rows need not be those of the logical tensor: a scheme whose scales belong
        to blocks of the flattened tensor has rows of a block.
    count : int
        Rows of a matrix.
    read : callable
        ``read(matrix, first, last)`` gives the codes of these rows: (rows, width), or flat.
    decode : callable
        ``decode(matrix, codes, first)`` gives the weights of such codes, which begin with this row.
    """

    width: int
    count: int
    read: Callable[[int, int, int], Array]
    decode: Callable[[int, Array, int], Array]

    def piece(self, start: int, stop: int, decoded: bool) -> Array:
        """The codes, or the weights, [start, stop) of the flattened tensor."""
        at, end = start // self.width, -(-stop // self.width)
        parts = []
        while at < end:
            number, row = divmod(at, self.count)
            last = min(self.count, row + end - at)
            codes = self.read(number, row, last)
            parts.append(self.decode(number, codes, row) if decoded else codes)
            at += last - row
        begin = start // self.width * self.width
        flat = [part.reshape(-1) for part in parts]
        return (flat[0] if len(flat) == 1 else np.concatenate(flat))[start - begin : stop - begin]

    def transposed(self, latest: Latest, key: object) -> Rows:
        """The same of the transposed matrices, one of which is kept while its pieces are read."""

        def whole(number: int) -> Array:
            codes = latest.of((key, number, "codes"), lambda: self.read(number, 0, self.count))
            return np.asarray(codes)

        def decode(number: int, codes: Array, first: int) -> Array:
            weights = latest.of((key, number), lambda: self.decode(number, whole(number), 0))
            return np.ascontiguousarray(weights[:, first : first + len(codes)].T)

        def read(number: int, first: int, last: int) -> Array:
            return np.ascontiguousarray(whole(number)[:, first:last].T)

        return Rows(self.count, self.width, read, decode)


def logical(
    name: str,
    shape: Sequence[int],
    rows: Rows,
    scheme: str,
    alphabet: Alphabet,
    stored: Sequence[WeightTensor],
    needed: Sequence[WeightTensor],
) -> WeightTensor:
    """The logical tensor of codes that are read by rows; its weights are float32."""
    demand(rows.width <= WIDEST, f"rows of {rows.width:,} codes are too long")

    def codes(start: int, stop: int) -> Array:
        empty = np.empty(0, alphabet.container)
        return rows.piece(start, stop, False) if stop > start else empty

    def weights(start: int, stop: int) -> Array:
        empty = np.empty(0, np.float32)
        return rows.piece(start, stop, True) if stop > start else empty

    held = Codes(scheme, alphabet, codes, stored_bits(needed), tuple(stored))
    return WeightTensor(name, tuple(shape), np.dtype(np.float32), weights, held)


def matrix(tensor: WeightTensor, number: int) -> Array:
    """One of the matrices that an array of two or more axes is a stack of."""
    rows, width = tensor.shape[-2:]
    size = rows * width
    return tensor.load(number * size, (number + 1) * size).reshape(rows, width)


def checked_groups(groups: Array, count: int, name: str) -> NDArray[np.int64]:
    """The group of each input; InputError if one is not there."""
    whole = groups.astype(np.int64).reshape(-1)
    if whole.size and (int(whole.min()) < 0 or int(whole.max()) >= count):
        raise InputError(f"{name!r} names a group that is not among the {count:,} of its scales")
    return whole


def group_size_of(inputs: int, groups: int, said: int | None = None) -> int:
    """Inputs of a group, of which the last may have fewer.

    >>> group_size_of(128, 2), group_size_of(100, 4, 32)
    (64, 32)
    """
    sizes = (said, *(-(-inputs // groups),)) if groups else ()
    found = next((n for n in sizes if n and -(-inputs // n) == groups), None)
    if found is None:
        raise NotUnderstood(f"{groups:,} groups do not cover {inputs:,} inputs")
    return found


def is_integer(tensor: WeightTensor | None, *widths: int) -> bool:
    """Whether it is an array of integers of so many bits."""
    return tensor is not None and tensor.dtype.kind in "iu" and bits_of(tensor.dtype) in widths


def numel(shape: Sequence[int]) -> int:
    """Entries of a shape."""
    return math.prod(shape)
