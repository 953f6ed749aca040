""".npy and .npz of own making, against numpy."""

from contextlib import nullcontext

import numpy as np

from tests.fuzz.damage import with_words
from tests.fuzz.hand import SIDES, Hand
from tests.fuzz.judging import difference, read_whole
from tests.fuzz.kinds import Fuzzer
from tests.fuzz.zips import BZIP2, DEFLATED, LZMA, STORED, Member, archive

KINDS = ("f2", "f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8")
DTYPES = [
    *(f"{order}{kind}" for order in "<>" for kind in KINDS),
    "|i1",
    "|u1",
    "|b1",
    "<c8",
    ">c16",
]
OTHERS = (
    "|O", "<U3", "|S4", "<M8[s]", "|V2", "|V7", "f4", "<f3", "=f4", "<g16", "<f16", "float32",
    "<f4,<f4", "<3f4", "",
)  # fmt: skip
VERSIONS = ((1, 0), (1, 0), (2, 0), (3, 0))


def array_of(hand):
    """The bytes of an array with its header."""
    dtype, shape = hand.any(DTYPES), hand.any(SIDES)
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    version = hand.put(hand.any(VERSIONS), (0, 0), (4, 0), (1, 1), (255, 255))
    text = _header(hand, dtype, shape)
    if version == (3, 0):
        text = text.replace(b"L,", b",")  # Python 2 wrote none of these
    width = 2 if version[0] == 1 else 4
    text += b" " * (-(len(text) + 9 + width) % 64) + hand.put(b"\n", b"", b"\0")
    length = hand.put(len(text), len(text) + 1, len(text) - 1, 0, 65535, 10_001) % 256**width
    magic = hand.put(b"\x93NUMPY", b"\x93NUMPX", b"\x93numpy")
    return magic + bytes(version) + length.to_bytes(width, "little") + text + hand.bytes(size)


def _header(hand, dtype, shape):
    fields = {
        "descr": repr(hand.put(dtype, *OTHERS, [("a", "<f4")], [("a", "<f4", (2,))], None, 4)),
        "fortran_order": repr(hand.put(bool(hand.below(2)), 1, None, "x")),
        "shape": _shape(hand, shape),
    }
    for lost in [hand.any(list(fields))] if hand.slips() else []:
        del fields[lost]
    pairs = [*fields.items(), *([("more", "1")] if hand.slips() else [])]
    pairs += [hand.any(pairs)] if hand.slips() and pairs else []
    text = (
        "{"
        + ", ".join(f"'{key}': {value}" for key, value in pairs)
        + hand.put(", }", "}", "", "}}")
    )
    data = text.encode()
    return with_words(data, hand.random) if hand.slips() else data


def _shape(hand, shape):
    sides = tuple(
        hand.put(side, hand.count(side), -1, 1.0, True, 2**64, "3", None) for side in shape
    )
    whole = repr(hand.put(sides, list(sides), (*sides, 1), (0, *sides), (1,) * 65, 5, None))
    return hand.put(whole, whole.replace(",", "L,"), whole.replace("(", "(*"), "(2**3,)", "(0x3,)")


def write(folder, random):
    """One .npy file."""
    (folder / "w.npy").write_bytes(array_of(Hand(random)))
    return folder / "w.npy"


def library(path):
    """The arrays of a file as numpy reads them."""
    with np.load(path, allow_pickle=False) if path.suffix == ".npz" else nullcontext() as archive:
        if archive is None:
            return {"w": parts(np.load(path, allow_pickle=False))}
        members = [name for name in archive.zip.namelist() if name.endswith(".npy")]
        if not members:
            raise TypeError("nothing called .npy")
        found = dict(_members(archive, members))
        if not found:
            raise TypeError("no array of numbers")
        return found


def _members(archive, names):
    """The arrays of numbers; the others kolmo names as left out, without a look at their bytes."""
    for name in names:
        if _is_numbers(_dtype(archive, name)):
            yield name.removesuffix(".npy"), parts(archive[name])


def _dtype(archive, name):
    with archive.zip.open(name) as member:
        version = np.lib.format.read_magic(member)
        if version not in VERSIONS:
            raise ValueError("no such version")
        old, new = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        return (old if version == (1, 0) else new)(member)[2]


def _is_numbers(dtype):
    return dtype.kind in "biufc" and dtype.itemsize <= 16 and dtype.name != "float128"


def parts(array):
    """An array in native order and row-major, complex numbers as their parts.

    Raises
    ------
    TypeError
        If it is none, or none of numbers.
    """
    if not isinstance(array, np.ndarray) or not _is_numbers(array.dtype):
        raise TypeError("no array of numbers")
    native = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    if native.dtype.kind != "c":
        return native.reshape(array.shape)
    return native.reshape(*array.shape, 1).view(f"f{native.itemsize // 2}")


OURS_ALONE = ("nothing called .npy",)  # kolmo reads archives of other files, too
"""What numpy alone refuses: parts of its messages."""

THEIRS_ALONE = (
    "nothing to measure",
    "bytes of values, the file has",  # numpy lets pass what follows the values
    ".npy' claims ",  # as above, in an archive
    "two records of the archive have one name",  # numpy takes the last
    "records of the archive share bytes",  # and these as they are
    "the file is shorter than it claims",  # where a record that is not packed has two sizes
    "is not supported; weights are",  # a dtype of arrays, such as "<3f4", which numpy never writes
    "True",  # a side that is 1 to numpy
    "an array of objects whose pickle is",  # which numpy is not asked to read
    "something lies before the archive",  # where torch puts another of its pickles
    "times its size; unpack it yourself",  # what an archive unpacks to has a limit
)
"""What kolmo alone refuses: parts of its messages."""


def judge(path, found):
    """How it differs from numpy."""
    return difference(path, found, library, OURS_ALONE, THEIRS_ALONE)


# --- archives -------------------------------------------------------------------------------

METHODS = (STORED, STORED, DEFLATED, DEFLATED, BZIP2, LZMA)


def write_archive(folder, random):
    """One .npz file."""
    hand, members = Hand(random), []
    for name in hand.some(("a", "b", "layer.0.w", "dir/c"), 3):
        data = array_of(hand.other())
        members.append(Member(hand.put(f"{name}.npy", name, "a.npy"), data, hand.any(METHODS)))
    if hand.slips():
        members.append(Member(hand.any(("note.txt", "folder/", "text.pkl")), b"text"))
    (folder / "w.npz").write_bytes(
        archive(hand.other() if random.random() < 0.3 else hand, members)
    )
    return folder / "w.npz"


FUZZERS = [
    Fuzzer("npy written", write, read_whole, judge),
    Fuzzer("npz written", write_archive, read_whole, judge),
]
