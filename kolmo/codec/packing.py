"""pack, unpack, verify: a checkpoint as the shortest file, which proves its own length."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from kolmo import __version__
from kolmo.checkpoints import Checkpoint, open_checkpoint
from kolmo.checkpoints.writing import SafetensorsWriter
from kolmo.codec.base import Symbols, get_code
from kolmo.codec.certificate import Certificate, TensorRow, UnitRow
from kolmo.codec.choosing import check_preset, shortest_code
from kolmo.codec.decoding import (
    Digests,
    Progress,
    decode_parts,
    in_order,
    whole_digest,
)
from kolmo.codec.finding import find_mosaics
from kolmo.codec.format import (
    CRC,
    MAGIC,
    Contents,
    Entry,
    Part,
    Unit,
    encode_end,
    read_contents,
    with_checksum,
)
from kolmo.codec.mosaic import Mosaic
from kolmo.codec.planning import plan_units
from kolmo.errors import InputError, KolmoError, NotApplicableError
from kolmo.estimators.base import container
from kolmo.quantize import Quantizer, get_quantizer
from kolmo.report import write_atomically

_UNBOUNDED = 1 << 62

_Coded = tuple[Unit, tuple[int, bytes]]  # a unit, the number of its code, and its bytes


def pack(
    source: Any,
    path: str | os.PathLike[str],
    *,
    quantizer: str | Quantizer = "native",
    preset: str = "best",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    threads: int | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Write a checkpoint as the shortest container that kolmo can make, checked by decoding it.

    Parameters
    ----------
    source : path, directory, URL, nn.Module, state dict or mapping of arrays
    path : path
        The container, such as ``model.kmo``; written whole or not at all.
    quantizer : spec or object
        ``native`` keeps every bit of every weight; any other keeps the symbols, and what turns
        them into weights again.
    preset : {"best", "fast"}
    include, exclude : list of globs
        Names of the tensors to pack; all by default.
    threads : int, optional
        All cores by default. The file does not depend on it.
    progress : callable, optional
        ``progress(done, total, label)``, called now and then from this thread.

    Returns
    -------
    Certificate
        A bound: its ``bits`` are those of the file.

    Raises
    ------
    InputError
        If the source cannot be read, holds what the quantizer cannot express, or the file cannot
        be written.
    KolmoError
        If the file does not decode to what it was made of; it is not kept.

    Examples
    --------
    >>> import tempfile
    >>> weights = np.repeat(np.float32([1, -0.0]), 5000)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     certificate = pack({"w": weights}, Path(folder) / "model.kmo")
    ...     certificate.raw_bits, certificate.bits < 2000, certificate == verify(certificate.path)
    (320000, True, True)
    """
    path, quantize, count = Path(path), get_quantizer(quantizer), _threads(threads)
    check_preset(preset)
    checkpoint = open_checkpoint(source).select(include, exclude)
    entries, digests = _read_entries(checkpoint, quantize, count, progress)
    job = _Packing(checkpoint, quantize, tuple(entries), preset, count, progress)
    written: list[Certificate] = []

    def write(temporary: Path) -> None:
        job.write(temporary, whole_digest(digests))
        try:
            contents = read_contents(temporary, _UNBOUNDED)
            written.append(_certify(contents, count, progress, "checking"))
        except InputError as error:
            what = str(error).removeprefix(f"{temporary}: ")
            raise KolmoError(f"{path}: not written, for it did not decode: {what}") from None

    write_atomically(path, write)
    return dataclasses.replace(written[0], path=path, skipped=tuple(checkpoint.skipped))


def unpack(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    symbols: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
    max_bytes: int | None = None,
) -> Path:
    """Write the weights of a container as safetensors.

    Parameters
    ----------
    path : path
        A container.
    out : path
        A file whose name ends with ``.safetensors``, or a directory for one of the container's
        name. Written whole or not at all.
    symbols : bool
        Write the symbols rather than the weights: bit patterns, or the quantizer's integers.
    threads, progress : see `pack`
    max_bytes : int, optional
        What the container may expand to; by default 1,024 times its size, and at least 1 GiB.

    Returns
    -------
    pathlib.Path
        The file. Weights that were quantized are what their symbols stand for, in the dtype that
        they had where that is a floating-point one, else float32.

    Raises
    ------
    InputError
        If the container is damaged: nothing is then written.
    """
    contents, out = read_contents(Path(path), max_bytes), Path(out)
    if out.suffix != ".safetensors":
        out = out / f"{contents.path.stem}.safetensors"
    dtypes = [
        container(e.coder.alphabet) if symbols else _weight_dtype(contents.quantizer, e)
        for e in contents.entries
    ]
    write_atomically(out, lambda t: _write_tensors(t, contents, dtypes, symbols, threads, progress))
    return out


