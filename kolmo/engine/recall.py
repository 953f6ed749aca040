"""What a run recalls from the store of results, and under which keys it keeps what it finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kolmo.checkpoints.base import WeightTensor
from kolmo.digests import object_digest
from kolmo.engine.cutting import digest_jobs
from kolmo.engine.jobs import DigestJob
from kolmo.estimators.sampled import Sampled
from kolmo.measure import Measurement, Plan, Variant
from kolmo.nulls import Reference
from kolmo.outcomes import KeptFacts, Result
from kolmo.store import ResultKey, RunMemory, Subject, make_key, record_key

Place = int | str
"""A tensor's place in its checkpoint, or a form: all tensors of it together."""

Figure = tuple[Place, Measurement, Variant]
"""One figure of a run."""


Values = Mapping[str, Any]
"""Facts by name, as JSON has them."""


@dataclasses.dataclass(frozen=True)
class RecordKind:
    """Facts of a kind that a store may keep: a name, a version of their meaning, their fields."""

    name: str
    version: int
    fields: tuple[str, ...]


class Recall:
    """The contents of a checkpoint's tensors, and the keys that follow from them."""

    def __init__(
        self,
        memory: RunMemory,
        tensors: Sequence[WeightTensor],
        forms: Mapping[str, Sequence[int]],
        plan: Plan,
    ) -> None:
        self._memory, self._plan, self._forms, self._tensors = memory, plan, forms, tensors
        self._partners = dict(_partners(tensors, plan))
        self._hashed = list(dict.fromkeys([*tensors, *self._partners.values()]))  # each once
        self._places = {tensor: place for place, tensor in enumerate(tensors)}
        self._digests: dict[WeightTensor, bytes] = {}
        self._subjects: dict[Place, Subject] = {}
        self._keys: dict[Figure, ResultKey | None] = {}

    def jobs(self) -> Iterator[DigestJob]:
        """Jobs that hash all that the keys depend on."""
        return digest_jobs(self._hashed)

    def take(self, job: DigestJob, found: Sequence[bytes]) -> None:
        """Take the digests that a job found."""
        self._digests |= dict(zip(job.tensors, found, strict=True))

    @property
    def is_complete(self) -> bool:
        """Whether all digests are known."""
        return len(self._digests) == len(self._hashed)

    @property
    def waits(self) -> bool:
        """Whether figures depend on more tensors than they are of, so that none can be looked up
        before all digests are known."""
        return bool(self._partners)

    def places(self, job: DigestJob) -> list[int]:
        """Where the tensors of a job lie in the checkpoint."""
        return [self._places[tensor] for tensor in job.tensors]

    @property
    def content(self) -> str:
        """The digest of the whole checkpoint in hexadecimal; empty until all are known."""
        known = [self._digests.get(tensor, b"") for tensor in self._tensors]
        return object_digest(known).hex() if all(known) else ""

    def find(self, figures: Sequence[Figure]) -> dict[Figure, Result]:
        """Those of these figures that are known already; of the others, what to keep them under."""
        keys = {figure: self._key(*figure) for figure in figures}
        found = self._memory.recall(keys.values())
        self._keys |= {figure: key for figure, key in keys.items() if key not in found}
        return {figure: found[key] for figure, key in keys.items() if key in found}

    def keep(self, figure: Figure, result: Result) -> None:
        """Keep a figure, one of those that were not found."""
        self._memory.keep(self._keys.pop(figure), result)

    def records(
        self, kind: RecordKind, tensors: Sequence[WeightTensor]
    ) -> dict[WeightTensor, Values]:
        """The facts of this kind that are known already, of tensors that were hashed."""
        keys = {tensor: self._record_key(kind, tensor) for tensor in tensors}
        found = self._memory.recall(keys.values())
        outcomes: dict[WeightTensor, Any] = {
            tensor: found[key].outcome for tensor, key in keys.items() if key in found
        }
        return {t: each.facts for t, each in outcomes.items() if isinstance(each, KeptFacts)}

    def keep_record(self, kind: RecordKind, tensor: WeightTensor, facts: Values) -> None:
        """Keep the facts of a tensor."""
        record: Any = KeptFacts(facts)
        self._memory.keep(self._record_key(kind, tensor), Result(record, 0.0))

    def _record_key(self, kind: RecordKind, tensor: WeightTensor) -> ResultKey | None:
        return record_key(self._digests[tensor], kind.name, kind.version, kind.fields)

    def _key(self, place: Place, m: Measurement, variant: Variant) -> ResultKey | None:
        return make_key(
            self._subject(place),
            m.quantizer,
            m.estimator,
            variant.null,
            variant.number,
            self._plan.seed,
            partner=self._partner(place, variant),
            also=[m.estimator.inner] if isinstance(m.estimator, Sampled) else (),
        )

    def _subject(self, place: Place) -> Subject:
        if place not in self._subjects:
            tensors = self._of(place)
            digests = [self._digests[tensor] for tensor in tensors]
            names = tuple(tensor.name for tensor in tensors)
            alone = isinstance(place, int)
            self._subjects[place] = Subject(
                digests[0] if alone else object_digest(digests),
                names,
                "tensor" if alone else "model",
            )
        return self._subjects[place]

    def _of(self, place: Place) -> list[WeightTensor]:
        if isinstance(place, int):
            return [self._tensors[place]]
        return [self._tensors[each] for each in self._forms[place]]

    def _partner(self, place: Place, variant: Variant) -> bytes | None:
        """What is measured in the place of tensors, where each has a partner."""
        if not self._partners:
            return None
        found = [self._partners.get((tensor, variant.null)) for tensor in self._of(place)]
        known = [self._digests[tensor] for tensor in found if tensor is not None]
        return object_digest(known) if known and len(known) == len(found) else None


def _partners(
    tensors: Sequence[WeightTensor], plan: Plan
) -> Iterator[tuple[tuple[WeightTensor, object], WeightTensor]]:
    """The tensors of other checkpoints that references measure, by tensor and null."""
    for null in plan.nulls:
        if not isinstance(null, Reference):
            continue
        for tensor in tensors:
            partner = null.partner(tensor.name)
            if partner is not None:
                yield (tensor, null), partner
