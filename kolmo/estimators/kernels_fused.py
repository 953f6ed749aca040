"""Compiled loops that go from float32 weights to block counts in one pass, nothing in between."""

from __future__ import annotations

import numpy as np

from kolmo.compiled import Array, compiled
from kolmo.estimators.kernels import count_plane_squares

_RUN = 128 * 24  # weights whose signs fit the nearest cache


@compiled(allocates=True)
def count_sign_strings(bits: Array, counts: Array) -> bool:
    """Count the 12-blocks of the signs of float32 weights, given as their int32 bit patterns.

    A weight is positive if its pattern is, since the sign is the highest bit and only +0 has the
    pattern 0. Signs are first written as bytes, a run at a time, in a loop that the compiler turns
    into vector code; a multiplication then gathers 8 of them into a byte, first one highest, and
    three such bytes are two blocks. Returns whether there is a NaN.
    """
    words = np.zeros(_RUN // 8, np.uint64)
    signs = words.view(np.uint8)
    gather, top = np.uint64(0x8040201008040201), np.uint64(56)
    nan = np.int32(0)
    end = bits.size // 12 * 12
    for start in range(0, end, _RUN):
        run = bits[start : min(start + _RUN, end)]
        for i in range(run.size):
            signs[i] = np.uint8(run[i] > np.int32(0))
        for i in range(run.size):
            nan |= np.int32((run[i] & np.int32(0x7FFFFFFF)) > np.int32(0x7F800000))
        for i in range(0, run.size // 24 * 3, 3):
            a = (words[i] * gather) >> top
            b = (words[i + 1] * gather) >> top
            c = (words[i + 2] * gather) >> top
            counts[(a << np.uint64(4)) | (b >> np.uint64(4))] += 1
            counts[((b & np.uint64(15)) << np.uint64(8)) | c] += 1
        if run.size % 24:  # a last block without its pair
            code = 0
            for i in range(run.size - 12, run.size):
                code = (code << 1) | signs[i]
            counts[code] += 1
    for i in range(end, bits.size):
        nan |= np.int32((bits[i] & np.int32(0x7FFFFFFF)) > np.int32(0x7F800000))
    return bool(nan != 0)


@compiled(allocates=True)
def extremes(weights: Array) -> tuple[float, float, bool]:
    """Least and greatest of float32 weights, and whether all are finite; inf and -inf if empty.

    The loop keeps sixteen minima and maxima, each of every sixteenth weight: with a single one,
    each step would have to wait for the comparison before.
    """
    lows = np.full(16, np.inf, np.float32)  # side by side, for the compiler's vectors
    highs = -lows
    wrong = np.zeros(16, np.uint8)
    whole = weights.size // 16 * 16
    for start in range(0, whole, 16):
        for k in range(16):
            w = weights[start + k]
            lows[k] = w if w < lows[k] else lows[k]
            highs[k] = w if w > highs[k] else highs[k]
            wrong[k] |= not (abs(w) < np.inf)
    for i in range(whole, weights.size):
        w = weights[i]
        lows[0], highs[0] = min(lows[0], w), max(highs[0], w)
        wrong[0] |= not (abs(w) < np.inf)
    return lows.min(), highs.max(), not wrong.any()


@compiled(allocates=True)
def count_affine_squares(
    weights: Array, low: float, step: float, top: float, counts: Array
) -> None:
    """Quantize float32 rows affinely, four at a time, and count the 4 × 4 squares of 8 planes.

    A code is (weight − low) / step, rounded half to even and clipped to [0, top], in float64,
    exactly as in the quantizer ``affine``. The counts are added to ``counts``, shape (8, 65536), as
    in `count_plane_squares`; rows beyond a multiple of four are in no square.
    """
    columns = weights.shape[1]
    codes = np.empty((4, columns), np.uint8)
    for i in range(0, weights.shape[0] - 3, 4):
        for r in range(4):
            row, written = weights[i + r], codes[r]
            for j in range(columns):
                scaled = np.rint((np.float64(row[j]) - low) / step)
                written[j] = np.uint8(np.int32(min(max(scaled, 0.0), top)))
        count_plane_squares(codes, counts)
