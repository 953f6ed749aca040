"""The compiled loops of the mosaic code: which blocks are equal, exactly.

A block of at most 64 bits is a number, its *key*. A longer one is known by the *names* of its two
halves: the numbers, from 1, of those blocks of half the size that repeat, and 0 for a block that
does not. A block repeats only if its halves do, and equal pairs of names are equal blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled

_BEGUN = 64  # lookups that wait for memory together


@compiled
def pack_keys(symbols: Array, size: int, bits: int, keys: Array) -> None:
    """The keys of the blocks: ``size`` symbols of ``bits`` bits each, the first one highest."""
    for block in range(keys.size):
        key = np.uint64(symbols[block * size])
        for i in range(block * size + 1, (block + 1) * size):
            key = (key << np.uint64(bits)) | np.uint64(symbols[i])
        keys[block] = key


@compiled
def count_keys(symbols: Array, size: int, bits: int, counts: Array) -> None:
    """Add the blocks to ``counts``, one for each key."""
    for start in range(0, symbols.size - size + 1, size):
        key = np.uint64(symbols[start])
        for i in range(start + 1, start + size):
            key = (key << np.uint64(bits)) | np.uint64(symbols[i])
        counts[key] += 1


@compiled
def deal_classes(keys: Array, classes: int, dealt: Array, ends: Array) -> None:
    """Order keys by class, in ``dealt``; ``ends`` says where each class ends."""
    ends[:classes] = 0
    for i in range(keys.size):
        ends[_class_of(keys[i], classes)] += 1
    start = 0
    for which in range(classes):
        number = ends[which]
        ends[which] = start
        start += number
    for i in range(keys.size):
        which = _class_of(keys[i], classes)
        dealt[ends[which]] = keys[i]
        ends[which] += 1


@compiled
def _class_of(key: Any, classes: int) -> Any:
    """The key's class, of ``classes`` about equally large ones."""
    mixed = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
    return np.int64((mixed * np.uint64(classes)) >> np.uint64(32))


@compiled
def count_runs(keys: Array, least: int, counts: Array) -> int:
    """Of sorted keys, those that occur ``least`` times or more: they are moved to the front, and
    their counts written; returns how many there are."""
    found, i = 0, 0
    while i < keys.size:
        key, begin = keys[i], i
        while i < keys.size and keys[i] == key:
            i += 1
        if i - begin >= least:
            keys[found], counts[found] = key, i - begin
            found += 1
    return found


@compiled
def merge_runs(
    a: Array, a_counts: Array, b: Array, b_counts: Array, keys: Array, counts: Array
) -> int:
    """Merge two sorted lists of distinct keys and their counts; returns how many keys there are."""
    i, j, found = 0, 0, 0
    while i < a.size or j < b.size:
        if j == b.size or (i < a.size and a[i] < b[j]):
            keys[found], counts[found] = a[i], a_counts[i]
            i += 1
        elif i == a.size or b[j] < a[i]:
            keys[found], counts[found] = b[j], b_counts[j]
            j += 1
        else:
            keys[found], counts[found] = a[i], a_counts[i] + b_counts[j]
            i += 1
            j += 1
        found += 1
    return found


@compiled
def add_repeated(keys: Array, counts: Array, size: int, bits: int, planes: Array) -> None:
    """Add every occurrence of each key's block but one to ``planes``, the counts by byte-plane, of
    shape (planes, 256)."""
    mask = np.uint64((1 << bits) - 1) if bits < 64 else np.uint64(0xFFFFFFFFFFFFFFFF)
    for k in range(keys.size):
        times = np.int64(counts[k]) - 1
        for i in range(size):
            _add((np.uint64(keys[k]) >> np.uint64(bits * i)) & mask, times, planes)


@compiled
def _add(symbol: Any, times: Any, planes: Array) -> None:
    for p in range(planes.shape[0]):
        planes[p, (symbol >> np.uint64(8 * p)) & np.uint64(255)] += times


