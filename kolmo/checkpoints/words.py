"""Word vectors: word2vec in its binary and its text form, fastText's ``.vec``, GloVe.

Each is a matrix of a row a word, the words beside their rows
(https://github.com/tmikolov/word2vec, https://nlp.stanford.edu/projects/glove/). A first line of
word2vec's and fastText's gives rows and columns; GloVe has none. Where the rows lie is found by
one pass over the file, when the first of them is read (of GloVe, whose rows must be counted, when
it is opened). Decimal digits are read as float32, as their own libraries do.
"""

from __future__ import annotations

import re
import threading
from array import array
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.checkpoints.cursor import FieldCursor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

_BEGINNING = 1 << 16  # bytes by which a file is recognized
_PIECE = 1 << 22  # bytes of one pass at once
_LONGEST = 1 << 20  # bytes of a line
_EMPTY = 1 << 10  # empty lines at the end, and those of a piece that ends within one
_DIGITS = 64  # bytes of a number
_FEW, _MANY = 2, 20  # columns at least, by a name such as `glove.txt`, and by any other
_NAMED = re.compile(r"glove|vec|emb|word")
_COUNTS = re.compile(rb"(\d{1,12}) (\d{1,7})[ \t]*\r?\n")
_PRINTED = bytes([9, 10, 13, *range(32, 127)])
_NUMBER = re.compile(rb"[-+]?(\d++(\.\d*+)?|\.\d++)([eE][-+]?\d++)?$")


def is_words(head: bytes, file: File) -> bool:
    """Whether the file has word vectors in one of these forms."""
    if _COUNTS.match(head):
        return _form(file) is not None
    start = head.split(b"\n", 1)[0].split()
    return any(map(_NUMBER.match, start[1:3])) and _form(file) is not None


def open_words(file: File) -> Checkpoint | None:
    """The matrix of the vectors; None where the file has none after all.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    form = _form(file)
    if form is None:
        return None
    name, rows = form
    tensor = WeightTensor("vectors", (len(rows), rows.columns), np.dtype(np.float32), rows.load)
    return Checkpoint([tensor], source=file.where, format=name, files=file.files)


def _form(file: File) -> tuple[str, _Rows] | None:
    """The form of a file by its first lines, and its rows."""
    head = file.head(_BEGINNING)
    counts = _COUNTS.match(head)
    if counts is None:
        columns = _columns(head, file)
        return ("GloVe", _TextRows(file.stored, 0, None, columns)) if columns else None
    count, columns, begin = int(counts[1]), int(counts[2]), counts.end()
    if not count or not columns:
        return None
    line = head[begin:].split(b"\n", 1)[0].split()
    if len(line) > columns and all(map(_NUMBER.match, line[-columns:])):
        return "word2vec (text)", _TextRows(file.stored, begin, count, columns)
    first = head[begin:].partition(b" ")[2][: 4 * columns]
    fits = count * (4 * columns + 2) <= file.stored.size - begin
    if fits and first.translate(None, _PRINTED):
        return "word2vec", _BinaryRows(file.stored, begin, count, columns)
    return None


def _columns(head: bytes, file: File) -> int:
    """The numbers after the word, in each of a few lines, of which none begins by a number.

    A table of few columns may be anything; the name of the file must say that it is vectors.
    """
    lines = head.split(b"\n")
    lines = lines[:3] if len(head) == file.stored.size else lines[:-1][:3]
    fields = [line.split() for line in lines if line.strip()]
    if len(fields) < 2 or any(_NUMBER.match(line[0]) for line in fields):
        return 0
    width = min(map(_trailing, fields))
    return width if width >= (_FEW if _NAMED.search(file.name.lower()) else _MANY) else 0


def _trailing(fields: list[bytes]) -> int:
    """How many fields at the end are numbers."""
    words = (at for at, field in enumerate(reversed(fields)) if not _NUMBER.match(field))
    return next(words, len(fields))


class _Rows:
    """Rows of a file whose places are found by one pass, once."""

    what = "word vectors"

    def __init__(self, stored: Stored, begin: int, count: int | None, columns: int) -> None:
        self.stored, self.begin, self.columns, self.count = stored, begin, columns, count
        self._places: NDArray[np.int64] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.places) - 1 if self.count is None else self.count

    @property
    def places(self) -> NDArray[np.int64]:
        """Where each row begins, and the last ends."""
        with self._lock:
            if self._places is None:
                self._places = self._found()
        return self._places

    def _found(self) -> NDArray[np.int64]:
        raise NotImplementedError

    def _decoded(self, first: int, last: int) -> NDArray[np.float32]:
        raise NotImplementedError

    def load(self, start: int, stop: int) -> NDArray[np.float32]:
        """The numbers [start, stop) of the matrix in row-major order."""
        if start == stop:
            return np.empty(0, np.float32)
        first, last = start // self.columns, -(-stop // self.columns)
        values = self._decoded(first, last).ravel()
        return values[start - first * self.columns :][: stop - start]

    def _pieces(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Rows [first, last) in runs that lie within few bytes each."""
        places = self.places
        while first < last:
            end = int(np.searchsorted(places, places[first] + _PIECE, "right")) - 1
            end = max(first + 1, min(end, last))
            yield first, end
            first = end

    def damaged(self, why: str) -> InputError:
        """The error that the file is damaged."""
        return InputError(f"{self.stored.where}: {self.what} that are damaged or truncated ({why})")


