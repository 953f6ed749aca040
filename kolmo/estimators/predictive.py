"""The predictive code as an estimator: the length of what `kolmo.codes.predictive` writes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kolmo.codes.forms import check_alphabet
from kolmo.estimators.base import Accumulator, Estimator, register
from kolmo.estimators.context import PART, ByTables
from kolmo.symbols import Alphabet, Shape

if TYPE_CHECKING:
    from kolmo.codes.predictive import PredictiveEncoder


@register
@dataclasses.dataclass(frozen=True)
class Predictive(Estimator):
    """The code of `kolmo.codes.predictive`, which foresees values; a bound: it is 8 × the bytes
    that the coder writes, and they decode.

    To the contexts of ``context`` it adds laws of each weight's value: its mean and scale given the
    row so far, from the correlation of columns in earlier rows, and given its neighbours, by least
    squares, all in integers; each tensor is coded in the scan that is shortest on a sample of it.
    It sees what ``context`` does not: correlated columns, low rank, scaled and noisy copies of
    rows, symmetric matrices, smooth kernels and tables. About a quarter of the speed. In model
    scope it learns from one tensor for the next. Alphabets are those of ``context``.

    >>> import numpy as np
    >>> from kolmo import estimate
    >>> random = np.random.default_rng(0)
    >>> rank_2 = random.normal(size=(96, 2)) @ random.normal(size=(2, 96))
    >>> bits = {name: estimate(rank_2.astype(np.float32), name).bits_per_weight
    ...         for name in ("context", "predictive")}
    >>> bits["predictive"] < bits["context"] - 1
    True
    """

    name = "predictive"
    kind = "bound"
    summary = "context, and laws of values by columns, rows and neighbours; the shortest; slow"

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        part = min(PART, sum(math.prod(shape) for shape in shapes))
        return 64 * part + (192 << 20)

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        check_alphabet(alphabet)
        return ByTables(shapes, alphabet, _new_encoder)


def _new_encoder(shapes: Sequence[Shape], alphabet: Alphabet) -> PredictiveEncoder:
    from kolmo.codes.predictive import PredictiveEncoder, widest_scan

    return PredictiveEncoder(alphabet, widest_scan(shapes), keep=False)
