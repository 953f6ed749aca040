"""What decoding a container may cost, by the symbols that it claims and their codes.

A code for what is almost certain spends next to nothing on a symbol, so that a few bytes may claim
millions, each of which takes as long to decode as any other. `LEAST` steps take a second or two,
and some hundred megabytes; whoever trusts a file lifts the limit with the one on bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from kolmo.checkpoints.stored import Stored
from kolmo.codes.base import code_numbers
from kolmo.container.format import Contents, Part, Unit, if_trusted, read_contents
from kolmo.errors import InputError

LEAST = 1 << 25
"""Steps that any container may take."""

EACH = 1 << 9
"""Steps that it may take besides for each of its bytes."""

_OF_SYMBOL = {"raw": 0, "constant": 0, "mixing": 2, "context": 4, "counts": 4, "records": 4,
              "predictive": 8, "trellis": 8}  # fmt: skip
_OF_LINE = {"context": 32, "predictive": 32}  # what is kept of each row and column

_STEPS = {
    number: (_OF_SYMBOL.get(name, 1), _OF_LINE.get(name, 0))
    for name, number in code_numbers().items()
}


def steps(unit: Unit) -> int:
    """Steps that decoding a unit takes: one for each symbol of a quick code, and more of a slow
    one."""
    symbol, line = _STEPS.get(unit.code, (1, 0))
    return symbol * unit.numel + line * _lines(unit.parts)


def _lines(parts: Sequence[Part]) -> int:
    """Rows and columns of the tables that a unit holds."""
    rows = [part.shape[0] if len(part.shape) > 1 else 1 for part in parts]
    sizes = [math.prod(part.shape) for part in parts]
    return sum(row + size // max(row, 1) for row, size in zip(rows, sizes, strict=True))


def most_steps(contents: Contents) -> int:
    """Steps that a container of its size may take."""
    return LEAST + EACH * contents.file_bytes


def read_to_decode(source: Path | Stored, max_bytes: int | None = None) -> Contents:
    """Read the contents of a container whose units are to be decoded.

    Parameters
    ----------
    source, max_bytes : see `read_contents`

    Raises
    ------
    InputError
        As `read_contents`; without ``max_bytes`` also if decoding takes far longer than a
        container of that size may.
    """
    contents = read_contents(source, max_bytes)
    taken = sum(map(steps, contents.units))
    if max_bytes is None and taken > (most := most_steps(contents)):
        raise InputError(
            f"{contents.path}: decoding it would take {taken:,} steps, over {most:,}, far more "
            f"than its size is worth; {if_trusted(contents)}"
        )
    return contents
