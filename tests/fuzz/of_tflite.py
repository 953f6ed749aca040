"""TensorFlow Lite of own making: a flatbuffer, table by table, against tflite if it is there."""

import dataclasses

import numpy as np

from tests.fuzz.damage import NAMES as ODD_NAMES
from tests.fuzz.hand import NAMES, SIDES, Hand
from tests.fuzz.judging import difference, installed, read_whole
from tests.fuzz.kinds import Fuzzer

PLAIN = {0: "f4", 1: "f2", 2: "i4", 3: "u1", 4: "i8", 7: "i2", 9: "i1", 10: "f8", 12: "u8",
         15: "u4", 16: "u2"}  # fmt: skip
"""Types whose entries are numbers of numpy."""
INTEGERS = (2, 3, 7, 9)
BITS = {6: 8, 8: 64, 11: 128, 17: 4, 18: 16, 19: 2, 20: 4, 21: 8, 22: 8}
ODD_TYPES = (5, 13, 14, 99, 255)
CODES = (0, 3, 4, 6, 9, 22, 39, 114, 124, 200)  # ADD, CONV_2D, …, DENSIFY, one that there is not


@dataclasses.dataclass(frozen=True)
class Number:
    """A number in a table."""

    value: int
    width: int = 4


@dataclasses.dataclass(frozen=True)
class Run:
    """A vector of numbers or bytes, or a text."""

    data: bytes
    width: int = 1


