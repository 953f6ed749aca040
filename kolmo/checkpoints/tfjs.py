"""TensorFlow.js: a ``model.json`` whose manifest says what lies in the binary files beside it.

The weights of a group lie one after the other in its files, which are read as one. A weight may be
quantized to uint8 or uint16, by a scale and a minimum, or rounded to float16
(https://github.com/tensorflow/tfjs, ``tfjs-core/src/io/types.ts``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Checkpoint, Codes, Skipped, WeightTensor
from kolmo.checkpoints.folders import File, Folder
from kolmo.checkpoints.json_text import load_json
from kolmo.checkpoints.protobuf import joined
from kolmo.checkpoints.shapes import AXES
from kolmo.checkpoints.stored import Stored, stored_tensor
from kolmo.errors import InputError
from kolmo.symbols import Alphabet

_MOST = 1 << 26  # bytes of a model.json
_DTYPES = {"float32": "<f4", "int32": "<i4", "bool": "?", "float16": "<f2", "uint8": "u1",
           "uint16": "<u2"}  # fmt: skip
_SIDE = 64  # bits of a scale and a minimum, as float32

_LARGEST = 1e30  # of a scale and a minimum

Entry = WeightTensor | Skipped


def open_tfjs(file: File) -> Checkpoint | None:
    """The weights of a model; None if the file has no manifest of weights.

    Raises
    ------
    InputError
        If it is damaged, or names files outside its folder, or ones that are missing.
    """
    groups = _groups(file)
    if groups is None:
        return None
    opened = [_Group(file, group) for group in groups]
    entries = [entry for group in opened for entry in group.entries()]
    if not entries:
        raise InputError(f"{file.where}: a model of TensorFlow.js without any weights")
    if len({entry.name for entry in entries}) != len(entries):
        raise InputError(f"{file.where}: two weights have the same name")
    return Checkpoint(
        [entry for entry in entries if isinstance(entry, WeightTensor)],
        source=file.where,
        format="tfjs",
        skipped=[entry for entry in entries if isinstance(entry, Skipped)],
        files=[*file.files, *(path for group in opened for path in group.files)],
    )


def open_tfjs_folder(folder: Folder) -> Checkpoint | None:
    """The weights of the model in a folder."""
    return open_tfjs(File(folder, "model.json"))


def _groups(file: File) -> list[Any] | None:
    if file.stored.size > _MOST:
        return None
    said = load_json(file.head(_MOST), file.where)
    groups = said.get("weightsManifest") if isinstance(said, dict) else None
    return groups if isinstance(groups, list) else None


class _Group:
    """Weights that lie one after the other in files of their own."""

    def __init__(self, file: File, said: Any) -> None:
        self._where = file.where
        paths = said.get("paths") if isinstance(said, dict) else None
        weights = said.get("weights") if isinstance(said, dict) else None
        if not isinstance(paths, list) or not isinstance(weights, list):
            raise self._damaged()
        self._weights, self._files = weights, [file.beside(str(path)) for path in paths]
        missing = [one.name for one in self._files if not one.exists]
        if missing:
            raise InputError(f"{file.where}: its file {missing[0]!r} is missing; download it too")

    @property
    def files(self) -> list[str]:
        """The local files."""
        return [path for file in self._files for path in file.files]

    def entries(self) -> Iterator[Entry]:
        """The weights, each behind the one before it."""
        if not self._files:
            return
        stored, at = joined([file.stored for file in self._files], self._where), 0
        for weight in self._weights:
            if not isinstance(weight, dict) or not isinstance(weight.get("name"), str):
                raise self._damaged()
            entry, size = self._entry(weight, stored, at)
            yield entry
            if size is None:  # text is as long as it says itself, so that what follows is lost
                return
            at += size

    def _entry(
        self, weight: Mapping[str, Any], stored: Stored, at: int
    ) -> tuple[Entry, int | None]:
        name, shape, dtype = weight["name"], self._shape(weight), str(weight.get("dtype"))
        noted = weight.get("quantization")
        packing = noted if isinstance(noted, dict) else None
        code = _DTYPES.get(str(packing.get("dtype")) if packing else dtype)
        if code is None:
            reason = f"dtype {dtype[:40]} is not supported, nor what follows it in its file"
            return Skipped(name, reason, math.prod(shape)), None
        kept = stored_tensor(stored, name, shape, np.dtype(code), at)
        size = kept.numel * kept.dtype.itemsize
        if packing is None or kept.dtype == np.float16:
            return kept, size
        return self._quantized(kept, packing, dtype), size

    def _quantized(
        self, kept: WeightTensor, packing: Mapping[str, Any], dtype: str
    ) -> WeightTensor:
        """The weights that codes stand for: a scale times the code, and a minimum."""
        scale, least = (self._number(packing.get(name)) for name in ("scale", "min"))
        whole = dtype == "int32"

        def load(start: int, stop: int) -> NDArray[Any]:
            values = kept.load(start, stop).astype(np.float64) * scale + least
            rounded = np.floor(values + 0.5) if whole else values
            return np.asarray(rounded, np.float32)

        bits = 8 * kept.dtype.itemsize
        codes = Codes(f"TFJS uint{bits}", Alphabet(1 << bits), kept.load, _SIDE, (kept,))
        return WeightTensor(kept.name, kept.shape, np.dtype(np.float32), load, codes)

    def _number(self, value: Any) -> float:
        is_sound = isinstance(value, (int, float)) and -_LARGEST < value < _LARGEST
        if not is_sound:
            raise self._damaged()
        return float(value)

    def _shape(self, weight: Mapping[str, Any]) -> tuple[int, ...]:
        shape = weight.get("shape")
        if not isinstance(shape, list) or len(shape) > AXES:
            raise self._damaged()
        if not all(isinstance(n, int) and 0 <= n < 1 << 48 for n in shape):
            raise self._damaged()
        return tuple(int(side) for side in shape)

    def _damaged(self) -> InputError:
        return InputError(f"{self._where}: its manifest of weights is damaged")
