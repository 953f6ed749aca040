"""HDF5 of own making, against h5py if it is there, and files as Keras lays them out."""

import json
import pickle
import resource
import signal
import subprocess
import sys

import numpy as np

from tests.fuzz.damage import NAMES as ODD_NAMES
from tests.fuzz.damage import with_words
from tests.fuzz.hand import NAMES, SIDES, Hand
from tests.fuzz.hdf5_files import Writer, hand_size
from tests.fuzz.judging import difference, installed, read_whole
from tests.fuzz.kinds import Fuzzer
from tests.fuzz.reading import read

CODES = ("<f4", "<f4", "<f2", "<f8", ">f4", "<i4", "<i8", ">i2", "|i1", "|u1", "<u2", "<u8", "|b1",
         "<b2")  # fmt: skip
ALARM = 30  # seconds, for a file of some kilobytes
KERAS = ("kernel:0", "bias:0", "gamma:0", "embeddings:0", "0", "1", "2")


def dataset(hand, write):
    """A dataset of some numbers."""
    code, shape = hand.any(CODES), hand.any(SIDES)
    size = hand_size(code)
    count = int(np.prod(shape, dtype=int)) * size
    data = hand.random.bytes(count) if code != "|b1" else bytes(n & 1 for n in range(count))
    return write.dataset(code, np.frombuffer(data, f"V{size}").reshape(shape))


def group(hand, write, depth=0):
    """A group of datasets and groups."""
    entries = {}
    for name in hand.some([name for name in NAMES if "/" not in name], 4):
        inner = depth < 3 and hand.below(4) == 0
        made = group(hand, write, depth + 1) if inner else dataset(hand, write)
        entries[hand.put(name, *ODD_NAMES)] = made
    if hand.below(8) == 0:
        entries["same"] = hand.any(list(entries.values()))
    attributes = [("x", hand.any(("y", 3, ["a", "bc"])))] if hand.below(4) == 0 else []
    return write.group(_sorted(entries.items()), attributes)


def _sorted(entries):
    return sorted(entries, key=lambda entry: entry[0].encode("utf-8", "surrogatepass"))


def write(folder, random):
    """One file."""
    hand = Hand(random)
    writer = Writer(hand.other(), bool(hand.below(2)))
    (folder / "m.h5").write_bytes(writer.file(group(hand, writer)))
    return folder / "m.h5"


# --- Keras ----------------------------------------------------------------------------------


def write_keras(folder, random):
    """One file of a model, of version 2 or 3 of Keras."""
    hand = Hand(random)
    writer = Writer(hand, bool(hand.below(2)))
    root = _older(hand, writer) if hand.below(2) else _newer(hand, writer)
    name = hand.any(("m.h5", "m.weights.h5", "m.keras.h5"))
    (folder / name).write_bytes(writer.file(root))
    return folder / name


def _layers(hand):
    return [hand.put(name, *ODD_NAMES) for name in hand.some(("dense", "dense_1", "conv", "bn"), 3)]


def _older(hand, writer):
    layers = _layers(hand)
    groups = [(layer, _layer(hand, writer, layer)) for layer in layers]
    names = [("layer_names", hand.put(layers, layers[:-1], [*layers, "x"], "dense", 3))]
    weights = writer.group(_sorted(groups), names)
    told = json.dumps(
        {"class_name": "Sequential", "config": {"layers": [_told(n) for n in layers]}}
    )
    told = with_words(told.encode(), hand.random).decode("latin-1") if hand.slips() else told
    return writer.group(
        [("model_weights", weights)], [("model_config", told), ("keras_version", "2")]
    )


def _layer(hand, writer, layer):
    kinds = hand.some(KERAS[:4], 3)
    arrays = [(hand.put(kind, *ODD_NAMES), dataset(hand, writer)) for kind in kinds]
    names = [f"{layer}/{kind}" for kind, _ in arrays]
    inner = writer.group(_sorted(arrays))
    attributes = [("weight_names", hand.put(names, names[:-1], names * 2, "x"))]
    return writer.group([(layer, inner)], attributes)


def _newer(hand, writer):
    groups = []
    for layer in _layers(hand):
        arrays = [(hand.put(n, *ODD_NAMES), dataset(hand, writer)) for n in hand.some(KERAS[4:], 3)]
        made = writer.group([("vars", writer.group(_sorted(arrays)))], [("name", layer)])
        groups.append((layer, made))
    inner = writer.group(_sorted(groups))
    return writer.group([(hand.put("layers", "_layer_checkpoint_dependencies", "vars"), inner)])


