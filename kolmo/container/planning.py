"""Planning units: which symbols are coded together, in units small enough to run in parallel.

A tensor of over four million weights, or one that repeats long stretches of earlier weights, is cut
into units of whole rows; smaller ones are gathered, in checkpoint order, into units of one alphabet
and about a million weights, so that a code learns from one tensor for the next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from kolmo.codes.units import CUT, SOLID, cut
from kolmo.container.format import Entry, Part, Unit, part_of
from kolmo.container.repeats import Repeat
from kolmo.symbols import Alphabet


def plan_units(
    entries: Sequence[Entry],
    skip: Collection[int] = (),
    repeats: Mapping[int, Sequence[Repeat]] | None = None,
) -> list[Unit]:
    """The units of all tensors, except copies, empty ones and those in ``skip``.

    Parameters
    ----------
    entries : sequence of Entry
    skip : collection of int
        Numbers of tensors to leave out.
    repeats : mapping, optional
        By number of tensor its repeated stretches, in order, which become units with a source.

    Examples
    --------
    >>> import numpy as np
    >>> from kolmo.quantize import get_quantizer
    >>> shapes, native = [(3, 4), (5,), (3000, 3000)], get_quantizer("native")
    >>> entries = [Entry(str(s), s, np.dtype("f4"), native.restore(np.dtype("f4"), []))
    ...            for s in shapes]
    >>> for unit in plan_units(entries):
    ...     print([part.shape for part in unit.parts])
    [(1000, 3000)]
    [(1000, 3000)]
    [(1000, 3000)]
    [(3, 4), (5,)]
    """
    units: list[Unit] = []
    open_groups: dict[Alphabet, list[Part]] = {}
    for number, entry in enumerate(entries):
        if number in skip or entry.copy_of is not None or entry.numel == 0:
            continue
        repeated = repeats.get(number, ()) if repeats else ()
        if entry.numel > CUT or repeated:
            units += _units_alone(entry, number, repeated)
            continue
        group = open_groups.setdefault(entry.alphabet, [])
        if group and sum(part.stop for part in group) + entry.numel > SOLID:
            units.append(Unit(tuple(group)))
            group.clear()
        group.append(part_of(entry, number, 0, entry.numel))
    return units + [Unit(tuple(group)) for group in open_groups.values() if group]


def _units_alone(entry: Entry, number: int, repeats: Sequence[Repeat]) -> Iterator[Unit]:
    """The units of a tensor that shares none of them."""
    reached = 0
    for repeat in repeats:
        yield from (Unit((part,)) for part in _cut(entry, number, reached, repeat.start))
        for part in _cut(entry, number, repeat.start, repeat.stop):
            place = repeat.source_start + part.start - repeat.start
            yield Unit((part,), source=(repeat.source, place))
        reached = repeat.stop
    yield from (Unit((part,)) for part in _cut(entry, number, reached, entry.numel))


def _cut(entry: Entry, number: int, start: int, stop: int) -> Iterator[Part]:
    return (part_of(entry, number, *each) for each in cut(entry.shape, start, stop))
