"""What `kolmo.delta` recalls from the store of results, and under which keys it keeps results.

The subject of a key is the content of both tensors; the codes that there were to choose from, and
how they were searched for, are part of it too.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from kolmo.checkpoints import Checkpoint
from kolmo.difference.codes import CodeSearch
from kolmo.digests import digest, object_digest
from kolmo.estimators.base import Estimator
from kolmo.measure import Measurement, Plan, Variant
from kolmo.outcomes import Result
from kolmo.quantize import Quantizer
from kolmo.store import ResultKey, RunMemory, Subject, make_key


class PairRecall:
    """The results of pairs of tensors; safe to use from any thread.

    Parameters
    ----------
    memory : RunMemory, optional
        None where nothing is kept: then nothing is hashed either.
    base, tuned : Checkpoint
        Of the same names.
    plan : Plan
    searches : mapping
        How codes are searched for, by quantizer.
    """

    def __init__(
        self,
        memory: RunMemory | None,
        base: Checkpoint,
        tuned: Checkpoint,
        plan: Plan,
        searches: Mapping[Quantizer, CodeSearch],
    ) -> None:
        self._memory, self._base, self._tuned = memory, base, tuned
        self._seed, self._searches = plan.seed, searches
        self._locks = {name: threading.Lock() for name in tuned}
        self._digests: dict[str, bytes] = {}

    def find(
        self, name: str, measurements: Sequence[Measurement], variant: Variant
    ) -> dict[Estimator, Result]:
        """The results of these measurements by estimator; none unless all are known."""
        if self._memory is None:
            return {}
        keys = {m.estimator: self._key(name, m, variant) for m in measurements}
        found = self._memory.recall(keys.values())
        known = {each: found[key] for each, key in keys.items() if key in found}
        return known if len(known) == len(keys) else {}

    def keep(self, name: str, measurement: Measurement, variant: Variant, result: Result) -> None:
        """Keep a result."""
        if self._memory is not None:
            self._memory.keep(self._key(name, measurement, variant), result)

    def _key(self, name: str, measurement: Measurement, variant: Variant) -> ResultKey | None:
        search = self._searches[measurement.quantizer]
        return make_key(
            Subject(self._digest(name), (name,), search.manner),
            measurement.quantizer,
            measurement.estimator,
            variant.null,
            variant.number,
            self._seed,
            also=search.estimators,
        )

    def _digest(self, name: str) -> bytes:
        """Of both tensors, which are hashed once."""
        with self._locks[name]:
            if name not in self._digests:
                pair = self._base[name], self._tuned[name]
                self._digests[name] = object_digest(map(digest, pair))
            return self._digests[name]
