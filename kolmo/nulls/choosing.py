"""All nulls by their names."""

from __future__ import annotations

import re

from kolmo.nulls.base import Null
from kolmo.nulls.inits import Inits
from kolmo.nulls.made import NormalWeights, Uniform
from kolmo.nulls.permuted import ColumnShuffled, RowShuffled, Shuffled
from kolmo.nulls.reference import Reference
from kolmo.nulls.scaled import Scaled
from kolmo.nulls.signs import FairSigns
from kolmo.registry import Registry

_NAME = re.compile("[:,@]")  # what ends the name in a spec

NULLS: Registry[type[Null]] = Registry("null", "kolmo.nulls")
"""All nulls; other packages add theirs by entry points ``kolmo.nulls``."""

_OWN: tuple[type[Null], ...] = (
    *(Shuffled, RowShuffled, ColumnShuffled, Scaled, FairSigns),
    *(NormalWeights, Uniform, Reference, Inits),
)
for _null in _OWN:
    NULLS.register(_null)

PERMUTATIONS = tuple(null.name for null in _OWN if null.permutes)
"""Names of the nulls of this module that only move the weights; verdicts are about these."""

FITTED = tuple(null.name for null in _OWN if null.fitted)
"""Names of those whose p-values are approximate."""


def get_null(spec: str | Null) -> Null:
    """The null model that a spec names; a reference is opened here.

    Raises
    ------
    InputError
        For an unknown name (the close ones are listed), or what does not fit.

    >>> get_null("shuffled")
    Shuffled()
    """
    return spec if isinstance(spec, Null) else NULLS.get(_NAME.split(spec)[0]).of(spec)
