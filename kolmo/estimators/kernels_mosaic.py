"""The compiled loops of the mosaic code: which blocks are equal, exactly.

A block's key is 32 bits of its hash above the place of its first symbol. Keys are spread over
buckets by their highest bits, so that each bucket's hash table stays within a processor's cache.
``spans`` holds (first symbol, number of blocks) of each tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled


@compiled
def count_keys(symbols: Array, spans: Array, size: int, shift: int, counts: Array) -> None:
    """Count the keys of each bucket: those of blocks of ``size`` symbols, by ``key >> shift``."""
    for t in range(spans.shape[0]):
        first, blocks = spans[t]
        for start in range(first, first + blocks * size, size):
            counts[_block_key(symbols, start, size) >> np.uint64(shift)] += 1


@compiled
def spread_keys(
    symbols: Array, spans: Array, size: int, shift: int, heads: Array, keys: Array
) -> None:
    """Write the keys, bucket by bucket; ``heads``, where each bucket begins, become its ends."""
    for t in range(spans.shape[0]):
        first, blocks = spans[t]
        for start in range(first, first + blocks * size, size):
            key = _block_key(symbols, start, size)
            bucket = key >> np.uint64(shift)
            keys[heads[bucket]] = key
            heads[bucket] += 1


@compiled(allocates=True)
def count_equal(
    symbols: Array, size: int, keys: Array, ends: Array, slots: Array, again: Array, written: Array
) -> tuple[int, int]:
    """How many blocks are distinct, and how many of those occur twice or more; the counts of the
    latter are written to the first places of ``keys``. Every occurrence after the first is
    subtracted from ``written``, counts by byte-plane of shape (planes, 256).

    ``slots``, all 0, is an open-addressed table of keys + 1; ``again``, all 0, counts the further
    blocks equal to each. Their length is a power of two, more than twice the keys of the fullest
    bucket.
    """
    used = np.empty(0, np.int64)
    # Keys of equal blocks differ only in the place, so that they are in the same bucket. The keys
    # of finished buckets are no longer needed, so that the counts may overwrite them.
    distinct, repeated, begin = 0, 0, 0
    for end in ends:
        mask = 1
        while mask < 2 * (end - begin):
            mask = 2 * mask + 1
        if used.size < end - begin:
            used = np.empty(end - begin, np.int64)
        number = 0
        for i in range(begin, end):
            slot = _find_block(symbols, size, keys[i], slots, np.uint64(mask))
            if slots[slot] == 0:
                slots[slot] = keys[i] + np.uint64(1)
                used[number] = slot
                number += 1
            else:
                again[slot] += 1
        # Only used slots are visited and cleared: the cost of a bucket follows its number of keys.
        for slot in used[:number]:
            if again[slot] > 0:
                start = _place(slots[slot] - np.uint64(1))
                _take_off(symbols[start : start + size], again[slot], written)
                keys[repeated] = again[slot] + 1
                repeated += 1
            slots[slot], again[slot] = 0, 0
        distinct += number
        begin = end
    return distinct, repeated


@compiled
def _block_key(symbols: Array, start: int, size: int) -> Any:
    """The key of the block that begins at ``start``: 32 bits of hash above 32 of place."""
    key = np.uint64(0)
    if _fits(symbols, size):
        for i in range(start, start + size):
            key = (key << np.uint64(8 * symbols.itemsize)) | np.uint64(symbols[i])
        key = _mix(key)  # a permutation: spreads the keys over the buckets without collisions
    else:
        for i in range(start, start + size):
            key = (key ^ np.uint64(symbols[i])) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(32)
        key = (key * np.uint64(0xFF51AFD7ED558CCD)) >> np.uint64(32)
    return (key << np.uint64(32)) | np.uint64(start)


@compiled
def _fits(symbols: Array, size: int) -> bool:
    """Whether a block has 32 bits at most: equal hashes then mean equal blocks."""
    return bool(size * symbols.itemsize <= 4)


@compiled
def _mix(x: Any) -> Any:
    """A permutation of the numbers of 32 bits (the finalizer of MurmurHash3)."""
    low = np.uint64(0xFFFFFFFF)
    x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x85EBCA6B)) & low
    x = ((x ^ (x >> np.uint64(13))) * np.uint64(0xC2B2AE35)) & low
    return x ^ (x >> np.uint64(16))


@compiled
def _place(key: Any) -> Any:
    """The start of the block of a key."""
    return np.int64(key & np.uint64(0xFFFFFFFF))


@compiled
def _find_block(symbols: Array, size: int, key: Any, slots: Array, mask: Any) -> Any:
    """The slot of the block with this key, or the empty one where it belongs.

    Equal hashes are compared symbol by symbol, so that the count is exact whatever the hash does.
    """
    high = key >> np.uint64(32)
    slot = high & mask
    while slots[slot] != 0:
        known = slots[slot] - np.uint64(1)
        if known >> np.uint64(32) == high and (
            _fits(symbols, size) or _same_block(symbols, _place(known), _place(key), size)
        ):
            break
        slot = (slot + np.uint64(1)) & mask
    return slot


@compiled
def _same_block(symbols: Array, a: int, b: int, size: int) -> bool:
    """Whether the blocks that begin at a and b hold the same symbols."""
    i = 0
    while i < size and symbols[a + i] == symbols[b + i]:
        i += 1
    return i == size


@compiled
def _take_off(symbols: Array, times: int, counts: Array) -> None:
    """Subtract a block ``times`` times from the counts by byte-plane, shape (planes, 256)."""
    for i in range(symbols.size):
        for p in range(counts.shape[0]):
            byte = (np.uint64(symbols[i]) >> np.uint64(8 * p)) & np.uint64(255)
            counts[p, byte] -= np.int64(times)
