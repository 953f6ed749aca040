"""What training changed, tensor by tensor, in forms that lie on grids: plain, factored, or both.

::

    w0, w ─► Δ = w − w0 ─► Δ itself, or rank-r factors of it, or factors and the rest ─► grids
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import Role, array_tensor
from kolmo.checkpoints.tensor_names import partners
from kolmo.container.state import STATE_ROLES, Kept, state_of
from kolmo.dtypes import DTYPES
from kolmo.errors import InputError
from kolmo.lossy.describing import quantized
from kolmo.lossy.scalings import VECTOR, Scaling
from kolmo.quantize.lossy import Lossy
from kolmo.quantize.scales import Floats, matrix_shape

Arrays = Mapping[str, NDArray[Any]]

_FINER = 1 / 8
"""Steps of factors beside those of the rest: errors of factors all point the same way."""

BASE = "sha256 of the base"
FORMS = "names, types and shapes"
LEFT, RIGHT, REST = "left of ", "right of ", "rest of "
"""What names of arrays in a file of changes begin with; under its own name a tensor is whole."""


@dataclasses.dataclass(frozen=True)
class ChangeForm:
    """How the change of each matrix is written.

    Attributes
    ----------
    rank : int
        Of the factors; 0 for none.
    rest : bool
        Whether what the factors leave is written too.
    by_rows : bool
        Whether steps are in proportion to the rows of the tuned weights, or the same everywhere.
    """

    rank: int
    rest: bool
    by_rows: bool = False

    def __str__(self) -> str:
        steps = "steps by rows" if self.by_rows else "equal steps"
        factors = f"factors of rank {self.rank}" if self.rank else ""
        return ", ".join(part for part in (factors, "grid" if self.rest else "", steps) if part)


@dataclasses.dataclass(frozen=True, eq=False)
class Change:
    """One tensor before and after.

    Attributes
    ----------
    name : str
    base, tuned : ndarray
        Of one shape and dtype.
    """

    name: str
    base: NDArray[Any]
    tuned: NDArray[Any]

    @cached_property
    def matrix(self) -> Floats:
        """Δ, float64 (rows, columns)."""
        shape = matrix_shape(self.tuned.shape)
        difference = self.tuned.astype(np.float64) - self.base.astype(np.float64)
        if not np.isfinite(difference).all():
            raise InputError(f"tensor {self.name!r} holds NaN or an infinity, which no grid has")
        return difference.reshape(shape)

    @cached_property
    def factors(self) -> tuple[Floats, Floats, Floats]:
        """U (m, k), σ (k,) and V (n, k) of Δ = U diag(σ) Vᵀ."""
        left, sizes, right = np.linalg.svd(self.matrix, full_matrices=False)
        return left, sizes, np.ascontiguousarray(right.T)

    @property
    def is_matrix(self) -> bool:
        return bool(min(self.matrix.shape) > 1)

    def rank(self, rank: int) -> int:
        """The rank of the factors: no more than pay, and than components that are not 0."""
        rows, columns = self.matrix.shape
        if not self.is_matrix or rank * (rows + columns) >= rows * columns:
            return 0
        return min(rank, int((self.factors[1] > 0).sum()))

    def sizes(self, by_rows: bool) -> Floats:
        """Sizes of the steps of rows: those of the tuned weights, or 1."""
        rows, _ = self.matrix.shape
        if not by_rows:
            return np.ones(rows)
        tuned = self.tuned.astype(np.float64).reshape(self.matrix.shape)
        found: Floats = np.sqrt(np.square(tuned).mean(axis=1))
        return found


class _ArrayForm(NamedTuple):
    name: str
    dtype: str
    shape: Sequence[int]
    copy_of: str


@dataclasses.dataclass(frozen=True, eq=False)
class Base:
    """What is known: the state of a network; or nothing, which is as much as weights of 0.

    Attributes
    ----------
    source : str
    arrays : mapping of str to ndarray
    ties : mapping of str to str
        Of each copy, the name of its original.
    known : bool
        Whether there is a base, which a file of changes names, or none, so that the file tells
        the names, types and shapes of all arrays itself.
    """

    source: str
    arrays: Arrays
    ties: Mapping[str, str]
    known: bool = True

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Base:
        state = _state(checkpoint)
        arrays = {kept.tensor.name: kept.tensor.read() for kept in state}
        ties = {kept.tensor.name: kept.copy_of for kept in state if kept.copy_of}
        return cls(checkpoint.source, arrays, ties)

    @classmethod
    def nothing(cls, forms: Iterable[_ArrayForm]) -> Base:
        """No base, for arrays of these forms."""
        forms = list(forms)
        arrays = {form.name: np.zeros(form.shape, _dtype(form.dtype)) for form in forms}
        ties = {form.name: form.copy_of for form in forms if form.copy_of}
        return cls("nothing", arrays, ties, False)

    @classmethod
    def told_by(cls, changes: Arrays, limit: int) -> Base:
        """No base, for the arrays that a file tells of, of so many bytes at most."""
        text = changes[FORMS].tobytes().decode("utf-8", "surrogatepass")
        forms = [_ArrayForm(*form) for form in json.loads(text)]
        size = sum(math.prod(form.shape) * _dtype(form.dtype).itemsize for form in forms)
        if size > limit:
            raise ValueError(f"it tells of {size:,} bytes of arrays")
        return cls.nothing(forms)

    @property
    def heading(self) -> tuple[str, bytes]:
        """The array of a file that names the base, or tells what there is."""
        if self.known:
            return BASE, self.digest
        forms = [(name, str(array.dtype), array.shape, self.ties.get(name, ""))
                 for name, array in self.arrays.items()]  # fmt: skip
        text = json.dumps(forms, separators=(",", ":"), ensure_ascii=False)
        return FORMS, text.encode("utf-8", "surrogatepass")

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of all arrays, in the order of their names."""
        found = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            form = f"{name}\0{array.dtype}\0{list(array.shape)}\0"
            found.update(form.encode("utf-8", "surrogatepass"))
            found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return found.digest()

    def with_changes(self, changes: Arrays) -> dict[str, NDArray[Any]]:
        """The arrays with changes made to them: Δ̂ = left · rightᵀ + rest, added to w0.

        Products are added up component by component, so that every machine gets the same numbers.
        """
        found = dict(self.arrays)
        for name, before in self.arrays.items():
            if LEFT + name in changes or REST + name in changes:
                found[name] = _changed(name, before, changes)
        for copy, original in self.ties.items():
            values = found[original]
            found[copy] = values if values.shape == found[copy].shape else values.T
        found |= {name: changes[name] for name in changes if _is_whole(name, self.arrays)}
        return found


