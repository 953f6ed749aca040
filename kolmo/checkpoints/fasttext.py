"""fastText: ``.bin``, and the quantized ``.ftz``.

A file has its settings, a dictionary, the matrix of the inputs (words, then buckets of n-grams) and
that of the outputs (labels, or words); the layout is that of fastText's own ``saveModel``
(https://github.com/facebookresearch/fastText, src/fasttext.cc). A quantized matrix keeps a byte
for each few weights of a row, the number of a centroid (a product quantizer), and, where it is
asked for, the row's norm in the same way (src/quantmatrix.cc); its weights are decoded.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.checkpoints.cursor import FieldCursor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.stored import Stored, stored_tensor
from kolmo.errors import InputError

MAGIC = (793712314).to_bytes(4, "little")
"""How a file begins."""

_FLOAT = np.dtype("<f4")
_CENTROIDS = 256
_ROWS = 1 << 14  # rows of a quantized matrix that are decoded at once
_SUPERVISED = 3


def open_fasttext(file: File) -> Checkpoint:
    """The input and the output matrix of a model.

    Raises
    ------
    InputError
        If the file is damaged, or of a version that is not known.
    """
    cursor = FieldCursor(file.stored, "a fastText model", len(MAGIC))
    (version,) = cursor.unpack("<i")
    if version not in (11, 12):
        raise InputError(f"{file.where}: a fastText model of version {version}; 11 and 12 are read")
    settings = _Settings.read(cursor)
    tensors = _from_the_end(file.stored, cursor.at, settings) or _after_dictionary(cursor)
    return Checkpoint(tensors, source=file.where, format="fastText", files=file.files)


def _after_dictionary(cursor: FieldCursor) -> list[WeightTensor]:
    """The matrices that follow the dictionary, each plain or quantized."""
    _pass_dictionary(cursor)
    (is_input,) = cursor.unpack("<?")
    tensors = [(_quantized if is_input else _dense)(cursor, "input")]
    (is_output,) = cursor.unpack("<?")
    tensors.append((_quantized if is_input and is_output else _dense)(cursor, "output"))
    if cursor.left:
        raise cursor.damaged(f"{cursor.left:,} bytes follow its matrices")
    return tensors


@dataclasses.dataclass(frozen=True)
class _Settings:
    """What of the settings and the dictionary's counts tells the shapes of the matrices."""

    width: int
    buckets: int
    words: int
    labels: int
    pruned: int
    is_supervised: bool

    @classmethod
    def read(cls, cursor: FieldCursor) -> _Settings:
        """The settings; the cursor is then at the entries of the dictionary."""
        width, _, _, _, _, _, _, model, buckets, _, _, _ = cursor.unpack("<12i")
        cursor.unpack("<d")
        begin = cursor.at
        size, words, labels, _, pruned = cursor.unpack("<3i2q")
        if min(width, size, words, labels) < 0 or size != words + labels or pruned < -1:
            raise cursor.damaged("its counts contradict each other")
        cursor.at = begin
        return cls(width, max(buckets, 0), words, labels, pruned, model == _SUPERVISED)


def _from_the_end(stored: Stored, begin: int, settings: _Settings) -> list[WeightTensor] | None:
    """The matrices without the dictionary, which may be long, from what their sizes should be.

    None where they are not there: the matrices of a quantized model are of other sizes.
    """
    rows = settings.labels if settings.is_supervised else settings.words
    for buckets in {settings.buckets, 0}:
        inputs = (settings.words + buckets) * settings.width * 4
        at = stored.size - rows * settings.width * 4 - inputs - 2 * 17
        if at < begin or settings.pruned >= 0:
            continue
        cursor = FieldCursor(stored, "a fastText model", at)
        first, shape = cursor.unpack("<?2q")[0], (settings.words + buckets, settings.width)
        cursor.at = at + 1
        if first or cursor.unpack("<2q") != shape:
            continue
        cursor.at = at + 17 + inputs
        if cursor.unpack("<?2q") == (False, rows, settings.width):
            cursor.at = at + 1
            return [_dense(cursor, "input"), _dense(_past(cursor, 1), "output")]
    return None


