"""PPMd, prediction by partial matching: bytes predicted from those before them."""

from __future__ import annotations

import dataclasses
from typing import Any

from kolmo.errors import MissingExtraError
from kolmo.estimators.base import register
from kolmo.estimators.compressors import Compressor, Stream

MEMORY = 64 << 20
"""Bytes that the model may take; when they are full it starts anew."""


@register
@dataclasses.dataclass(frozen=True)
class Ppmd(Compressor):
    """PPMd, variant I with restart (Shkarin 2002), 64 MiB, with its end mark; bound.

    The level is the order: how many bytes at most predict the next one. Needs the package
    ``pyppmd``.
    """

    level: int = 6
    name = "ppmd"
    summary = "prediction by partial matching; orders 2 to 64 (extra: ppmd)"
    levels = range(2, 65)

    def stream(self, size: int) -> Stream:
        return _PpmdStream(_library().Ppmd8Encoder(self.level, MEMORY))

    def decompress(self, data: bytes) -> bytes:
        return bytes(_library().decompress(data, max_order=self.level, mem_size=MEMORY))


class _PpmdStream:
    """Gives pyppmd's object the method names of the others."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def compress(self, data: Any) -> bytes:
        return bytes(self._encoder.encode(bytes(data)))

    def flush(self) -> bytes:
        return bytes(self._encoder.flush(True))


def _library() -> Any:
    try:
        import pyppmd
    except ImportError:
        raise MissingExtraError("ppmd", "pyppmd", "ppmd") from None
    return pyppmd
