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


@compiled(allocates=True)
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
        Bits of index 0 for each block, and of any other before its ``motif_bits``.
    motif_bits : float32 ndarray, shape (k,)
        Bits that say which one of the motifs that are not 0.
    rate : float
        Price of a bit, in squared distance.
    threshold : float
        Unless NaN, exactly those blocks get the zero motif that lose less by it: |block|² less
        ``rate`` times the bits that it saves.
    indices : int32 ndarray, shape (m,)
        Written: the motif of each block; ties go to the lowest.
    projected : float32 ndarray, shape (m, s)
        Written: the motif times the block's scale.

    Notes
    -----
    |b − m|² is |b|² − 2 b·m + |m|², of which the first is left out. Blocks stand in columns, so
    that the innermost loops run over blocks, value by value, in the processor's vectors.
    """
    k, size = motifs.shape
    paid, fixed = np.float32(rate), np.empty(k, np.float32)
    least = _price_motifs(motifs, motif_bits, paid, fixed)
    scaled, each = np.empty((size, _CHUNK), np.float32), np.full(_CHUNK, scales[0], np.float32)
    base, best = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.float32)
    gain, maybe = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.uint32)
    which, chosen = np.empty(_CHUNK, np.uint32), np.empty(_CHUNK, np.uint32)
    cost = np.empty(_CHUNK, np.float32)
    for start in range(0, blocks.shape[0], _CHUNK):
        # Of slices the compiler knows that no index is negative, and only then makes vectors.
        end = min(start + _CHUNK, blocks.shape[0])
        these, zero, other = blocks[start:end], zero_bits[start:end], other_bits[start:end]
        if scales.size > 1:
            _spread(scales, columns, start, each[: end - start])
        _scale(these, each, scaled, gain)
        # With a rate most blocks have the zero motif, and most of those so clearly that no other
        # need be compared; the rest moves to the front.
        if np.isnan(threshold):
            _price(zero, other, paid, best, base)
            _mark_undecided(best[: end - start], base, gain, least, maybe)
        else:
            _mark_worthy(zero, other, gain, paid, np.float32(threshold), best, base, maybe)
        n = _gather(maybe[: end - start], best, base, scaled, which)
        _choose(motifs, fixed, n, base, scaled, cost, best, chosen)
        _write(motifs, chosen, each, which, n, indices[start:end], projected[start:end])


@compiled
def _price_motifs(motifs: Array, motif_bits: Array, paid: Any, fixed: Array) -> Any:
    """Fill in |motif|² plus the price of the motif's bits; return the least of these prices."""
    least = np.float32(np.inf)
    for j in range(1, len(motifs)):
        fixed[j] = paid * motif_bits[j]
        least = min(least, fixed[j])
        for d in range(motifs.shape[1]):
            fixed[j] += motifs[j, d] * motifs[j, d]
    return least


@compiled
def _scale(blocks: Array, each: Array, scaled: Array, gain: Array) -> None:
    """Fill in the blocks divided by their scale, as columns times −2, and their |block|²."""
    gain[:] = 0
    for d in range(blocks.shape[1]):
        value = scaled[d]
        for i in range(blocks.shape[0]):
            value[i] = blocks[i, d] * np.float32(-2) / each[i]
        for i in range(blocks.shape[0]):
            gain[i] += value[i] * value[i] * np.float32(0.25)  # of (−2)²


@compiled
def _price(zero: Array, other: Array, paid: Any, best: Array, base: Array) -> None:
    """Fill in the price of index 0 for each block, and that of all others before their own bits."""
    for i in range(zero.size):
        best[i] = paid * zero[i]
    for i in range(zero.size):
        base[i] = paid * other[i]


@compiled
def _choose(
    motifs: Array,
    fixed: Array,
    n: int,
    base: Array,
    scaled: Array,
    cost: Array,
    best: Array,
    chosen: Array,
) -> None:
    """Fill in the cheapest motif of the first ``n`` columns; ``best`` begins as that of motif 0."""
    chosen[:n] = 0
    for j in range(1, len(motifs)):  # strictly cheaper: of equal ones the first stays
        for o in range(n):
            cost[o] = base[o] + fixed[j]
        for d in range(motifs.shape[1]):
            value, motif_value = scaled[d], motifs[j, d]
            for o in range(n):
                cost[o] += value[o] * motif_value
        for o in range(n):
            nearer = cost[o] < best[o]
            best[o] = cost[o] if nearer else best[o]
            chosen[o] = np.uint32(j) if nearer else chosen[o]


@compiled
def _write(
    motifs: Array,
    chosen: Array,
    each: Array,
    which: Array,
    n: int,
    index: Array,
    projected: Array,
) -> None:
    """Write the index and the motif × scale of each block; those not gathered have motif 0."""
    if n < len(index):
        index[:] = 0
        projected[:] = 0
        for o in range(n):
            i = which[o]
            index[i] = chosen[o]
            for d in range(motifs.shape[1]):
                projected[i, d] = motifs[chosen[o], d] * each[i]
        return
    for i in range(n):
        index[i] = chosen[i]
    for d in range(motifs.shape[1]):
        for i in range(n):
            projected[i, d] = motifs[chosen[i], d] * each[i]


@compiled
def _mark_undecided(best: Array, base: Array, gain: Array, least: Any, maybe: Array) -> None:
    """Mark in ``maybe`` (0 or 1) the blocks for which a motif other than zero might be cheaper.

    ``best`` is the cost of the zero motif. ``base`` is a lower bound on the cost of any other
    motif, before its own bits (at least ``least``) and before the distance that it saves (at most
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

    A block loses its ``gain``, |block|², less the bits that the zero motif saves, at a price of
    ``paid``; ``most`` is the threshold. ``best`` and ``base`` are written: costs that forbid the
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
    """Move the marked blocks to the front; return their number, write their places to ``which``.

    ``best``, ``base`` and ``scaled`` are moved; a block never overtakes one that is yet to move. If
    more than half are marked, nothing moves and all count as marked: moving would cost more than
    it saves.
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
    """Add the first ``whole`` blocks, scaled, to the sums and counts of their motifs.

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
