"""An estimator that kills the worker which measures a certain tensor."""

import dataclasses
import os
import signal
from pathlib import Path

from kolmo.estimators.base import CodeLength, Estimator


@dataclasses.dataclass(frozen=True)
class Deadly(Estimator):
    """Counts weights; a process that meets so many of them at once is killed, except the owner.

    With a marker this happens once: the file is made before.
    """

    name = "deadly"
    kind = "estimate"
    weights: int = 0
    owner: int = 0
    marker: str = ""

    def _start(self, shapes, alphabet):
        return Counting(self)

    def meet(self, weights):
        if weights != self.weights or os.getpid() == self.owner:
            return
        if not self.marker or not os.path.exists(self.marker):
            if self.marker:
                Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Counting:
    """Counts weights."""

    def __init__(self, estimator):
        self.estimator, self.taken = estimator, 0

    def update(self, symbols):
        self.estimator.meet(symbols.size)
        self.taken += symbols.size

    def finish(self):
        return CodeLength(float(self.taken), self.taken, self.taken, "estimate")