def _told(name):
    return {"class_name": "Dense", "config": {"name": name, "units": 3}, "name": name}


# --- against h5py ---------------------------------------------------------------------------


class Reader:
    """A process that reads files by h5py, one after the other: some end it."""

    def __init__(self):
        self.process = None

    def answer(self, path):
        """The arrays of a file by their paths, or the error."""
        if self.process is None:
            command = [sys.executable, "-m", "tests.fuzz.of_hdf5"]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        self.process.stdin.write(f"{path}\n".encode())
        self.process.stdin.flush()
        try:
            return pickle.load(self.process.stdout)
        except EOFError:
            self.process.wait()
            self.process = None
            return OSError("the library crashed")


READER = Reader()


def library(path):
    """The arrays of a file as h5py reads them."""
    answer = READER.answer(path)
    if isinstance(answer, Exception):
        raise answer
    return answer


def serve():
    """Answer for each path of standard input, in so many seconds."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    for line in sys.stdin:
        signal.alarm(ALARM)
        pickle.dump(_answer(line.rstrip("\n")), sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _answer(path):
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return dict(_arrays(h5py, file, (), set())) or TypeError("no arrays")
    except Exception as error:
        return OSError(f"{type(error).__name__}: {error}")


def _arrays(h5py, group, path, seen):
    """Each array once, by its path."""
    for name in group:
        if name in ("", ".") or "/" in name:
            raise KeyError("invalid link name")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        place = h5py.h5o.get_info(item.id).addr
        if place in seen:
            continue
        seen.add(place)
        if isinstance(item, h5py.Group):
            yield from _arrays(h5py, item, (*path, name), seen)
        elif isinstance(item, h5py.Dataset) and item.size and _is_plain(item):
            array = item[()]
            native = np.asarray(array, array.dtype.newbyteorder("="))
            yield ".".join((*path, name)), native.reshape(item.shape)


def _is_plain(item):
    """Whether its numbers are numpy's; it makes wider ones of others."""
    return item.dtype.kind in "biuf" and item.id.get_type().get_size() == item.dtype.itemsize


OURS_ALONE = (
    "no arrays",  # of numbers that numpy has
    "invalid link name",  # an empty one, and one of another length than its text: they are shown
    "invalid name length",
    "past end of allocation",  # the file is longer than it says, as one that was never closed
    # what a file says of itself wrongly where no number depends on it, or of what kolmo lists
    *("bad version number", "message type not found", "message not aligned", "gap found"),
    *("message count", "unshareable class", "metadata checksum", "truncated file", "exceeds EOA"),
    *("rank for btree", "out of bounds", "does not match datatype", "storage overflowed"),
    *("bad flag combination", "header chunk size", "compact dataset's data", "must be < 4GB"),
    *("unused bits", "exponent size", "gap in chunk", "invalid dataset size", "precision is zero"),
    *("leaf node", "sign positions overlap", "Unable to allocate", "symbol table"),
    *("adjustment for EOA", "phase change values", "off the end of the image buffer"),
    *("invalid datatype size", "invalid rank", "determine object type"),
    "filter returned failure",  # checksums of chunks, which kolmo does not look at
    "array is too big",  # what no file can hold is listed
    "/plugin)",  # a filter that neither has: its dataset is listed
    "doesn't exist, no data can be read",  # never written, without a fill value: kolmo gives zeros
)
"""What h5py alone refuses: parts of its messages."""

THEIRS_ALONE = (
    "nothing to measure",
    "chunks out of their order",  # of which h5py finds some, and takes the others for missing
    "shorter than it claims",  # more bytes than its shape takes, likewise
    "a chunk has",  # more bytes than its sides take, of which h5py leaves the rest
)
"""What kolmo alone refuses: parts of its messages."""


def judge(path, found):
    """How it differs from h5py."""
    return difference(path, found, library, OURS_ALONE, THEIRS_ALONE)


FUZZERS = [
    Fuzzer("HDF5 written", write, read_whole, judge if installed("h5py") else None),
    Fuzzer("Keras written", write_keras, read),
]

if __name__ == "__main__":
    serve()
