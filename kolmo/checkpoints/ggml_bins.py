"""Files of ggml before GGUF: of llama.cpp (ggml, ggmf, ggjt), whisper.cpp, and their kin.

Such a file has a magic number, a version but for the oldest, some numbers of 32 bits that describe
the network, in whisper.cpp the filters for its sound, a vocabulary, and tensors up to its end: each
with its axes, its type, its name and its bytes. Nothing says how many numbers there are, nor which
of them counts the vocabulary: each program knew its own. What fits is found by trying: tensors end
where the file does if their beginning is right. Nothing says how many tensors there are, either, so
that a file that is cut off between two of them is not known to be.

ggjt aligns the bytes of tensors to 32. The version, or the thousands of the last number (the
``ftype``), tell which block formats the file has.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.files import plural
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.ggml_block import Block
from kolmo.checkpoints.ggml_cursor import HeaderCursor
from kolmo.checkpoints.ggml_old_blocks import FIRST, SECOND
from kolmo.checkpoints.ggml_types import BLOCKS, ggml_tensor, stored_size
from kolmo.checkpoints.gguf_header import TensorInfo
from kolmo.checkpoints.stored import Stored
from kolmo.errors import InputError

_HEAD = 1 << 14  # bytes in which most of what does not fit is found not to
_NUMBERS = range(2, 21)  # numbers that describe a network
_TEXTS, _TEXT = 1 << 20, 1 << 10  # texts of a vocabulary, and bytes of each, at most
_STEPS = 1 << 22  # texts and tensors that are walked over in all attempts, at most
_NAME, _AXES = 256, 4  # bytes of a tensor's name, and its axes, at most

_AGES: Mapping[int, Mapping[int, Block]] = {0: FIRST, 1: SECOND, 2: BLOCKS}
_VERSIONS: Mapping[bytes, Mapping[int, Mapping[int, Block]]] = {
    b"fmgg": {1: FIRST, 100: FIRST, 101: BLOCKS},
    b"tjgg": {1: FIRST, 2: SECOND, 3: BLOCKS},
    b"algg": {1: BLOCKS},
}
_SCORED, _ALIGNED = (b"fmgg", b"tjgg"), (b"tjgg", b"algg")


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What may stand before the tensors: where the vocabulary begins and how long it is.

    ``filters`` are two sides, of an array that lies before that.
    """

    start: int
    texts: int
    scored: bool
    aligned: bool
    blocks: Mapping[int, Block]
    filters: tuple[int, int] = (0, 0)


def open_ggml(file: File) -> Checkpoint:
    """The tensors of a file, in its order.

    Raises
    ------
    InputError
        If nothing fits: the file is of another program, damaged or truncated; or if it is one of
        several.
    """
    _refuse_part(file)
    head, steps = file.head(_HEAD), 0
    closest: dict[str, TensorInfo] = {}
    for layout in _layouts(file, head):
        cursor, found = HeaderCursor(file.stored, head), dict[str, TensorInfo]()
        if _fits(cursor, layout, found):
            return _opened(file, layout, found)
        closest = max(closest, found, key=len)
        steps += cursor.walked + 16 * len(found)
        if steps > _STEPS:
            break
    raise _unfit(file, closest)


def _refuse_part(file: File) -> None:
    """Refuse a piece: llama.cpp cut tensors of large models, a piece a file, until March 2023."""
    if re.search(r"\.bin\.\d+$", file.name) or File(file.folder, f"{file.name}.1").exists:
        raise InputError(
            f"{file.where}: a ggml file that is one of several, which have a piece of each tensor; "
            f"convert the model to GGUF with the program that reads it"
        )


def _opened(file: File, layout: _Layout, found: Mapping[str, TensorInfo]) -> Checkpoint:
    made = [*_filters(file.stored, layout), *_tensors(file.stored, layout, found)]
    return Checkpoint(
        [one for one in made if isinstance(one, WeightTensor)],
        source=file.where,
        format="ggml",
        skipped=[one for one in made if isinstance(one, Skipped)],
        files=file.files,
    )


