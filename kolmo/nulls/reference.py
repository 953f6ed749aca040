"""The null that is another checkpoint, such as the initialization."""

from __future__ import annotations

import collections
import dataclasses
import functools

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.checkpoints.opening import open_source
from kolmo.checkpoints.tensor_names import normalized
from kolmo.errors import InputError, NotApplicableError
from kolmo.nulls.base import Null, Source, Weights
from kolmo.nulls.seeds import Seed


@dataclasses.dataclass(frozen=True)
class Reference(Null):
    """The same tensor in another checkpoint; its spec is ``reference:PATH``."""

    source: str
    checkpoint: Checkpoint | None = dataclasses.field(default=None, repr=False, compare=False)
    name = "reference"
    value_field = "source"
    single = True

    @classmethod
    def of(cls, spec: str) -> Null:
        """Opens the checkpoint, whose path may hold commas and at signs."""
        path = spec.partition(":")[2]
        if not path:
            raise InputError("null 'reference' needs a checkpoint: reference:PATH")
        return cls(path, open_source(path))

    def __str__(self) -> str:
        return f"reference:{self.source}"

    def _draw(self, tensor: WeightTensor, seed: Seed) -> Source:
        other = self.partner(tensor.name)
        if other is None:
            raise NotApplicableError(f"{self.source} has no tensor {tensor.name!r}")
        if (other.shape, other.form) != (tensor.shape, tensor.form):
            raise NotApplicableError(
                f"{self.source} holds {tensor.name!r} as {other.form} {list(other.shape)}"
            )
        return Weights(other)

    def partner(self, name: str) -> WeightTensor | None:
        """The tensor of this name, or the one that has it without what wrappers put before it."""
        assert self.checkpoint is not None
        own = name if name in self.checkpoint else self._plain.get(normalized(name), "")
        return self.checkpoint.get(own)

    @functools.cached_property
    def _plain(self) -> dict[str, str]:
        """The tensors' names by the normalized ones, where no two have one."""
        names = list(self.checkpoint or ())
        counts = collections.Counter(map(normalized, names))
        return {normalized(name): name for name in names if counts[normalized(name)] == 1}

    def working_memory(self, tensor: WeightTensor) -> int:
        """Its weights are read as those of the tensor are."""
        return 0