def _past(cursor: FieldCursor, size: int) -> FieldCursor:
    cursor.skip(size)
    return cursor


def _pass_dictionary(cursor: FieldCursor) -> None:
    size, _, _, _, pruned = cursor.unpack("<3i2q")
    for _ in range(size):
        cursor.until(b"\0")
        cursor.skip(9)  # a count and what it is: a word or a label
    cursor.skip(8 * max(pruned, 0))


def _dense(cursor: FieldCursor, name: str) -> WeightTensor:
    rows, columns = cursor.unpack("<2q")
    if rows < 0 or columns < 0 or rows * columns * 4 > cursor.left:
        raise cursor.damaged(f"its {name} matrix claims {rows:,} × {columns:,} numbers")
    tensor = stored_tensor(cursor.stored, name, (rows, columns), _FLOAT, cursor.at)
    cursor.skip(rows * columns * 4)
    return tensor


# --- quantized matrices ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Quantizer:
    """A product quantizer: a row's parts of ``width`` numbers, the last of ``last``."""

    columns: int
    parts: int
    width: int
    last: int
    centroids: NDArray[np.float32]

    @classmethod
    def read(cls, cursor: FieldCursor) -> _Quantizer:
        """A quantizer and its centroids."""
        columns, parts, width, last = cursor.unpack("<4i")
        sound = 0 < last <= width and parts > 0 and (parts - 1) * width + last == columns
        if not sound or columns * _CENTROIDS * 4 > cursor.left:
            raise cursor.damaged("its product quantizer contradicts itself")
        values = np.frombuffer(cursor.take(columns * _CENTROIDS * 4), _FLOAT).astype(np.float32)
        return cls(columns, parts, width, last, values)

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The rows of codes, which have a column for each part."""
        rows = np.empty((len(codes), self.columns), np.float32)
        for part in range(self.parts):
            width = self.last if part == self.parts - 1 else self.width
            begin = part * self.width
            table = self.centroids[begin * _CENTROIDS :][: width * _CENTROIDS]
            rows[:, begin : begin + width] = table.reshape(_CENTROIDS, width)[codes[:, part]]
        return rows


def _quantized(cursor: FieldCursor, name: str) -> WeightTensor:
    has_norms, rows, columns, size = cursor.unpack("<?2qi")
    if min(rows, columns, size) < 0:
        raise cursor.damaged(f"its {name} matrix claims {rows:,} × {columns:,} numbers")
    codes = cursor.stored.part(cursor.at, min(size, cursor.left))
    cursor.skip(size)
    quantizer, norms = _Quantizer.read(cursor), None
    if has_norms:
        norms = cursor.stored.part(cursor.at, min(rows, cursor.left))
        cursor.skip(rows)
    scale = _Quantizer.read(cursor) if has_norms else None
    one = scale is None or (scale.parts, scale.columns) == (1, 1)
    if quantizer.columns != columns or size != rows * quantizer.parts or not one:
        raise cursor.damaged(f"its {name} matrix contradicts its product quantizer")

    def decoded(first: int, last: int) -> NDArray[np.float32]:
        parts = quantizer.parts
        read = codes.read(first * parts, (last - first) * parts)
        values = quantizer.decode(np.frombuffer(read, np.uint8).reshape(-1, parts))
        if scale is not None and norms is not None:
            read = norms.read(first, last - first)
            with np.errstate(all="ignore"):
                values *= scale.decode(np.frombuffer(read, np.uint8).reshape(-1, 1))
        return values

    def load(start: int, stop: int) -> NDArray[Any]:
        if start == stop:
            return np.empty(0, np.float32)
        first, last = start // columns, -(-stop // columns)
        pieces = [decoded(row, min(row + _ROWS, last)).ravel() for row in range(first, last, _ROWS)]
        return np.concatenate(pieces)[start - first * columns : stop - first * columns]

    return WeightTensor(name, (rows, columns), np.dtype(np.float32), load)
