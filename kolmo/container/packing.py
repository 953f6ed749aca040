"""pack: write a checkpoint as the shortest file, checked by decoding it."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from kolmo.checkpoints import WeightTensor
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import check_unchanged, inputs_of, survey
from kolmo.codes.choosing import check_preset, shortest_code
from kolmo.codes.mosaic import MosaicCode
from kolmo.container.certificate import Certificate
from kolmo.container.decoding import whole_digest
from kolmo.container.finding import find_mosaics
from kolmo.container.format import (
    CRC,
    MAGIC,
    Entry,
    Part,
    Unit,
    encode_end,
    is_container,
    read_contents,
    with_checksum,
)
from kolmo.container.planning import plan_units
from kolmo.container.repeats import REPEAT, find_repeats, source_bytes
from kolmo.container.source import read_entries
from kolmo.container.state import STATE_ROLES, Kept, state_of
from kolmo.container.verifying import certify
from kolmo.container.work import read_to_decode
from kolmo.errors import InputError, KolmoError, NotApplicableError
from kolmo.execution import Progress, in_order, thread_count
from kolmo.files import check_output
from kolmo.progress import Wanted, progress_bar
from kolmo.quantize import Quantizer, get_quantizer
from kolmo.replacing import write_atomically
from kolmo.spoken import option
from kolmo.symbols import Symbols

_UNBOUNDED = 1 << 62

_Coded = tuple[Unit, tuple[int, bytes]]  # a unit, and the number of its code with its bytes


def pack(
    source: Any,
    path: str | os.PathLike[str],
    *,
    quantizer: str | Quantizer = "native",
    preset: str = "best",
    roles: Sequence[str | Role] = STATE_ROLES,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    threads: int | None = None,
    overwrite: bool = False,
    progress: Wanted = None,
) -> Certificate:
    """Write a checkpoint as the shortest container that kolmo can make, checked by decoding it.

    Parameters
    ----------
    source : path, directory, URL, nn.Module, state dict or mapping of arrays
    path : path
        The container, such as ``model.kmo``; written whole or not at all. Another container there
        is replaced.
    quantizer : spec or object
        ``native`` keeps every bit of every array as it is stored, packed codes as codes; any other
        keeps the symbols of the weights and the quantizer's parameters, and buffers as they are.
    preset : {"best", "default", "fast"}
        The shortest file; one a few percent longer, without the codes that take longest; or a
        quick one.
    roles : str or list of str
        Roles of the arrays to pack; by default those that the model is loaded from: weights,
        book-keeping, buffers, and copies that have the values of their originals.
    include, exclude : glob or list of globs
        Names of the arrays to pack; all by default.
    threads : int, optional
        All cores by default. The file does not depend on it.
    overwrite : bool
        Replace any other file that stands there, too; never one of the source.
    progress : bool or callable, optional
        A bar where a terminal or a notebook is, by default; False for none; or
        ``progress(done, total, label)``, called now and then from this thread.

    Returns
    -------
    Certificate
        A bound: its ``bits`` are those of the file.

    Raises
    ------
    InputError
        If the source cannot be read, holds values that the quantizer cannot express, or the file
        cannot be written.
    KolmoError
        If the file does not decode to the source's symbols; it is then not kept.

    Examples
    --------
    >>> import tempfile, kolmo, numpy as np
    >>> weights = np.repeat(np.float32([1, -0.0]), 5000)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     certificate = pack({"w": weights}, Path(folder) / "model.kmo")
    ...     again = kolmo.verify(certificate.path)
    >>> certificate.raw_bits, certificate.bits < 2000, certificate == again
    (320000, True, True)
    """
    path, quantize, count = Path(path), get_quantizer(quantizer), thread_count(threads)
    check_preset(preset)
    checkpoint = survey(source)
    check_output(path, own=is_container, inputs=inputs_of(checkpoint), overwrite=overwrite)
    state, left_out = state_of(checkpoint, quantize, roles, include, exclude)
    with progress_bar(progress) as report:
        certificate = pack_state(
            state, path, quantize, preset, count, report, lambda _: check_unchanged(checkpoint)
        )
    return dataclasses.replace(certificate, skipped=tuple(left_out))


def pack_state(
    state: Sequence[Kept],
    path: Path,
    quantizer: Quantizer,
    preset: str,
    threads: int,
    progress: Progress | None,
    accept: Callable[[Path], None] = lambda _: None,
) -> Certificate:
    """Write what is kept of a checkpoint as a container, checked by decoding it; see `pack`.

    ``accept`` is called with the file that decodes, before it takes its place: what it raises keeps
    it from that.
    """
    entries, digests = read_entries(state, quantizer, threads, progress)
    tensors = {kept.tensor.name: kept.tensor for kept in state}
    job = _Packing(tensors, quantizer, tuple(entries), preset, threads, progress)
    return dataclasses.replace(_written(path, job, digests, accept), path=path)


def _written(
    path: Path, job: _Packing, digests: Sequence[bytes], accept: Callable[[Path], None]
) -> Certificate:
    """The file, checked before it has its name."""
    written: list[Certificate] = []

    def write(temporary: Path) -> None:
        job.write(temporary, whole_digest(digests))
        try:
            contents = read_contents(temporary, _UNBOUNDED)
            written.append(certify(contents, job.threads, job.progress, "checking"))
        except InputError as error:
            what = str(error).removeprefix(f"{temporary}: ")
            raise KolmoError(f"{path}: not written, for it did not decode: {what}") from None
        accept(temporary)
        if not _is_expected(temporary):
            least = option("max_bytes", -(-written[0].raw_bits // 8))
            warnings.warn(
                f"{path}: so small for what it holds that it could be a trap, and is refused as "
                f"one: verify and unpack it with {least}",
                stacklevel=2,
            )

    write_atomically(path, write)
    return written[0]


def _is_expected(path: Path) -> bool:
    """Whether the file is decoded where nobody says how much may come of it."""
    try:
        read_to_decode(path)
    except InputError:
        return False
    return True


@dataclasses.dataclass(frozen=True)
class _Packing:
    tensors: Mapping[str, WeightTensor]
    quantizer: Quantizer
    entries: tuple[Entry, ...]
    preset: str
    threads: int
    progress: Progress | None

    def write(self, path: Path, digest: bytes) -> None:
        # The search for repeats and mosaics takes time.
        fast = self.preset == "fast"
        repeats = {} if fast else find_repeats(self.entries, self._read)
        mosaics = [] if fast else self._mosaics(repeats)
        inside = {part.tensor for unit, _ in mosaics for part in unit.parts}
        planned = plan_units(self.entries, inside, repeats)
        units, done = [], 0
        total = sum(unit.numel for unit in planned) + sum(unit.numel for unit, _ in mosaics)
        with open(path, "wb") as file:
            file.write(MAGIC)
            for unit, (code, data) in chain(mosaics, in_order(self._encode, planned, self.threads)):
                file.write(with_checksum(data))
                units.append(dataclasses.replace(unit, code=code, size=len(data)))
                done += unit.numel
                if self.progress:
                    self.progress(done, total, "coding")
            file.write(encode_end(self.quantizer, self.entries, units, digest))

    def _mosaics(self, skip: Collection[int]) -> list[_Coded]:
        """Units that the mosaic code writes in fewer bytes than the other codes."""
        shorter: list[_Coded] = []
        for unit in find_mosaics(self.entries, self._read, skip):
            data = self._as_mosaic(unit)
            if data is not None and len(data) < self._otherwise(unit):
                shorter.append((unit, (MosaicCode.number, data)))
        return shorter

    def _as_mosaic(self, unit: Unit) -> bytes | None:
        first = self.entries[unit.parts[0].tensor]
        parts = [self._read(part) for part in unit.parts]
        try:
            return MosaicCode().encode(parts, first.alphabet)
        except NotApplicableError:
            return None

    def _otherwise(self, unit: Unit) -> int:
        """Bytes of the same tensors in ordinary units."""
        others = set(range(len(self.entries))) - {part.tensor for part in unit.parts}
        planned = plan_units(self.entries, skip=others)
        coded = in_order(self._encode, planned, self.threads)
        return sum(len(data) + CRC for _, (_, data) in coded)

    def _encode(self, unit: Unit) -> tuple[int, bytes]:
        if unit.source:
            return REPEAT, source_bytes(*unit.source)
        first = self.entries[unit.parts[0].tensor]
        parts = [self._read(part) for part in unit.parts]
        return shortest_code(parts, first.alphabet, self.preset)

    def _read(self, part: Part) -> Symbols:
        entry = self.entries[part.tensor]
        weights = self.tensors[entry.name].load(part.start, part.stop)
        return entry.coder.encode_at(weights, part.start).reshape(part.shape)
