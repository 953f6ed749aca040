"""Which format a protocol buffer has: none has a magic number, so its top fields tell.

A message is of a format if it has no field but those of the format's outermost message, of their
wire types, and the fields that each file of it has. Nothing within them is read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from kolmo.checkpoints.folders import File
from kolmo.checkpoints.protobuf import BYTES, VARINT, WireMessage
from kolmo.errors import InputError

_TOP = 1 << 12  # fields that are looked at, at most


@dataclasses.dataclass(frozen=True)
class MessageSchema:
    """The fields of an outermost message: numbers and wire types, and which there must be.

    ``version`` is the number of a field that holds a small positive number.
    """

    fields: Mapping[int, int]
    needed: frozenset[int]
    version: int = 0

    def fits(self, head: bytes, file: File) -> bool:
        """Whether a file may be such a message, or the beginning of one that was cut off."""
        seen = set()
        try:
            for count, field in enumerate(WireMessage.of(file.stored).fields(cut=True)):
                strange = field.number == self.version and not 0 < field.value < 1 << 16
                if self.fields.get(field.number) != field.wire or strange or count > _TOP:
                    return False
                seen.add(field.number)
        except InputError:
            return False
        return self.needed <= seen


_ONNX = MessageSchema(
    {
        **dict.fromkeys((1, 5), VARINT),
        **dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), BYTES),
    },
    frozenset((1, 7)),
    version=1,
)


def is_onnx(head: bytes, file: File) -> bool:
    """Whether it is a model of ONNX: a version and a graph among its fields."""
    return _ONNX.fits(head, file)


_COREML_KINDS = (
    *(200, 201, 202, 300, 301, 302, 303, 304, 400, 401, 402, 403, 404, 500, 501, 502, 555, 556),
    *(560, 600, 601, 602, 603, 604, 606, 607, 609, 610, 900, *range(2000, 2007), 3000),
)
_COREML = MessageSchema(
    {1: VARINT, 2: BYTES, 10: VARINT, **dict.fromkeys(_COREML_KINDS, BYTES)},
    frozenset((1, 2)),
    version=1,
)


def is_coreml(head: bytes, file: File) -> bool:
    """Whether it is a model of CoreML: a version, a description, and a model of some kind.

    A version and a description alone are a SavedModel too.
    """
    fits = _COREML.fits(head, file)
    return fits and any(field.number > 2 for field in WireMessage.of(file.stored).fields(cut=True))


_PADDLE = MessageSchema({1: BYTES, 4: BYTES, 5: BYTES}, frozenset((1,)))


def is_paddle_graph(head: bytes, file: File) -> bool:
    """Whether it is a program of Paddle: blocks, of which the first has the number 0."""
    if not _PADDLE.fits(head, file):
        return False
    try:
        block = next(WireMessage.of(file.stored).fields(cut=True)).message()
        first = [(field.number, field.wire) for field, _ in zip(block.fields(), "ab", strict=False)]
    except InputError:
        return False
    return first == [(1, VARINT), (2, VARINT)]


_CAFFE = {**dict.fromkeys((1, 2, 3, 6, 8, 100), BYTES), **dict.fromkeys((4, 5, 7), VARINT)}
_CAFFE_NEW = MessageSchema(_CAFFE, frozenset((100,)))
_CAFFE_OLD = MessageSchema(_CAFFE, frozenset((2,)))


def is_caffe(head: bytes, file: File) -> bool:
    """Whether it has layers; that of an old file its name must say too."""
    return _CAFFE_NEW.fits(head, file) or (
        file.name.endswith(".caffemodel") and _CAFFE_OLD.fits(head, file)
    )
