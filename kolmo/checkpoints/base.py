"""Checkpoint and WeightTensor: a mapping of lazy tensors, whatever they come from."""

from __future__ import annotations

import dataclasses
import enum
import math
import os
import uuid
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.allowance import charge_entry
from kolmo.checkpoints.globs import why_left_out
from kolmo.checkpoints.loads import ArrayLoad, refilled
from kolmo.checkpoints.origins import Origin, Version, sha256
from kolmo.checkpoints.places import Place, footprint
from kolmo.checkpoints.shapes import array_shape
from kolmo.checkpoints.showing import tensor_cells, tensors_html
from kolmo.checkpoints.unique import unique_names
from kolmo.errors import InputError
from kolmo.specs import several
from kolmo.symbols import Alphabet
from kolmo.text import printable

CHUNK = 1 << 22
"""Weights a chunk, at most, wherever a row is not longer."""


_PROCESS = uuid.uuid4().hex  # and the process id: places in memory are those of one process


class Role(enum.StrEnum):
    """What an array in a source is to the network.

    >>> str(Role.BOOKKEEPING), Role("buffer") is Role.BUFFER
    ('book-keeping', True)
    """

    WEIGHT = "weight"
    """A floating-point parameter, or the logical weights that packed codes stand for."""
    BOOKKEEPING = "book-keeping"
    """What the codes of a quantized tensor need: scales, zero points, group indices, tables."""
    BUFFER = "buffer"
    """Running statistics, positions, masks, counters."""
    OPTIMIZER = "optimizer"
    """The state of an optimizer, such as Adam's moments."""
    COPY = "copy"
    """A tensor that is there already: tied, a view, averaged weights beside the originals."""
    OTHER = "other"
    """Anything else."""


