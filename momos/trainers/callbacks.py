"""Projections and learned mosaics inside other people's training loops.

Whatever drives the loop, in the end it calls ``optimizer.step()``; torch runs a hook after it.
Trainers that own the loop call callbacks: those of
`momos.trainers.lightning` and `momos.trainers.transformers` are built on `MosaicCallback`.
"""

from __future__ import annotations

from typing import Any

import torch

from kolmo.errors import InputError
from momos.config import LearnedMosaic, SampledMosaic
from momos.learned.learner import Learner
from momos.mosaic.mosaic import Mosaic
from momos.mosaic.stats import ProjectionStats
from momos.sampled.projection import MoMos
from momos.sampled.sampler import Sampler
from momos.wrapping import freeze, wrap


class ProjectEvery:
    """Projects after every ``every`` steps of an optimizer.

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
        Statistics of the last projection.

    Notes
    -----
    A checkpoint that claims to be a mosaic is one taken right after a projection: call `finish`
    after the last step. A context manager does so by itself, unless an error leaves it.

    Examples
    --------
    >>> model = torch.nn.Linear(8, 4)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with ProjectEvery(optimizer, MoMos(model, SampledMosaic(motifs=3)), every=2) as projection:
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


class MosaicCallback:
    """Base of the trainers' callbacks: wraps a model, and freezes it at the end.

    Parameters
    ----------
    config : SampledMosaic or LearnedMosaic, optional
        ``LearnedMosaic()`` by default.
    seed : int

    Attributes
    ----------
    mosaic : Mosaic or None
        The mosaic, once the training has ended.
    """

    def __init__(self, config: SampledMosaic | LearnedMosaic | None = None, seed: int = 0) -> None:
        self._config, self._seed = config, seed
        self._learner: Learner | Sampler | None = None
        self.mosaic: Mosaic | None = None

    @property
    def learner(self) -> Learner | Sampler:
        """The learner of the present training.

        Raises
        ------
        InputError
            If there is no training: a callback serves one.
        """
        if self._learner is None:
            raise InputError("no mosaic is being learned: make a new callback and a new trainer")
        return self._learner

    def begin(self, model: torch.nn.Module) -> None:
        """Wrap the model, before its optimizer is made; the number of steps is set later."""
        if self._learner is None:
            self._learner = wrap(model, self._config, steps=1, seed=self._seed, automatic=False)

    def end(self, model: torch.nn.Module) -> None:
        """Freeze the model."""
        self.mosaic = freeze(model)
        self._learner = None
