"""The ledger of a run: jobs that find facts of tensors, and what becomes of them.

::

    FactsJob      every tensor read once      ─┬─► RelationsJob  tensors whose sketches are alike
                                               └─► records
    SpectraJob    singular values of matrices ───►

Records are plain data, one for each tensor, as the provenance of a report holds them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.loads import is_near
from kolmo.engine.costs import held_bytes
from kolmo.engine.feeding import held
from kolmo.engine.jobs import FINE, Job, TensorsJob
from kolmo.engine.meters import Meter
from kolmo.engine.recall import Recall, RecordKind
from kolmo.ledger.facts import Facts, Noted, find_facts
from kolmo.ledger.patterns import HELD, RULES
from kolmo.ledger.relations import Relation, candidates, relation_of
from kolmo.ledger.spectra import AFFORDABLE, Spectrum, expected_seconds, is_matrix, spectrum_of
from kolmo.measure import Plan, Variant
from kolmo.rates import reading_seconds
from kolmo.text import NAMELESS, printable

RECORD = [
    *(field.name for field in dataclasses.fields(Facts)),
    *("relation", "of", "correlation", "factor"),
    *(field.name for field in dataclasses.fields(Spectrum)),
]
"""Fields of a record, in order: those of `Facts`, `Relation` and `Spectrum`."""

FACTS = RecordKind("facts of a tensor", 1, tuple(f.name for f in dataclasses.fields(Facts)))
SPECTRUM = RecordKind("spectrum", 1, tuple(f.name for f in dataclasses.fields(Spectrum)))
"""What a store keeps; a version is raised when what is found changes."""

_NAMES = {"tensor", "of"}  # fields that a report shows
_TENSOR, _WEIGHT = 1e-3, 3e-9  # seconds of one core
_QUANTUM, _MANY = 0.25, 256  # seconds and tensors that are gathered into one job
_MEMORY = 48 << 20  # bytes of chunks and tables
_COPIES = 32  # bytes a weight of a matrix that is compared with a rule
_PRODUCTS = 192 << 20  # bytes of a matrix of the longest sides, its shuffle and its square


@dataclasses.dataclass(frozen=True, eq=False)
class _OfTensors(TensorsJob):
    """Something found of each of several tensors, which are small ones where there are many."""

    @property
    def is_fine(self) -> bool:
        return self.symbols < FINE * len(self.tensors)


@dataclasses.dataclass(frozen=True, eq=False)
class FactsJob(_OfTensors):
    """The facts of tensors."""

    def run(self, meter: Meter) -> list[Noted]:
        return [self._find(tensor, meter) for tensor in self.tensors]

    def _find(self, tensor: WeightTensor, meter: Meter) -> Noted:
        """Facts take several looks; what is far away is read once, if it can be held."""
        if is_near(tensor.load):
            return find_facts(tensor, meter.add)
        with held(tensor) as at_hand:
            return find_facts(at_hand, meter.add)


@dataclasses.dataclass(frozen=True, eq=False)
class RelationsJob(_OfTensors):
    """What each tensor is to another one, which it is to be compared with."""

    others: tuple[WeightTensor, ...]

    def run(self, meter: Meter) -> list[Relation | None]:
        pairs = zip(self.tensors, self.others, strict=True)
        return [relation_of(tensor, other, meter.add) for tensor, other in pairs]


@dataclasses.dataclass(frozen=True, eq=False)
class SpectraJob(_OfTensors):
    """The spectra of matrices."""

    def run(self, meter: Meter) -> list[Spectrum | None]:
        return [spectrum_of(tensor, meter.add) for tensor in self.tensors]


class Ledger:
    """What a run finds of its tensors besides their code lengths; nothing if it is not asked to.

    Attributes
    ----------
    compared : bool
        Whether tensors have been compared with each other, which waits for the facts of all.
    """

    def __init__(self, tensors: Sequence[WeightTensor], plan: Plan) -> None:
        self._tensors, self.is_kept = tensors, plan.ledger
        self._matrices = [tensor for tensor in tensors if is_matrix(tensor)]
        if not (self._are_affordable if plan.spectra is None else plan.spectra):
            self._matrices = []
        self._places = {tensor: place for place, tensor in enumerate(tensors)}
        self._found: dict[int, Noted] = {}
        self._relations: dict[int, Relation] = {}
        self._spectra: dict[int, Spectrum | None] = {}
        self._waiting = 0  # for jobs that compare tensors
        self.compared = False
        self._recall: Recall | None = None

    @property
    def _are_affordable(self) -> bool:
        return sum(map(expected_seconds, self._matrices)) <= AFFORDABLE

    def jobs(self, recall: Recall | None) -> Iterator[Job]:
        """The jobs that can be done at once, for what is not known from earlier runs."""
        if not self.is_kept:
            return
        if recall and self._tensors:
            self._recollect(recall)
        unknown = [tensor for tensor in self._tensors if self._places[tensor] not in self._found]
        for group in _grouped(unknown, _seconds):
            yield FactsJob(sum(map(_seconds, group)), _memory(group), tuple(group))
        if not unknown:
            yield from self._compare()
        matrices = [t for t in self._matrices if self._places[t] not in self._spectra]
        for group in _grouped(matrices, expected_seconds):
            yield SpectraJob(sum(map(expected_seconds, group)), _PRODUCTS, tuple(group))

    def _recollect(self, recall: Recall) -> None:
        """Take what is kept of the same contents."""
        self._recall = recall
        for tensor, values in recall.records(FACTS, self._tensors).items():
            self._found[self._places[tensor]] = Noted.restored(tensor, values)
        for tensor, values in recall.records(SPECTRUM, self._matrices).items():
            self._spectra[self._places[tensor]] = Spectrum(**values) if values else None

    def take(self, job: Job, found: Any) -> list[Job]:
        """Keep what a job found; gives those that follow from it."""
        if isinstance(job, SpectraJob):
            self._take_spectra(job, found)
        elif isinstance(job, RelationsJob):
            known = zip(job.tensors, found, strict=True)
            self._relations |= {self._places[t]: each for t, each in known if each is not None}
            self._waiting -= 1
            self.compared = not self._waiting
        elif isinstance(job, FactsJob):
            self._take_facts(job, found)
            return self._compare() if len(self._found) == len(self._tensors) else []
        return []

    def _take_facts(self, job: FactsJob, found: Sequence[Noted]) -> None:
        for tensor, noted in zip(job.tensors, found, strict=True):
            self._found[self._places[tensor]] = noted
            if self._recall:
                self._recall.keep_record(FACTS, tensor, noted.values)

    def _take_spectra(self, job: SpectraJob, found: Sequence[Spectrum | None]) -> None:
        for tensor, spectrum in zip(job.tensors, found, strict=True):
            self._spectra[self._places[tensor]] = spectrum
            if self._recall:
                values = dataclasses.asdict(spectrum) if spectrum else {}
                self._recall.keep_record(SPECTRUM, tensor, values)

    def _compare(self) -> list[Job]:
        sketches = [self._found[place].sketch for place in range(len(self._tensors))]
        other = {self._tensors[a]: self._tensors[b] for a, b in candidates(self._tensors, sketches)}
        jobs: list[Job] = [
            RelationsJob(2 * sum(map(_seconds, group)), _MEMORY, tuple(group),
                         tuple(other[tensor] for tensor in group))
            for group in _grouped(list(other), _seconds)
        ]  # fmt: skip
        self._waiting, self.compared = len(jobs), not jobs
        return jobs

    @property
    def by_rule(self) -> set[str]:
        """The names of the tensors that a rule makes."""
        facts = (noted.facts for noted in self._found.values())
        return {each.tensor for each in facts if each.pattern in RULES}

    def records(self) -> list[dict[str, Any]]:
        """One record for each tensor that was read, in the order of the checkpoint."""
        return [self._record(place) for place in sorted(self._found)]

    def _record(self, place: int) -> dict[str, Any]:
        parts = self._found[place].facts, self._relations.get(place), self._spectra.get(place)
        fields = [dataclasses.asdict(part) for part in parts if part is not None]
        known = {name: value for part in fields for name, value in part.items()}
        known |= {name: printable(known[name]) or NAMELESS for name in _NAMES & known.keys()}
        return {name: known[name] for name in RECORD if _is_fact(known.get(name))}


def _is_fact(value: Any) -> bool:
    """Whether there is a value, and JSON has it: sums over huge weights may be infinite."""
    return value not in (None, "") and not (isinstance(value, float) and not math.isfinite(value))


def _seconds(tensor: WeightTensor) -> float:
    """Seconds that the facts of a tensor take, about."""
    size = tensor.numel * tensor.dtype.itemsize
    return _TENSOR + _WEIGHT * tensor.numel + reading_seconds(size)


def _memory(tensors: Iterable[WeightTensor]) -> int:
    """Bytes that a job holds, with the largest tensor that is held, or compared with a rule."""
    return _MEMORY + max(
        _COPIES * (t.numel if t.numel <= HELD else 0) + held_bytes(t, Variant()) for t in tensors
    )


def _grouped(
    tensors: Sequence[WeightTensor], seconds: Callable[[WeightTensor], float]
) -> Iterator[list[WeightTensor]]:
    """Tensors that a job takes together."""
    group: list[WeightTensor] = []
    cost = 0.0
    for tensor in tensors:
        group.append(tensor)
        cost += seconds(tensor)
        if cost > _QUANTUM or len(group) >= _MANY:
            yield group
            group, cost = [], 0.0
    if group:
        yield group