@dataclasses.dataclass(frozen=True, eq=False)
class Codes:
    """The codes that a quantized checkpoint keeps in place of a tensor's weights.

    Attributes
    ----------
    scheme : str
        What made them, for people: ``GPTQ``, ``Q4_K``, ``NF4``.
    alphabet : Alphabet
        The codes' own: 16 symbols for codes of 4 bits.
    load : callable
        ``load(start, stop)`` gives the codes of the weights [start, stop), in the row-major order
        of the logical tensor, as unsigned integers of ``alphabet.container``.
    side_bits : int
        Bits of all else that the weights need: scales, zero points, group indices, tables, as they
        are stored.
    stored : tuple of WeightTensor
        The arrays of the file that hold the codes, as they lie there.
    """

    scheme: str
    alphabet: Alphabet
    load: Callable[[int, int], NDArray[Any]]
    side_bits: int
    stored: tuple[WeightTensor, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class WeightTensor:
    """A tensor that is read when asked, never before.

    Attributes
    ----------
    name : str
    shape : tuple of int
    dtype : numpy.dtype
        As stored; bfloat16 and float8 are ``ml_dtypes`` dtypes.
    load : callable
        ``load(start, stop)`` gives the weights [start, stop) of the flattened (row-major)
        tensor as a 1-D array of ``dtype`` in native byte order; of a quantized tensor, the
        dequantized weights.
    codes : Codes, optional
        Of a quantized tensor, the codes that stand for its weights.
    role : Role, optional
        The role that the format itself tells, such as that of a module's buffers; None where only
        names, dtypes and values can tell.
    place : hashable, optional
        Where the values lie: equal for two tensors of the same numbers in the same bytes.

    It pickles, with a reference to its source: who loads the copy reads the bytes there.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[int, int], NDArray[Any]]
    codes: Codes | None = None
    role: Role | None = None
    place: Hashable = None

    def __post_init__(self) -> None:
        charge_entry(self.name)

    def __repr__(self) -> str:
        cells = tensor_cells(self.name, self.shape, self.form, self.numel)
        return "<WeightTensor {0}: {2} [{1}], {3} weights>".format(*cells)

    def __getstate__(self) -> dict[str, Any]:
        away = self.place and (_PROCESS, os.getpid(), self.place)
        return {**self.__dict__, "place": away}

    @cached_property
    def numel(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @cached_property
    def form(self) -> str:
        """How the weights are stored: ``float32``, or of a quantized tensor ``4-bit GPTQ``.

        Tensors of one form have one alphabet under every quantizer.
        """
        codes = self.codes
        return f"{codes.alphabet.bits}-bit {codes.scheme}" if codes else self.dtype.name

    def read(self) -> NDArray[Any]:
        """The whole tensor, in its `array_shape`."""
        return self.load(0, self.numel).reshape(array_shape(self.shape))

    def chunks(self, size: int = CHUNK, reuse: bool = False) -> Iterator[NDArray[Any]]:
        """The tensor piece by piece: flat arrays in row-major order.

        A chunk is as many whole rows (slices of the first axis) as fit ``size`` weights; where
        a single row is longer, rows are cut into chunks of ``size``. With ``reuse`` a chunk is
        valid only until the next one is taken: its memory may be filled again.
        """
        row = self.numel // self.shape[0] if self.shape and self.shape[0] else 1
        step = size // row * row if 0 < row <= size else size
        starts = range(0, self.numel, step)
        ranges = ((start, min(start + step, self.numel)) for start in starts)
        if reuse:
            return refilled(self.load, self.dtype, ranges)
        return (self.load(*piece) for piece in ranges)


@dataclasses.dataclass(frozen=True)
class Skipped:
    """A tensor, or another entry, that is not measured, and why.

    Attributes
    ----------
    name, reason : str
    numel : int
        Its numbers, where that is known.
    role : Role
    tensor : WeightTensor, optional
        The tensor, so that it can be measured all the same; None of what is no tensor, or of a
        dtype that is not supported.
    copy_of : str
        Of a copy, the name of the tensor that has the same values.
    """

    name: str
    reason: str
    numel: int = 0
    role: Role = Role.OTHER
    tensor: WeightTensor | None = dataclasses.field(default=None, compare=False)
    copy_of: str = ""

    def __post_init__(self) -> None:
        charge_entry(self.name)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values; of the tensor they have none.

        >>> Skipped("epoch", "not a tensor but int").to_dict()["role"]
        'other'
        """
        fields = ("name", "reason", "numel", "copy_of")
        return {**{field: getattr(self, field) for field in fields}, "role": str(self.role)}


class Checkpoint(Mapping[str, WeightTensor]):
    """Tensors by name, in checkpoint order, without their values in memory.

    Attributes
    ----------
    source : str
        Where it comes from, for people.
    format : str
        ``safetensors``, ``torch``, ``pickle``, ``joblib``, ``npz``, ``npy``, ``arrays`` or
        ``module``.
    skipped : list of Skipped
        Entries that are not tensors to measure: buffers, tied copies, optimizer state, names that
        were excluded; each with its role.
    files : tuple of str
        The local files behind it, for provenance; empty for live objects.
    versions : mapping of str to str
        The remote files behind it, by URL: what their servers tell of them, such as
        ``size=1024 ETag="5f3c"``; it grows as files are opened.
    origin : Origin, optional
        What opens it again in another process; None of arrays in memory, which pickle by value.
    networks : tuple of str
        The names of its networks, where it holds more than one: what its tensors' names begin
        with, such as ``generator`` and ``discriminator``.
    shards : tuple of int, optional
        Of a part of a model: how many of its shards these are, and how many it has.
    """

    def __init__(
        self,
        tensors: Iterable[WeightTensor],
        *,
        source: str,
        format: str,
        skipped: Iterable[Skipped] = (),
        files: Iterable[str] = (),
        networks: Iterable[str] = (),
        shards: tuple[int, int] | None = None,
    ) -> None:
        self._tensors = {tensor.name: tensor for tensor in unique_names(tensors)}
        self.source, self.format = source, format
        self.skipped, self.files = list(skipped), tuple(files)
        self.networks, self.shards = tuple(networks), shards
        self.versions: Mapping[str, str] = {}
        self.origin: Origin | None = None
        self._opened: Mapping[str, Version] = {}
        self._from: Checkpoint | None = None  # kept, for temporary files go when it goes

    def __getitem__(self, name: str) -> WeightTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"<Checkpoint {printable(self.source)}: {len(self)} tensors, {self.numel:,} weights>"

    def _repr_html_(self) -> str:
        cells = [tensor_cells(t.name, t.shape, t.form, t.numel) for t in self.values()]
        return tensors_html(f"{repr(self)[1:-1]} ({self.format})", cells, len(self.skipped))

    @property
    def numel(self) -> int:
        """Number of weights in all tensors."""
        return sum(tensor.numel for tensor in self.values())

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each local file behind it, by path; reads them whole.

        A remote file is not read for it: it has what its server tells, as in ``versions``.
        """
        return {**{file: sha256(file) for file in self.files}, **self.versions}

    @property
    def fingerprints(self) -> dict[str, str]:
        """What tells the version of each file behind it from any other, by path or URL, unread:
        ``size=1024 mtime_ns=1700000000000000000``, taken when it was opened, or what the server
        tells, as in ``versions``."""
        local = {file: str(self._opened.get(file) or Version.of(file)) for file in self.files}
        return {**local, **self.versions}

    def changed_files(self) -> list[str]:
        """The local files behind it that are no longer what was opened."""
        return [file for file, then in self._opened.items() if Version.of(file).is_other(then)]

    def select(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Checkpoint:
        """The tensors whose name matches one of ``include`` (all, if empty) and none of
        ``exclude``: shell globs, case-sensitive. What is left out is listed in ``skipped``.

        Raises
        ------
        InputError
            If nothing is left.
        """
        include, exclude = several(include), several(exclude)
        kept, left_out = [], []
        for tensor in self.values():
            reason = why_left_out(tensor.name, include, exclude)
            if reason is None:
                kept.append(tensor)
            else:
                left_out.append(_skipped(tensor, reason))
        if not kept and self._tensors:
            raise InputError(
                f"{self.source}: include={list(include)} and exclude={list(exclude)} leave none "
                f"of the {len(self)} tensors (the first is {next(iter(self))!r})"
            )
        return self.holding(kept, [*self.skipped, *left_out])

    def with_roles(self, roles: str | Sequence[str] = ()) -> Checkpoint:
        """What is here, and all that was left out for one of these roles, such as ``buffer``.

        Raises
        ------
        InputError
            If there is no such role.

        Examples
        --------
        >>> import kolmo, numpy as np
        >>> source = {"norm.weight": np.ones(4), "norm.running_mean": np.zeros(4)}
        >>> list(kolmo.open_checkpoint(source).with_roles("buffer"))
        ['norm.weight', 'norm.running_mean']
        """
        wanted = {_role(role) for role in several(roles)} - {Role.WEIGHT}
        back = [s for s in self.skipped if s.tensor is not None and s.role in wanted]
        if not back:
            return self
        left = [s for s in self.skipped if s.tensor is None or s.role not in wanted]
        return self.holding([*self.values(), *(s.tensor for s in back if s.tensor)], left)

    def holding(self, tensors: Iterable[WeightTensor], skipped: Iterable[Skipped]) -> Checkpoint:
        """The same source with other tensors in it and left out of it."""
        made = Checkpoint(
            tensors,
            source=self.source,
            format=self.format,
            skipped=skipped,
            files=self.files,
            networks=self.networks,
            shards=self.shards,
        )
        made.versions, made.origin, made._opened = self.versions, self.origin, self._opened
        made._from = self
        return made

    def opened_from(self, source: str) -> Origin:
        """Note where it was opened, and the versions of its files at this moment."""
        self._opened = {file: Version.of(file) for file in self.files}
        local = {os.path.abspath(file): str(version) for file, version in self._opened.items()}
        self.origin = Origin.of(source, {**local, **self.versions})
        return self.origin

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "versions": dict(self.versions), "_from": None}


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        raise InputError(f"there is no role {name!r}; roles are {', '.join(Role)}") from None


def _skipped(tensor: WeightTensor, reason: str) -> Skipped:
    role = tensor.role or Role.WEIGHT
    return Skipped(tensor.name, reason, tensor.numel, role, tensor)


def array_tensor(name: str, array: NDArray[Any]) -> WeightTensor:
    """A WeightTensor over an array that is in memory (or memory-mapped)."""
    dtype = array.dtype.newbyteorder("=")
    return WeightTensor(name, array.shape, dtype, ArrayLoad(array), place=_place(array))


def _place(array: NDArray[Any]) -> Place | None:
    """Where in this machine's memory the values are; None of an array without any."""
    if array.size == 0:
        return None
    begin, sides = array.__array_interface__["data"][0], footprint(array.shape, array.strides)
    name = array.dtype.name if array.dtype.isnative else array.dtype.str
    return Place("memory", begin, sides, name, array.dtype.itemsize)
