"""Writing safetensors, tensor by tensor or in pieces, without any other package."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.safetensors import CODES
from kolmo.dtypes import bits_of
from kolmo.errors import InputError
from kolmo.floats import bit_patterns
from kolmo.spoken import option

_CODES = {dtype.newbyteorder("="): code for code, dtype in CODES.items()}


class SafetensorsWriter:
    """Writes tensors whose dtypes and shapes are told first, pieces in any order, to a file that
    can be read too.

    Raises
    ------
    InputError
        If the format has no such dtype, or no place for such a number of narrow numbers.

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
            size = _size(name, dtype, shape)
            self._offsets[name] = end
            place = {"shape": list(shape), "data_offsets": [end, end + size]}
            header[name] = {"dtype": _code(name, dtype), **place}
            end += size
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little") + text)
        self._start = 8 + len(text)
        file.truncate(self._start + end)

    def write(self, name: str, first: int, weights: NDArray[Any]) -> None:
        """Put weights where the tensor's weights from ``first`` on go."""
        flat, bits = weights.reshape(-1), bits_of(weights.dtype)
        place = self._start + self._offsets[name]
        if bits < 8:
            self._write_narrow(place, first, bit_patterns(flat), bits)
            return
        little = flat.astype(weights.dtype.newbyteorder("<"), copy=False)
        self._file.seek(place + first * weights.dtype.itemsize)
        self._file.write(little.tobytes())

    def _write_narrow(self, place: int, first: int, numbers: NDArray[Any], bits: int) -> None:
        """Put numbers that may begin and end within bytes, whose other bits stay."""
        begin, skipped = divmod(first * bits, 8)
        spread = np.unpackbits(numbers[:, None], axis=1, bitorder="little")[:, :bits].reshape(-1)
        data = np.packbits(np.pad(spread, (skipped, 0)), bitorder="little")
        self._file.seek(place + begin)
        there = np.frombuffer(self._file.read(data.size), np.uint8)
        data[: there.size] |= there
        self._file.seek(place + begin)
        self._file.write(data.tobytes())


def _size(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Bytes of a tensor."""
    size, rest = divmod(math.prod(shape) * bits_of(dtype), 8)
    if rest:
        raise InputError(
            f"tensor {name!r}: {math.prod(shape):,} numbers of {bits_of(dtype)} bits do not fill "
            f"bytes, as safetensors needs it"
        )
    return size


def _code(name: str, dtype: np.dtype[Any]) -> str:
    """The format's name of a dtype."""
    code = _CODES.get(dtype.newbyteorder("="))
    if code is None:
        raise InputError(
            f"tensor {name!r}: safetensors has no dtype {dtype.name}; its symbols can be written "
            f"({option('symbols', True)})"
        )
    return code
