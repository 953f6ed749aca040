"""Images moved and mirrored at random, with a generator of their own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from kolmo.errors import InputError


class Augmentation:
    """Moves and mirrors the images of a batch, each by a draw of its own.

    Parameters
    ----------
    shape : tuple of int
        Of an image: channels, height, width.
    shift : int
        Pixels at most.
    flip : bool
    seed : int

    Raises
    ------
    InputError
        If there is anything to do, and the data are no images.

    Examples
    --------
    >>> moved = Augmentation((1, 2, 2), shift=1, flip=False, seed=0)(torch.ones(3, 4))
    >>> moved.shape, sorted({*moved.sum(dim=1).tolist()} - {1.0, 2.0, 4.0})
    (torch.Size([3, 4]), [])
    """

    def __init__(self, shape: tuple[int, ...], shift: int, flip: bool, seed: int) -> None:
        if (shift or flip) and len(shape) != 3:
            raise InputError(f"only images can be moved or mirrored, not data of shape {shape}")
        self._shape, self._shift, self._flip = shape, shift, flip
        self._random = np.random.default_rng((seed, 2))

    @property
    def random_state(self) -> dict[str, Any]:
        """State of the generator, which a resumed run goes on with."""
        return dict(self._random.bit_generator.state)

    @random_state.setter
    def random_state(self, state: dict[str, Any]) -> None:
        self._random.bit_generator.state = state

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images, shape (batch, features) → as many others; new memory if anything changes."""
        if not (self._shift or self._flip):
            return images
        _, height, width = self._shape
        rows = np.broadcast_to(np.arange(height), (len(images), height))
        columns = np.broadcast_to(np.arange(width), (len(images), width))
        if self._flip:
            mirrored = self._random.random((len(images), 1)) < 0.5
            columns = np.where(mirrored, columns[:, ::-1], columns)
        if self._shift:
            down, right = self._random.integers(-self._shift, self._shift + 1, (2, len(images), 1))
            rows, columns = rows + down, columns + right
        return self._taken(images, rows, columns)

    def _taken(self, images: torch.Tensor, rows: Any, columns: Any) -> torch.Tensor:
        """The pixels of these rows and columns of each image; zeros outside it."""
        channels, height, width = self._shape
        inside = ((rows >= 0) & (rows < height))[:, :, None]
        inside = inside & ((columns >= 0) & (columns < width))[:, None, :]
        places = rows.clip(0, height - 1)[:, :, None] * width + columns.clip(0, width - 1)[:, None]
        flat = torch.from_numpy(places.reshape(len(images), 1, -1)).expand(-1, channels, -1)
        kept = torch.from_numpy(inside.reshape(len(images), 1, -1))
        pixels = images.reshape(len(images), channels, math.prod(self._shape[1:]))
        return (pixels.gather(2, flat) * kept).reshape(len(images), -1)