def _tensors(
    stored: Stored, layout: _Layout, found: Mapping[str, TensorInfo]
) -> Iterable[WeightTensor | Skipped]:
    for name, info in found.items():
        size = stored_size(info.type, info.shape, layout.blocks) or 0
        part = stored.part(info.offset, size)
        yield ggml_tensor(name, info.shape, info.type, part, blocks=layout.blocks)


def _filters(stored: Stored, layout: _Layout) -> Iterable[WeightTensor | Skipped]:
    """The filters that make a spectrum of sound, which nobody learned."""
    size = 4 * math.prod(layout.filters)
    if size:
        part = stored.part(layout.start - size - 4, size)
        made = ggml_tensor("mel_filters", layout.filters, 0, part)
        yield dataclasses.replace(made, role=Role.BUFFER)


def _unfit(file: File, closest: Mapping[str, TensorInfo]) -> InputError:
    if closest:
        return InputError(
            f"{file.where}: a damaged or truncated ggml file: neither a tensor nor the end follows "
            f"after {plural(len(closest), 'tensor')}, the last of which is {list(closest)[-1]!r}"
        )
    return InputError(
        f"{file.where}: a ggml file (older than GGUF) of an unknown program or version, or a "
        f"damaged one; convert it to GGUF with the program that reads it"
    )


# --- what may stand before the tensors ----------------------------------------------------------


def _layouts(file: File, head: bytes) -> Iterator[_Layout]:
    """Everything that may be, the likeliest first."""
    magic, version = head[:4], int.from_bytes(head[4:8], "little")
    start = 8 if magic in _VERSIONS else 4
    most = _NUMBERS[-1] + 2
    numbers = np.frombuffer(head[start:].ljust(4 * most, b"\0"), "<u4", most).tolist()
    for count in _NUMBERS:
        ages = _VERSIONS.get(magic, _AGES)
        blocks = ages.get(version if magic in _VERSIONS else numbers[count - 1] // 1000)
        if blocks:
            scored, aligned = magic in _SCORED, magic in _ALIGNED
            made = _Layout(start + 4 * count, 0, scored, aligned, blocks)
            yield from _with_filters(made, numbers[count : count + 2], file.stored)
            yield dataclasses.replace(made, start=made.start + 4, texts=numbers[count])
            for texts in dict.fromkeys([*numbers[:count], 0]):
                yield dataclasses.replace(made, texts=texts)


def _with_filters(made: _Layout, sides: list[int], stored: Stored) -> Iterator[_Layout]:
    """The layout of whisper.cpp: two sides, an array of them, the number of texts."""
    at = made.start + 8 + 4 * math.prod(sides)
    if 0 < math.prod(sides) < 1 << 20 and at + 4 <= stored.size:
        texts = int.from_bytes(stored.read(at, 4), "little")
        filters = (sides[0], sides[1])
        yield dataclasses.replace(made, start=at + 4, texts=texts, filters=filters)


def _fits(cursor: HeaderCursor, layout: _Layout, found: dict[str, TensorInfo]) -> bool:
    """Whether tensors fill the rest of the file; those that there are, are put into ``found``."""
    cursor.set_form(big=False, width=4)
    try:
        cursor.skip(layout.start)
        if layout.texts > _TEXTS:
            return False
        cursor.skip_texts(layout.texts, 4 if layout.scored else 0, _TEXT)
        while cursor.at < cursor.stored.size:
            info = _read_tensor(cursor, layout)
            if info is None or info.name in found:
                return False
            found[info.name] = info
    except InputError:  # it ends too early
        return False
    return bool(found)


def _read_tensor(cursor: HeaderCursor, layout: _Layout) -> TensorInfo | None:
    """The next tensor; None if there can be none."""
    axes, length, kind = (cursor.number("I") for _ in range(3))
    if not (1 <= axes <= _AXES and 1 <= length <= _NAME):
        return None
    sides = [cursor.number("I") for _ in range(axes)]
    name = cursor.take(length).decode("utf-8", "replace")
    shape = tuple(reversed(sides))
    size = stored_size(kind, shape, layout.blocks)
    if not size or not name.isprintable():
        return None
    if layout.aligned:
        cursor.skip(-cursor.at % 32)
    offset = cursor.at
    cursor.skip(size)
    return TensorInfo(name, shape, kind, offset)
