"""The nearest motif of each block of torch tensors, exact, on a GPU or any other device.

Definition and steps are those of `momos.nearest.exact`: float32 proposes a motif and a bound on its
error, and where that error might hide the nearest, float64 decides among all. Sums are written out
value by value: a matrix product might run in TF32 or half precision, beyond the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch

from momos.nearest.exact import distinct_motifs, power_to_one
from momos.nearest.kernels import EPSILON, FAR, FLOOR

Scan = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor]
]

_SLAB = 1 << 22  # values at a time, at most about 130 MB of scratch
_TILE = 1 << 23  # costs at a time where plain torch computes them, as much scratch


def nearest_on_device(blocks: torch.Tensor, motifs: torch.Tensor) -> torch.Tensor:
    """Indices as of `momos.nearest.exact.nearest_motifs`, computed where the tensors are.

    On a CPU the compiled search of that module is far faster.

    Parameters
    ----------
    blocks, motifs : Tensor, shapes (m, s) and (k, s)
        Finite floats on one device.

    Returns
    -------
    Tensor of int64, shape (m,)

    Examples
    --------
    >>> motifs = torch.tensor([[0.0, 0.0], [2.0, 2.0], [2.0, 2.0]])
    >>> nearest_on_device(torch.tensor([[0.5, 0.0], [3.0, 3.0], [1.0, 1.0]]), motifs).tolist()
    [0, 1, 0]
    """
    values, first = distinct_motifs(motifs.double().cpu().numpy())
    centre = values.mean(axis=0)
    scale = power_to_one(values - centre)
    kinds, labels, middle = (torch.from_numpy(a).to(blocks.device) for a in (values, first, centre))
    fast = ((kinds - middle) * scale).float()
    nearest = torch.empty(len(blocks), dtype=torch.int64, device=blocks.device)
    clear = torch.empty(len(blocks), dtype=torch.bool, device=blocks.device)
    for start in range(0, len(blocks), rows := max(1, _SLAB // blocks.shape[1])):
        slab = slice(start, start + rows)
        nearest[slab], clear[slab] = _propose((blocks[slab].double() - middle) * scale, fast)
    for rest in torch.split(torch.nonzero(~clear)[:, 0], max(1, _TILE // (4 * len(kinds)))):
        nearest[rest] = _decide(blocks[rest].double(), kinds, scale)
    return labels[nearest]


def _propose(blocks: torch.Tensor, motifs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The motif of least |m|² − 2 b·m in float32, and whether it is certainly the nearest."""
    near = blocks.clamp(-FAR, FAR).float()
    norms = motifs.double().square().sum(dim=1).float()
    best, second, chosen = _scan_of(near)(near, motifs, norms)
    squared = near.square().sum(dim=1)
    # Bound on the error of two costs, as in `momos.nearest.kernels`.
    length = 2 * squared.sqrt() + (squared + best).clamp(min=0).sqrt()
    error = 4 * (motifs.shape[1] + 8) * float(EPSILON) * length.square() + float(FLOOR)
    return chosen, (second > best + error) & (blocks.abs().amax(dim=1) <= FAR)


def _scan_of(blocks: torch.Tensor) -> Scan:
    """The Triton kernel where there is one (torch for CUDA brings it), else plain torch."""
    if blocks.is_cuda and find_spec("triton"):
        # Here, because Triton is not installed everywhere.
        from momos.nearest.triton import two_least

        return two_least
    return _two_least


def _two_least(
    blocks: torch.Tensor, motifs: torch.Tensor, norms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    parts = [
        _two_least_of_tile(tile, motifs, norms)
        for tile in torch.split(blocks, max(1, _TILE // len(motifs)))
    ]
    best, second, chosen = map(torch.cat, zip(*parts, strict=True))
    return best, second, chosen


def _two_least_of_tile(
    blocks: torch.Tensor, motifs: torch.Tensor, norms: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    costs = norms.repeat(len(blocks), 1)
    for place in range(motifs.shape[1]):
        costs.addcmul_(blocks[:, place, None], motifs[None, :, place], value=-2)
    best, chosen = costs.min(dim=1)
    second = costs.scatter_(1, chosen[:, None], torch.inf).amin(dim=1)
    return best, second, chosen


def _decide(blocks: torch.Tensor, motifs: torch.Tensor, scale: float) -> torch.Tensor:
    """The nearest motif by the definition: float64, in the order of the values; the first of ties.

    The scale, a power of two, only prevents underflow and overflow of squares.
    """
    distances = blocks.new_zeros((len(blocks), len(motifs)))
    for place in range(blocks.shape[1]):
        distances += ((blocks[:, place, None] - motifs[None, :, place]) * scale).square_()
    least = distances.amin(dim=1)
    number = torch.arange(len(motifs), device=blocks.device)
    # argmin may return any of several equals; this returns the first.
    return torch.where(distances == least[:, None], number, len(motifs)).amin(dim=1)
