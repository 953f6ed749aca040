"""A source at hand, to be described at any step: what curves and simplified models are made of."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kolmo import __version__
from kolmo.checkpoints.base import Role, Skipped, array_tensor
from kolmo.checkpoints.opening import survey
from kolmo.codes.choosing import check_preset
from kolmo.container.certificate import Certificate
from kolmo.container.state import STATE_ROLES, Kept, state_of
from kolmo.dtypes import bits_of
from kolmo.errors import InputError
from kolmo.execution import Progress, thread_count
from kolmo.lossy.calibrating import calibrated_scalings
from kolmo.lossy.describing import Description, describe, quantized
from kolmo.lossy.evaluating import Evaluate, Evaluator, Tolerance
from kolmo.lossy.scalings import Scaling, Weighting, plain_scaling, scalings_of
from kolmo.nulls import Shuffled
from kolmo.quantize.lossy import Lossy


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lossiness:
    """How a network is described: the options that `kolmo.curve` and `kolmo.simplify` share.

    Attributes
    ----------
    weighting : {"rows", "equal"}
        Whether an error counts in relation to the power of its row, or the same everywhere; of
        weights whose importance is not given.
    importance : mapping of str to array
        By name of a tensor what a unit of squared error of each weight costs, such as the diagonal
        of the Fisher information: of the tensor's shape, or one that broadcasts to it.
    inputs : iterable of batches, optional
        What a torch module is called with, some hundreds of examples: tensors, or tuples or dicts
        of arguments. Errors are then weighed by what the module's outputs for them depend on, and
        the rounding error of a weight is put right by those still to be rounded.
    outputs : callable, optional
        From module and batch to the tensor whose squared distance counts, example by example; by
        default the module's output, or its logits, or the first of several.
    include, exclude : globs
        Names of the tensors whose weights are described with loss; the others are kept exactly.
    preset : {"best", "default", "fast"}
        Codes of the files; see `kolmo.pack`.
    threads : int, optional
        All cores by default; nothing depends on it.
    """

    weighting: Weighting = "rows"
    importance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs: Iterable[Any] | None = None
    outputs: Callable[[Any, Any], Any] | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    preset: str = "best"
    threads: int | None = None

    def __post_init__(self) -> None:
        check_preset(self.preset)
        if self.weighting not in ("rows", "equal"):
            raise InputError(f"weighting is rows or equal, not {self.weighting!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class Workshop:
    """A source and the scalings of its tensors; describes it at any step."""

    name: str
    state: Sequence[Kept]
    scalings: Mapping[str, Scaling]
    left_out: Sequence[Skipped]
    evaluator: Evaluator | None
    weighting: Weighting
    preset: str
    threads: int
    progress: Progress
    values: dict[float, float] = dataclasses.field(default_factory=dict)
    """Values of the metric by step; of step 0, of the original."""

    @cached_property
    def shuffled(self) -> Workshop:
        """The same weights at random places; without a metric."""
        state = [_shuffled(kept) if kept.tensor.name in self.scalings else kept
                 for kept in self.state if kept.role is not Role.COPY]  # fmt: skip
        scalings = {kept.tensor.name: plain_scaling(kept.tensor, self.weighting)
                    for kept in state if kept.tensor.name in self.scalings}  # fmt: skip
        return dataclasses.replace(self, state=state, scalings=scalings, evaluator=None, values={})

    def describe(self, step: float) -> Description:
        """The network at a step."""
        return describe(self.state, self.scalings, step, self.threads, self.progress)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that values depend on, but for the metric itself."""
        found = hashlib.sha256(__version__.encode())
        for kept in self.state:
            found.update(kept.tensor.name.encode("utf-8", "surrogatepass"))
            for chunk in kept.tensor.chunks():
                found.update(np.ascontiguousarray(chunk).view(np.uint8).data)
        for scaling in self.scalings.values():
            feedback = scaling.feedback
            parts = (feedback.rows, feedback.columns) if feedback else ()
            for part in (scaling.rows, scaling.columns, *parts):
                found.update(b"" if part is None else np.ascontiguousarray(part).data)
        return found.hexdigest()

    @property
    def numel(self) -> int:
        """Weights, described with loss or not."""
        weights = (kept for kept in self.state if kept.role == "weight")
        return sum(
            kept.tensor.numel if kept.packed_weights is None else kept.packed_weights
            for kept in weights
        )

    @property
    def stored_bits(self) -> int:
        """Bits of all that is kept, as it is stored; copies have none."""
        own = (kept.tensor for kept in self.state if kept.role is not Role.COPY)
        return sum(tensor.numel * bits_of(tensor.dtype) for tensor in own)

    @property
    def original(self) -> float | None:
        """The metric of the network as it is."""
        if self.evaluator is None:
            return None
        if 0.0 not in self.values:
            self.values[0.0] = self.evaluator({k.tensor.name: k.tensor.read() for k in self.state})
        return self.values[0.0]

    def value_of(self, description: Description) -> float | None:
        """The metric of a description, evaluated once; NaN where it is none."""
        if self.evaluator is None:
            return None
        if description.step not in self.values:
            self.values[description.step] = self.evaluator.trial(description.values)
        return self.values[description.step]

    def coarsest_within(self, distortion: float, precision: float = 0.03) -> Description | None:
        """The description of the largest step whose distortion is no larger than this one."""
        return self._coarsest(lambda found: found.distortion <= distortion, {}, precision)

    def coarsest_allowed(
        self, tolerance: Tolerance, after: Callable[[], None] = lambda: None
    ) -> Description | None:
        """The description of the largest step whose metric is within a tolerance.

        ``after`` is called when a step has been evaluated. Steps whose values are known are neither
        described nor evaluated.

        Raises
        ------
        InputError
            If there is no metric.
        """
        original = self.original
        if original is None:
            raise InputError(f"{self.name}: there is no metric: evaluate was not given")

        def accepts(found: Description) -> bool:
            value = self.value_of(found)
            after()
            return value is not None and tolerance.accepts(value, original)

        known = {step: tolerance.accepts(value, original) for step, value in self.values.items()}
        return self._coarsest(accepts, known)

    def _coarsest(
        self,
        accepts: Callable[[Description], bool],
        known: Mapping[float, bool],
        precision: float = 0.03,
    ) -> Description | None:
        """The description of the largest step that is accepted; the last that was is kept, for
        each that is accepted is coarser than those before it."""
        kept: list[Description] = []

        def tried(step: float) -> bool:
            if step in known:
                return known[step]
            found = self.describe(step)
            if accepts(found):
                kept[:] = [found]
                return True
            return False

        step = largest_step(tried, precision=precision)
        if step is None:
            return None
        return kept[0] if kept and kept[0].step == step else self.describe(step)

    def write(
        self,
        description: Description,
        path: Path,
        accept: Callable[[Path], None] = lambda _: None,
    ) -> Certificate:
        """The description as a file, checked by decoding it, and by `accept` before it is there."""
        made = description.write(path, self.preset, self.threads, self.progress, accept)
        return dataclasses.replace(made, skipped=tuple(self.left_out))

    def measure(self, description: Description) -> Certificate:
        """The certificate of a file that is not kept."""
        with tempfile.TemporaryDirectory(prefix="kolmo-") as folder:
            return self.write(description, Path(folder) / "lossy.kmo")