# --- names ------------------------------------------------------------------------------------


@compiled
def fill_slots(known: Array, slots: Array) -> None:
    """Enter known keys in ``slots``, all 0: an open-addressed table of their places + 1, whose
    length is a power of two and at least twice theirs."""
    mask = np.uint64(slots.size - 1)
    for i in range(known.size):
        slot = _home(known[i], mask)
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = i + 1


@compiled
def find_names(
    keys: Array, wanted: Array, known: Array, slots: Array, first: int, names: Array
) -> Any:
    """Write the names of the keys at wanted places that are known: ``first`` + their place.

    Each lookup waits for memory. A few are begun together, so that they wait together; what is
    returned only keeps the compiler from leaving this out.
    """
    mask, begun = np.uint64(slots.size - 1), np.uint64(0)
    for start in range(0, wanted.size, _BEGUN):
        some = wanted[start : start + _BEGUN]
        for i in some:
            begun ^= np.uint64(slots[_home(keys[i], mask)])
        for i in some:
            begun ^= known[max(0, np.int64(slots[_home(keys[i], mask)]) - 1)]
        for i in some:
            slot = _home(keys[i], mask)
            while slots[slot] != 0:
                place = np.int64(slots[slot]) - 1
                if known[place] == keys[i]:
                    names[i] = first + place
                    break
                slot = (slot + np.uint64(1)) & mask
    return begun


@compiled
def hash_pairs(keys: Array, homes: Array) -> None:
    """A hash of each pair of keys that lie side by side, of the dtype's 64 bits."""
    for i in range(homes.size):
        mixed = np.uint64(keys[2 * i]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= (mixed >> np.uint64(29)) ^ np.uint64(keys[2 * i + 1])
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        homes[i] = mixed ^ (mixed >> np.uint64(32))


@compiled
def see_hashes(homes: Array, seen: Array) -> Any:
    """Note hashes in ``seen``, whose length is a power of two: in a word the bits of those that
    came, in the next one the bits of those that came again. It begins a few together, as
    `find_names` does."""
    mask, begun = np.uint64(32 * seen.size - 1), np.uint64(0)
    for start in range(0, homes.size, _BEGUN):
        some = homes[start : start + _BEGUN]
        for home in some:
            begun ^= seen[np.uint64(2) * ((home & mask) >> np.uint64(6))]
        for home in some:
            word = np.uint64(2) * ((home & mask) >> np.uint64(6))
            bit = np.uint64(1) << (home & np.uint64(63))
            before = seen[word]
            seen[word] = before | bit
            seen[word + np.uint64(1)] |= before & bit
    return begun


@compiled
def came_again(homes: Array, seen: Array, again: Array) -> None:
    """Write whether each hash may have come again."""
    mask = np.uint64(32 * seen.size - 1)
    for i in range(homes.size):
        word = seen[np.uint64(2) * ((homes[i] & mask) >> np.uint64(6)) + np.uint64(1)]
        again[i] = (word >> (homes[i] & np.uint64(63))) & np.uint64(1)


@compiled
def _home(key: Any, mask: Any) -> Any:
    return ((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask


@compiled
def pair_names(names: Array, keys: Array) -> None:
    """The keys of blocks of two named halves each; 0 where a half has no name."""
    for i in range(keys.size):
        left, right = np.uint64(names[2 * i]), np.uint64(names[2 * i + 1])
        keys[i] = (left << np.uint64(32)) | right if left != 0 and right != 0 else np.uint64(0)


@compiled
def add_named(
    symbols: Array, width: int, size: int, names: Array, seen: Array, planes: Array
) -> None:
    """Add every named block but the first of each name, which ``seen`` marks, to ``planes``: the
    first ``size`` of each ``width`` symbols."""
    for block in range(names.size):
        name = names[block]
        if name == 0:
            continue
        if not seen[name]:
            seen[name] = True
            continue
        for i in range(block * width, block * width + size):
            _add(np.uint64(symbols[i]), 1, planes)
