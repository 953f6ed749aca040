"""The same projection inside other people's training loops.

Whatever drives the loop, in the end it calls ``optimizer.step()``; torch runs a hook after it.
"""

from __future__ import annotations

from typing import Any

import torch

from kolmo.errors import InputError
from momos.projection import MoMos, ProjectionStats


class ProjectEvery:
    """Projects after every so many steps of an optimizer.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its state is left as it is; its own steps stay dense.
    projector : MoMos
    every : int
        Steps from one projection to the next.

    Attributes
    ----------
    steps : int
        Steps seen so far.
    stats : ProjectionStats or None
        Of the last projection.

    Notes
    -----
    A checkpoint that claims to be a mosaic is one taken right after a projection: call `finish`
    after the last step. As a context manager it does so by itself, unless an error leaves it.

    Examples
    --------
    >>> model = torch.nn.Linear(8, 4)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with ProjectEvery(optimizer, MoMos(model, motifs=3), every=2) as projection:
    ...     for _ in range(5):
    ...         optimizer.zero_grad()
    ...         model(torch.ones(1, 8)).sum().backward()
    ...         optimizer.step()
    >>> projection.steps, projection.stats.motifs
    (5, 3)
    """

    def __init__(self, optimizer: torch.optim.Optimizer, projector: MoMos, every: int = 1) -> None:
        if every < 1:
            raise InputError(f"projections come every 1 or more steps, not {every}")
        self._projector, self._every = projector, every
        self._hook = optimizer.register_step_post_hook(self._after_step)
        self.steps = 0
        self.stats: ProjectionStats | None = None

    def finish(self) -> None:
        """Stop, and project if the weights have moved since the last projection."""
        self._hook.remove()
        if self.stats is None or self.steps % self._every:
            self.stats = self._projector.project()

    def __enter__(self) -> ProjectEvery:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
        else:
            self._hook.remove()

    def _after_step(self, *_: Any) -> None:
        self.steps += 1
        if self.steps % self._every == 0:
            self.stats = self._projector.project()
