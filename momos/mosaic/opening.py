"""Opening a mosaic file as a checkpoint, without torch: blocks find their places when read."""

from __future__ import annotations

import dataclasses
import threading

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.dtypes import DTYPES
from momos.mosaic.blocks import Array
from momos.mosaic.files import checked_header, decode_parts
from momos.mosaic.parts import Parts


def open_mosaic(file: File) -> Checkpoint:
    """The tensors of a mosaic file, those outside the mosaic too, in checkpoint order."""
    header = checked_header(file.where, _content(file))
    decoded, kinds = _Decoded(file), {name: kind for name, _, kind in header["tensors"]}
    tensors = []
    for name, shape, stored in header["tensors"]:
        of = stored[0] if isinstance(stored, list) else name
        dtype = DTYPES[kinds[of] if isinstance(kinds[of], str) else header["dtype"]]
        place = ("mosaic", file.where, of)  # of a tied tensor and its other names the same
        tensors.append(WeightTensor(name, tuple(shape), dtype, _Load(decoded, name), place=place))
    return Checkpoint(tensors, source=file.where, format="mosaic", files=file.files)


def _content(file: File) -> bytes:
    return bytes(file.stored.read(0, file.stored.size))


class _Decoded:
    """The parts of a mosaic, decoded when a weight is first read, and kept: motifs and indices."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._parts: Parts | None = None
        self._lock = threading.Lock()

    @property
    def parts(self) -> Parts:
        with self._lock:
            if self._parts is None:
                self._parts = decode_parts(self._file.where, _content(self._file), Parts)
            return self._parts


@dataclasses.dataclass(frozen=True, eq=False)
class _Load:
    """Loads the weights of one tensor."""

    decoded: _Decoded
    name: str

    def __call__(self, start: int, stop: int) -> Array:
        return self.decoded.parts.values(self.name, start, stop)
