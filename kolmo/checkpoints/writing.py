"""Writing safetensors, tensor by tensor or in pieces, without any other package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.safetensors import CODES

_CODES = {dtype.newbyteorder("="): code for code, dtype in CODES.items()}


class SafetensorsWriter:
    """Writes tensors whose dtypes and shapes are told first, pieces in any order.

    >>> import io
    >>> file = io.BytesIO()
    >>> writer = SafetensorsWriter(file, {"w": (np.dtype("f4"), (2,))})
    >>> writer.write("w", 1, np.float32([2.0])); writer.write("w", 0, np.float32([1.0]))
    >>> len(file.getvalue()), file.getvalue()[-8:].hex()
    (72, '0000803f00000040')
    """

    def __init__(
        self,
        file: IO[bytes],
        tensors: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
        self._file, self._offsets, end = file, dict[str, int](), 0
        for name, (dtype, shape) in tensors.items():
            size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            self._offsets[name] = end
            place = {"shape": list(shape), "data_offsets": [end, end + size]}
            header[name] = {"dtype": _CODES[dtype.newbyteorder("=")], **place}
            end += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)
        self._start = 8 + len(text)
        file.truncate(self._start + end)

    def write(self, name: str, first: int, weights: NDArray[Any]) -> None:
        """Put weights where the tensor's weights from ``first`` on go."""
        little = weights.reshape(-1).astype(weights.dtype.newbyteorder("<"), copy=False)
        place = self._start + self._offsets[name] + first * weights.dtype.itemsize
        self._file.seek(place)
        self._file.write(little.tobytes())