def verify(
    path: str | os.PathLike[str],
    source: Any = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    threads: int | None = None,
    progress: Progress | None = None,
    max_bytes: int | None = None,
) -> Certificate:
    """Check a container by decoding it, and, if a source is given, against that.

    Parameters
    ----------
    path : path
        A container.
    source : see `pack`, optional
        Must hold the same tensors, of the same symbols, and no others but those that ``include``
        and ``exclude`` leave out.
    include, exclude, threads, progress, max_bytes : see `pack` and `unpack`

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the container is damaged, or the source cannot be read.
    KolmoError
        If the source is another one.
    """
    contents = read_contents(Path(path), max_bytes)
    certificate = _certify(contents, _threads(threads), progress, "decoding")
    if source is None:
        return certificate
    checkpoint = open_checkpoint(source).select(include, exclude)
    found, digests = _read_entries(checkpoint, contents.quantizer, _threads(threads), progress)
    _check_same(certificate, contents.entries, found, [digest.hex() for digest in digests])
    return dataclasses.replace(certificate, skipped=tuple(checkpoint.skipped))


# --- reading the source ---------------------------------------------------------------------


def _read_entries(
    checkpoint: Checkpoint, quantizer: Quantizer, threads: int, progress: Progress | None
) -> tuple[list[Entry], list[bytes]]:
    """Every tensor with its coder, and the SHA-256 of its symbols; equal ones are found."""
    entries: list[Entry] = []
    digests: list[bytes] = []
    first: dict[tuple[bytes, np.dtype[Any]], int] = {}
    done, total = 0, checkpoint.numel
    job = _Reading(checkpoint, quantizer)
    for _, (entry, digest) in in_order(job.read, list(checkpoint), threads):
        original = first.setdefault((digest, entry.dtype), len(entries)) if entry.numel else None
        same = original if original is not None and original < len(entries) else None
        entries.append(dataclasses.replace(entry, copy_of=same))
        digests.append(digest)
        done += entry.numel
        if progress:
            progress(done, total, "reading")
    return entries, digests


@dataclasses.dataclass(frozen=True)
class _Reading:
    checkpoint: Checkpoint
    quantizer: Quantizer

    def read(self, name: str) -> tuple[Entry, bytes]:
        tensor = self.checkpoint[name]
        entry = Entry(name, tensor.shape, tensor.dtype, self.quantizer.fit(tensor))
        digests = Digests([entry])
        for chunk in tensor.chunks():
            digests.update(0, entry.coder.encode(chunk))
        return entry, digests.each()[0]


# --- writing a container --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Packing:
    checkpoint: Checkpoint
    quantizer: Quantizer
    entries: tuple[Entry, ...]
    preset: str
    threads: int
    progress: Progress | None

    def write(self, path: Path, digest: bytes) -> None:
        mosaics = self._mosaics()
        planned = plan_units(
            self.entries, self.quantizer, {p.tensor for unit, _ in mosaics for p in unit.parts}
        )
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

    def _mosaics(self) -> list[_Coded]:
        """Units that the mosaic code writes in fewer bytes than others would."""
        found: list[_Coded] = []
        if self.preset == "fast":  # looking for blocks that repeat takes time
            return found
        for unit in find_mosaics(self.entries, self.quantizer, self._read):
            data = self._as_mosaic(unit)
            if data is not None and len(data) < self._otherwise(unit):
                found.append((unit, (Mosaic.number, data)))
        return found

    def _as_mosaic(self, unit: Unit) -> bytes | None:
        first = self.entries[unit.parts[0].tensor]
        parts = [self._read(part) for part in unit.parts]
        try:
            return Mosaic().encode(parts, first.coder.alphabet, first.kind(self.quantizer))
        except NotApplicableError:
            return None

    def _otherwise(self, unit: Unit) -> int:
        """Bytes of the unit's tensors in units of the usual kind."""
        inside = {part.tensor for part in unit.parts}
        planned = plan_units(self.entries, self.quantizer, set(range(len(self.entries))) - inside)
        coded = in_order(self._encode, planned, self.threads)
        return sum(len(data) + CRC for _, (_, data) in coded)

    def _encode(self, unit: Unit) -> tuple[int, bytes]:
        first = self.entries[unit.parts[0].tensor]
        parts = [self._read(part) for part in unit.parts]
        return shortest_code(parts, first.coder.alphabet, first.kind(self.quantizer), self.preset)

    def _read(self, part: Part) -> Symbols:
        entry = self.entries[part.tensor]
        weights = self.checkpoint[entry.name].load(part.start, part.stop)
        return entry.coder.encode(weights).reshape(part.shape)