def open_workshop(
    source: Any, options: Lossiness, evaluate: Evaluate | None, progress: Progress
) -> Workshop:
    """A source with its scalings.

    Raises
    ------
    InputError
        If the source cannot be read, or an option does not fit it.
    """
    checkpoint = survey(source)
    state, left_out = state_of(checkpoint, Lossy(0.0), STATE_ROLES)
    tensors = quantized(state)
    if options.include or options.exclude:
        names = set(checkpoint.select(options.include, options.exclude))
        tensors = {name: tensor for name, tensor in tensors.items() if name in names}
    if not tensors:
        raise InputError(f"{checkpoint.source}: there are no floating-point weights to describe")
    scalings = scalings_of(tensors, options.weighting, options.importance)
    if options.inputs is not None:
        scalings |= calibrated_scalings(
            source, options.inputs, outputs=options.outputs, names=set(scalings), progress=progress
        )
    evaluator = None if evaluate is None else Evaluator(source, evaluate)
    return Workshop(
        name=_name(source, checkpoint.source),
        state=state,
        scalings=scalings,
        left_out=left_out,
        evaluator=evaluator,
        weighting=options.weighting,
        preset=options.preset,
        threads=thread_count(options.threads),
        progress=progress,
    )


def _shuffled(kept: Kept) -> Kept:
    drawn = Shuffled().draw(kept.tensor, 0, 0).drawn
    assert drawn is not None
    return dataclasses.replace(kept, tensor=array_tensor(kept.tensor.name, drawn.read()))


def _name(source: Any, where: str) -> str:
    return type(source).__name__ if hasattr(source, "state_dict") else where


Search = Callable[[float], bool]


def largest_step(accepts: Search, first: float = 0.5, *, precision: float = 0.03) -> float | None:
    """The largest step that is accepted, to within a precision; None if none down to 2^-12 is.

    Steps are doubled or halved from the first one on, then bisected in their logarithm. What was
    accepted is what counts: between two steps nothing is taken for granted.

    Examples
    --------
    >>> round(largest_step(lambda step: step < 0.7), 2)
    0.69
    """
    good, bad, step = None, None, first
    while bad is None or good is None:
        if accepts(step):
            good, step = step, step * 2
        else:
            bad, step = step, step / 2
        if good is not None and good > 1 << 10:
            return good
        if bad is not None and bad < 2.0**-12:
            return None
        if good is not None and bad is not None:
            break
    while bad > good * (1 + precision):
        middle = (good * bad) ** 0.5
        if accepts(middle):
            good = middle
        else:
            bad = middle
    return good
