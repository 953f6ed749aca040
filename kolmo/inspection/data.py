"""The data of an inspection: the arrays of a source, and their totals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from kolmo.checkpoints.base import Role
from kolmo.inspection.arrays import Inspected

SCHEMA = 1
"""Version of `InspectionData.to_dict`: fields may be added under the same number, never changed."""


@dataclasses.dataclass(frozen=True)
class Total:
    """All arrays of one role: how many, their numbers, and the bits that these take."""

    arrays: int
    numbers: int
    bits: int


@dataclasses.dataclass(frozen=True)
class InspectionData:
    """The arrays of a source, in its order, weights first.

    Attributes
    ----------
    source, format : str
        As in `Checkpoint`.
    arrays : tuple of Inspected
    networks : tuple of str
        Where it holds several.
    shards : tuple of int, optional
        Of a part of a model: how many of its shards these are, and how many it has.
    files : dict
        Sizes in bytes of the local files behind it, by path.
    """

    source: str
    format: str
    arrays: tuple[Inspected, ...]
    networks: tuple[str, ...] = ()
    files: dict[str, int] = dataclasses.field(default_factory=dict)
    shards: tuple[int, int] | None = None

    @property
    def weights(self) -> int:
        """Number of weights that can be measured; of quantized tensors the logical ones."""
        return sum(array.numbers for array in self._readable)

    @property
    def unreadable(self) -> int:
        """Number of weights that cannot be measured, such as those of a dtype that is unknown."""
        both = self.roles[Role.WEIGHT].numbers if Role.WEIGHT in self.roles else 0
        return both - self.weights

    @property
    def _readable(self) -> list[Inspected]:
        return [a for a in self.arrays if a.role is Role.WEIGHT and a.shape is not None]

    @cached_property
    def roles(self) -> dict[Role, Total]:
        """The total of each role that occurs."""
        found: dict[Role, list[Inspected]] = {role: [] for role in Role}
        for array in self.arrays:
            found[array.role].append(array)
        return {role: _total(arrays) for role, arrays in found.items() if arrays}

    @property
    def bits_per_weight(self) -> float:
        """Bits that a weight takes as it is stored, with what the codes of quantized tensors need;
        NaN where no weight is known to be stored."""
        bits = sum(array.bits + array.side_bits for array in self._readable)
        return bits / self.weights if self.weights else math.nan

    @property
    def schemes(self) -> list[str]:
        """What the quantized tensors were quantized by."""
        return list(dict.fromkeys(array.scheme for array in self.arrays if array.scheme))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, those that ``kolmo inspect --json`` prints."""
        known = not math.isnan(self.bits_per_weight)
        return {
            "schema": SCHEMA,
            "source": self.source,
            "format": self.format,
            "weights": self.weights,
            "unreadable": self.unreadable,
            "bits_per_weight": self.bits_per_weight if known else None,
            "schemes": self.schemes,
            "networks": list(self.networks),
            "shards": self.shards and list(self.shards),
            "files": self.files,
            "roles": {str(role): dataclasses.asdict(t) for role, t in self.roles.items()},
            "arrays": [array.to_dict() for array in self.arrays],
        }


def _total(arrays: Sequence[Inspected]) -> Total:
    numbers = sum(array.numbers for array in arrays)
    return Total(len(arrays), numbers, sum(array.bits for array in arrays))
