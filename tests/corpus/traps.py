"""Small files that ask for endless work, or for memory, by what readers make of their contents.

Those of `tests.corpus.bombs` claim much; these hold much: a million of something in a few bytes,
names that multiply, words on which a search turns back and forth.
"""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
import zlib

import numpy as np

from tests.corpus.bombs import GOOD, _field, _tensor, _zip

MILLION = 1_000_000


# --- pickles --------------------------------------------------------------------------------


def torch_zip(data, storages=1):
    """A torch file around a pickle, its storages of four numbers each."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        for number in range(storages):
            archive.writestr(f"archive/data/{number}", bytes(16))
    return made.getvalue()


def _rebuilt(shape, strides):
    """Opcodes of a view of storage 0 at these strides."""
    storage = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\4tQ"
    sides = b"(" + b"".join(b"\x8a\x08" + n.to_bytes(8, "little") for n in shape) + b"t"
    steps = b"(" + b"".join(b"\x8a\x08" + n.to_bytes(8, "little") for n in strides) + b"t"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + sides + steps
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def _text(text):
    data = text.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


def many_views(count):
    """Views of four numbers, each spread over four million entries."""
    pairs = b"".join(_text(f"v{n}") + _rebuilt([1 << 22], [0]) for n in range(count))
    return torch_zip(b"\x80\2}(" + pairs + b"u.")


def ladder(depth, each):
    """Mappings in each other, arrays at each step, so that names grow."""
    made = b"\x80\2"
    for _ in range(depth):
        leaves = b"".join(_text(f"{n}") + _rebuilt([4], [1]) for n in range(each))
        made += b"}(" + leaves + _text("down")
    return torch_zip(made + b"N" + b"u" * depth + b".")


def _opcodes(opcode, count):
    return b"\x80\2" + opcode * count + b"."


# --- others ---------------------------------------------------------------------------------


def _packed_zeros_twice(size):
    """A zip of zeros, whose packed bytes are zeros mostly, packed again."""
    inner = io.BytesIO()
    with (
        zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("model.npy", "w", force_zip64=True) as member,
    ):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": (size // 4,)}
        )
        member.write(header.getvalue())
        for _ in range(size >> 20):
            member.write(bytes(1 << 20))
    return gzip.compress(inner.getvalue())


def _lzma(size):
    """LZMA that asks for a dictionary of so many bytes."""
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16}]
    data = bytearray(lzma.compress(GOOD, lzma.FORMAT_ALONE, filters=filters))
    data[1:5] = size.to_bytes(4, "little")
    return bytes(data)


def _xz(size):
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": size}]
    packer = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=[{**filters[0], "dict_size": 1 << 16}])
    body = packer.compress(GOOD) + packer.flush()
    whole = bytearray(lzma.compress(GOOD, filters=[{**filters[0], "dict_size": 1 << 16}]))
    # the block header follows the stream header: size, flags, filter id, its size, the dictionary
    code = next(n for n in range(41) if (2 | n & 1) << (n // 2 + 11) >= size)
    whole[12 + 4] = code
    whole[12 + 8 : 12 + 12] = zlib.crc32(whole[12 : 12 + 8]).to_bytes(4, "little")
    assert body
    return bytes(whole)


def _tar_header(kind, size, name="x"):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def _zip_lzma(size):
    """A zip whose member, packed by LZMA, asks for a dictionary of so many bytes."""
    data = bytearray(_zip({"model.safetensors": GOOD * 64}, zipfile.ZIP_LZMA))
    at = data.index(b"\x5d", 30)
    data[at + 1 : at + 5] = size.to_bytes(4, "little")
    return bytes(data)


def _empty_struct():
    """A struct without fields that claims 2^59 elements."""

    def element(kind, data):
        return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)

    inner = element(6, struct.pack("<2I", 2, 0)) + element(5, struct.pack("<2i", 1 << 29, 1 << 29))
    inner += element(1, b"s") + element(5, struct.pack("<i", 32)) + element(1, b"")
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x100, b"IM")
    return header + element(14, inner)


def _openvino(body, values=bytes(16)):
    return {"m.xml": b'<?xml version="1.0"?><net name="m"><layers>' + body + b"</layers></net>",
            "m.bin": values}  # fmt: skip


_CONST = (
    '<layer id="{id}" name="{name}" type="Const"><data element_type="f32" shape="{shape}" '
    'offset="0" size="{size}"/></layer>'
)


def _onnx_names(depth, each, length):
    """Graphs in graphs whose nodes have long names, tensors in each."""
    graph = b""
    name = b"n" * length
    tensors = b"".join(_field(5, _tensor([1], _field(8, b"t%d" % n), _field(9, bytes(4))))
                       for n in range(each))  # fmt: skip
    for _ in range(depth):
        attribute = _field(5, _field(1, name) + _field(6, graph))
        graph = tensors + _field(1, _field(3, name) + _field(4, b"If") + attribute)
    return _field(1, 8) + _field(7, graph)


def _shared_external(count, size):
    """Tensors that all have the whole of one file as their values."""
    place = _field(13, _field(1, b"location") + _field(2, b"w.bin"))
    graph = b"".join(
        _field(5, _tensor([size // 4], _field(8, b"w%d" % n), _field(14, 1), place))
        for n in range(count)
    )
    return {
        "m.onnx": _field(1, 8) + _field(7, graph),
        "w.bin": np.arange(size // 4, dtype="<f4").tobytes(),
    }


def _flax_array():
    inner = b"\x93\x91\x04\xa7float32\xc4\x10" + bytes(16)
    return b"\xc7" + bytes([len(inner), 1]) + inner


def _long_names(depth, length, leaves):
    key = b"\xda" + length.to_bytes(2, "big") + b"k" * length
    leaf = b"\xde" + leaves.to_bytes(2, "big") + b"".join(
        b"\xa5%05d" % n + b"\xc3" for n in range(leaves))  # fmt: skip
    return (b"\x81" + key) * depth + leaf


def _npy(array):
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


def _two_directories():
    """A zip whose comment holds the end of another directory."""
    first = _zip({"model.safetensors": GOOD}, zipfile.ZIP_STORED)
    other = _zip({"model.npy": _npy(np.ones(9, np.float32))}, zipfile.ZIP_STORED)
    return first[:-2] + len(other).to_bytes(2, "little") + other


def _other_local_name():
    data = _zip({"model.npy": _npy(np.ones(4, np.float32))}, zipfile.ZIP_STORED)
    return data.replace(b"model.npy", b"motel.npy", 1)


ITEMS, NAMES, INSIDE = "items to look at", "characters of names and texts", "it holds more than"
TRAPS = {
    # a million of something
    "pickle-lists": (lambda: {"m.pkl": b"\x80\2](" + b"]" * MILLION + b"e."}, ITEMS),
    "pickle-marks": (lambda: {"m.pkl.gz": gzip.compress(_opcodes(b"(", 1 << 23), 1)}, ITEMS),
    "pickle-memo": (lambda: {"m.pkl.gz": gzip.compress(_opcodes(b"N\x940", 1 << 22), 1)}, ITEMS),
    "pickle-floats": (
        lambda: {"m.pkl.gz": gzip.compress(_opcodes(b"G" + bytes(8), 1 << 22), 1)}, ITEMS),
    "safetensors-lists": (
        lambda: {"m.safetensors.gz": gzip.compress(
            struct.pack("<Q", 9_000_009) + b'{"a":[' + b"[]," * 3 * MILLION + b"0]}", 1)},
        ITEMS,
    ),
    "flax-maps": (
        lambda: {"m.msgpack": b"\x81\xa1w\xdd" + (4 * MILLION).to_bytes(4, "big")
                 + b"\x80" * (4 * MILLION)},
        ITEMS,
    ),
    "mxnet-nothing": (
        lambda: {"m.params.gz": gzip.compress(
            struct.pack("<QQQ", 0x112, 0, 3 * MILLION) + bytes(24 * MILLION + 16), 1)},
        ITEMS,
    ),
    "tar-directories": (
        lambda: {"m.tar.gz": gzip.compress(
            _tar_header(tarfile.DIRTYPE, 0) * 100_000 + bytes(1024), 1)},
        ITEMS,
    ),
    "zip-members": (lambda: {"m.zip": _zip({f"{n:x}": b"" for n in range(3000)})}, "name the one"),
    "openvino-edges": (
        lambda: {"m.zip": _zip(_openvino(
            b"</layers><edges>" + b"<edge/>" * 3 * MILLION + b"</edges><layers>"))},
        ITEMS,
    ),
    "matlab-empty-struct": (lambda: {"m.mat": _empty_struct()}, "holds nothing"),
    # names
    "torch-ladder": (lambda: {"m.pt": ladder(3000, 4)}, NAMES),
    "flax-long-names": (
        lambda: {"m.msgpack.gz": gzip.compress(_long_names(200, 60_000, 1000), 1)}, NAMES),
    "onnx-long-names": (lambda: {"m.onnx": _onnx_names(40, 50, 30_000)}, NAMES),
    "names-training": (
        lambda: {"m.zip": _zip({"optim" + "1" * 40 + "!": b"", "model.safetensors": GOOD})}, 4),
    "words-digits": (
        lambda: {"glove.txt": b"the 1 2 3\n" + b"1" * 50_000 + b"x 1 2 3\nof 1 2 3\n" * 3}, 21),
    # memory that a decompressor takes
    "lzma-dictionary": (lambda: {"m.lzma": _lzma(1536 << 20)}, "damaged"),
    "xz-dictionary": (lambda: {"m.xz": _xz(1536 << 20)}, "damaged"),
    "zip-lzma-dictionary": (lambda: {"m.zip": _zip_lzma(0xFFFFFFFF)}, "damaged"),
    "tar-pax-huge": (
        lambda: {"m.tar": _tar_header(tarfile.XHDTYPE, 8 << 30) + bytes(1024)}, "damaged"),
    # sharing
    "torch-many-views": (lambda: {"m.pt": many_views(1000)}, 1 << 22),
    "onnx-shared-external": (lambda: _shared_external(2000, 1 << 20), 1 << 18),
    # two contents of one file, and names that meet
    "zip-two-directories": (lambda: {"m.zip": _two_directories()}, "before the archive"),
    "npz-other-local-name": (lambda: {"m.npz": _other_local_name()}, "differ"),
    "flax-dots": (
        lambda: {"m.msgpack": b"\x82\xa3a.b" + _flax_array() + b"\xa1a\x81\xa1b" + _flax_array()},
        8,
    ),
    "openvino-ids": (
        lambda: _openvino("".join(
            _CONST.format(id=0, name=name, shape="4", size=16) for name in "ab").encode()),
        "have the id '0'",
    ),
    "index-two-spellings": (
        lambda: {
            "model.safetensors.index.json": json.dumps(
                {"weight_map": {"w": "a.safetensors", "w2": "./a.safetensors"}}).encode(),
            "a.safetensors": GOOD,
        },
        "does not hold it",
    ),
}  # fmt: skip
"""What makes the files of each, and what is said of them: some words, or the number of weights."""

SLOW_TRAPS = {
    "bzip2-pattern": (lambda: {"m.bz2": bz2.compress(b"abcdefghij" * (30 << 20))}, INSIDE),
    "zeros-twice": (lambda: {"m.zip.gz": _packed_zeros_twice(3 << 30)}, INSIDE),
}
"""The same, of which making them takes long."""


def lay(files, folder):
    """Write files into a folder; the path to open: the file, the main one of a few, the folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    first = next(iter(files))
    alone = len(files) == 1 or first.endswith((".xml", ".onnx"))
    return folder / first if alone and "/" not in first else folder
