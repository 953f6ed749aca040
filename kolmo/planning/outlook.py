"""What a run would measure and cost, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class PlannedRow:
    """One measurement in one scope, as it is planned; null draws included.

    Attributes
    ----------
    quantizer, estimator, scope : str
    tensors, weights : int
        Those that the estimator takes.
    sampled : int
        Tensors (in model scope, forms) of which a sample is measured, the others being exact.
    refused : mapping of str to int
        Why the estimator takes no others, and how many tensors that holds for.
    seconds : float
        Of one core.
    known : bool
        Whether the rate of the estimator and the quantizer is known, or a cautious guess.
    memory : int
        Bytes that one tensor takes at most while it is measured.
    read : int
        Bytes of weights that it needs.
    """

    quantizer: str
    estimator: str
    scope: str
    tensors: int
    weights: int
    sampled: int
    refused: Mapping[str, int]
    seconds: float
    known: bool
    memory: int
    read: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Outlook:
    """What a run would do, and cost.

    Attributes
    ----------
    source : str
    tensors, weights : int
    rows : tuple of PlannedRow
    threads : int
    cpu_seconds, wall_seconds : float
        Of all cores together; on this many threads.
    memory : int
        Bytes at most beyond those of the interpreter and its packages.
    read : int
        Bytes read of the source, a tensor that is not held in memory twice.
    tests : bool
        Whether structure is tested besides, on a sample: how many draws that takes, it shows
        itself, so that it is in none of these figures.
    """

    source: str
    tensors: int
    weights: int
    rows: tuple[PlannedRow, ...]
    threads: int
    cpu_seconds: float
    wall_seconds: float
    memory: int
    read: int
    tests: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values."""
        return {**dataclasses.asdict(self), "rows": [row.to_dict() for row in self.rows]}
