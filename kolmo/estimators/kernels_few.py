"""The compiled loops for a tensor of few symbols, in one call each."""

from __future__ import annotations

import numpy as np

from kolmo.compiled import Array, compiled
from kolmo.estimators.kernels_mosaic import _add, _home, pair_names


@compiled
def tally_symbols(symbols: Array, table: Array, every: Array) -> int:
    """Count in ``every``, all 0, how many symbols occur once, twice, ...; returns how many
    different ones there are. ``table`` has a place, 0 before and after, for each symbol."""
    for i in range(symbols.size):
        table[symbols[i]] += 1
    for i in range(symbols.size):  # a second time none is left, and 0 says nothing
        every[table[symbols[i]]] += 1
        table[symbols[i]] = 0
    distinct = int(symbols.size - every[0])
    every[0] = 0
    return distinct


# --- equal blocks -----------------------------------------------------------------------------


@compiled
def search_few(
    symbols: Array,
    sizes: int,
    table: Array,
    keys: Array,
    room: Array,
    planes: Array,
    times: Array,
    repeated: Array,
) -> None:
    """Which blocks of 1, 2, 4, ... symbols, of so many sizes, are equal.

    Each block has a name, from 1 in the order of first appearance; two blocks of twice the size are
    equal if the names of their halves are.

    ``planes``, all 0, gets the counts by byte-plane of all symbols. For each size, ``times`` gets
    pairs of a count, above 1 and rising, and how many blocks occur so often, up to a pair of zeros,
    and ``repeated``, all 0, the counts by byte-plane of every block but the first of its name.
    ``table`` has a place, 0 before and after, for each symbol that there may be, or none if these
    are too many. ``keys`` has room for as many numbers of 64 bits as there are symbols, ``room``
    for 8 of 32 bits for each, and 2 more.
    """
    most = symbols.size
    names, firsts = room[:most], room[most : 2 * most + 1]
    counts, slots = room[2 * most + 1 : 3 * most + 2], room[3 * most + 2 :]
    for i in range(most):
        _add(np.uint64(symbols[i]), 1, planes)
    for which in range(sizes):
        blocks = most >> which
        if which:
            pair_names(names[: 2 * blocks], keys[:blocks])
        elif not table.size:
            for i in range(most):
                keys[i] = symbols[i]
        if which or not table.size:
            places = _places(blocks)
            slots[:places] = 0
            last = _name_few(keys[:blocks], slots[:places], names, firsts, counts)
        else:
            last = _name_symbols(symbols, table, names, firsts, counts)
        _add_repeats(symbols, names[:blocks], firsts[:last], 1 << which, planes, repeated[which])
        if not _tally_few(counts[:last], firsts, times[which]):
            return


@compiled
def _name_symbols(symbols: Array, table: Array, names: Array, firsts: Array, counts: Array) -> int:
    """`_name_few` of single symbols, by a table of them all; nothing there depends on a guess."""
    last = 0
    for i in range(symbols.size):
        name = table[symbols[i]]
        is_new = name == 0
        firsts[last], counts[last] = i, (0 if is_new else counts[last])
        last += is_new
        name = last if is_new else name
        table[symbols[i]] = names[i] = name
        counts[name - 1] += 1
    for i in range(symbols.size):
        table[symbols[i]] = 0
    return last


@compiled
def _places(blocks: int) -> int:
    """Places of an open-addressed table: a power of two, half as many again as blocks at least."""
    size = 2
    while 2 * size < 3 * blocks:
        size *= 2
    return size


@compiled
def _name_few(keys: Array, slots: Array, names: Array, firsts: Array, counts: Array) -> int:
    """Name equal keys alike; ``firsts`` gets the first block of each name, ``counts`` how often it
    occurs. Returns how many names there are."""
    mask, last = np.uint64(slots.size - 1), 0
    for block in range(keys.size):
        slot = _home(keys[block], mask)
        while slots[slot] != 0 and keys[firsts[slots[slot] - 1]] != keys[block]:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == 0:
            firsts[last], counts[last] = block, 0
            last += 1
            slots[slot] = last
        names[block] = slots[slot]
        counts[names[block] - 1] += 1
    return last


@compiled
def _add_repeats(
    symbols: Array, names: Array, firsts: Array, size: int, every: Array, planes: Array
) -> None:
    """Add every block but the first of its name to ``planes``; ``every`` has all symbols."""
    if size == 1:
        for p in range(planes.shape[0]):
            for byte in range(planes.shape[1]):
                planes[p, byte] = every[p, byte]
        for name in range(firsts.size):
            _add(np.uint64(symbols[firsts[name]]), -1, planes)
        return
    for block in range(names.size):
        if firsts[names[block] - 1] != block:
            for i in range(block * size, (block + 1) * size):
                _add(np.uint64(symbols[i]), 1, planes)


@compiled
def _tally_few(counts: Array, every: Array, times: Array) -> int:
    """Write pairs of a count above 1 and how many have it, up to a pair of zeros; returns how many
    pairs there are. ``every`` has a place for each count."""
    most, pairs = 0, 0
    for i in range(counts.size):
        most = max(most, counts[i])
    every[: most + 1] = 0
    for i in range(counts.size):
        every[counts[i]] += 1
    for count in range(2, most + 1):
        if every[count]:
            times[pairs, 0], times[pairs, 1] = count, every[count]
            pairs += 1
    times[pairs] = 0
    return pairs
