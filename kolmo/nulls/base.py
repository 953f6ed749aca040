"""The interface of nulls, and what draws are: sources of symbols, as a tensor itself is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar, Protocol

from kolmo import specs
from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.estimators.base import Estimator
from kolmo.nulls.seeds import Seed, name_seed
from kolmo.quantize import Quantizer, SymbolCoder, side_bits
from kolmo.symbols import Symbols


@dataclasses.dataclass(frozen=True)
class Coded:
    """A tensor's symbols under one quantizer, chunk by chunk.

    ``side_bits`` are those of the quantizer's parameters; None of symbols that no weights are
    behind, to which the parameters of the tensor itself apply.
    """

    side_bits: int | None
    chunks: Iterator[Symbols]


class Source(Protocol):
    """One tensor, or one draw of its null, under any quantizer.

    It can be pickled where the tensor can: a draw is its seed, and is drawn when it is read.
    """

    @property
    def drawn(self) -> WeightTensor | None:
        """The weights, which are read as those of any tensor; None of symbols without weights."""
        ...

    def coded(self, quantizer: Quantizer) -> Coded:
        """The symbols.

        Raises
        ------
        NotApplicableError
            If the quantizer reads what drawn weights do not have.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Weights:
    """Symbols of the weights of a tensor.

    Class attribute ``own_fit``: whether quantizers are fitted to these very weights.
    """

    tensor: WeightTensor
    own_fit: ClassVar[bool] = True

    @property
    def drawn(self) -> WeightTensor:
        return self.tensor

    def fit(self, quantizer: Quantizer) -> SymbolCoder:
        """The quantizer, fitted to the weights."""
        return quantizer.fit(self.tensor)

    def coded(self, quantizer: Quantizer) -> Coded:
        coder = self.fit(quantizer)
        return Coded(side_bits(coder, self.tensor), coder.symbols(self.tensor))


@dataclasses.dataclass(frozen=True)
class Null(specs.Spec):
    """Base of the null models.

    Attributes
    ----------
    single : bool
        Whether there is just one draw of it, so that it has no spread.
    permutes : bool
        Whether it only moves the weights.
    fitted : bool
        Whether its parameters are fitted to the weights, so that p-values are approximate.
    kept : bool
        Whether the store may keep figures of its draws, which depend on the tensor alone.
    version : int
        One more each time that the same seed draws something else.
    """

    single: ClassVar[bool] = False
    permutes: ClassVar[bool] = False
    fitted: ClassVar[bool] = False
    kept: ClassVar[bool] = True
    version: ClassVar[int] = 1

    @classmethod
    def of(cls, spec: str) -> Null:
        """The null that a spec of this name means."""
        _, value, options = specs.parse(spec)
        made = specs.build(cls, spec, value, options)
        assert isinstance(made, Null)
        return made

    def count(self, draws: int) -> int:
        """How many draws of it there are, where so many are asked for."""
        return 1 if self.single else draws

    def bound(self, checkpoint: Checkpoint) -> Null:
        """The null of a checkpoint's tensors, where a draw depends on other tensors' shapes."""
        return self

    def draw(self, tensor: WeightTensor, number: int, seed: int) -> Source:
        """The tensor's null, draw ``number``.

        Raises
        ------
        NotApplicableError
            If the tensor has no such null; the message says why.
        """
        return self._draw(tensor, (seed, name_seed(tensor.name), number))

    def working_memory(self, tensor: WeightTensor) -> int:
        """Bytes at most that a draw of the tensor holds while it is read."""
        return 2 * tensor.numel * tensor.dtype.itemsize

    def _draw(self, tensor: WeightTensor, seed: Seed) -> Source:
        raise NotImplementedError


def unmoved(null: Null, estimator: Estimator, quantizer: Quantizer) -> bool:
    """Whether every draw of a null costs what the weights themselves do, to the bit, so that none
    need be drawn.

    That is so of a null that only moves weights, an estimator that only counts symbols, and a
    quantizer whose levels do not depend on places: the counts of every symbol are the same then,
    and so are the quantizer's parameters. It holds of one tensor and of several that are measured
    together.

    >>> from kolmo import get_estimator, get_null, get_quantizer
    >>> shuffled, sign = get_null("shuffled"), get_quantizer("sign")
    >>> [unmoved(shuffled, get_estimator(name), sign) for name in ("kt", "bdm")]
    [True, False]
    """
    return null.permutes and estimator.order_free and quantizer.order_free
