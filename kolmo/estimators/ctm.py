"""The coding theorem method: tables of CTM values of small blocks.

CTM(x) = −log2 of the frequency with which small Turing machines print x (Soler-Toscano, Zenil,
Delahaye & Gauvrit 2014). The tables are those that the package pybdm distributes; they are read as
data, pybdm itself is never imported. A block is looked up with its symbols renamed in order of
first appearance; where a table lacks it, its value is the largest of that shape + 1.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import math
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.errors import KolmoError, NotApplicableError

Shape = tuple[int, ...]

_FILES = {
    (1, 2): "ctm-b2-d12.pkl.gz",
    (2, 2): "ctm-b2-d4x4.pkl.gz",
    (1, 4): "ctm-b4-d12.pkl.gz",
    (1, 5): "ctm-b5-d12.pkl.gz",
    (1, 6): "ctm-b6-d12.pkl.gz",
    (1, 9): "ctm-b9-d12.pkl.gz",
}

BLOCK = {1: 12, 2: 4}
"""Side of the largest block that a table holds, by number of dimensions."""


@dataclasses.dataclass(frozen=True, eq=False)
class ShapeTable:
    """CTM values of the blocks of one shape.

    Attributes
    ----------
    keys : int64 array, sorted
        Codes of the renamed blocks: their symbols as digits, row-major, the first the highest.
    values : float64 array
        Their CTM, in bits.
    """

    shape: Shape
    alphabet: int
    keys: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def imputed(self) -> float:
        """The value of a block that the table lacks: its largest + 1."""
        return float(self.values.max()) + 1

    def lookup(self, codes: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
        """CTM of blocks by code (before renaming), and how many of them are imputed."""
        renamed = rename(codes, math.prod(self.shape), self.alphabet)
        places = np.minimum(np.searchsorted(self.keys, renamed), self.keys.size - 1)
        found = self.keys[places] == renamed
        return np.where(found, self.values[places], self.imputed), int((~found).sum())

    @property
    def possible(self) -> int:
        """How many blocks of this shape there are."""
        return int(self.alphabet ** math.prod(self.shape))


def rename(codes: NDArray[np.int64], length: int, alphabet: int) -> NDArray[np.int64]:
    """Codes of the blocks with their symbols renamed in order of first appearance.

    >>> rename(np.array([0b1100, 0b0101]), 4, 2)
    array([3, 5])
    """
    from kolmo.estimators import kernels

    renamed = np.empty(codes.size, np.int64)
    kernels.rename_codes(np.ascontiguousarray(codes, np.int64), length, alphabet, renamed)
    return renamed


@cache
def load_table(ndim: int, alphabet: int) -> dict[Shape, ShapeTable]:
    """The table for blocks of ``ndim`` dimensions over an alphabet, by shape; loaded once.

    Raises
    ------
    NotApplicableError
        If there is none; the message names those that exist.

    Examples
    --------
    >>> values, imputed = load_table(1, 2)[(12,)].lookup(np.array([0, 4095]))
    >>> values.round(6), imputed  # twelve zeros, twelve ones
    (array([25.610414, 25.610414]), 0)
    """
    check_table(ndim, alphabet)
    path = _data_folder() / _FILES[ndim, alphabet]
    with gzip.open(path) as file:
        try:
            tables = _DataUnpickler(file).load()
        except (pickle.UnpicklingError, EOFError, OSError, AttributeError) as error:
            raise KolmoError(f"{path}: the CTM table cannot be read ({error})") from None
    return {tuple(shape): _compact(tuple(shape), alphabet, t) for shape, t in tables.items()}


def check_table(ndim: int, alphabet: int) -> None:
    """NotApplicableError unless there is a table for this alphabet."""
    if (ndim, alphabet) not in _FILES:
        known = ", ".join(str(size) for dims, size in sorted(_FILES) if dims == ndim)
        raise NotApplicableError(
            f"there is no {ndim}-D CTM table for an alphabet of {alphabet:,} symbols "
            f"(there is for {known}); use quantizer sign, or qubd for bit-planes"
        )


def _compact(shape: Shape, alphabet: int, table: dict[str, float]) -> ShapeTable:
    length = math.prod(shape)
    text = "".join(table).encode()
    digits = np.frombuffer(text, np.uint8).reshape(len(table), length).astype(np.int64) - ord("0")
    powers = alphabet ** np.arange(length - 1, -1, -1, dtype=np.int64)
    codes = digits @ powers
    order = np.argsort(codes)
    values = np.fromiter(table.values(), np.float64, len(table))
    return ShapeTable(shape, alphabet, codes[order], values[order])


class _DataUnpickler(pickle.Unpickler):
    """Reads nested dictionaries of strings and numbers; refuses everything that could act."""

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