def _changed(name: str, before: NDArray[Any], changes: Arrays) -> NDArray[Any]:
    matrix = before.astype(np.float64).reshape(matrix_shape(before.shape))
    if LEFT + name in changes:
        left, right = (changes[side + name].astype(np.float64) for side in (LEFT, RIGHT))
        for number in range(left.shape[1]):
            matrix = matrix + left[:, number, None] * right[:, number]
    if REST + name in changes:
        matrix = matrix + changes[REST + name].astype(np.float64).reshape(matrix.shape)
    return matrix.astype(before.dtype).reshape(before.shape)


def _is_whole(name: str, known: Arrays) -> bool:
    """Whether an array of a file is that of a tensor, and no change of one that is known."""
    begun = (side for side in (LEFT, RIGHT, REST) if name.startswith(side))
    return name not in (BASE, FORMS) and not any(name.removeprefix(side) in known for side in begun)


@dataclasses.dataclass(frozen=True, eq=False)
class Changes:
    """All that is different in the tuned network.

    Attributes
    ----------
    name : str
    base : Base
    names : mapping of str to str
        Of each tuned tensor that has a partner of its shape and dtype, the partner's name.
    tuned : sequence of Kept
    changes : sequence of Change
        Of the floating-point weights, under the names of the base.
    others : sequence of Kept
        Arrays that differ otherwise, or have no partner: kept as they are.
    """

    name: str
    base: Base
    names: Mapping[str, str]
    tuned: Sequence[Kept]
    changes: Sequence[Change]
    others: Sequence[Kept]

    @classmethod
    def of(cls, base: Checkpoint | None, tuned: Checkpoint) -> Changes:
        """The changes from one checkpoint to another, or from nothing.

        Raises
        ------
        InputError
            If no weights have a partner of their shape and dtype.
        """
        state = _state(tuned)
        known = Base.of(base) if base else Base.nothing(map(_form, state))
        pairs = partners([kept.tensor.name for kept in state], known.arrays)
        read = {kept.tensor.name: kept.tensor.read() for kept in state}
        names = {mine: other for mine, other in pairs.items()
                 if _is_alike(read[mine], known.arrays[other])}  # fmt: skip
        own = [n for n in quantized(state) if n in names and names[n] not in known.ties]
        if not own:
            raise InputError(
                f"no weights of {tuned.source} have a partner of their shape and dtype in "
                f"{known.source}"
            )
        changes = [Change(names[w], known.arrays[names[w]], read[w]) for w in own]
        others = [
            _in_file(kept, read[name], names.get(name, name))
            for name, kept in ((kept.tensor.name, kept) for kept in state)
            if name not in own and not _is_known(kept, read[name], names, known)
        ]
        return cls(tuned.source, known, names, state, changes, others)

    @cached_property
    def size(self) -> float:
        """The root mean square of all changes; 1 where there are none."""
        total = sum(float(np.square(change.matrix).sum()) for change in self.changes)
        count = sum(change.matrix.size for change in self.changes)
        return float(np.sqrt(total / max(count, 1))) or 1.0

    def have(self, form: ChangeForm) -> bool:
        """Whether a form differs from a grid alone: factors of that rank pay in some matrix."""
        return not form.rank or any(change.rank(form.rank) for change in self.changes)

    def written(self, form: ChangeForm) -> tuple[list[Kept], dict[str, Scaling]]:
        """What a file of that form holds, and how large the steps are."""
        name, data = self.base.heading
        heading = array_tensor(name, np.frombuffer(data, np.uint8))
        state = [Kept(heading, Role.BUFFER, None, False), *self.others]
        scalings: dict[str, Scaling] = {}
        for change in self.changes:
            for name, values, scaling in _parts(change, form, self.size):
                if values.any():
                    tensor = array_tensor(name, values.astype(np.float32))
                    state.append(Kept(tensor, Role.WEIGHT))
                    scalings[name] = scaling
        return state, scalings

    def distortion(self, arrays: Arrays) -> float:
        """Σ(w − ŵ)² / Σw² of the weights of a network under its own names."""
        error = power = 0.0
        own = {other: name for name, other in self.names.items()}
        for change in self.changes:
            tuned = change.tuned.astype(np.float64)
            power += float(np.square(tuned).sum())
            error += float(np.square(tuned - arrays[own[change.name]].astype(np.float64)).sum())
        return error / power if power else 0.0

    def applied(self, values: Arrays) -> dict[str, NDArray[Any]]:
        """The tuned network, under its own names, that a file with these arrays stands for."""
        others = {kept.tensor.name: kept.tensor for kept in self.others}
        whole = {name: others[name].read() for name in others if name not in self.base.arrays}
        found = self.base.with_changes({**whole, **values})
        names = [kept.tensor.name for kept in self.tuned]
        return {name: found[self.names.get(name, name)] for name in names}


