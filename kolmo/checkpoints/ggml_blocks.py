"""The block formats of ggml that have a code for each weight.

The names tell the bits: ``Q4_0`` has codes of 4 bits and a scale for 32 weights, ``Q4_1`` a scale
and a least weight, ``Q4_K`` scales for runs in blocks of 256. Codes of ``IQ4`` are places in a
table of unequal steps, of ``TQ`` trits, of ``MXFP4`` and ``NVFP4`` floats of 4 bits.

Codes are as they are stored: from 0 on where a level is subtracted afterwards, in two's complement
where they are signed (``Q8_0``, ``Q8_K``). Five trits of ``TQ1_0`` share a byte, so that codes of 2
bits each take more than the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.ggml_block import (
    Block,
    Blocks,
    Codes,
    Floats,
    bits,
    fields,
    levels,
    looked_up,
    number,
    parts,
    scaled,
    split,
)

# --- Q4_0 to Q8_0: 32 weights -------------------------------------------------------------------


def packed(width: int, group: int) -> Callable[[Blocks], Codes]:
    """Codes of so many bits, spread over groups of so many bytes."""
    return lambda blocks: split(blocks["qs"], width, group)


def with_fifth_bit(blocks: Blocks) -> Codes:
    """Codes of 5 bits, the highest of which are stored together."""
    return split(blocks["qs"], 4, 16) | bits(blocks["qh"]) << np.uint8(4)


def whole(blocks: Blocks) -> Codes:
    """Codes that are bytes."""
    return np.ascontiguousarray(blocks["qs"])


def around(zero: int) -> Callable[[Blocks, Codes], Floats]:
    """Weights that are steps from the code of zero, times the scale."""
    return lambda blocks, codes: scaled(number(blocks), levels(codes, zero))


def from_least(blocks: Blocks, codes: Codes) -> Floats:
    """Weights that are steps up from the least weight."""
    return scaled(number(blocks), levels(codes, 0)) + number(blocks, "m")


def signed(blocks: Blocks, codes: Codes) -> Floats:
    """Weights that are signed bytes times the scale."""
    return scaled(number(blocks), codes.view(np.int8).astype(np.float32))


def _sign_alone(blocks: Blocks, codes: Codes) -> Floats:
    return np.where(codes, number(blocks), -number(blocks))


# --- K: 256 weights with scales for runs of 16 or 32 --------------------------------------------


def _q2_k(blocks: Blocks, codes: Codes) -> Floats:
    scales = number(blocks) * levels(blocks["scales"] & np.uint8(15), 0)
    least = number(blocks, "dmin") * levels(blocks["scales"] >> np.uint8(4), 0)
    return _less(scaled(scales, levels(codes, 0)), least)


def _q3_k_codes(blocks: Blocks) -> Codes:
    return split(blocks["qs"], 2, 32) | split(blocks["qh"], 1, 32) << np.uint8(2)


def _q3_k(blocks: Blocks, codes: Codes) -> Floats:
    low = split(blocks["scales"][:, :8], 4, 8)
    high = split(blocks["scales"][:, 8:], 2, 4)
    return scaled(number(blocks) * levels(low | high << np.uint8(4), 32), levels(codes, 4))


def _q5_k_codes(blocks: Blocks) -> Codes:
    return split(blocks["qs"], 4, 32) | split(blocks["qh"], 1, 32) << np.uint8(4)


def _q4_k(blocks: Blocks, codes: Codes) -> Floats:
    scales, least = _six_bits(blocks["scales"])
    weights = scaled(number(blocks) * levels(scales, 0), levels(codes, 0))
    return _less(weights, number(blocks, "dmin") * levels(least, 0))


def _six_bits(packed: NDArray[np.uint8]) -> tuple[Codes, Codes]:
    """Eight scales and eight least weights of 6 bits.

    Of the first four of each, bytes 0 to 3 and 4 to 7 have all bits; of the other four, they have
    the upper two, and bytes 8 to 11 the lower four of both.
    """
    first, second, low = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = [first & 63, (low & 15) | (first >> 2) & 48]
    least = [second & 63, (low >> 4) | (second >> 2) & 48]
    return np.concatenate(scales, axis=1), np.concatenate(least, axis=1)


def _less(weights: Floats, least: Floats) -> Floats:
    runs = weights.reshape(least.size, -1)
    return np.subtract(runs, least.reshape(-1, 1), out=runs).reshape(weights.shape)


def _q6_k_codes(blocks: Blocks) -> Codes:
    return split(blocks["qs"], 4, 64) | split(blocks["qh"], 2, 32) << np.uint8(4)


def _q6_k(blocks: Blocks, codes: Codes) -> Floats:
    scales = blocks["scales"].view(np.int8).astype(np.float32)
    return scaled(number(blocks) * scales, levels(codes, 32))


# --- codes that are places in a table -----------------------------------------------------------

_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_FP4 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)  # twice the floats' values


def _iq4_nl(blocks: Blocks, codes: Codes) -> Floats:
    return scaled(number(blocks), looked_up(codes, _IQ4))


def _iq4_xs(blocks: Blocks, codes: Codes) -> Floats:
    low = parts(blocks["low"], (0, 4), 15)
    high = parts(blocks["high"][:, None], range(0, 16, 2), 3).astype(np.uint8)
    return scaled(number(blocks) * levels(low | high << np.uint8(4), 32), looked_up(codes, _IQ4))


def _mxfp4(blocks: Blocks, codes: Codes) -> Floats:
    return scaled(_E8M0[blocks["e"]], looked_up(codes, _FP4))


def _nvfp4(blocks: Blocks, codes: Codes) -> Floats:
    return scaled(_UE4M3[blocks["d"]], looked_up(codes, _FP4))


def _e8m0() -> Floats:
    """Half of 2**(e - 127) for each exponent e: twice the codes' values are looked up."""
    return np.asarray(np.ldexp(1.0, np.arange(256) - 128).astype(np.float32))