class _BinaryRows(_Rows):
    """Each row a word, a space and the numbers as float32; some writers add a line's end."""

    what = "word vectors (word2vec)"

    def _found(self) -> NDArray[np.int64]:
        cursor = FieldCursor(self.stored, "word vectors", self.begin)
        places = array("q")  # which grows with what is there, not with what is claimed
        for _ in range(len(self)):
            cursor.until(b" ")
            places.append(cursor.at)
            cursor.skip(4 * self.columns)
        if cursor.take(min(cursor.left, 2)).strip() or cursor.left:
            raise self.damaged("more follows the last word")
        places.append(cursor.at)
        return np.array(places, np.int64)

    def _decoded(self, first: int, last: int) -> NDArray[np.float32]:
        places, width = self.places, 4 * self.columns
        values = np.empty((last - first, self.columns), np.float32)
        for low, high in self._pieces(first, last):
            begin = int(places[low])
            data = bytes(self.stored.read(begin, int(places[high - 1]) + width - begin))
            for row in range(low, high):
                at = int(places[row]) - begin
                values[row - first] = np.frombuffer(data, "<f4", self.columns, at)
        return values


class _TextRows(_Rows):
    """Each row a line: a word, which may hold spaces, and the numbers."""

    def _found(self) -> NDArray[np.int64]:
        places = np.concatenate([np.array([self.begin], np.int64), *self._ends()])
        if places[-1] != self.stored.size:
            places = np.append(places, self.stored.size)
        while len(places) > 1 and places[-1] - places[-2] < 3:  # an empty line at the end
            places = places[:-1]
        if int(np.diff(places).max(initial=0)) > _LONGEST:
            raise self.damaged("a line is longer than any of a word and its vector")
        if self.count not in (None, len(places) - 1):
            raise self.damaged(f"there are {len(places) - 1:,} lines, not {self.count:,}")
        return places

    def _ends(self) -> Iterator[NDArray[np.int64]]:
        for at in range(self.begin, self.stored.size, _PIECE):
            size = min(_PIECE, self.stored.size - at)
            piece = np.frombuffer(self.stored.read(at, size), np.uint8)
            ends = np.flatnonzero(piece == ord("\n")) + at + 1
            if len(ends) > _PIECE // (2 * self.columns + 1) + _EMPTY:
                raise self.damaged("its lines are shorter than its vectors")
            yield ends

    def _decoded(self, first: int, last: int) -> NDArray[np.float32]:
        places = self.places
        values = np.empty((last - first, self.columns), np.float32)
        for row, high in self._pieces(first, last):
            begin = int(places[row])
            lines = bytes(self.stored.read(begin, int(places[high]) - begin)).split(b"\n")
            values[row - first : high - first] = [
                self._numbers(line) for line in lines[: high - row]
            ]
        return values

    def _numbers(self, line: bytes) -> NDArray[np.float32]:
        fields = line.rsplit(None, self.columns)[-self.columns :]
        if len(fields) != self.columns or max(map(len, fields)) > _DIGITS:
            raise self.damaged(f"a line without its {self.columns:,} numbers")
        try:
            with np.errstate(all="ignore"):
                return np.array(fields, np.bytes_).astype(np.float32)
        except ValueError:
            raise self.damaged("a line has something else than numbers") from None
