"""One checkpoint being measured: which jobs there are, and what becomes of their results."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.engine.costs import stream_seconds
from kolmo.engine.cutting import Striped, add_up, cost_of, parts_last, stream_job, tensor_jobs
from kolmo.engine.feeding import Cell
from kolmo.engine.jobs import (
    DigestJob,
    FitJob,
    Job,
    StreamFound,
    StreamJob,
    StripeJob,
    TensorFound,
    TensorJob,
    Wanted,
)
from kolmo.engine.ledgering import Ledger
from kolmo.engine.parts import CountedPart
from kolmo.engine.recall import Figure, Place, Recall
from kolmo.engine.striped import StripedTensor
from kolmo.engine.whole import Whole, sum_of_forms
from kolmo.measure import Key, Measurement, Plan, Variant
from kolmo.nulls import unmoved
from kolmo.outcomes import Failed, Missing, Result
from kolmo.rates import observe
from kolmo.store import RunMemory

_TELLING = 1 << 16  # weights from which a tensor tells what its measurements take


class Run:
    """One checkpoint being measured; ``results()`` may be asked at any time.

    Attributes
    ----------
    measured : set of str
        Names of the tensors of which at least one figure is known.
    reasons : dict
        By name of tensor, the reason that it was not measured.
    content : str
        The digest of all tensors, in hexadecimal; empty if they were not hashed.
    ended : str
        Why nothing more will become known; empty until then.
    ledger : Ledger
        What is found of the tensors besides their figures.
    """

    def __init__(self, checkpoint: Checkpoint, plan: Plan, memory: RunMemory | None = None) -> None:
        self._tensors, self._plan = list(checkpoint.values()), plan.bound(checkpoint)
        self._forms = _places_by_form(self._tensors)
        self._before = _weights_before(self._tensors)
        self._recall = Recall(memory, self._tensors, self._forms, plan) if memory else None
        self._adding: dict[tuple[str, Measurement], bool] = {}
        self._known: dict[Figure, Result] = {}
        self._news: list[Figure] = []
        self._wholes: dict[Figure, Whole] = {}
        self._striped: dict[Job, StripedTensor] = {}  # by each of its jobs
        self._later: float | None = None if memory else 0.0  # not foreseen yet
        self._alone: dict[str, list[tuple[Measurement, Variant]]] = {}
        self.ledger = Ledger(self._tensors, plan)
        self.measured: set[str] = set()
        self.reasons: dict[str, str] = {}
        self.content = ""
        self.ended = ""

    # --- jobs -------------------------------------------------------------------------------

    def jobs(self) -> Iterable[Job]:
        """The jobs that can be done at once; `take` gives those that follow from their results."""
        return self._recall.jobs() if self._recall and self._tensors else self._begin()

    @property
    def to_come(self) -> float:
        """Seconds that jobs are expected to take which only follow from others."""
        if self._later is None:
            self._later = self._foreseen()
        return self._later + sum(striped.to_come for striped in self._striped.values())

    @property
    def numel(self) -> int:
        """Weights that it measures."""
        return sum(tensor.numel for tensor in self._tensors)

    @property
    def size(self) -> int:
        """Bytes of these weights."""
        return sum(tensor.numel * tensor.dtype.itemsize for tensor in self._tensors)

    @property
    def count(self) -> tuple[int, int]:
        """How many figures are known, and how many there are to be."""
        return len(self._known), sum(1 for _ in self._figures())

    def news(self) -> Iterator[tuple[str, dict[Measurement, Result]]]:
        """The figures of tensors that have become known since this was asked last."""
        by_place: dict[int, dict[Measurement, Result]] = {}
        for place, measurement, variant in self._news:
            if isinstance(place, int) and variant.null is None:
                result = self._known[place, measurement, variant]
                by_place.setdefault(place, {})[measurement] = result
        self._news.clear()
        for place, results in by_place.items():
            yield self._tensors[place].name, results

    def take(self, job: Job, found: Any) -> Iterable[Job]:
        """Keep what a job found; gives the jobs that can be done now."""
        if isinstance(job, DigestJob) and self._recall:
            return self._remember(self._recall, job, found)
        if isinstance(job, TensorJob):
            for each in found:
                self._take_tensor(each, job.variant)
        elif isinstance(job, StreamJob):
            self._take_stream(job, found)
        elif isinstance(job, FitJob):
            stripes = self._striped[job].fitted(found)
            self._striped |= dict.fromkeys(stripes, self._striped.pop(job))
            return stripes
        elif isinstance(job, StripeJob):
            complete = self._striped.pop(job).take(job, found)
            if complete is not None:
                self._take_tensor(complete, Variant())
        return self.ledger.take(job, found)

    def _remember(self, recall: Recall, job: DigestJob, found: Sequence[bytes]) -> list[Job]:
        """Take what is known of tensors that were hashed; after the last, gives further jobs."""
        recall.take(job, found)
        places = () if recall.waits else recall.places(job)
        figures = [figure for place in places for figure in self._of_place(place)]
        if recall.is_complete:
            self.content = recall.content
            figures += self._figures() if recall.waits else self._of_models()
        for figure, result in recall.find(figures).items():
            self._learn(figure, result)
        return self._begin() if recall.is_complete else []

    def _begin(self) -> list[Job]:
        self._later = 0.0
        return [*map(self._register, self._cut()), *self.ledger.jobs(self._recall)]

    def _register(self, job: Job | Striped) -> Job:
        if isinstance(job, Striped):
            self._striped[job.fit] = StripedTensor(job)
            return job.fit
        return job

    def _foreseen(self) -> float:
        """Seconds that the jobs for all figures are expected to take."""
        places = {(t.form, t.shape): place for place, t in enumerate(self._tensors)}
        kinds, expected = Counter((t.form, t.shape) for t in self._tensors), 0.0
        for stage in self._plan.stages or [self._plan.measurements]:
            for variant in self._plan.variants:
                plans = {form: self._of_form(form, stage, variant) for form in self._forms}
                streamed = list(self._streamed(stage, variant))
                for kind, times in kinds.items():
                    wanted = self._wanted(places[kind], variant, plans)
                    expected += times * cost_of(wanted, variant)
                    for m in (m for form, m in streamed if form == kind[0]):
                        expected += times * stream_seconds(m, [wanted.tensor], variant)
        return expected

    def _cut(self) -> Iterator[Job | Striped]:
        """All jobs for the figures that are not known."""
        for stage in self._plan.stages or [self._plan.measurements]:
            for variant in self._plan.variants:
                yield from self._cut_stage(stage, variant)

    def _cut_stage(self, stage: Sequence[Measurement], variant: Variant) -> Iterator[Job | Striped]:
        plans = {form: self._of_form(form, stage, variant) for form in self._forms}
        wanted = [self._wanted(place, variant, plans) for place in range(len(self._tensors))]
        if any(w.parts and not w.alone for w in wanted):
            wanted = parts_last(wanted)
        yield from tensor_jobs(wanted, variant, self._plan.seed)
        yield from self._streams(stage, variant)

    def _figures(self) -> Iterator[Figure]:
        """All figures that are made, rather than copied from others."""
        for place in range(len(self._tensors)):
            yield from self._of_place(place)
        yield from self._of_models()

    def _of_place(self, place: int) -> Iterator[Figure]:
        """The figures of one tensor alone."""
        form = self._tensors[place].form
        if form not in self._alone:
            places = len(self._forms[form])
            self._alone[form] = [(m, v) for m, v in self._moved() if self._is_alone(m, places)]
        return ((place, m, variant) for m, variant in self._alone[form])

    def _of_models(self) -> Iterator[Figure]:
        """The figures of several tensors together."""
        for m, variant in self._moved():
            for form, places in self._forms.items():
                if len(places) > 1 and self._plan.makes(m, "model"):
                    yield form, m, variant

    def _moved(self) -> Iterator[tuple[Measurement, Variant]]:
        """What is measured of weights, and of draws that have figures of their own."""
        for variant in self._plan.variants:
            yield from ((m, variant) for m in self._plan.measurements if not _same(m, variant))

    def _is_alone(self, measurement: Measurement, places: int) -> bool:
        """Whether each tensor of a form is measured alone: a single one is the whole of it."""
        makes = self._plan.makes
        return makes(measurement, "tensor") or (places == 1 and makes(measurement, "model"))

    def _of_form(self, form: str, stage: Sequence[Measurement], variant: Variant) -> _OfForm:
        """What is made of every tensor of a form."""
        places = len(self._forms[form])
        moved = [m for m in stage if not _same(m, variant)]
        merged = [m for m in moved if places > 1 and self._plan.makes(m, "model")]
        return (
            tuple(m for m in moved if self._is_alone(m, places)),
            tuple(m for m in merged if self._is_merged(form, m, variant)),
        )

    def _wanted(self, place: int, variant: Variant, plans: Mapping[str, _OfForm]) -> Wanted:
        """What of it is not known yet."""
        tensor = self._tensors[place]
        alone, parts = plans[tensor.form]
        if self._known:
            alone = tuple(m for m in alone if (place, m, variant) not in self._known)
        return Wanted(tensor, place, self._before[place], alone, parts)

    def _is_merged(self, form: str, measurement: Measurement, variant: Variant) -> bool:
        """Whether the figure of a form's tensors is still wanted, and is made of their parts."""
        known = (form, measurement, variant) in self._known
        return not known and self._add_up(form, measurement)

    def _add_up(self, form: str, measurement: Measurement) -> bool:
        """Whether accumulators of a form's tensors add up to the one of all."""
        if (form, measurement) not in self._adding:
            shapes = {self._tensors[place].shape: place for place in self._forms[form]}
            self._adding[form, measurement] = all(
                add_up(measurement, self._tensors[place]) for place in shapes.values()
            )
        return self._adding[form, measurement]

    def _streams(self, stage: Sequence[Measurement], variant: Variant) -> Iterator[StreamJob]:
        for form, m in self._streamed(stage, variant):
            tensors = [self._tensors[place] for place in self._forms[form]]
            yield stream_job(tensors, m, variant, self._plan.seed)

    def _streamed(
        self, stage: Sequence[Measurement], variant: Variant
    ) -> Iterator[tuple[str, Measurement]]:
        """The forms whose tensors are read one after the other, and what measures them."""
        made = [m for m in stage if self._plan.makes(m, "model") and not _same(m, variant)]
        for form, places in self._forms.items():
            for m in made if len(places) > 1 else ():
                if (form, m, variant) not in self._known and not self._add_up(form, m):
                    yield form, m

    # --- results ----------------------------------------------------------------------------

    def results(self) -> dict[Key, Result]:
        """What is known by now."""
        known: dict[Key, Result] = {}
        for m in self._plan.measurements:
            for variant in self._plan.variants:
                drawn = Variant() if _same(m, variant) else variant
                for place, tensor in enumerate(self._tensors):
                    if found := self._of_tensor(place, m, drawn):
                        known[tensor.name, m, variant] = found
                if self._plan.model_scope and (whole := self._of_model(m, drawn)):
                    known[None, m, variant] = whole
        return known

    def _of_tensor(self, place: int, measurement: Measurement, variant: Variant) -> Result | None:
        """What is known of one tensor, or why nothing will be."""
        if self._plan.makes(measurement, "tensor"):
            return self._known.get((place, measurement, variant)) or self._none()
        reason = self._plan.reason(measurement, "tensor")
        return Result(Missing(reason), 0.0) if reason else None

    def _of_model(self, measurement: Measurement, variant: Variant) -> Result | None:
        """What is known of all tensors together, or why nothing will be."""
        if self._plan.makes(measurement, "model"):
            return self._whole(measurement, variant) or (self._none() if self._forms else None)
        reason = self._plan.reason(measurement, "model")
        return Result(Missing(reason), 0.0) if reason else None

    def _none(self) -> Result | None:
        return Result(Missing(self.ended), 0.0) if self.ended else None

    def _whole(self, measurement: Measurement, variant: Variant) -> Result | None:
        """The figure of the whole model: the sum of its forms'; None while one is not known."""
        found: dict[str, Result] = {}
        for form, places in self._forms.items():
            place: Place = places[0] if len(places) == 1 else form  # one tensor is the whole
            result = self._known.get((place, measurement, variant))
            if result is None:
                return None
            found[form] = result
        if not found:
            return None
        outcome = sum_of_forms({form: result.outcome for form, result in found.items()})
        return Result(outcome, sum(result.seconds for result in found.values()))

    def _take_tensor(self, found: TensorFound, variant: Variant) -> None:
        for measurement, result in found.alone.items():
            self._keep((found.place, measurement, variant), result)
            self._observe(found.place, measurement, variant, result)
        for measurement, part in found.parts.items():
            for place in range(found.place, found.place + part.tensors):
                self._note((place, measurement, variant), part.accumulator)
            self._take_part(found.place, measurement, variant, part)

    def _observe(
        self, place: int, measurement: Measurement, variant: Variant, result: Result
    ) -> None:
        """What it took, so that the next run is foretold better; what is tiny tells little."""
        tensor = self._tensors[place]
        if variant.null is None and tensor.numel >= _TELLING and result.seconds:
            known = measurement.estimator, measurement.quantizer, tensor.form
            observe(*known, tensor.numel, result.seconds)

    def _take_part(
        self, place: int, measurement: Measurement, variant: Variant, part: CountedPart
    ) -> None:
        form = self._tensors[place].form
        figure, places = (form, measurement, variant), self._forms[form]
        if figure not in self._wholes:
            tensors = [self._tensors[each] for each in places]
            self._wholes[figure] = Whole(Cell.start(measurement, tensors), len(places))
        whole = self._wholes[figure]
        if whole.add(bisect_left(places, place), part):
            self._keep(figure, Result(whole.cell.finish(), whole.cell.seconds))
            del self._wholes[figure]

    def _take_stream(self, job: StreamJob, found: StreamFound) -> None:
        form = job.tensors[0].form
        self._keep((form, job.measurement, job.variant), found.result)
        for number, place in enumerate(self._forms[form]):
            if found.failed in (None, number):
                self._note((place, job.measurement, job.variant), found.result.outcome)

    def _keep(self, figure: Figure, result: Result) -> None:
        self._learn(figure, result)
        if self._recall and not isinstance(result.outcome, Failed):
            self._recall.keep(figure, result)

    def _learn(self, figure: Figure, result: Result) -> None:
        self._known[figure] = result
        self._news.append(figure)
        self._note(figure, result.outcome)

    def _note(self, figure: Figure, outcome: object) -> None:
        """Keep for the coverage whether tensors were measured, and if not, why."""
        place, _, variant = figure
        if variant.null is not None:
            return
        if isinstance(outcome, Missing):
            if isinstance(place, int):
                self.reasons.setdefault(self._tensors[place].name, outcome.reason)
            return
        for each in [place] if isinstance(place, int) else self._forms[place]:
            self.measured.add(self._tensors[each].name)


_OfForm = tuple[tuple[Measurement, ...], tuple[Measurement, ...]]
"""Measurements of each tensor alone, and those that its parts of the whole model's are made for."""


def _same(measurement: Measurement, variant: Variant) -> bool:
    """Whether a draw has the figure of the weights as they are, so that it need not be made."""
    null = variant.null
    return null is not None and unmoved(null, measurement.estimator, measurement.quantizer)


def _places_by_form(tensors: list[WeightTensor]) -> dict[str, list[int]]:
    """Places of tensors by form: each form has an accumulator of its own."""
    by_form: dict[str, list[int]] = {}
    for place, tensor in enumerate(tensors):
        by_form.setdefault(tensor.form, []).append(place)
    return by_form


def _weights_before(tensors: list[WeightTensor]) -> list[int]:
    """For each tensor the weights of the same form ahead of it."""
    seen: dict[str, int] = {}
    before = []
    for tensor in tensors:
        before.append(seen.get(tensor.form, 0))
        seen[tensor.form] = before[-1] + tensor.numel
    return before
