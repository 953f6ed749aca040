"""verify: check a container by decoding it, or against a source; the certificate of both."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from kolmo import __version__
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.opening import bytes_at, survey
from kolmo.codes.base import code_name
from kolmo.container.certificate import Certificate, TensorRow, UnitRow
from kolmo.container.decoding import Digests, decode_parts, whole_digest
from kolmo.container.format import (
    CRC,
    Contents,
    Entry,
)
from kolmo.container.source import read_entries
from kolmo.container.state import STATE_ROLES, state_of
from kolmo.container.work import read_to_decode
from kolmo.errors import KolmoError
from kolmo.execution import Progress, thread_count
from kolmo.progress import Wanted, progress_bar


def verify(
    path: str | os.PathLike[str],
    source: Any = None,
    *,
    roles: Sequence[str | Role] = STATE_ROLES,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    threads: int | None = None,
    progress: Wanted = None,
    max_bytes: int | None = None,
) -> Certificate:
    """Check a container by decoding it and, if a source is given, against the source.

    Parameters
    ----------
    path : path or URL
        A container.
    source : see `pack`, optional
        Must hold the same tensors with the same symbols; other tensors only if ``roles``,
        ``include`` or ``exclude`` leaves them out.
    roles : see `pack`
    include, exclude, threads, progress, max_bytes : see `pack` and `unpack`

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        If the container is damaged, or the source cannot be read.
    KolmoError
        If the source differs from the container.
    """
    contents = read_to_decode(bytes_at(path), max_bytes)
    with progress_bar(progress) as report:
        certificate = certify(contents, thread_count(threads), report, "decoding")
        if source is None:
            return certificate
        checkpoint, quantizer = survey(source), contents.quantizer
        state, left_out = state_of(checkpoint, quantizer, roles, include, exclude)
        entries, digests = read_entries(state, quantizer, thread_count(threads), report)
    _check_same(certificate, contents.entries, entries, [digest.hex() for digest in digests])
    return dataclasses.replace(certificate, skipped=tuple(left_out))


def certify(contents: Contents, threads: int, progress: Progress | None, label: str) -> Certificate:
    """Decode everything, and certify the result."""
    digests = Digests(contents.entries)
    for _ in decode_parts(contents, digests, threads, progress, label):
        pass
    holding: dict[int, list[int]] = {}
    for number, unit in enumerate(contents.units):
        for tensor in dict.fromkeys(part.tensor for part in unit.parts):
            holding.setdefault(tensor, []).append(number)
    entries = contents.entries
    tensor_digests = digests.each()
    rows = [
        _row(contents, number, tuple(holding.get(number, ())), digest.hex())
        for number, digest in enumerate(tensor_digests)
    ]
    return Certificate(
        contents.path,
        8 * contents.file_bytes,
        sum(entry.weights for entry in entries),
        sum(entry.numel * entry.alphabet.bits for entry in entries),
        str(contents.quantizer),
        whole_digest(tensor_digests).hex(),
        __version__,
        tuple(rows),
        tuple(UnitRow(code_name(u.code), u.numel, 8 * (u.size + CRC)) for u in contents.units),
    )


def _row(contents: Contents, number: int, units: tuple[int, ...], digest: str) -> TensorRow:
    entry = contents.entries[number]
    names = dict.fromkeys(code_name(contents.units[unit].code) for unit in units)
    code = "+".join(names) or "empty"
    if entry.copy_of is not None:
        code = f"copy of {contents.entries[entry.copy_of].name}"
    return TensorRow(
        entry.name,
        entry.shape,
        entry.dtype.name,
        entry.numel,
        code,
        units,
        digest,
        str(entry.role),
        entry.weights,
    )


def _check_same(
    certificate: Certificate, packed: Sequence[Entry], entries: Sequence[Entry], digests: list[str]
) -> None:
    """KolmoError unless the source's tensors, ``entries``, are those of the container."""
    path, here = certificate.path, {entry.name: n for n, entry in enumerate(entries)}
    for entry, row in zip(packed, certificate.tensors, strict=True):
        number = here.pop(entry.name, None)
        if number is None:
            raise KolmoError(f"{path}: the source has no tensor {entry.name!r}")
        other = entries[number]
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
