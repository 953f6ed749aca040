"""ONNX of own making: tensors raw, typed and in other files, against onnx if it is there."""

import struct

import numpy as np

from tests.fuzz.damage import NAMES as ODD_NAMES
from tests.fuzz.hand import NAMES, SIDES, Hand
from tests.fuzz.judging import difference, installed, read_whole
from tests.fuzz.kinds import Fuzzer
from tests.wire import field, varint

BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16,
        17: 8, 18: 8, 19: 8, 20: 8}  # fmt: skip
FIXED = {1: (4, "f"), 11: (10, "d")}
TYPED = {2: 5, 3: 5, 4: 5, 5: 5, 6: 5, 9: 5, 7: 7, 12: 11, 13: 11}
FLOAT = (1, 10, 11, 16)
SIDE = "weights.bin"


class Graph:
    """Initializers, and the bytes that lie in another file."""

    def __init__(self, hand):
        self.hand, self.side = hand, b""
        self.tensors = [self._tensor(hand.put(name, *ODD_NAMES)) for name in hand.some(NAMES, 4)]

    def _tensor(self, name):
        hand = self.hand
        dtype = hand.any(FLOAT) if hand.below(2) else hand.any(list(BITS))
        shape = hand.any(SIDES)
        count = int(np.prod(shape, dtype=object))
        values = self._values(dtype, count)
        dims = hand.put(list(shape), [*shape, 1], list(shape)[1:])
        dims = [hand.put(side, hand.count(side), -1) for side in dims]
        fields = [
            self._dims(dims),
            field(2, hand.put(dtype, 0, 8, 99, *BITS)),
            field(8, name),
            *values,
        ]
        for lost in [hand.any(fields)] if hand.slips() else []:
            fields.remove(lost)
        fields += [hand.any(fields)] if fields and hand.slips() else []
        hand.random.shuffle(fields)
        return field(5, b"".join(fields))

    def _dims(self, dims):
        if self.hand.below(2):
            return field(1, b"".join(map(varint, dims))) if dims else b""
        return b"".join(field(1, side) for side in dims)

    def _values(self, dtype, count):
        """In one of the three places."""
        hand = self.hand
        way = hand.below(4)
        if way == 0 and dtype in FIXED:
            number, form = FIXED[dtype]
            return [field(number, b"".join(struct.pack(f"<{form}", n) for n in range(count)))]
        if way == 0 and dtype in TYPED:
            numbers = [hand.put(n % 2, hand.count(3), 2**63) for n in range(hand.count(count) % 99)]
            return [field(TYPED[dtype], b"".join(map(varint, numbers)))]
        data = hand.bytes(count * BITS[dtype] // 8)
        if dtype == 9:
            data = bytes(byte & 1 for byte in data)
        return self._outside(data) if way == 1 else [field(9, data)]

    def _outside(self, data):
        hand, offset = self.hand, len(self.side)
        self.side += data
        pairs = {
            "location": hand.put(SIDE, *ODD_NAMES, "m.onnx", "missing.bin"),
            "offset": str(hand.put(offset, hand.count(offset), -1, "x", "²", "")),
            "length": str(hand.put(len(data), hand.count(len(data)), -1, "x", "9" * 5000)),
        }
        for lost in [hand.any(list(pairs))] if hand.slips() else []:
            del pairs[lost]
        made = [field(13, field(1, key) + field(2, value)) for key, value in pairs.items()]
        return [*made, field(14, hand.put(1, 0, 2))]

    def model(self):
        """The message of the model."""
        hand = self.hand
        names = b"".join(field(12, field(1, name)) for name in hand.some(NAMES, 2))
        node = field(
            1, field(1, "x") + field(1, hand.any(NAMES)) + field(2, "y") + field(4, "Gemm")
        )
        graph = b"".join(self.tensors) + node + names
        graph = hand.put(graph, graph[:-1], graph + b"\x07", graph * 2)
        return field(1, hand.put(10, 1, 99)) + field(7, graph) + field(8, field(2, 21))


def write(folder, random):
    """A model, and the file beside it."""
    graph = Graph(Hand(random))
    (folder / SIDE).write_bytes(graph.hand.put(graph.side, graph.side[:-1], b""))
    (folder / "m.onnx").write_bytes(graph.model())
    return folder / "m.onnx"


# --- against onnx ---------------------------------------------------------------------------


def library(path):
    """The initializers as onnx reads them."""
    import onnx

    found = {}
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        is_cut = tensor.external_data and all(pair.key != "length" for pair in tensor.external_data)
        if tensor.data_type not in BITS or is_cut:  # kolmo takes of such a file what the shape says
            continue
        array = onnx.numpy_helper.to_array(tensor, str(path.parent))
        if array.size and tensor.name:
            found[tensor.name] = array
    if not found:
        raise TypeError("no arrays")
    return found


OURS_ALONE = ("no arrays",)
"""What onnx alone refuses: parts of its messages."""

THEIRS_ALONE = (
    "nothing to measure",
    "has a shape that is none",  # a side of -1, for which numpy puts one that fits
    "that file is incomplete",  # also where nothing is read of it
    "it points outside its folder",  # also where nothing is read there
    "its place in another file is no number",  # as above
)
"""What kolmo alone refuses: parts of its messages."""


def judge(path, found):
    """How it differs from onnx."""
    return difference(path, found, library, OURS_ALONE, THEIRS_ALONE)


FUZZERS = [Fuzzer("ONNX written", write, read_whole, judge if installed("onnx") else None)]