def _parts(change: Change, form: ChangeForm, size: float) -> Iterator[tuple[str, Floats, Scaling]]:
    """The arrays that a change is written as; an error of one step is as large in each of them.

    Of factors U√σ and V√σ an error of a column counts √σ times, along a row of Δ.
    """
    rank, rest = change.rank(form.rank), change.matrix
    rows = change.sizes(form.by_rows) if form.by_rows else np.full(len(rest), size)
    if rank:
        left, sizes, right = (part[..., :rank] for part in change.factors)
        roots = np.sqrt(sizes)
        left, right = left * roots, right * roots
        height, width = rest.shape
        share = _FINER if form.rest else 1.0
        level = np.full(width, share * float(np.sqrt(np.square(rows).mean() * height)))
        yield LEFT + change.name, left, Scaling(share * rows * np.sqrt(width), 1 / roots)
        yield RIGHT + change.name, right, Scaling(level, 1 / roots)
        rest = rest - left @ right.T
    if form.rest or not rank:
        share = 1.0 if len(change.tuned.shape) > 1 else VECTOR
        yield REST + change.name, rest.reshape(change.tuned.shape), Scaling(share * rows)


def _state(checkpoint: Checkpoint) -> list[Kept]:
    return state_of(checkpoint, Lossy(0.0), STATE_ROLES)[0]


def _dtype(name: str) -> np.dtype[Any]:
    found = DTYPES.get(name) or np.dtype(name)
    if found.hasobject:
        raise ValueError(f"{name!r} is no dtype of weights")
    return found


def _form(kept: Kept) -> _ArrayForm:
    tensor = kept.tensor
    return _ArrayForm(tensor.name, str(tensor.dtype), tensor.shape, kept.copy_of)


def _is_alike(array: NDArray[Any], other: NDArray[Any]) -> bool:
    return (array.shape, array.dtype) == (other.shape, other.dtype)


def _is_known(kept: Kept, array: NDArray[Any], names: Mapping[str, str], base: Base) -> bool:
    """Whether an array follows from the base: it is the same, or tied to the same tensor."""
    name = names.get(kept.tensor.name)
    if name is None:
        return False
    if name in base.ties:
        return bool(kept.copy_of) and names.get(kept.copy_of) == base.ties[name]
    return array.tobytes() == base.arrays[name].tobytes()


def _in_file(kept: Kept, array: NDArray[Any], name: str) -> Kept:
    """An array that a file holds whole."""
    role = Role.WEIGHT if kept.role is Role.COPY else kept.role
    return Kept(array_tensor(name, array), role, None, role is Role.WEIGHT)
