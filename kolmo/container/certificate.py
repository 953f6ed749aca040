"""Certificate: the length of a description of the weights, and the file that holds it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kolmo.checkpoints.base import Skipped
from kolmo.checkpoints.files import plural
from kolmo.markup import lines_html
from kolmo.text import printable, shorten

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 12  # rows of the printed table


@dataclasses.dataclass(frozen=True)
class TensorRow:
    """One tensor of a container.

    Attributes
    ----------
    name, shape, dtype : str, tuple of int, str
    numel : int
        Numbers in it.
    code : str
        The codes of its units, or ``copy of NAME``, or ``empty``.
    units : tuple of int
        The units that hold it; other tensors may share them.
    sha256 : str
        SHA-256 of its symbols' little-endian bytes; under ``native`` those of the weights.
    role : str
        ``weight``, ``buffer`` and so on; of containers of version 1 always ``weight``.
    weights : int
        Weights that it stands for: its numbers, or those that packed codes stand for; 0 of
        another role.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    numel: int
    code: str
    units: tuple[int, ...]
    sha256: str
    role: str
    weights: int


@dataclasses.dataclass(frozen=True)
class UnitRow:
    """Symbols that are coded together; ``bits`` includes the checksum."""

    code: str
    numel: int
    bits: int


@dataclasses.dataclass(frozen=True)
class Certificate:
    """A bound, proved by a file: K(w) ≤ ``bits`` + the decoder's constant.

    Attributes
    ----------
    path : pathlib.Path
    bits : int
        8 × the size of the whole file.
    numel : int
        Number of weights that it describes; those of packed codes are the logical ones, and
        buffers, book-keeping and copies are none.
    raw_bits : int
        Numbers × stored bits of each, added up over all tensors.
    quantizer : str
    sha256 : str
        SHA-256 of the tensors' SHA-256 in order; the file was checked against it.
    decoder : str
        The version of kolmo that checked the file by decoding it, and that decodes it.
    tensors, units : tuples of TensorRow, UnitRow
    skipped : tuple of Skipped
        Entries of the source that the file does not describe, and why.
    """

    path: Path
    bits: int
    numel: int
    raw_bits: int
    quantizer: str
    sha256: str
    decoder: str
    tensors: tuple[TensorRow, ...]
    units: tuple[UnitRow, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def bits_per_weight(self) -> float:
        """``bits / numel``; NaN where there are no weights."""
        return self.bits / self.numel if self.numel else math.nan

    @property
    def distortion(self) -> float | None:
        """Of a lossy file Σ(w − ŵ)² / Σw² against its source, as whoever made it says; else None.

        What the file holds is exact: ŵ."""
        name, _, distortion = self.quantizer.partition(":")
        return float(distortion) if name == "lossy" else None

    @property
    def roles(self) -> dict[str, int]:
        """Numbers that are not weights, by role."""
        found: dict[str, int] = {}
        for row in self.tensors:
            if row.role != "weight":
                found[row.role] = found.get(row.role, 0) + row.numel
        return found

    @property
    def compression_ratio(self) -> float:
        """``raw_bits / bits``."""
        return self.raw_bits / self.bits

    @property
    def table(self) -> pd.DataFrame:
        """One row for each tensor, columns as the attributes of its `TensorRow`."""
        import pandas as pd

        columns = [field.name for field in dataclasses.fields(TensorRow)]
        rows = [dataclasses.astuple(row) for row in self.tensors]
        return pd.DataFrame(rows, columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready values, ``bits_per_weight`` and ``kind`` among them."""
        plain = dataclasses.replace(self, path=Path(), skipped=())
        skipped = [entry.to_dict() for entry in self.skipped]
        fields = {**dataclasses.asdict(plain), "path": str(self.path), "skipped": skipped}
        each = self.bits_per_weight if self.numel else None
        return {"kind": "bound", "bits_per_weight": each, "roles": self.roles, **fields}

    def __repr__(self) -> str:
        return (
            f"<Certificate {printable(self.path.name)}: K(w) ≤ {self.bits:,} bits, "
            f"{self.bits_per_weight:.4g} for each of {self.numel:,} weights, {self.quantizer}>"
        )

    def _repr_html_(self) -> str:
        return lines_html(str(self))

    def __str__(self) -> str:
        tensors = sum(row.weights > 0 for row in self.tensors)
        lines = [
            f"{self.path}: {self.numel:,} weights in {plural(tensors, 'tensor')}, {self.quantizer}",
            *_role_lines(self),
            f"{self.bits:,} bits, {self.bits_per_weight:.4f} bits a weight, "
            f"{self.compression_ratio:.4g} times under raw",
            *_code_lines(self),
            *_skipped_lines(self),
            f"sha256 {self.sha256}",
            f"bound: this file is the description; the decoder is kolmo {self.decoder}",
        ]
        return "\n".join(printable(line) for line in lines)


def _role_lines(certificate: Certificate) -> list[str]:
    counts = [f"{numel:,} {role}" for role, numel in certificate.roles.items()]
    return [f"besides: {', '.join(counts)}"] if counts else []


def _code_lines(certificate: Certificate) -> list[str]:
    """A line for each code: the weights that it describes, their bits, and bits a weight."""
    totals: dict[str, list[int]] = {}
    for unit in certificate.units:
        total = totals.setdefault(unit.code, [0, 0])
        total[0] += unit.numel
        total[1] += unit.bits
    lines = [f"{'code':12}{'numbers':>16}{'bits':>18}{'bits/number':>13}"]
    for code, (numel, bits) in sorted(totals.items(), key=lambda item: -item[1][1]):
        lines.append(f"{code:12}{numel:16,}{bits:18,}{bits / numel:13.4f}")
    rest = certificate.bits - sum(bits for _, bits in totals.values())
    copied = sum(row.numel for row in certificate.tensors if row.code.startswith("copy of "))
    if copied:
        lines.append(f"{'copies':12}{copied:16,}{0:18,}{0:13.4f}")
    return [*lines, f"{'header':12}{'':16}{rest:18,}"]


def _skipped_lines(certificate: Certificate) -> list[str]:
    skipped = certificate.skipped
    lines = [f"left out: {shorten(s.name, 60)} ({s.reason})" for s in skipped[:_SHOWN]]
    more = len(skipped) - len(lines)
    return [*lines, f"left out: {more:,} more"] if more > 0 else lines
