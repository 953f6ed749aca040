"""The chain of nulls: which step of it saves how many bits, and which of them chance explains.

::

    gaussian       independent normal weights of the same mean and deviation
    shuffled       the weights' own values at random places        − : what the values save
    row-shuffled   each row's own values at random places in it    − : what the scale of rows saves
    scaled         rows' and columns' scales kept, all else moved  − : what that of columns saves
    actual         the weights                                     − : what their arrangement saves

Each keeps what the one before it keeps, and more, so that the differences add up. Two of them are
tests: the weights against shuffled ones, which is exact, and, if these are longer, against scaled
ones, which is approximate, for scales are fitted.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Iterator, Mapping

from kolmo.checkpoints import Checkpoint
from kolmo.engine.pool import open_pool
from kolmo.engine.run import Run
from kolmo.engine.session import measure_all
from kolmo.errors import KolmoError
from kolmo.estimators.base import CodeLength
from kolmo.estimators.shortest import ShortestOf
from kolmo.execution import Stages
from kolmo.measure import Measurement, Plan, Variant
from kolmo.nulls import Null, get_null
from kolmo.options import Settings
from kolmo.outcomes import Failed, Outcome
from kolmo.pvalues import is_significant
from kolmo.quantize import get_quantizer
from kolmo.store import RunMemory
from kolmo.structure.sample import Sample, SampledTensor, draw_sample
from kolmo.structure.sequential import MOST, Settled, settled

DISTORTION = "nmse:0.001,axis=tensor"
"""The quantizer of the test: one step for a tensor, so that the scales of rows and columns show."""

CODES = "context+mosaic+lowrank"
"""Codes of a tensor, of which the shortest counts: bounds that see different structure."""

CODES_OF_WINDOWS = "context+mosaic"
"""Those of a tensor of which only windows are there: too few rows for a rank."""

GAUSSIAN, SHUFFLED, ROWS, SCALED = "gaussian", "shuffled", "row-shuffled", "scaled"

CHAIN = (GAUSSIAN, SHUFFLED, ROWS, SCALED)
"""The nulls of the chain, each of which keeps more than the one before."""

_MEANS = {GAUSSIAN: 3, ROWS: 5}  # draws of the nulls that are no tests
_ROUNDS = (6, 9, MOST - 15)  # draws that are made before it is looked whether more are needed


@functools.cache
def _null(name: str) -> Null:
    return get_null(name)


@dataclasses.dataclass(frozen=True)
class DrawsPlan(Plan):
    """A plan of some draws: those from number ``first`` on, and with number 0 the weights."""

    first: int = 0

    @property
    def variants(self) -> list[Variant]:
        drawn = [v for null in self.nulls for v in self.variants_of(null)]
        return [Variant(), *drawn] if self.first == 0 else drawn

    def variants_of(self, null: Null) -> list[Variant]:
        return [Variant(null, number) for number in range(self.first, self.first + self.draws)]


class ChainTest:
    """The test of one checkpoint.

    Attributes
    ----------
    sample : Sample
    by_rule : int
        Tensors that are not in it, for a rule makes them: masks, positions, constants.
    measurement : Measurement
    """

    def __init__(
        self, checkpoint: Checkpoint, weights: int, seed: int, by_rule: Collection[str] = ()
    ) -> None:
        tested = [tensor for name, tensor in checkpoint.items() if name not in by_rule]
        self.by_rule = len(checkpoint) - len(tested)
        self.sample: Sample = draw_sample(checkpoint.holding(tested, []), weights, seed)
        codes = CODES if self.sample.share == 1 else CODES_OF_WINDOWS
        self.measurement = Measurement(get_quantizer(DISTORTION), ShortestOf(codes))
        self._known: dict[tuple[str, Variant], Outcome] = {}
        self._drawn: dict[str, set[int]] = {}  # numbers of the draws of each null
        self._outcomes: dict[str, Settled | None] = {}  # of what is known by now
        self._source = checkpoint

    @property
    def tensors(self) -> Checkpoint:
        """The sampled tensors, as a checkpoint."""
        return self._source.holding([piece.tensor for piece in self.sample.pieces], [])

    def take(self, run: Run) -> None:
        """Take what a run found."""
        for (name, _, variant), result in run.results().items():
            assert name is not None
            if isinstance(result.outcome, Failed):  # a sum without it would be another figure
                raise KolmoError(result.outcome.reason)
            self._known[name, variant] = result.outcome
            if variant.null is not None:
                self._drawn.setdefault(variant.null.name, set()).add(variant.number)
        self._outcomes.clear()

    @property
    def pieces(self) -> list[SampledTensor]:
        """Those that the code and the quantizer take."""
        actual = Variant()
        return [p for p in self.sample.pieces if self._code(p.tensor.name, actual) is not None]

    def actual(self, piece: SampledTensor | None = None) -> float:
        """Bits of a tensor, or of all of them; of a sample, what it stands for."""
        return self._bits(Variant(), piece)

    def draws(self, null: str, piece: SampledTensor | None = None) -> list[float]:
        """The same of every draw of a null, in the order of their numbers."""
        numbers = sorted(self._drawn.get(null, ()))
        return [self._bits(Variant(_null(null), number), piece) for number in numbers]

    def is_drawn(self, null: str) -> bool:
        """Whether there is a draw of a null."""
        return null in self._drawn

    def outcome(self, null: str) -> Settled | None:
        """The outcome of the test against a null; None while it takes more draws."""
        if not self.pieces:
            return Settled(1.0, 0)
        if null not in self._outcomes:
            self._outcomes[null] = settled(self.actual(), self.draws(null))
        return self._outcomes[null]

    def code(self, piece: SampledTensor) -> CodeLength:
        """The code length of the sample of a tensor."""
        found = self._code(piece.tensor.name, Variant())
        assert found is not None
        return found

    def _bits(self, variant: Variant, piece: SampledTensor | None) -> float:
        pieces = self.pieces if piece is None else [piece]
        found = [(p, self._code(p.tensor.name, variant)) for p in pieces]
        return math.fsum(p.stands_for / p.tensor.numel * code.bits for p, code in found if code)

    def _code(self, name: str, variant: Variant) -> CodeLength | None:
        found = self._known.get((name, variant))
        return found if isinstance(found, CodeLength) else None


@dataclasses.dataclass(frozen=True)
class Bench:
    """What trials are run with."""

    settings: Settings
    memory: RunMemory | None
    stages: Stages

    def draw(self, trials: Mapping[str, ChainTest], null: str, first: int, draws: int) -> None:
        """Make some draws of a null, for all of these trials side by side."""
        runs = {name: self._run(trial, null, first, draws) for name, trial in trials.items()}
        if not runs:
            return
        try:
            with open_pool(self.settings.executor, self.settings.threads) as pool:
                threads = dataclasses.replace(pool, processes=None)  # a round is too short for them
                measure_all(runs, threads, self.stages.next())
        finally:
            for name, run in runs.items():
                trials[name].take(run)

    def _run(self, trial: ChainTest, null: str, first: int, draws: int) -> Run:
        plan = DrawsPlan(
            (trial.measurement,), (_null(null),), draws,
            model_scope=False, seed=self.settings.seed, first=first,
        )  # fmt: skip
        return Run(trial.tensors, plan, self.memory)


def run_trials(trials: Mapping[str, ChainTest], bench: Bench) -> None:
    """Test all checkpoints; what was found is in the trials, whatever ends it early."""
    _settle(trials, SHUFFLED, bench)
    bench.draw(trials, GAUSSIAN, 0, _MEANS[GAUSSIAN])
    arranged = {name: trial for name, trial in trials.items() if is_arranged(trial)}
    bench.draw(arranged, ROWS, 0, _MEANS[ROWS])
    _settle(arranged, SCALED, bench)


def is_arranged(trial: ChainTest) -> bool:
    """Whether the weights are shorter than shuffled ones, by more than chance."""
    outcome = trial.outcome(SHUFFLED)
    return outcome is not None and is_significant(outcome.p)


def _settle(trials: Mapping[str, ChainTest], null: str, bench: Bench) -> None:
    first = 0
    for draws in _ROUNDS:
        waiting = {n: t for n, t in trials.items() if first == 0 or t.outcome(null) is None}
        bench.draw(waiting, null, first, draws)
        first += draws


def steps(trial: ChainTest) -> Iterator[str]:
    """The nulls of the chain that were drawn."""
    return (null for null in CHAIN if trial.is_drawn(null))
