"""The file of a run's weights: its mosaic or kolmo's container, whichever is shorter."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

import kolmo
from momos.mosaic.mosaic import Mosaic


def packed(state: Mapping[str, torch.Tensor]) -> bytes:
    """The weights as the bytes of a ``.kmo`` file, every bit kept; checked by decoding it.

    >>> len(packed({"weight": torch.zeros(1000)})) < 100
    True
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.kmo"
        kolmo.pack(dict(state), path)
        return path.read_bytes()


def shortest_file(state: Mapping[str, torch.Tensor], mosaic: Mosaic | None) -> tuple[str, bytes]:
    """Suffix and bytes of the shorter file of the weights.

    Parameters
    ----------
    state : mapping of str to Tensor
        The weights whose accuracy is reported.
    mosaic : Mosaic or None
        One of the very same weights, if there is one.
    """
    files = {".kmo": packed(state)}
    if mosaic is not None:
        files[".mosaic"] = mosaic.encode()
    return min(files.items(), key=lambda item: len(item[1]))