# --- reading a container --------------------------------------------------------------------


def _certify(
    contents: Contents, threads: int, progress: Progress | None, label: str
) -> Certificate:
    """Decode everything; the certificate of what was decoded."""
    digests = Digests(contents.entries)
    for _ in decode_parts(contents, digests, threads, progress, label):
        pass
    holding: dict[int, list[int]] = {}
    for number, unit in enumerate(contents.units):
        for tensor in dict.fromkeys(part.tensor for part in unit.parts):
            holding.setdefault(tensor, []).append(number)
    entries = contents.entries
    found = digests.each()
    rows = [
        _row(contents, number, tuple(holding.get(number, ())), digest.hex())
        for number, digest in enumerate(found)
    ]
    return Certificate(
        contents.path,
        8 * contents.file_bytes,
        sum(entry.numel for entry in entries),
        sum(entry.numel * _stored_bits(entry) for entry in entries),
        str(contents.quantizer),
        whole_digest(found).hex(),
        __version__,
        tuple(rows),
        tuple(UnitRow(get_code(u.code).name, u.numel, 8 * (u.size + CRC)) for u in contents.units),
    )


def _stored_bits(entry: Entry) -> int:
    return entry.coder.stored_bits


def _row(contents: Contents, number: int, units: tuple[int, ...], digest: str) -> TensorRow:
    entry = contents.entries[number]
    names = dict.fromkeys(get_code(contents.units[unit].code).name for unit in units)
    code = "+".join(names) or "empty"
    if entry.copy_of is not None:
        code = f"copy of {contents.entries[entry.copy_of].name}"
    return TensorRow(entry.name, entry.shape, entry.dtype.name, entry.numel, code, units, digest)


def _write_tensors(
    path: Path,
    contents: Contents,
    dtypes: Sequence[np.dtype[Any]],
    symbols: bool,
    threads: int | None,
    progress: Progress | None,
) -> None:
    entries = contents.entries
    copies: dict[int, list[int]] = {}
    for number, entry in enumerate(entries):
        original = number if entry.copy_of is None else entry.copy_of
        copies.setdefault(original, []).append(number)
    kinds = {e.name: (d, e.shape) for e, d in zip(entries, dtypes, strict=True)}
    meta = {"kolmo": __version__, "quantizer": str(contents.quantizer)}
    with open(path, "wb") as file:
        writer = SafetensorsWriter(file, kinds, meta if symbols else None)
        digests = Digests(entries)
        for part, found in decode_parts(contents, digests, _threads(threads), progress):
            for number in copies[part.tensor]:
                values = found if symbols else _weights(contents, entries[number], found)
                writer.write(entries[number].name, part.start, values.astype(dtypes[number]))


def _weights(contents: Contents, entry: Entry, symbols: Symbols) -> Symbols:
    try:
        return entry.coder.decode(symbols)
    except IndexError:  # a codebook that lacks a symbol
        raise InputError(f"{contents.path}: {entry.name!r} has symbols without a value") from None


def _weight_dtype(quantizer: Quantizer, entry: Entry) -> np.dtype[Any]:
    if quantizer.name == "native" or entry.dtype.kind in "fV":
        return entry.dtype
    return np.dtype(np.float32)


def _check_same(
    certificate: Certificate, packed: Sequence[Entry], found: Sequence[Entry], digests: list[str]
) -> None:
    """KolmoError unless the source's tensors are those of the container."""
    path, here = certificate.path, {entry.name: n for n, entry in enumerate(found)}
    for entry, row in zip(packed, certificate.tensors, strict=True):
        number = here.pop(entry.name, None)
        if number is None:
            raise KolmoError(f"{path}: the source has no tensor {entry.name!r}")
        other = found[number]
        if (entry.shape, entry.dtype) != (other.shape, other.dtype):
            raise KolmoError(
                f"{path}: {entry.name!r} is {entry.dtype.name} {list(entry.shape)}, in the source "
                f"{other.dtype.name} {list(other.shape)}"
            )
        same = [p.hex() for p in entry.coder.parameters()] == [
            p.hex() for p in other.coder.parameters()
        ]
        if not same or row.sha256 != digests[number]:
            raise KolmoError(f"{path}: {entry.name!r} has other weights than in the source")
    if here:
        raise KolmoError(f"{path}: lacks the tensor {next(iter(here))!r} of the source")


def _threads(threads: int | None) -> int:
    if threads is not None and threads < 1:
        raise InputError(f"threads are at least 1, not {threads}")
    return threads or os.cpu_count() or 1
