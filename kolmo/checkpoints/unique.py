"""Names that occur once, where a file gives one name to several tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

Named = TypeVar("Named", bound=Any)


def unique_names(found: Iterable[Named]) -> list[Named]:
    """The same, in which the second of a name has ``#2`` behind it.

    >>> from kolmo.checkpoints import Skipped
    >>> [one.name for one in unique_names([Skipped("a", ""), Skipped("b", ""), Skipped("a", "")])]
    ['a', 'b', 'a#2']
    """
    counts: dict[str, int] = {}
    named = []
    for one in found:
        name = one.name
        while name in counts:
            counts[one.name] += 1
            name = f"{one.name}#{counts[one.name]}"
        counts[name] = 1
        named.append(one if name == one.name else dataclasses.replace(one, name=name))
    return named
