"""Finding mosaics: tensors of a checkpoint that are made of few distinct blocks in common."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from kolmo.codes.choosing import shortest_code
from kolmo.codes.lengths import entropy_bits
from kolmo.codes.mosaic import (
    MOSAIC_LIMIT,
    block_keys,
    count_distinct,
    cut_blocks,
    find_block_size,
)
from kolmo.codes.samples import order0_bytes
from kolmo.container.format import Entry, Part, Unit, part_of
from kolmo.symbols import Alphabet, Symbols

Read = Callable[[Part], Symbols]

_SAMPLE = 1 << 14  # weights of a tensor in the first sample
_SAMPLED = 1 << 20  # weights of all tensors in the first sample
_GLANCE = 1 << 17  # symbols of the first sample that are counted before blocks are
_DISTINCT = 0.98  # a sample of symbols has no repeats if more than this share is distinct
_PROMISING = 0.97  # a mosaic is tried if its estimate is below this share of the quick code
_REPEATED = 0.5  # a tensor is part of the mosaic if more than this share of its blocks repeats


def find_mosaics(entries: Sequence[Entry], read: Read, skip: Collection[int] = ()) -> list[Unit]:
    """Units of whole tensors for the mosaic code to try; the tensors of a unit share an alphabet.

    Parameters
    ----------
    entries : sequence of Entry
    read : callable
        Gives the symbols of a part.
    skip : collection of int
        Numbers of tensors to leave out.
    """
    groups: dict[Alphabet, list[int]] = {}
    for number, entry in enumerate(entries):
        if number not in skip and entry.copy_of is None and 0 < entry.numel <= MOSAIC_LIMIT:
            groups.setdefault(entry.alphabet, []).append(number)
    units: list[Unit] = []
    for alphabet, numbers in groups.items():
        if _looks_like(entries, numbers, read):
            for run in _runs(entries, numbers):
                symbols = {n: read(part_of(entries[n], n, 0, entries[n].numel)) for n in run}
                chosen = _members(symbols)
                if chosen and _promises([symbols[n] for n in chosen], alphabet):
                    parts = (part_of(entries[n], n, 0, entries[n].numel) for n in chosen)
                    units.append(Unit(tuple(parts)))
    return units


def _looks_like(entries: Sequence[Entry], numbers: Sequence[int], read: Read) -> bool:
    """Whether blocks repeat in the first weights of the tensors, more than single symbols do."""
    sample, taken = [], 0
    for number in numbers:
        stop = min(entries[number].numel, _SAMPLE, _SAMPLED - taken)
        sample.append(read(part_of(entries[number], number, 0, stop)).reshape(-1))
        taken += stop
        if taken == _SAMPLED:
            break
    return not _all_differ(sample) and find_block_size(sample, _width(sample)) is not None


def _all_differ(sample: Sequence[Symbols]) -> bool:
    """Whether hardly any symbol occurs twice, as in floats of 32 bits: then no block does.

    To ask this is quick; to try every size of blocks is not. Of a million symbols in all, half of
    them copies of the others, a sixteenth of those looked at repeat.
    """
    symbols = np.concatenate(sample)
    some = symbols[:: max(1, symbols.size // _GLANCE)].reshape(-1, 1)
    return count_distinct(block_keys(some)) > _DISTINCT * len(some)


def _width(parts: Sequence[Symbols]) -> float:
    symbols = np.concatenate([part.reshape(-1) for part in parts])
    return 8 * order0_bytes(symbols) / symbols.size


def _runs(entries: Sequence[Entry], numbers: Sequence[int]) -> list[list[int]]:
    """Tensors in order, in groups as large as the mosaic code takes."""
    runs, taken = [[]], 0  # type: tuple[list[list[int]], int]
    for number in numbers:
        if taken + entries[number].numel > MOSAIC_LIMIT:
            runs.append([])
            taken = 0
        runs[-1].append(number)
        taken += entries[number].numel
    return runs


def _members(tensors: Mapping[int, Symbols]) -> list[int]:
    """The tensors of which most blocks occur more than once."""
    parts = list(tensors.values())
    size = find_block_size(parts, _width(parts))
    if size is None:
        return []
    keys = [block_keys(cut_blocks(part, size)) for part in parts]
    _, inverse, counts = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    often = counts[inverse.reshape(-1)] > 1
    ends = np.cumsum([len(key) for key in keys])
    shares = [piece.mean() for piece in np.split(often, ends[:-1])]
    return [n for n, share in zip(tensors, shares, strict=True) if share > _REPEATED]


def _promises(parts: Sequence[Symbols], alphabet: Alphabet) -> bool:
    """Whether motifs and the order-0 entropy of the indices take fewer bytes than the quick code.

    16-bit floats repeat because there are few of them; that alone makes no mosaic, and coding
    thousands of motifs would take minutes in vain.
    """
    numel = sum(part.size for part in parts)
    quick = len(shortest_code(parts, alphabet, "fast")[1])
    size = find_block_size(parts, _width(parts))
    if size is None:
        return False
    keys = np.concatenate([block_keys(cut_blocks(part, size)) for part in parts])
    counts = np.unique(keys, return_counts=True)[1]
    return entropy_bits(counts) / 8 + counts.size * size * quick / numel < _PROMISING * quick
