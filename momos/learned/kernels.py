"""The compiled loops of learned mosaics: which motif each block gets, and the sums behind motifs.

Costs are squared distances of blocks divided by their row's scale, plus ``rate`` times the bits of
the motif's index; |block|², the same for all motifs, is left out. float32, in a fixed order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import Array, compiled

NEVER = np.float32(1e6)
"""Cost above that of any distance."""

_CHUNK = 1024  # blocks at a time: their costs stay in a processor's cache


@compiled
def assign_blocks(
    blocks: Array,
    columns: int,
    scales: Array,
    motifs: Array,
    zero_bits: Array,
    other_bits: Array,
    motif_bits: Array,
    rate: float,
    threshold: float,
    indices: Array,
    projected: Array,
) -> None:
    """Assign its cheapest motif to each block; write ``indices`` and ``projected`` blocks.

    Parameters
    ----------
    blocks : float32 ndarray, shape (m, s)
    columns : int
        Blocks of a row.
    scales : float32 ndarray
        One value, or one for each row of ``columns`` blocks.
    motifs : float32 ndarray, shape (k, s)
        Motif 0 is the zero block.
    zero_bits, other_bits : float32 ndarrays, shape (m,)
        What an index costs that is 0, and one that is not, but for ``motif_bits``.
    motif_bits : float32 ndarray, shape (k,)
        What it costs to say which motif, of those that are not 0.
    rate : float
        Squared distance that a bit is worth.
    threshold : float
        Unless NaN, the zero motif goes to the blocks of which it loses less than that, and to no
        others: |block|² less ``rate`` times the bits that it saves.
    indices : int32 ndarray, shape (m,)
        Written: which motif each block has; ties go to the lowest.
    projected : float32 ndarray, shape (m, s)
        Written: the motif times the block's scale.

    Notes
    -----
    |b − m|² is |b|² − 2 b·m + |m|², of which the first is left out. Blocks stand in columns, so
    that the innermost loops run over blocks, value by value, in the processor's vectors.
    """
    k, size = motifs.shape
    # What a motif costs whatever the block is: its bits and |m|².
    paid, fixed = np.float32(rate), np.empty(k, np.float32)
    least = np.float32(np.inf)  # price of the cheapest other motif's own bits
    for j in range(1, k):
        fixed[j] = paid * motif_bits[j]
        least = min(least, fixed[j])
        for d in range(size):
            fixed[j] += motifs[j, d] * motifs[j, d]
    scaled, each = np.empty((size, _CHUNK), np.float32), np.full(_CHUNK, scales[0], np.float32)
    base, best = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.float32)
    cost, chosen = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.uint32)
    gain, maybe = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.uint32)
    which = np.empty(_CHUNK, np.uint32)
    for start in range(0, blocks.shape[0], _CHUNK):
        # Of slices the compiler knows that no index is negative, and only then makes vectors.
        end = min(start + _CHUNK, blocks.shape[0])
        these, index, becomes = blocks[start:end], indices[start:end], projected[start:end]
        zero, other = zero_bits[start:end], other_bits[start:end]
        if scales.size > 1:
            _spread(scales, columns, start, each[: end - start])
        for d in range(size):
            value = scaled[d]
            for i in range(end - start):
                value[i] = these[i, d] * np.float32(-2) / each[i]
        for i in range(end - start):
            best[i] = paid * zero[i]
        for i in range(end - start):
            base[i] = paid * other[i]
        gain[:] = 0
        for d in range(size):
            value = scaled[d]
            for i in range(end - start):
                gain[i] += value[i] * value[i] * np.float32(0.25)  # of (−2)²
        # With a rate most blocks have the zero motif, and most of those so clearly that no other
        # need be looked at; the rest moves to the front.
        if np.isnan(threshold):
            _mark_undecided(best[: end - start], base, gain, least, maybe)
        else:
            _mark_worthy(zero, other, gain, paid, np.float32(threshold), best, base, maybe)
        n = _gather(maybe[: end - start], best, base, scaled, which)
        chosen[:n] = 0
        for j in range(1, k):  # strictly cheaper: of equal ones the first stays
            for o in range(n):
                cost[o] = base[o] + fixed[j]
            for d in range(size):
                value, motif_value = scaled[d], motifs[j, d]
                for o in range(n):
                    cost[o] += value[o] * motif_value
            for o in range(n):
                nearer = cost[o] < best[o]
                best[o] = cost[o] if nearer else best[o]
                chosen[o] = np.uint32(j) if nearer else chosen[o]
        if n < end - start:  # those that were not moved have the zero motif
            index[:] = 0
            becomes[:] = 0
            for o in range(n):
                i = which[o]
                index[i] = chosen[o]
                for d in range(size):
                    becomes[i, d] = motifs[chosen[o], d] * each[i]
            continue
        for i in range(n):
            index[i] = chosen[i]
        for d in range(size):
            for i in range(n):
                becomes[i, d] = motifs[chosen[i], d] * each[i]


@compiled
def _mark_undecided(best: Array, base: Array, gain: Array, least: Any, maybe: Array) -> None:
    """Mark in ``maybe`` (0 or 1) the blocks that might have another motif than zero.

    ``best`` is what the zero motif costs. ``base`` is a lower bound on the cost of any other motif,
    before its own bits (at least ``least``) and before the distance that it saves (at most
    ``gain``, which is |block|²).
    """
    slack = np.float32(1e-5)  # above any rounding error
    for i in range(best.size):
        other = base[i] + least
        zero_wins = other - gain[i] > best[i] + slack * (abs(best[i]) + abs(other) + gain[i])
        maybe[i] = not zero_wins  # NaN compares false


@compiled
def _mark_worthy(
    zero: Array,
    other: Array,
    gain: Array,
    paid: Any,
    most: Any,
    best: Array,
    base: Array,
    maybe: Array,
) -> None:
    """Mark in ``maybe`` (0 or 1) the blocks that lose too much by the zero motif.

    A block loses its ``gain``, |block|², less what the zero motif's bits save at a price of
    ``paid``; ``most`` is the threshold. Costs ``best`` and ``base`` are written that forbid the
    zero motif to the marked blocks, and all others to the rest.
    """
    for i in range(zero.size):
        maybe[i] = not gain[i] - paid * (other[i] - zero[i]) < most
    for i in range(zero.size):
        best[i] = NEVER if maybe[i] else np.float32(0)
    for i in range(zero.size):
        base[i] = NEVER - best[i]


@compiled
def _gather(maybe: Array, best: Array, base: Array, scaled: Array, which: Array) -> int:
    """Move the blocks that are marked to the front: how many, and ``which`` (written).

    ``best``, ``base`` and ``scaled`` are moved; a block never overtakes one that is yet to move.
    Where most are, none is moved, and all are said to be: moving would cost more than it saves.
    """
    n = 0
    for i in range(maybe.size):
        which[n] = i  # overwritten unless the block is marked: no branch
        n += maybe[i]
    if 2 * n > maybe.size:
        return len(maybe)
    for o in range(n):
        best[o], base[o] = best[which[o]], base[which[o]]
    for d in range(scaled.shape[0]):
        for o in range(n):
            scaled[d, o] = scaled[d, which[o]]
    return n


@compiled
def _spread(scales: Array, columns: int, start: int, each: Array) -> None:
    """Write the scale of each of these blocks, the first of which is block ``start``."""
    place = 0
    while place < each.size:
        row = (start + place) // columns
        end = min((row + 1) * columns - start, each.size)
        each[place:end] = scales[row]
        place = end


@compiled
def add_blocks(
    blocks: Array,
    whole: int,
    columns: int,
    scales: Array,
    indices: Array,
    sums: Array,
    counts: Array,
) -> None:
    """Add the scaled blocks, but the padded one, to the sums and counts of their motifs.

    ``whole`` is the number of blocks without padding, ``indices`` the motif of each. ``sums``,
    float64 of shape (k, s), and ``counts``, shape (k,), are added to, block after block: in this
    order they give the same means on every machine.
    """
    for b in range(whole):
        scale = scales[b // columns] if scales.size > 1 else scales[0]
        motif = indices[b]
        counts[motif] += 1
        for d in range(blocks.shape[1]):
            sums[motif, d] += blocks[b, d] / scale
