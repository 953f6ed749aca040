"""The interface of estimators: configured once, then start, update, finish, as in hashlib.

::

    Estimator ─ start(shape, alphabet) ─► Accumulator ─ update(symbols)* ─ finish() ─► CodeLength

An accumulator is given every shape first and then flat symbols in row-major order, in chunks of any
size: the chunking never changes a bit of the result.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from kolmo import specs
from kolmo.errors import InputError
from kolmo.estimators.codelength import CodeLength as CodeLength
from kolmo.estimators.codelength import Kind as Kind
from kolmo.registry import Registry
from kolmo.symbols import Alphabet, Shape, Symbols


@runtime_checkable
class Accumulator(Protocol):
    """The state of one measurement: takes symbols, gives a code length."""

    def update(self, symbols: Symbols) -> None:
        """Take the next symbols, flat, in row-major order, of any unsigned integer dtype."""
        ...

    def finish(self) -> CodeLength:
        """The code length of everything taken."""
        ...


@dataclasses.dataclass(frozen=True)
class Estimator(specs.Spec):
    """Base of all estimators: a frozen configuration that starts accumulators.

    Subclasses set ``name``, ``kind`` and ``summary`` (one line for the list of estimators) and
    implement ``_start``, which raises NotApplicableError for an object that they cannot take.

    Attributes
    ----------
    order_free : bool
        Whether the code length, details included, depends on nothing but how often each symbol
        occurs and the shapes, so that the same symbols at other places cost the same to the bit.
    """

    kind: ClassVar[Kind]
    summary: ClassVar[str] = ""
    order_free: ClassVar[bool] = False

    def start(self, shape: Shape, alphabet: Alphabet | int) -> Checked:
        """An accumulator for one tensor of this shape.

        Parameters
        ----------
        shape : tuple of int
        alphabet : Alphabet or int
            The alphabet of the symbols; a number n means ``Alphabet(n)``, symbols in [0, n) that
            are no floats.

        Raises
        ------
        NotApplicableError
            If the estimator cannot take such an object; the message says why.
        """
        return self.start_many([shape], alphabet)

    def start_many(self, shapes: Sequence[Shape], alphabet: Alphabet | int) -> Checked:
        """An accumulator for several tensors, fed one after the other (model scope)."""
        plain = [tuple(int(side) for side in shape) for shape in shapes]
        symbols = Alphabet.of(alphabet)
        return Checked(self, self._start(plain, symbols), plain, symbols)

    def start_inner(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        """The `Checked.inner` of `start_many`, for shapes of integers of Python."""
        return self._start(shapes, alphabet)

    def working_memory(self, shapes: Sequence[Shape], alphabet: Alphabet) -> int:
        """Bytes that one accumulator for these tensors takes at most, finishing included.

        The machine code of its loops and the chunks that it is given are not part of it. A run
        admits accumulators by this figure, and a plan tells it without reading a weight. An
        estimator whose accumulators take more than the 64 MiB stated here overrides it.

        >>> get_estimator("kt").working_memory([(10, 10)], Alphabet(256)) >> 20
        16
        """
        return 1 << 26

    def grain(self, shapes: Sequence[Shape], alphabet: Alphabet | int) -> int | None:
        """Where tensors of these shapes may be cut, so that the parts merge exactly.

        Returns
        -------
        int or None
            Parts begin at multiples of so many weights of a tensor; None if it cannot be cut, as
            its symbols must come in order. What refuses the shapes or the alphabet does so when it
            is started.
        """
        return None

    def start_part(
        self, shape: Shape, alphabet: Alphabet | int, start: int, stop: int, before: int = 0
    ) -> Checked:
        """An accumulator for the weights [start, stop) of a tensor, to be merged into another.

        Parts of a tensor are merged in order, into its part [0, numel) or the accumulator that
        `start` gives. The part [0, numel) of each tensor is merged, in order, into that of several
        tensors (`start_many`).

        Parameters
        ----------
        shape : tuple of int
            Of the whole tensor.
        alphabet : Alphabet or int
        start, stop : int
            Multiples of the `grain`; ``stop`` may also be the tensor's end.
        before : int
            Of a part of several tensors, the symbols of those ahead of this one.

        Raises
        ------
        InputError
            If the tensor cannot be cut there.

        Examples
        --------
        >>> bits = np.uint8([0, 1] * 20)
        >>> bdm = get_estimator("bdm")
        >>> whole = bdm.start(bits.shape, 2)
        >>> for cut in (slice(0, 17), slice(17, 40)):
        ...     part = bdm.start_part(bits.shape, 2, cut.start, cut.stop)
        ...     part.update(bits[cut])
        ...     whole.merge(part)
        >>> whole.finish().details["blocks"]
        3
        """
        plain, symbols = tuple(int(side) for side in shape), Alphabet.of(alphabet)
        grain, numel = self.grain([plain], symbols), math.prod(plain)
        if (start, stop) != (0, numel) and (
            grain is None or start % grain or (stop % grain and stop != numel)
        ):
            raise InputError(
                f"{self}: the grain of a tensor of shape {list(plain)} is {grain}, so that it has "
                f"no part [{start}, {stop})"
            )
        inner = self._start_part(plain, symbols, start, stop, before)
        return Checked(self, inner, [(stop - start,)], symbols)

    @property
    def joins(self) -> bool:
        """Whether the parts of neighbouring tensors may be merged, in order, before they are merged
        into that of all."""
        return self.order_free

    def _start(self, shapes: Sequence[Shape], alphabet: Alphabet) -> Accumulator:
        """The accumulator, whose symbols are already checked."""
        raise NotImplementedError

    def _start_part(
        self, shape: Shape, alphabet: Alphabet, start: int, stop: int, before: int
    ) -> Accumulator:
        """The accumulator for a part, which never refuses a shape: the whole may take it."""
        return self._start([(stop - start,)], alphabet)


class Checked:
    """An accumulator that checks and flattens symbols once, so that inner code can trust them.

    Attributes
    ----------
    inner : Accumulator
        The accumulator without checks, for callers whose symbols are known to be flat, of the
        alphabet, and as many as the shapes hold.
    """

    def __init__(
        self, estimator: Estimator, inner: Accumulator, shapes: Sequence[Shape], alphabet: Alphabet
    ) -> None:
        self._estimator, self.inner, self._alphabet = estimator, inner, alphabet
        self._expected = sum(math.prod(shape) for shape in shapes)
        self._taken = 0

    def update(self, symbols: Symbols) -> None:
        flat = np.ascontiguousarray(symbols).reshape(-1)
        if flat.dtype.kind not in "ui":
            raise InputError(
                f"{self._estimator}: symbols must be integers, not {flat.dtype} (quantize first)"
            )
        if flat.size == 0:
            return
        if not self._spans_dtype(flat.dtype):
            low, high = int(flat.min()), int(flat.max())
            if low < 0 or high >= self._alphabet.size:
                wrong = low if low < 0 else high
                raise InputError(
                    f"{self._estimator}: symbol {wrong} is outside the alphabet "
                    f"[0, {self._alphabet.size})"
                )
        self.took(flat.size)
        plain = flat.dtype.kind == "u" and flat.dtype.isnative
        self.inner.update(flat if plain else flat.astype(self._alphabet.container))

    def merge(self, part: Checked) -> None:
        """Add the counts of another accumulator of the same estimator and alphabet.

        Counts add up exactly, on any machine (accumulators can be pickled): start one for the whole
        and one for each part (`Estimator.start_part`), feed the parts, merge them into the whole
        in order. Parts are whole tensors, or stretches of a tensor of a multiple of its
        `Estimator.grain`; into a figure that is a sum over tensors only whole tensors go.

        Raises
        ------
        InputError
            If the estimator reads its symbols in order, as a compressor does, or the part is of
            another estimator or alphabet, or it begins elsewhere than where this one ends.
        """
        merge = getattr(self.inner, "merge", None)
        if merge is None:
            raise InputError(f"{self._estimator}: parts of it cannot be merged")
        if (part._estimator, part._alphabet) != (self._estimator, self._alphabet):
            raise InputError(
                f"{self._estimator}: the part is of {part._estimator}, or its alphabet"
            )
        merge(part.inner)
        self.took(part._taken)

    def finish(self) -> CodeLength:
        if self._taken != self._expected:
            raise InputError(
                f"{self._estimator}: {self._taken} symbols given, the shapes hold {self._expected}"
            )
        return self.inner.finish()

    def took(self, more: int) -> None:
        """Note that ``inner`` was given so many symbols.

        Raises
        ------
        InputError
            If these are more than the shapes hold.
        """
        self._taken += more
        if self._taken > self._expected:
            raise InputError(
                f"{self._estimator}: {self._taken} symbols given, the shapes hold {self._expected}"
            )

    def _spans_dtype(self, dtype: np.dtype[Any]) -> bool:
        return dtype.kind == "u" and bool(np.iinfo(dtype).max < self._alphabet.size)


ESTIMATORS: Registry[type[Estimator]] = Registry("estimator", "kolmo.estimators")
"""All estimators; other packages add theirs by entry points ``kolmo.estimators``."""


def register(cls: type[Estimator]) -> type[Estimator]:
    """Class decorator: register an estimator under its ``name``, which must be unique.

    Raises
    ------
    InputError
        If another class has the name, or a module of this package will register it.
    """
    return ESTIMATORS.register(cls)


def estimator_names() -> list[str]:
    """All names that ``get_estimator`` knows, those of plugins included."""
    return ESTIMATORS.names()


def get_estimator(spec: str | Estimator) -> Estimator:
    """The estimator that a spec names.

    Parameters
    ----------
    spec : str or Estimator
        ``name[:value][,key=value...][@layout]``; an estimator is returned as it is.

    Raises
    ------
    InputError
        For an unknown name (the close ones are listed) or an option that does not fit.

    >>> str(get_estimator("zstd:19@shuffle"))
    'zstd:19@shuffle'
    """
    if isinstance(spec, Estimator):
        return spec
    name, value, options = specs.parse(spec)
    made = specs.build(estimator_class(name), spec, value, options)
    assert isinstance(made, Estimator)
    return made


def estimator_class(name: str) -> type[Estimator]:
    """The class registered under a name."""
    return ESTIMATORS.get(name)


ESTIMATORS.declare("kolmo.estimators.compressors", "gzip", "bz2", "xz", "zstd", "brotli")
ESTIMATORS.declare("kolmo.estimators.bdm", "bdm", "qubd", "ctm", "block-entropy")
ESTIMATORS.declare("kolmo.estimators.mdl", "kt", "nml", "enumerative")
ESTIMATORS.declare("kolmo.estimators.parametric", "gaussian", "laplace")
ESTIMATORS.declare("kolmo.estimators.entropy", "entropy", "lz76")
ESTIMATORS.declare("kolmo.estimators.mosaic", "mosaic")
ESTIMATORS.declare("kolmo.estimators.context", "context")
ESTIMATORS.declare("kolmo.estimators.predictive", "predictive")
ESTIMATORS.declare("kolmo.estimators.planes", "planes")
ESTIMATORS.declare("kolmo.estimators.ppmd", "ppmd")
ESTIMATORS.declare("kolmo.estimators.lz78", "lz78")
ESTIMATORS.declare("kolmo.estimators.prequential", "prequential")
ESTIMATORS.declare("kolmo.estimators.lowrank", "lowrank")
ESTIMATORS.declare("kolmo.estimators.linear", "linear")
ESTIMATORS.declare("kolmo.estimators.packed", "pack")
