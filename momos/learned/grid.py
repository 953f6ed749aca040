"""The uniform grid of a learned mosaic: levels that are whole multiples of a step, which learns.

::

    code length of a level       the line between two levels is what a latent weight there costs;
      ●                       ●  its slope, times the rate, joins the weight's gradient, and so
        ●                   ●    draws it to the level that is shorter to write, mostly 0
          ●       ●       ●
    ──┴───┴───┴───●───┴───┴───┴──  levels −3 … 3, of 3 bits
"""

from __future__ import annotations

import numpy as np
import torch

from momos.learned.rates import Floats
from momos.learned.slots import Slot

_COARSE = 0.7  # first step at a rate, in root mean squares: fewer levels, of which all get used


def grid_levels(bits: int) -> Floats:
    """The levels of a grid, shape (2^bits − 1, 1), in the order of their indices.

    >>> grid_levels(3)[:, 0].tolist()
    [0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0]
    """
    levels = np.arange(1, 2 ** (bits - 1), dtype=np.float32)
    return np.concatenate([[0], np.column_stack([levels, -levels]).ravel()], dtype=np.float32)[
        :, None
    ]


def first_steps(scales: Floats, bits: int, rate: float) -> Floats:
    """Steps of tensors or rows of these root mean squares.

    Without a rate about those of least squared error of Gaussian weights (Max 1960: 1.224, 0.586,
    0.335 and 0.188 of 2 to 5 bits). With one no finer than 0.7: levels that fine would hardly be
    worth their bits.
    """
    finest = 1.224 * (2 ** (bits - 1) - 1) ** (-2 / 3)
    return np.asarray(scales * (max(finest, _COARSE) if rate else finest), np.float32)


def round_to_grid(slot: Slot, steps: torch.Tensor) -> None:
    """Give each weight the nearest level, times the step."""
    slot.follow()
    scaled, step = _scaled(slot, steps)
    most = len(slot.motif_bits) // 2
    levels = scaled.round_().clamp_(-most, most)
    slot.indices = torch.where(levels > 0, 2 * levels - 1, -2 * levels).int().reshape(-1)
    # The 0.0 makes −0.0, another bit pattern, 0.0.
    slot.projected = (levels * step + 0.0).reshape(slot.latent.shape).to(slot.latent)


class Pull:
    """What a backward pass does to one tensor of a grid: a hook on the gradient of its weights.

    The gradient of the loss, which came straight through the rounding, gets the price of the bits
    beside it; weights beyond the last level get none of the loss's. The gradient of the logarithm
    of each step is added to ``gathered``: of a weight within the grid (level · step − weight) times
    its own gradient (Esser et al. 2020, learned step size quantization), and what the price saves.
    """

    def __init__(
        self, slot: Slot, steps: torch.Tensor, price: float, gathered: torch.Tensor
    ) -> None:
        self._slot, self._gathered, self._rows = slot, gathered, len(steps)
        self._seen = slot.projected
        scaled, step = _scaled(slot, steps)
        most = len(slot.motif_bits) // 2
        self._inside = (scaled.abs() <= most).reshape(slot.latent.shape)
        self.pull = _slopes(slot, scaled, step).mul_(price) if price else None

    @torch.no_grad()
    def __call__(self, gradient: torch.Tensor) -> torch.Tensor:
        latent, within = self._slot.latent.detach(), gradient * self._inside
        by_step = gradient * self._seen - within * latent
        if self.pull is not None:
            by_step -= self.pull * latent
            within += self.pull
        self._gathered += self._sums(by_step.reshape(self._rows, -1))
        return within

    def _sums(self, values: torch.Tensor) -> torch.Tensor:
        if values.device.type != "cpu":
            return values.sum(dim=1).to(self._gathered.device)
        # numpy's sums do not depend on the number of threads.
        sums = values.float().numpy().sum(axis=1, dtype=np.float64)
        return torch.from_numpy(sums).float()


def _slopes(slot: Slot, scaled: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Bits that each weight costs more, as it grows by one, in the shape of the tensor.

    Code lengths are those of `Slot.price`, on the lines between the levels. Beyond the last level
    they rise no more.
    """
    signs, size = scaled.sign().reshape(-1), scaled.abs().reshape(-1)
    below, most = size.int(), len(slot.motif_bits) // 2
    lengths = slot.motif_bits[1::2]
    more = torch.cat([lengths[:1], lengths.diff(), lengths.new_zeros(1)])
    rises = more[below.clamp_(max=most)]
    rises += torch.where(below == 0, slot.other_bits - slot.zero_bits, 0.0)
    rises = rises.mul_(signs).reshape(scaled.shape).div_(step)
    return rises.reshape(slot.latent.shape).to(slot.latent)


def _scaled(slot: Slot, steps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights in steps, a column, and the steps beside them."""
    step = slot.block_scales(steps)
    return slot.blocks() / step, step
