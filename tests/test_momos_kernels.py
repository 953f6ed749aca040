"""Which motif each block of a learned mosaic gets: the compiled loop and torch, by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from momos.learned import kernels
from momos.learned.slots import cheapest_motifs

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def assign(blocks, columns, scales, motifs, zero_bits, other_bits, motif_bits, rate, threshold):
    indices, projected = np.full(len(blocks), 9, np.int32), np.full_like(blocks, 9)
    kernels.assign_blocks(
        blocks, columns, scales, motifs, zero_bits, other_bits, motif_bits, rate, threshold,
        indices, projected,
    )  # fmt: skip
    return indices, projected


@given(
    st.integers(1, 9),
    st.integers(2, 20),
    st.integers(0, 50),
    st.booleans(),
    st.sampled_from([0.0, 0.7, 3.0]),
)
@settings(max_examples=60, deadline=None)
def test_each_block_gets_the_cheapest_motif(size, k, seed, channels, rate):
    """Few blocks are worth a look at a high rate, most at a low one: both ways are taken."""
    random = np.random.default_rng(seed)
    rows, columns = 5, 300
    blocks = random.normal(size=(rows * columns, size)).astype(np.float32)
    scales = random.uniform(0.5, 2, size=rows if channels else 1).astype(np.float32)
    motifs = random.normal(size=(k, size)).astype(np.float32)
    motifs[0] = 0
    zero_bits, other_bits = random.uniform(0, 5, (2, len(blocks))).astype(np.float32)
    motif_bits = random.uniform(0, 5, k).astype(np.float32)
    motif_bits[0] = 0
    found, projected = assign(
        blocks, columns, scales, motifs, zero_bits, other_bits, motif_bits, rate, np.nan
    )
    each = np.repeat(scales, columns) if channels else np.full(len(blocks), scales[0])
    scaled = blocks.astype(np.float64) / each[:, None]
    cost = np.square(scaled[:, None] - motifs.astype(np.float64)).sum(axis=2)
    cost[:, 0] += rate * zero_bits
    cost[:, 1:] += rate * (other_bits[:, None] + motif_bits[1:])
    paid = (np.float32(rate) * bits for bits in (zero_bits, other_bits, motif_bits))
    args = (motifs, *paid)
    for device in DEVICES:
        tensors = [torch.from_numpy(a).to(device) for a in (blocks / each[:, None], *args)]
        by_torch = cheapest_motifs(*tensors).cpu().numpy()
        for indices in (found, by_torch):
            chosen = cost[np.arange(len(blocks)), indices]
            assert (chosen <= cost.min(axis=1) + 1e-4).all()
    assert np.array_equal(projected, motifs[found] * each[:, None].astype(np.float32))


@pytest.mark.parametrize("threshold", [-9.0, 0.0, 0.3, 1.0, 4.0, 99.0])
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_the_zero_motif_goes_to_what_is_worth_less_than_a_threshold(threshold, rate):
    random = np.random.default_rng(0)
    blocks = random.normal(size=(3000, 1)).astype(np.float32)
    scales = random.uniform(0.5, 2, 3).astype(np.float32)
    motifs = np.float32([[0], [1.2], [-1.2], [2.5], [0.01]])
    zero_bits, other_bits = random.uniform(0, 5, (2, 3000)).astype(np.float32)
    motif_bits = random.uniform(0, 5, 5).astype(np.float32)
    found, projected = assign(
        blocks, 1000, scales, motifs, zero_bits, other_bits, motif_bits, rate, threshold
    )
    scaled = blocks[:, 0] / np.repeat(scales, 1000)
    worth = np.square(scaled) - np.float32(rate) * (other_bits - zero_bits)
    assert np.array_equal(found == 0, worth < threshold)
    cost = np.square(scaled[:, None] - motifs[1:, 0]) + rate * motif_bits[1:]
    others = cost[np.arange(3000), found - 1][found > 0]
    assert (others <= cost.min(axis=1)[found > 0] + 1e-4).all()
    assert np.array_equal(projected[:, 0], motifs[found, 0] * np.repeat(scales, 1000))