class Flat:
    """The bytes of a flatbuffer; a table is {field: Number, Run, table, or a list of tables}."""

    def __init__(self, hand):
        self.hand, self.data = hand, bytearray(8)

    def file(self, root):
        """The whole, with its identifier."""
        self._lead(0, self._table(root))
        self.data[4:8] = self.hand.put(b"TFL3", b"TFL2", bytes(4))
        data = bytes(self.data)
        return self.hand.put(data, data[:-1], data[: len(data) // 2], data + bytes(30))

    def _table(self, fields):
        hand = self.hand
        fields = {n: held for n, held in fields.items() if not hand.slips()}
        places, body = {}, bytearray(4)
        for field, held in fields.items():
            width = held.width if isinstance(held, Number) else 4
            body += bytes(-len(body) % width)
            places[field] = len(body)
            body += (held.value if isinstance(held, Number) else 0).to_bytes(width, "little")
        listed = [
            hand.put(places.get(n, 0), 2, 4, 65535) for n in range(max(fields, default=-1) + 1)
        ]
        sizes = hand.count(4 + 2 * len(listed)) % 65536, hand.count(len(body)) % 65536
        vtable = self._put(np.array([*sizes, *listed], "<u2").tobytes())
        at = self._put(bytes(body), 8)
        back = hand.put(at - vtable, 0, -8, at, 1 << 30, -(1 << 31))
        self.data[at : at + 4] = back.to_bytes(4, "little", signed=True)
        for field, held in fields.items():
            if not isinstance(held, Number):
                self._lead(at + places[field], self._held(held))
        return at

    def _held(self, held):
        if isinstance(held, dict):
            return self._table(held)
        if isinstance(held, Run):
            count = self.hand.count(len(held.data) // held.width) % 2**32
            self.data += bytes(-(len(self.data) + 4) % 8)
            return self._put(count.to_bytes(4, "little") + held.data + b"\0", 1)
        at = self._put((self.hand.count(len(held)) % 2**32).to_bytes(4, "little"))
        self.data += bytes(4 * len(held))
        for n, table in enumerate(held):
            self._lead(at + 4 + 4 * n, self._table(table))
        return at

    def _put(self, data, step=4):
        self.data += bytes(-len(self.data) % step)
        self.data += data
        return len(self.data) - len(data)

    def _lead(self, place, target):
        """An offset to what comes later, or seldom elsewhere."""
        offset = self.hand.put(target - place, 0, 4, 2**31, 2**32 - 4, len(self.data) - place)
        self.data[place : place + 4] = max(offset, 0).to_bytes(4, "little")


# --- models ---------------------------------------------------------------------------------


class Model:
    """The buffers of a model, and its tensors."""

    def __init__(self, hand):
        self.hand, self.buffers = hand, [{}]

    def table(self):
        """The outermost table."""
        hand = self.hand
        graphs = [self._graph(n) for n in range(hand.any((1, 1, 2)))]
        codes = [{0: Number(min(c, 127), 1), 3: Number(c)} for c in hand.some(CODES, 3)]
        return {0: Number(3), 1: codes, 2: graphs, 4: self.buffers}

    def _graph(self, number):
        hand = self.hand
        names = [hand.put(name, *ODD_NAMES) for name in hand.some(NAMES, 4)]
        tensors = [self._tensor(name) for name in names]
        operators = [self._operator(len(tensors)) for _ in range(hand.below(4))]
        return {0: tensors, 3: operators, 4: text(f"graph{number}")}

    def _operator(self, count):
        hand = self.hand
        reads = [hand.put(hand.below(count), -1, count, 2**31 - 1) for _ in range(hand.below(4))]
        return {
            0: Number(hand.put(hand.below(3), 99)),
            1: numbers(reads),
            2: numbers([hand.below(count + 2)]),
        }

    def _tensor(self, name):
        hand = self.hand
        kind = hand.any([*PLAIN, *BITS]) if hand.below(3) == 0 else hand.any(list(PLAIN))
        shape = hand.any(SIDES)
        bits = BITS.get(kind) or 8 * np.dtype(PLAIN[kind]).itemsize
        data = hand.bytes(-(-int(np.prod(shape, dtype=int)) * bits // 8))
        self.buffers.append({0: Run(data)} if hand.below(8) else {})
        buffer = Number(hand.put(len(self.buffers) - 1, 0, 99, 2**32 - 1))
        sides = [hand.put(side, hand.count(side) % 2**31, -1) for side in shape]
        made = {
            0: numbers(sides),
            1: Number(hand.put(kind, *ODD_TYPES), 1),
            2: buffer,
            3: text(name),
        }
        if kind in INTEGERS and hand.below(2):
            made[4] = self._scales(shape)
        if hand.below(8) == 0 and shape:
            made[6] = self._sparsity(shape)
        return made

    def _scales(self, shape):
        hand = self.hand
        axis = hand.below(max(len(shape), 1))
        count = hand.put(hand.any((1, shape[axis] if shape else 1)), 0, 2, 7)
        scales = np.abs(hand.random.normal(size=count)).astype("<f4").tobytes()
        zeros = np.zeros(hand.put(count, 0, 1, count + 1), "<i8").tobytes()
        told = {2: Run(scales, 4), 3: Run(zeros, 8), 6: Number(hand.put(axis, 9, 2**31))}
        if hand.slips():
            block = {0: Number(hand.below(4)), 1: Number(hand.below(4)), 2: Number(hand.below(40))}
            told |= {4: Number(2, 1), 5: block}
        return told

    def _sparsity(self, shape):
        """All axes dense, or the last compressed, of as many values as the buffer has."""
        hand, last = self.hand, len(shape) - 1
        levels = [{0: Number(0, 1), 1: Number(hand.count(side) % 2**31)} for side in shape]
        if hand.below(2):
            rows, side = int(np.prod(shape[:-1], dtype=int)), shape[-1]
            segments = [hand.put(n * side, n, 2**31 - 1) for n in range(rows + 1)]
            indices = [hand.put(n % max(side, 1), side, -1) for n in range(rows * side)]
            vectors = {2: Number(1, 1), 3: {0: numbers(segments)}, 4: Number(1, 1)}
            levels[last] = {0: Number(1, 1), 1: Number(0), **vectors, 5: {0: numbers(indices)}}
        order = [hand.put(n, 0, -1, 99) for n in range(len(shape))]
        return {0: numbers(order), 1: numbers(hand.put([], [0], [7])), 2: levels}


def text(value):
    """A text."""
    return Run(value.encode("utf-8", "surrogatepass"))


def numbers(values):
    """A vector of numbers of four bytes."""
    return Run(np.array(values, "<i8").astype("<i4").tobytes(), 4)


def write(folder, random):
    """One file."""
    hand = Hand(random)
    model = Model(hand.other()).table()
    (folder / "m.tflite").write_bytes(Flat(hand).file(model))
    return folder / "m.tflite"


# --- against tflite -------------------------------------------------------------------------


def library(path):
    """The plain arrays as the classes of the schema give them."""
    import tflite

    model, found = tflite.Model.GetRootAs(path.read_bytes(), 0), {}
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        named = (graph.Name() or b"").decode("utf-8", "replace") if number else ""
        prefix = f"{named or f'subgraph {number}'}/" if number else ""
        for n in range(graph.TensorsLength()):
            tensor = graph.Tensors(n)
            if not model.Buffers(tensor.Buffer()).DataLength():
                continue  # no constant, whatever it is called
            name = prefix + ((tensor.Name() or b"").decode("utf-8", "replace") or f"tensor {n}")
            found.setdefault(name, []).append(_array(model, tensor))
    return {name: arrays[0] for name, arrays in found.items() if _is_one(arrays)}


def _is_one(arrays):
    return len(arrays) == 1 and arrays[0] is not None


def _array(model, tensor):
    """An array of numbers that are neither quantized nor sparse; None for others."""
    data = model.Buffers(tensor.Buffer()).DataAsNumpy()
    told = tensor.Quantization() if PLAIN.get(tensor.Type(), "f")[0] != "f" else None
    if tensor.Type() not in PLAIN or tensor.Sparsity() or (told and told.ScaleLength()):
        return None
    shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
    return data.view("<" + PLAIN[tensor.Type()]).reshape(shape)


def judge(path, found):
    """How what kolmo reads differs from tflite, which checks nothing and is shown no other."""
    return None if found is None else difference(path, found, library)


FUZZERS = [
    Fuzzer("TensorFlow Lite written", write, read_whole, judge if installed("tflite") else None)
]
