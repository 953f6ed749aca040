"""The block formats that ggml had before those of today, by the age of the file.

Until May 2023 neighbours shared a byte of two codes, from then on weights of the two halves of a
block do; some scales were float32, and became float16 later in that month. (The changes are those
of llama.cpp's pull requests 1405 and 1508.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kolmo.checkpoints import ggml_blocks
from kolmo.checkpoints.ggml_block import Block, Blocks, Codes, bits, fields, parts
from kolmo.checkpoints.ggml_blocks import around, from_least, packed, signed, whole


def _neighbours(blocks: Blocks) -> Codes:
    return np.asarray(parts(blocks["qs"], (0, 4), 15))


def _neighbours_with_fifth_bit(blocks: Blocks) -> Codes:
    return _neighbours(blocks) | bits(blocks["qh"]) << np.uint8(4)


_SCALE, _LEAST = fields(d="f4", qs=16), fields(d="f4", m="f4", qs=16)
_FIVE, _FIVE_LEAST = ggml_blocks.BLOCKS[6].fields, ggml_blocks.BLOCKS[7].fields
_Q8_0 = Block("Q8_0", 32, 256, fields(d="f4", qs=32), whole, signed)

FIRST: Mapping[int, Block] = {
    2: Block("Q4_0", 32, 16, _SCALE, _neighbours, around(8)),
    3: Block("Q4_1", 32, 16, _LEAST, _neighbours, from_least),
    4: Block("Q4_2", 16, 16, fields(d="f2", qs=8), _neighbours, around(8)),
    5: Block("Q4_3", 16, 16, fields(d="f2", m="f2", qs=8), _neighbours, from_least),
    6: Block("Q5_0", 32, 32, _FIVE, _neighbours_with_fifth_bit, around(16)),
    7: Block("Q5_1", 32, 32, _FIVE_LEAST, _neighbours_with_fifth_bit, from_least),
    8: _Q8_0,
}
"""Those until May 2023."""

SECOND: Mapping[int, Block] = {
    2: Block("Q4_0", 32, 16, _SCALE, packed(4, 16), around(8)),
    3: Block("Q4_1", 32, 16, _LEAST, packed(4, 16), from_least),
    6: ggml_blocks.BLOCKS[6],
    7: ggml_blocks.BLOCKS[7],
    8: _Q8_0,
}
"""Those of May 2023."""
