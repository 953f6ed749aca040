"""msgpack of own making, as Flax writes it, against msgpack if it is there."""

import struct

import numpy as np

from tests.fuzz.damage import NAMES as ODD_NAMES
from tests.fuzz.hand import NAMES, SIDES, Hand
from tests.fuzz.judging import difference, installed, read_whole
from tests.fuzz.kinds import Fuzzer

DTYPES = ("float32", "float64", "float16", "int8", "int32", "int64", "uint8", "uint16", "bool")
OTHERS = ("complex64", "object", "", "f4", "float31", "bfloat16", "<f4", "str")
LIST, MAP, TEXT, BYTES = (0x90, 0xDC), (0x80, 0xDE), (0xA0, 0xD9), (None, 0xC4)


class Packer:
    """Packs a nest, each size in one of its widths."""

    def __init__(self, hand):
        self.hand = hand

    def of(self, value):
        """The bytes of a value."""
        if isinstance(value, dict):
            return self._map(list(value.items()))
        if isinstance(value, list):
            return self._size(LIST, len(value)) + b"".join(map(self.of, value))
        if isinstance(value, str):
            data = value.encode()
            return self._size(TEXT, len(data)) + self.hand.put(data, b"\xff" * len(data))
        if isinstance(value, bytes):
            return self._size(BYTES, len(value)) + value
        if isinstance(value, np.ndarray):
            return self._array(value)
        return self._number(value)

    def _map(self, pairs):
        pairs = [*pairs, self.hand.any(pairs)] if pairs and self.hand.slips() else pairs
        made = b"".join(self._key(key) + self.of(value) for key, value in pairs)
        return self._size(MAP, len(pairs)) + made

    def _key(self, key):
        wrong = (b"\xc0", b"\x90", b"\x80", b"\xcb" + bytes(8), b"\x07", self.of(b"key"))
        return self.hand.put(self.of(key), *wrong)

    def _size(self, firsts, count):
        """A head in the narrow form, or with a size of 1, 2 or 4 bytes, whichever there are."""
        narrow, wide = firsts
        most = 32 if firsts is TEXT else 16
        if narrow is not None and count < most and self.hand.below(3):
            return bytes([narrow + self.hand.put(count, (count + 1) % most, 0)])
        claimed = self.hand.count(count)
        widths = "HI" if firsts in (LIST, MAP) else "BHI"
        fitting = [
            n for n, form in enumerate(widths) if claimed < 256 ** struct.calcsize(f">{form}")
        ]
        n = self.hand.any(fitting) if fitting else len(widths) - 1
        return bytes([wide + n]) + struct.pack(f">{widths[n]}", claimed % 2**32)

    def _number(self, value):
        if value is None or isinstance(value, bool):
            return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
        if isinstance(value, float):
            return b"\xcb" + struct.pack(">d", value)
        if 0 <= value < 128 and self.hand.below(2):
            return bytes([value])
        forms = [(b"\xce", ">I", 2**32), (b"\xcf", ">Q", 2**64), (b"\xd3", ">q", 2**63)]
        first, form, _ = self.hand.any([one for one in forms if 0 <= value < one[2]] or [forms[2]])
        return first + struct.pack(form, value)

    def _array(self, array):
        hand = self.hand
        shape = [hand.put(side, hand.count(side), -1, True, 1.0, None) for side in array.shape]
        shape = hand.put(shape, [*shape, 1], None, 3, {})
        dtype, data = hand.put(array.dtype.name, *OTHERS, *DTYPES), array.tobytes()
        data = hand.put(data, data[:-1], data + b"\0", "text", None)
        fields = hand.put([shape, dtype, data], [shape, dtype], [shape, dtype, data, 1], [], {})
        body = self.of(fields)
        body = hand.put(body, body + b"\0", body[:-1])
        code = hand.put(1, 3, 2, 0, 200)
        return b"\xc9" + struct.pack(">I", hand.count(len(body)) % 2**32) + bytes([code]) + body


def write(folder, random):
    """One file."""
    hand = Hand(random)
    nest = {}
    for name in hand.some([name for name in NAMES if "." not in name], 4):
        array = np.frombuffer(random.bytes(4096), hand.any(DTYPES[:-1]))
        shape = hand.any(SIDES)
        held = array[: int(np.prod(shape, dtype=int))].reshape(shape)
        nest[hand.put(name, *ODD_NAMES)] = {"kernel": held} if hand.below(2) else held
    if hand.below(3) == 0:
        nest["step"] = hand.any((3, 2**40, 0.5, None, True, "text", [1, 2]))
    data = Packer(hand).of(hand.put(nest, [nest], {}, 3))
    (folder / "m.msgpack").write_bytes(hand.put(data, data[:-1], data + b"\0", data * 2))
    return folder / "m.msgpack"


# --- against msgpack ------------------------------------------------------------------------


def library(path):
    """The arrays of a nest as flax.serialization restores them by msgpack."""
    import msgpack

    nest = msgpack.unpackb(path.read_bytes(), ext_hook=_restored, raw=False)
    found = dict(_flat(nest, ()))
    if not found:
        raise TypeError("no arrays")
    return found


def _restored(code, data):
    import msgpack

    if code not in (1, 3):
        return None
    shape, dtype, values = msgpack.unpackb(data, raw=True)
    try:
        return np.ndarray(shape, np.dtype(dtype.decode()), values)
    except TypeError as error:
        raise TypeError(f"of {dtype.decode()} values: {error}") from None


def _flat(nest, path):
    if isinstance(nest, np.ndarray) and nest.size:
        yield ".".join(path), nest
    for key, value in nest.items() if isinstance(nest, dict) else ():
        yield from _flat(value, (*path, key.decode() if isinstance(key, bytes) else str(key)))


OURS_ALONE = (
    "no arrays",
    "UnicodeDecodeError",  # what is no text in a name is shown as such
    "is not allowed for map key",
    "data type",  # a dtype that numpy lacks: its array is listed, the others are read
    "of complex64 values",  # which kolmo leaves out, whatever their bytes are
    "of <f4 values",  # no name of a dtype in Flax, likewise
    "of object values",
)
"""What msgpack and numpy alone refuse: parts of their messages."""

THEIRS_ALONE = (
    "nothing to measure",
    "a map whose keys are no names",  # a name may come twice there
    "an array whose shape is none",  # a number, or True, may be a shape
    "bytes, which is not",  # more bytes than the array has
    "does not begin as one does",  # a first key that is no text
    "an array without bytes",  # of which numpy makes one of whatever is in memory
)
"""What kolmo alone refuses: parts of its messages."""


def judge(path, found):
    """How it differs from msgpack."""
    return difference(path, found, library, OURS_ALONE, THEIRS_ALONE)


FUZZERS = [Fuzzer("Flax written", write, read_whole, judge if installed("msgpack") else None)]
