"""The scan of the nearest-motif search as one GPU kernel, compiled by Triton.

Each program compares a few blocks with all motifs, so that costs never leave the registers.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

_ROWS = 64
_MOTIFS = 32


@triton.jit
def _scan(
    blocks, motifs, norms, best_out, second_out, chosen_out, m, k,
    size: tl.constexpr, rows: tl.constexpr, lanes: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    lane = tl.arange(0, lanes)
    inside = row < m
    best = tl.full((rows, lanes), float("inf"), tl.float32)
    second = tl.full((rows, lanes), float("inf"), tl.float32)
    chosen = tl.zeros((rows, lanes), tl.int32)
    for start in range(0, k, lanes):
        motif = start + lane
        there = motif < k
        norm = tl.load(norms + motif, mask=there, other=float("inf"))
        cost = tl.zeros((rows, lanes), tl.float32) + norm[None, :]
        for place in range(size):
            value = tl.load(blocks + row * size + place, mask=inside, other=0.0)
            weight = tl.load(motifs + motif * size + place, mask=there, other=0.0)
            cost += (-2 * value)[:, None] * weight[None, :]
        less = cost < best
        second = tl.where(less, best, tl.minimum(second, cost))
        best = tl.where(less, cost, best)
        chosen = tl.where(less, motif[None, :], chosen)
    least = tl.min(best, axis=1)
    winner = tl.argmin(best, axis=1)
    won = lane[None, :] == winner[:, None]
    tl.store(best_out + row, least, mask=inside)
    tl.store(second_out + row, tl.min(tl.where(won, second, best), axis=1), mask=inside)
    tl.store(chosen_out + row, tl.sum(tl.where(won, chosen, 0), axis=1), mask=inside)


def two_least(
    blocks: torch.Tensor, motifs: torch.Tensor, norms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Least and second least cost of each block, and the motif of the least."""
    best, second = (torch.empty(len(blocks), device=blocks.device) for _ in range(2))
    chosen = torch.empty(len(blocks), dtype=torch.int32, device=blocks.device)
    grid: Any = (triton.cdiv(len(blocks), _ROWS),)
    _scan[grid](
        blocks, motifs, norms, best, second, chosen, len(blocks), len(motifs),
        size=blocks.shape[1], rows=_ROWS, lanes=_MOTIFS,
    )  # fmt: skip
    return best, second, chosen.long()
