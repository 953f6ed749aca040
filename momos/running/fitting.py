"""Motifs fitted to the blocks of a trained layer, and its rows rounded to them with feedback.

Importance is the second moment of a layer's inputs (Hassibi & Stork 1993). With it, the error of a
block is made good by the blocks that are rounded after it, as GPTQ does for single weights (Frantar
et al., arXiv 2210.17323) and GPTVQ for vectors (van Baalen et al., arXiv 2402.15319).
"""

from __future__ import annotations

import dataclasses

import torch

_SAMPLE = 1 << 15  # blocks that motifs are fitted to
_TILE = 1 << 14  # blocks whose costs are computed at a time
_DAMPING = 0.01  # of the mean of the diagonal, so that the moments can be inverted


@dataclasses.dataclass(frozen=True)
class FittedLayer:
    """What a layer of motifs consists of; shapes as in `momos.MosaicLinear`."""

    indices: torch.Tensor
    motifs: torch.Tensor
    scales: torch.Tensor


def fit_layer(
    weight: torch.Tensor,
    size: int,
    motifs: int,
    moments: torch.Tensor | None,
    rounds: int,
    random: torch.Generator,
) -> FittedLayer:
    """Fit motifs to a matrix, and give each block of it one.

    Parameters
    ----------
    weight : float32, shape (n, d)
    size : int
        Values a block.
    motifs : int
    moments : float32, shape (d, d), optional
        Sum of the outer products of inputs.
    rounds : int
        Of Lloyd's iteration.
    random : Generator
    """
    rows, columns = weight.shape
    missing = -columns % size
    weight = torch.nn.functional.pad(weight.detach().float(), (0, missing))
    moments = None if moments is None else _padded(moments, columns, missing)
    scales = weight.square().mean(dim=1).sqrt()
    scales = torch.where(scales > 0, scales, 1.0)
    scaled = weight / scales[:, None]
    importance = torch.ones(columns + missing) if moments is None else moments.diagonal()
    found = _fit_motifs(scaled, scales, importance.reshape(-1, size), motifs, rounds, random)
    if moments is None:
        nearest = _nearest(scaled.reshape(-1, size), torch.ones(1, size), found)
        indices = nearest.reshape(rows, -1).T.to(torch.uint8)
    else:
        indices = _round_with_feedback(scaled, found, moments)
    made = found[indices.T.long()].reshape(rows, -1)
    return FittedLayer(indices, found.T.contiguous(), _best_scales(weight, made, moments, scales))


def _padded(moments: torch.Tensor, columns: int, missing: int) -> torch.Tensor:
    """Moments that can be inverted, the inputs that only fill up independent of the others."""
    whole = torch.eye(columns + missing)
    mean = moments.diagonal().mean().clamp(min=1e-30)
    whole[:columns, :columns] = moments / mean
    whole.diagonal().add_(_DAMPING)
    return whole


def _fit_motifs(
    scaled: torch.Tensor, scales: torch.Tensor, importance: torch.Tensor, motifs: int, rounds: int,
    random: torch.Generator,
) -> torch.Tensor:  # fmt: skip
    """Lloyd's iteration on a sample of blocks, shape (motifs, size)."""
    size, columns = importance.shape[1], len(importance)
    blocks = scaled.reshape(-1, size)
    chosen = torch.randperm(len(blocks), generator=random)[:_SAMPLE]
    points, weights = blocks[chosen], importance[chosen % columns]
    shares = weights * scales[chosen // columns, None].square()
    found = points[:motifs].clone()
    found = torch.cat([found, found[: motifs - len(found)]]) if len(found) < motifs else found
    for _ in range(rounds):
        nearest = _nearest(points, weights, found)
        sums = torch.zeros_like(found).index_add_(0, nearest, points * shares)
        total = torch.zeros_like(found).index_add_(0, nearest, shares)
        found = torch.where(total > 0, sums / total.clamp(min=1e-30), found)
        lost = (total[:, 0] == 0).nonzero()[:, 0]
        again = torch.randint(len(points), (len(lost),), generator=random)
        found[lost] = points[again]
    return found


def _nearest(points: torch.Tensor, weights: torch.Tensor, motifs: torch.Tensor) -> torch.Tensor:
    """The motif of least weighted squared distance of each point; one row of weights is all's."""
    squares, twice = motifs.square().T, -2 * motifs.T
    found = torch.empty(len(points), dtype=torch.int64)
    for start in range(0, len(points), _TILE):
        tile = slice(start, start + _TILE)
        weight = weights if len(weights) == 1 else weights[tile]
        costs = torch.addmm(weight @ squares, points[tile] * weight, twice)
        found[tile] = costs.argmin(dim=1)
    return found


def _round_with_feedback(
    scaled: torch.Tensor, motifs: torch.Tensor, moments: torch.Tensor
) -> torch.Tensor:
    """Indices, uint8, shape (blocks, n): each block's nearest motif as the outputs see it."""
    size, left = motifs.shape[1], scaled.clone()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moments.double()))
    upper = torch.linalg.cholesky(inverse, upper=True).float()
    indices = torch.empty(scaled.shape[1] // size, len(scaled), dtype=torch.uint8)
    for number, start in enumerate(range(0, scaled.shape[1], size)):
        stop = start + size
        mine = torch.linalg.inv(upper[start:stop, start:stop])
        seen, motifs_seen = left[:, start:stop] @ mine, motifs @ mine
        nearest = _nearest(seen, torch.ones(1, size), motifs_seen)
        lost = seen - motifs_seen[nearest]
        left[:, stop:] -= lost @ upper[start:stop, stop:]
        indices[number] = nearest
    return indices


def _best_scales(
    weight: torch.Tensor, made: torch.Tensor, moments: torch.Tensor | None, before: torch.Tensor
) -> torch.Tensor:
    """The scale of each row whose outputs are nearest to those of the weights."""
    seen = made if moments is None else made @ moments
    squares = (seen * made).sum(dim=1)
    best = (seen * weight).sum(dim=1) / squares.clamp(min=1e-30)
    return torch.where((squares > 0) & (best > 0), best, before)
