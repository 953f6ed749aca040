"""PPMd, prediction by partial matching: bytes predicted from those before them."""

from __future__ import annotations

import dataclasses

from kolmo.codes.libraries import Ppmd8
from kolmo.estimators.base import register
from kolmo.estimators.compressors import Compressor

MEMORY = 64 << 20
"""Memory of the model in bytes; when it is full the model restarts."""


@register
@dataclasses.dataclass(frozen=True)
class Ppmd(Compressor):
    """PPMd, variant I with restart (Shkarin 2002), 64 MiB, with its end mark; bound.

    The level is the order: the most bytes that predict the next one. It needs the package
    ``pyppmd``.
    """

    level: int = 6
    name = "ppmd"
    summary = "prediction by partial matching; orders 2 to 64 (extra: ppmd)"
    library = Ppmd8(MEMORY)
    software = ("pyppmd",)