def _ue4m3() -> Floats:
    """Half of the value of each float with 4 bits of exponent and 3 of mantissa, its sign unread;
    what would be the largest, of a positive sign, is not a number and counts as nothing."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    found = np.ldexp(np.where(exponent, 8 + mantissa, 2 * mantissa) / 8.0, exponent - 8)
    found[127] = 0
    return np.asarray(found.astype(np.float32))


_E8M0, _UE4M3 = _e8m0(), _ue4m3()


# --- trits --------------------------------------------------------------------------------------


def _tq1_0_codes(blocks: Blocks) -> Codes:
    """Trits: the upper digits of bytes that are fractions in base 3."""
    pieces = [(blocks["qs"][:, :32], 5), (blocks["qs"][:, 32:], 5), (blocks["qh"], 4)]
    return np.concatenate([_trits(packed, count) for packed, count in pieces], axis=1)


def _trits(packed: NDArray[np.uint8], count: int) -> Codes:
    powers = np.array([[1], [3], [9], [27], [81]], np.uint8)[:count]
    shifted = packed[:, None] * powers  # modulo 256: the digits that are gone
    digits = shifted.astype(np.uint16) * np.uint16(3) >> np.uint16(8)
    return np.asarray(digits.astype(np.uint8).reshape(len(packed), -1))


# --- all of them --------------------------------------------------------------------------------


def _k_fields(**codes: Any) -> np.dtype[Any]:
    return fields(d="f2", dmin="f2", scales=12, **codes)


_Q4_0 = fields(d="f2", qs=16)

BLOCKS: Mapping[int, Block] = {
    2: Block("Q4_0", 32, 16, _Q4_0, packed(4, 16), around(8)),
    3: Block("Q4_1", 32, 16, fields(d="f2", m="f2", qs=16), packed(4, 16), from_least),
    6: Block("Q5_0", 32, 32, fields(d="f2", qh="u4", qs=16), with_fifth_bit, around(16)),
    7: Block("Q5_1", 32, 32, fields(d="f2", m="f2", qh="u4", qs=16), with_fifth_bit, from_least),
    8: Block("Q8_0", 32, 256, fields(d="f2", qs=32), whole, signed),
    10: Block("Q2_K", 256, 4, fields(scales=16, qs=64, d="f2", dmin="f2"), packed(2, 32), _q2_k),
    11: Block("Q3_K", 256, 8, fields(qh=32, qs=64, scales=12, d="f2"), _q3_k_codes, _q3_k),
    12: Block("Q4_K", 256, 16, _k_fields(qs=128), packed(4, 32), _q4_k),
    13: Block("Q5_K", 256, 32, _k_fields(qh=32, qs=128), _q5_k_codes, _q4_k),
    14: Block("Q6_K", 256, 64, fields(qs=128, qh=64, scales=16, d="f2"), _q6_k_codes, _q6_k),
    15: Block("Q8_K", 256, 256, fields(d="f4", qs=256, sums=32), whole, signed),
    20: Block("IQ4_NL", 32, 16, _Q4_0, packed(4, 16), _iq4_nl),
    23: Block("IQ4_XS", 256, 16, fields(d="f2", high="u2", low=4, qs=128), packed(4, 16), _iq4_xs),
    34: Block("TQ1_0", 256, 3, fields(qs=48, qh=4, d="f2"), _tq1_0_codes, around(1), 416),
    35: Block("TQ2_0", 256, 4, fields(qs=64, d="f2"), packed(2, 32), around(1)),
    39: Block("MXFP4", 32, 16, fields(e="u1", qs=16), packed(4, 16), _mxfp4),
    40: Block("NVFP4", 64, 16, fields(d=4, qs=32), packed(4, 8), _nvfp4),
    41: Block(
        "Q1_0", 128, 2, fields(d="f2", qs=16), lambda blocks: bits(blocks["qs"]), _sign_alone
    ),
}
"""The formats by ggml's numbers of their types."""
