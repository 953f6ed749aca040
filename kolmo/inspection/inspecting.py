"""inspect, and what it gives: the arrays of a source with their totals."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import survey
from kolmo.checkpoints.selecting import choose_entries
from kolmo.inspection.arrays import Inspected
from kolmo.inspection.data import InspectionData
from kolmo.inspection.display import html_of, text_of

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Inspection(InspectionData):
    """What is in a source; printed it is a table, in a notebook too.

    Attributes
    ----------
    source, format : str
        As in `Checkpoint`.
    arrays : tuple of Inspected
        Weights first, in the order of the source; each has its name, role, shape, form, numbers,
        bits, side_bits, scheme, copy_of and reason.
    networks : tuple of str
        Where it holds several.
    shards : tuple of int, optional
        Of a part of a model: how many of its shards these are, and how many it has.
    files : dict
        Sizes in bytes of the local files behind it, by path.
    """

    @property
    def table(self) -> pd.DataFrame:
        """One row for each array, columns as the attributes of `Inspected`."""
        import pandas as pd

        columns = [field.name for field in dataclasses.fields(Inspected)]
        rows = [[getattr(array, column) for column in columns] for array in self.arrays]
        return pd.DataFrame(rows, columns=columns)

    def text(self, width: int = 120, all_rows: bool = False) -> str:
        """A table of at most ``width`` columns; rows that are alike folded where there are many."""
        return text_of(self, width, all_rows)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return html_of(self)


def inspect(
    source: Any,
    *,
    roles: Sequence[str | Role] = tuple(Role),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Inspection:
    """What is in a source: names, shapes, dtypes, roles and sizes, without measuring.

    Headers are read, and no values: it takes no longer for a source of 100 GB.

    Parameters
    ----------
    source : path, directory, URL, nn.Module, state dict or mapping of arrays
    roles : str or list of str
        Roles of the arrays to list; all by default.
    include, exclude : glob or list of globs
        Names of the arrays to list; all by default.

    Returns
    -------
    Inspection

    Raises
    ------
    InputError
        If the source cannot be read, or nothing is left to list.

    Examples
    --------
    >>> import kolmo, numpy as np
    >>> found = kolmo.inspect({"w": np.zeros((2, 3), np.float16), "b": np.zeros(2, np.float32)})
    >>> found.weights, found.bits_per_weight, [array.form for array in found.arrays]
    (8, 20.0, ['float16', 'float32'])
    """
    checkpoint = survey(source)
    tensors, skipped = choose_entries(checkpoint, roles, include, exclude)
    arrays = [*map(Inspected.of_tensor, tensors), *map(Inspected.of_skipped, skipped)]
    return Inspection(
        checkpoint.source,
        checkpoint.format,
        tuple(arrays),
        checkpoint.networks,
        _sizes(checkpoint),
        checkpoint.shards,
    )


def _sizes(checkpoint: Checkpoint) -> dict[str, int]:
    return {path: os.path.getsize(path) for path in checkpoint.files if os.path.exists(path)}
