"""The coding theorem method: tables of CTM values of small blocks.

CTM(x) = −log2 of the frequency with which small Turing machines print x (Soler-Toscano, Zenil,
Delahaye & Gauvrit 2014). The tables are those of the package pybdm; they are read as data, pybdm
itself is never imported. A block is looked up with its symbols renamed in order of first
appearance; if the table lacks it, its value is the largest of that shape + 1.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import itertools
import math
import pickle
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import KolmoError, NotApplicableError
from kolmo.execution import in_parts
from kolmo.symbols import Shape, symbol_bits

_FILES = {
    (1, 2): "ctm-b2-d12.pkl.gz",
    (2, 2): "ctm-b2-d4x4.pkl.gz",
    (1, 4): "ctm-b4-d12.pkl.gz",
    (1, 5): "ctm-b5-d12.pkl.gz",
    (1, 6): "ctm-b6-d12.pkl.gz",
    (1, 9): "ctm-b9-d12.pkl.gz",
}

_DENSE_BITS = 22

BLOCK = {1: 12, 2: 4}
"""Side of the largest block that a table holds, by number of dimensions."""


@dataclasses.dataclass(frozen=True, eq=False)
class ShapeTable:
    """CTM values of the blocks of one shape.

    Attributes
    ----------
    symbols : int
        Size of the alphabet.
    keys : int64 array, sorted
        Codes of the renamed blocks: their symbols, row-major, at ``symbol_bits(symbols)`` bits
        each, the first the highest.
    values : float64 array
        Their CTM, in bits.
    dense : float64 array or None
        The values by renamed code, NaN if the table lacks it; None if the array were too large.
    """

    shape: Shape
    symbols: int
    keys: NDArray[np.int64]
    values: NDArray[np.float64]
    dense: NDArray[np.float64] | None

    @property
    def imputed(self) -> float:
        """The value of a block that the table lacks: its largest + 1."""
        return float(self.values.max()) + 1

    def lookup(self, codes: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
        """CTM of blocks by code (before renaming), and how many of them are imputed."""
        from kolmo.estimators import kernels

        values = np.empty(codes.size)

        def look_up(part: slice) -> int:
            places, table = rename(codes[part], math.prod(self.shape), self.symbols), self.dense
            if table is None:
                places, table = self._places(places), np.append(self.values, np.nan)
            return int(kernels.gather_values(places, table, self.imputed, values[part]))

        return values, sum(in_parts(look_up, codes.size))

    def _places(self, renamed: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of codes among the keys; one past the last for absent codes."""
        places = np.minimum(np.searchsorted(self.keys, renamed), self.keys.size - 1)
        return np.where(self.keys[places] == renamed, places, self.keys.size)

    @cached_property
    def by_complexity(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """CTM values from the greatest, and how many blocks have each.

        A value belongs to one renamed block and to all blocks that are renamed to it. The imputed
        value, of blocks that the table lacks, comes first.
        """
        order = np.argsort(-self.values, kind="stable")
        bits, codes = symbol_bits(self.symbols), self.keys[order]
        kinds = np.zeros(codes.size, np.int64)
        for _ in range(math.prod(self.shape)):  # renamed symbols are 0, 1, ...: the largest + 1
            kinds = np.maximum(kinds, (codes & ((1 << bits) - 1)) + 1)
            codes = codes >> bits
        falling = [math.perm(self.symbols, k) for k in range(self.symbols + 1)]
        values, times = self.values[order], np.array(falling, np.int64)[kinds]
        lacking = self.possible - int(times.sum())
        if lacking:
            values, times = np.append(self.imputed, values), np.append(lacking, times)
        return values, times

    @property
    def possible(self) -> int:
        """The number of possible blocks of this shape."""
        return int(self.symbols ** math.prod(self.shape))


def rename(codes: NDArray[np.int64], length: int, size: int) -> NDArray[np.int64]:
    """Codes of the blocks with their symbols renamed in order of first appearance.

    >>> rename(np.array([0b1100, 0b0101]), 4, 2)
    array([3, 5])
    """
    from kolmo.estimators import kernels

    renamed = np.empty(codes.size, np.int64)
    if size == 4 and length == BLOCK[1]:
        kernels.rename_quaternary(codes, _quaternary_steps(), renamed)
    else:
        kernels.rename_codes(codes.astype(np.int64), length, symbol_bits(size), renamed)
    return renamed


@cache
def _quaternary_steps() -> NDArray[np.int32]:
    """Steps of a state machine that renames symbols 0 to 3, four at a time.

    A state is the order in which symbols first appeared, 65 in all. An entry, by state and four
    symbols, holds the next state, shifted by 8 bits, and the four names, 2 bits each.
    """
    states = [order for k in range(5) for order in itertools.permutations(range(4), k)]
    number = {order: n for n, order in enumerate(states)}
    steps = np.zeros((len(states), 256), np.int32)
    for order in states:
        for four in range(256):
            names, renamed = list(order), 0
            for place in (6, 4, 2, 0):
                symbol = four >> place & 3
                if symbol not in names:
                    names.append(symbol)
                renamed = renamed << 2 | names.index(symbol)
            steps[number[order], four] = number[tuple(names)] << 8 | renamed
    return steps


@cache
def load_table(ndim: int, size: int) -> dict[Shape, ShapeTable]:
    """The table for blocks of ``ndim`` dimensions over an alphabet, by shape; loaded once.

    Raises
    ------
    NotApplicableError
        If there is no such table; the message names the alphabets that have one.

    Examples
    --------
    >>> values, imputed = load_table(1, 2)[(12,)].lookup(np.array([0, 4095]))
    >>> values.round(6), imputed  # twelve zeros, twelve ones
    (array([25.610414, 25.610414]), 0)
    """
    check_table(ndim, size)
    path = _data_folder() / _FILES[ndim, size]
    with gzip.open(path) as file:
        try:
            tables = _DataUnpickler(file).load()
        except (pickle.UnpicklingError, EOFError, OSError, AttributeError) as error:
            raise KolmoError(f"{path}: the CTM table cannot be read ({error})") from None
    return {tuple(shape): _compact(tuple(shape), size, t) for shape, t in tables.items()}


def check_table(ndim: int, size: int) -> None:
    """NotApplicableError unless there is a table for this alphabet."""
    if (ndim, size) not in _FILES:
        known = ", ".join(str(other) for dims, other in sorted(_FILES) if dims == ndim)
        raise NotApplicableError(
            f"there is no {ndim}-D CTM table for an alphabet of {size:,} symbols "
            f"(there is for {known}); use quantizer sign, or qubd for bit-planes"
        )


def _compact(shape: Shape, size: int, table: dict[str, float]) -> ShapeTable:
    length = math.prod(shape)
    text = "".join(table).encode()
    digits = np.frombuffer(text, np.uint8).reshape(len(table), length).astype(np.int64) - ord("0")
    bits = symbol_bits(size)
    codes = (digits << (bits * np.arange(length - 1, -1, -1))).sum(axis=1)
    order = np.argsort(codes)
    codes, values = codes[order], np.fromiter(table.values(), np.float64, len(table))[order]
    dense = None
    if bits * (length - 1) <= _DENSE_BITS:  # the first symbol of a renamed block is always 0
        dense = np.full(1 << (bits * (length - 1)), np.nan)
        dense[codes] = values
    return ShapeTable(shape, size, codes, values, dense)


class _DataUnpickler(pickle.Unpickler):
    """Reads nested dictionaries of strings and numbers; refuses everything that could run code."""

    _ALLOWED = {  # noqa: RUF012
        ("collections", "defaultdict"),
        ("collections", "OrderedDict"),
        ("builtins", "dict"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a table")
        return super().find_class(module, name)


def _data_folder() -> Path:
    spec = importlib.util.find_spec("pybdm")  # finds the package, does not import it
    if spec is None or not spec.submodule_search_locations:
        raise KolmoError("the CTM tables are missing: pip install pybdm==0.1.0")
    return Path(next(iter(spec.submodule_search_locations))) / "ctmdata"
