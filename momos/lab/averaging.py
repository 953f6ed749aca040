"""The exponential moving average of weights along training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch


class Average:
    """Follows tensors that a training moves, and stands in for them when asked.

    After each step it goes a share 1 − decay of the way to what the tensors are now; until
    1 / (1 − decay) steps are done it is their plain mean, so that it forgets where they began.

    Parameters
    ----------
    tensors : iterable of Tensor
        Moved in place, from step to step; of floats.
    decay : float
        In [0, 1).

    Examples
    --------
    >>> weight = torch.zeros(2)
    >>> average = Average([weight], decay=0.9)
    >>> for value in (1.0, 3.0):
    ...     _ = weight.fill_(value)
    ...     average.follow()
    >>> with average.in_place():
    ...     print(weight)
    tensor([2., 2.])
    >>> weight
    tensor([3., 3.])
    """

    def __init__(self, tensors: Iterable[torch.Tensor], decay: float) -> None:
        self._tensors = [tensor.detach() for tensor in tensors]
        self._means = [tensor.clone() for tensor in self._tensors]
        self._decay, self._steps = decay, 0

    def follow(self) -> None:
        """Take up the tensors after a step."""
        self._steps += 1
        share = max(1 - self._decay, 1 / self._steps)
        for mean, tensor in zip(self._means, self._tensors, strict=True):
            mean.lerp_(tensor, share)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The tensors hold their averages inside, and what they held before afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for mean, tensor in zip(self._means, self._tensors, strict=True):
            kept = tensor.clone()
            tensor.copy_(mean)
            mean.copy_(kept)

    @property
    def state(self) -> dict[str, Any]:
        """What a resumed training goes on with."""
        return {"means": self._means, "steps": self._steps}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._steps = state["steps"]
        for mean, stored in zip(self._means, state["means"], strict=True):
            mean.copy_(stored)
