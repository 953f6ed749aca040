"""The price of a bit at which the indices of a mosaic take as many bits as are wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from momos.learned.slots import Slot

_GENTLE = 0.5  # of 2: motifs follow a rate slowly, and those that die do not come back


def first_rate(bits: float) -> float:
    """The price at which Gaussian weights of variance 1 take so many bits: −dD/dR of D = 4^−R."""
    return 2 * math.log(2) * math.pow(4.0, -bits)


def aimed_rate(slots: Sequence[Slot], bits: float, rate: float) -> float:
    """A rate closer to the one at which indices take ``bits`` a weight than this one is."""
    weights = sum(slot.latent.numel() for slot in slots)
    excess = sum(map(index_length, slots)) / weights - bits
    return rate * math.pow(2.0, _GENTLE * max(-2.0, min(2.0, excess)))


def index_length(slot: Slot) -> float:
    """Bits of a tensor's indices at the odds of its last refit."""
    others = slot.other_bits + slot.motif_bits[slot.indices.long()]
    return float(torch.where(slot.indices == 0, slot.zero_bits, others).double().sum())
