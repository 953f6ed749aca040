"""safetensors: headers of own making, against the official reader; and indexes of shards."""

import json

import numpy as np
import safetensors

from tests.fuzz.damage import NAMES as ODD_NAMES
from tests.fuzz.damage import with_words
from tests.fuzz.hand import NAMES, SIDES, Hand
from tests.fuzz.judging import difference, read_whole
from tests.fuzz.kinds import Fuzzer
from tests.fuzz.reading import read

BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F8_E8M0": 8, "BOOL": 8, "I8": 8, "U8": 8, "I16": 16, "U16": 16, "I32": 32,
    "U32": 32, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip
NARROW = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}


def file_of(hand):
    """A file, and the tensors that it is meant to hold."""
    entries, body = [], b""
    for name in hand.some(NAMES, 4):
        entry, data = _entry(hand, len(body))
        entries.append((hand.put(name, *ODD_NAMES, "__metadata__", "\ud800"), entry))
        body += data
    if hand.random.random() < 0.3 or hand.slips():
        entries.insert(hand.below(len(entries) + 1), ("__metadata__", _metadata(hand)))
    hand.random.shuffle(entries)
    return framed(hand, header_of(hand, entries), body)


def _entry(hand, begin):
    dtype = hand.any(list(BITS)) if hand.random.random() < 0.9 else hand.any(list(NARROW))
    shape = list(hand.any(SIDES))
    bits = {**BITS, **NARROW}[dtype] * int(np.prod(shape, dtype=object))
    if bits % 8:
        shape, bits = [8, *shape], 8 * bits
    data = hand.bytes(bits // 8)
    entry = {
        "dtype": hand.put(dtype, "F31", "f32", "", None, 32, "C128", hand.any(list(BITS))),
        "shape": _shape(hand, shape),
        "data_offsets": _offsets(hand, begin, begin + len(data)),
    }
    for extra in ["extra"] if hand.slips() else []:
        entry[extra] = hand.any((1, "x", None, [1]))
    for lost in [hand.any(list(entry))] if hand.slips() else []:
        del entry[lost]
    return hand.put(entry, None, [], "x", 3), data


def _shape(hand, shape):
    sides = [hand.put(side, hand.count(side), -1, 1.0, True, "3", None, 2**64) for side in shape]
    return hand.put(sides, None, {}, "5", [*sides, 1], [0, *sides], [2**62, 2**62, 0], [1] * 70)


def _offsets(hand, begin, end):
    ends = [hand.put(at, hand.count(at), -1, float(at), str(at), 2**64) for at in (begin, end)]
    return hand.put(ends, ends[::-1], ends[:1], [*ends, 0], None, {}, [end, end])


def _metadata(hand):
    return hand.put({"format": "pt"}, {"format": 1}, {"a": None}, {}, [], None, "x", {"a": {}})


def header_of(hand, entries):
    """The text of a header, in which a key may come twice."""
    if hand.slips():
        entries = [*entries, hand.any(entries)]
    dumped = [f"{json.dumps(key)}: {_dumped(hand, value)}" for key, value in entries]
    text = (
        "{" + hand.put(", ", ",", ",,", "\n,").join(dumped) + hand.put("}", "", "}}", ",}", "} x")
    )
    return _encoded(hand, text)


def _dumped(hand, value):
    if isinstance(value, dict) and value and hand.slips():
        pairs = [*value.items(), hand.any(list(value.items()))]
        return "{" + ",".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in pairs) + "}"
    return json.dumps(value, ensure_ascii=bool(hand.below(2)))


def _encoded(hand, text):
    data = text.encode("utf-8", "surrogatepass")
    if hand.slips():
        encoding = hand.any(("utf-16", "utf-32", "utf-8-sig", "latin-1", "utf-16-le"))
        return text.encode(encoding, "replace")
    return with_words(data, hand.random) if hand.slips() else data


def framed(hand, header, body):
    """The header with its length, and seldom with spaces or another length, before the body."""
    header = hand.put(header.ljust(-(-len(header) // 8) * 8), header, b" " + header, header + b"\0")
    length = hand.put(len(header), len(header) + 1, len(header) - 1, 0, 2**31, 2**63, 100_000_001)
    body = hand.put(body, body + b"\0", body[:-1], b"", body * 2)
    return length.to_bytes(8, "little") + header + body


def write(folder, random):
    """One file."""
    (folder / "model.safetensors").write_bytes(file_of(Hand(random)))
    return folder / "model.safetensors"


# --- against the official reader ------------------------------------------------------------

ODD = ("U64", "C64")  # of which numpy arrays are compared as bytes all the same


def official(path):
    """The arrays of a file as the official reader gives their bytes."""
    found = {}
    for name, entry in safetensors.deserialize(path.read_bytes()):
        if entry["dtype"] not in NARROW:
            shape = (*entry["shape"], 2) if entry["dtype"] == "C64" else tuple(entry["shape"])
            found[name] = Raw(bytes(entry["data"]), shape, entry["dtype"])
    return found


class Raw:
    """Bytes with a shape."""

    def __init__(self, data, shape, dtype):
        self.data, self.shape, self.dtype = data, shape, dtype

    def tobytes(self):
        return self.data


def judge(path, found):
    """How it differs from the official reader."""
    return difference(path, found, official, OURS_ALONE, THEIRS_ALONE)


OURS_ALONE = (
    "unknown variant",  # a dtype of a later version: its tensor is listed, the others are read
    "expected a string at",  # metadata of some programs hold numbers; kolmo reads none of them
    "expected a map at",  # as above
    "overflow computing",  # sides of 2**62 before one of 0, which the other way round it takes
)
"""What the official reader alone refuses: parts of its messages."""

THEIRS_ALONE = (
    "nothing to measure",
    "a key occurs twice",  # which the format forbids, and this reader lets pass
    "does not begin as one does",  # a space before the brace, which the format forbids
)
"""What kolmo alone refuses: parts of its messages."""


# --- shards ---------------------------------------------------------------------------------


def write_shards(folder, random):
    """An index and its shards."""
    hand, weights = Hand(random), {}
    shards = [f"model-{n:05}-of-00003.safetensors" for n in (1, 2, 3)]
    for shard in shards:
        held = hand.some(NAMES, 3)
        prefixed = {f"{shard[6:11]}.{name}": name for name in held}
        (folder / hand.put(shard, "other.safetensors")).write_bytes(_sound(prefixed))
        for name in prefixed:
            weights[hand.put(name, *ODD_NAMES)] = hand.put(
                shard, *ODD_NAMES, *shards, "model.safetensors.index.json", 3, None, ["x"]
            )
    index = {"metadata": {"total_size": 1}, "weight_map": hand.put(weights, [], {}, None, "x")}
    text = json.dumps(hand.put(index, weights, [index], None)).encode()
    opened = folder / "model.safetensors.index.json"
    opened.write_bytes(with_words(text, random) if hand.slips() else text)
    return hand.any((folder, opened))


def _sound(names):
    entries = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * n, 8 * n + 8]}
        for n, name in enumerate(names)
    }
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + b"\x01\x02\x80\x3f" * 2 * len(names)


FUZZERS = [
    Fuzzer("safetensors written", write, read_whole, judge),
    Fuzzer("shards written", write_shards, read),
]
