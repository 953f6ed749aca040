"""Small files that would be large, endless or elsewhere, if what they claim were believed."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib

import numpy as np

DEEP = 100_000
HUGE = 1 << 60


def _safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


GOOD = _safetensors({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(16))


def _field(number, content):
    """A field of protobuf: a number, or bytes."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number):
    parts = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([part | 128 for part in parts[:-1]] + parts[-1:])


def _zip(members, compression=zipfile.ZIP_DEFLATED):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


def _tar(*members):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            info.linkname = "" if kind == tarfile.REGTYPE else content
            archive.addfile(info, io.BytesIO(content) if info.size else None)
    return made.getvalue()


def _nested(pack, times):
    data = GOOD
    for _ in range(times):
        data = pack(data)
    return data


def _node(mark, data):
    """A node of OCDBT, not packed."""
    content = b"\0\0" + data + bytes(4)
    return mark.to_bytes(4, "big") + struct.pack("<Q", len(content) + 12) + content


def _loop(fan):
    """A database whose root is its own child, many times."""
    files = b"\1" + b"\1" + b"\0" + b"r"  # one file, r
    numbers = _varint(0) * fan
    table = files + _varint(fan) + _varint(0) * (fan - 1) + _varint(0) * fan + _varint(0) * fan
    size = 0
    for _ in range(3):  # the length of the node is in it
        size = len(node := _node(0x0CDB20DE, b"\1" + table + numbers * 2 + _varint(size) * fan))
    versions = b"\1" + b"\1" + b"\0" + _varint(0) + _varint(0) + _varint(size)
    manifest = bytes(16) + b"\0" + b"\0\0" + b"\0" + b"\0" + files + versions + bytes(64)
    return {"manifest.ocdbt": _node(0x0CDB3A2A, manifest), "r": node}


def _table(count):
    """A table of TensorFlow whose index names one block over and over."""
    block = b"".join(_entry(f"k{n:05}".encode(), b"") for n in range(5000)) + bytes(4)
    handle = _varint(0) + _varint(len(block))
    index = b"".join(_entry(f"{n:05}".encode(), handle) for n in range(count)) + bytes(4)
    body = block + bytes(5) + index + bytes(5)
    footer = _varint(0) + _varint(0) + _varint(len(block) + 5) + _varint(len(index))
    return body + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def _entry(key, value):
    return _varint(0) + _varint(len(key)) + _varint(len(value)) + key + value


def _subgraphs(depth):
    graph = b""
    for _ in range(depth):  # each graph in an attribute of a node of the one around it
        graph = _field(1, _field(4, b"If") + _field(5, _field(6, graph)))
    return _field(1, 8) + _field(7, graph)


def _tensor(sides, *more):
    return b"".join(_field(1, side) for side in sides) + _field(2, 1) + b"".join(more)


def _external(location):
    place = _field(1, b"location") + _field(2, location.encode())
    tensor = _tensor([4], _field(8, b"w"), _field(14, 1), _field(13, place))
    return _field(1, 8) + _field(7, _field(5, tensor))


def _sparse():
    values = _tensor([1], _field(8, b"w"), _field(9, bytes(4)))
    indices = _field(1, 1) + _field(2, 7) + _field(9, bytes(8))
    sparse = _field(1, values) + _field(2, indices) + _field(3, HUGE)
    return _field(1, 8) + _field(7, _field(15, sparse))


def _flax(shape):
    inner = b"\x93" + bytes([0x90 | len(shape)]) + b"".join(b"\xcf" + n.to_bytes(8) for n in shape)
    inner += b"\xa7float32" + b"\xc4\x00"
    return b"\x81\xa1w\xc7" + bytes([len(inner), 1]) + inner


def _zarr(shape, chunks, **more):
    said = {"zarr_format": 2, "shape": shape, "chunks": chunks, "dtype": "<f4", "order": "C",
            "fill_value": 1, "compressor": None, "filters": None, **more}  # fmt: skip
    return {"w/.zarray": json.dumps(said).encode()}


def _mosaic():
    """146 kB that inflate to 150 MB of lists."""
    packer = zlib.compressobj(9)
    packed = packer.compress(b'{"a":[[]') + b"".join(
        packer.compress(b",[]" * (1 << 20)) for _ in range(48)
    )
    packed += packer.compress(b"]}") + packer.flush()
    content = b"momos\0\2\n" + len(packed).to_bytes(4, "little") + packed
    return content + zlib.crc32(content).to_bytes(4, "little")


def _npz(dtype, fortran):
    """1 MB that inflates to 328 MB."""
    shape = (20_000, 1 << 12)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": dtype, "fortran_order": fortran, "shape": shape}
    )
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("w.npy", "w", force_zip64=True) as member,
    ):
        member.write(header.getvalue())
        for _ in range(100):
            member.write(bytes(200 << 14))
    return made.getvalue()


def _entities():
    text = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(20))
    return f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a0 "lol">{text}]><net name="&a20;"/>'


def _matlab(count):
    """Variables of 64 MiB of zeros, each packed."""
    made = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x100, b"IM")
    for number in range(count):
        sides = struct.pack("<4I", 6, 8, 7, 0) + struct.pack("<4I", 5, 8, 1 << 12, 1 << 12)
        name = struct.pack("<I4s", 2 << 16 | 1, b"a%d" % number)
        element = sides + name + struct.pack("<2I", 7, 1 << 26) + bytes(1 << 26)
        packed = zlib.compress(struct.pack("<2I", 14, len(element)) + element, 1)
        made += struct.pack("<2I", 15, len(packed)) + packed
    return made


INSIDE = "holds more than"
BOMBS = {
    "safetensors-deep": ({"m.safetensors": _safetensors(b'{"a":' * DEEP)}, "not valid JSON"),
    "safetensors-digits": (
        {"m.safetensors": _safetensors(b'{"w":{"shape":[' + b"9" * 5000 + b"]}}")},
        "",
    ),
    "safetensors-sparse": (
        {"m.safetensors": _safetensors(
            {"w": {"dtype": "F32", "shape": [0, HUGE, HUGE], "data_offsets": [0, 0]}})},
        "nothing to measure",
    ),
    "config-deep": ({"config.json": b"[" * DEEP, "model.safetensors": GOOD}, None),
    "pipeline-deep": ({"model_index.json": b"[" * DEEP, "unet/model.safetensors": GOOD}, "JSON"),
    "index-deep": ({"model.safetensors.index.json": b'{"weight_map":' * DEEP}, "JSON"),
    "gzip-in-gzip": ({"m.gz": _nested(gzip.compress, 6)}, "archives within archives"),
    "zip-in-zip": ({"m.zip": _nested(lambda data: _zip({"m": data}), 6)}, "within archives"),
    "zip-of-shards": (
        {"m.zip": _zip({f"model-{n:05}-of-00020.safetensors": _safetensors(
            {f"w{n}": {"dtype": "F32", "shape": [1 << 22], "data_offsets": [0, 1 << 24]}},
            bytes(1 << 24)) for n in range(1, 21)})},
        INSIDE,
    ),
    "tar-outside": (
        {"m.tar": _tar(("/etc/passwd", tarfile.REGTYPE, b"x"),
                       ("model.safetensors", tarfile.SYMTYPE, "/etc/passwd"))},
        "",
    ),
    "tar-above": (
        {"m.tar": _tar(("../../model.safetensors", tarfile.REGTYPE, GOOD))},
        "no checkpoint in this archive",
    ),
    "ocdbt-loop": (_loop(5000), "damaged"),
    "zarr-huge": (_zarr([HUGE], [1]), "nothing to measure"),
    "zarr-one-chunk": (_zarr([HUGE], [HUGE]), "nothing to measure"),
    "zarr-deep": ({"w/.zarray": b"[" * DEEP}, "JSON"),
    "tensorflow-one-block": ({"m.index": _table(20_000), "m.data-00000-of-00001": b""}, "damaged"),
    "onnx-deep": ({"m.onnx": _subgraphs(3000)}, ""),
    "onnx-sparse": ({"m.onnx": _sparse()}, ""),
    "onnx-huge": ({"m.onnx": _field(1, 8) + _field(7, _field(5, _tensor(
        [HUGE, 16], _field(8, b"w"), _field(9, bytes(4)))))}, ""),
    "onnx-above": ({"m.onnx": _external("../../etc/passwd")}, "outside"),
    "onnx-elsewhere": ({"m.onnx": _external("/etc/passwd")}, "outside"),
    "flax-deep": ({"m.msgpack": b"\x81\xa1w" * DEEP}, ""),
    "flax-claims": ({"m.msgpack": b"\x81\xa1w\xdf\xff\xff\xff\xff"}, ""),
    "flax-huge": ({"m.msgpack": _flax([HUGE, HUGE])}, ""),
    "flax-empty": ({"m.msgpack": _flax([0, HUGE, HUGE])}, ""),
    "openvino-entities": ({"m.xml": _entities().encode(), "m.bin": bytes(4)}, ""),
    "openvino-deep": ({"m.xml": b"<net>" * DEEP, "m.bin": bytes(4)}, ""),
    "gguf-counts": ({"m.gguf": b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 1 << 63)}, ""),
    "gguf-deep": (
        {"m.gguf": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"a" + struct.pack("<I", 9)
         + struct.pack("<IQ", 9, 1) * DEEP},
        "",
    ),
    "npz-bomb": ({"m.npz": lambda: _npz("<f4", False)}, INSIDE),
    "npz-bomb-by-columns": ({"m.npz": lambda: _npz("<f4", True)}, INSIDE),
    "matlab-bomb": ({"m.mat": lambda: _matlab(5)}, INSIDE),
    "mosaic-header": ({"m.mosaic": lambda: _mosaic()}, "damaged"),
}  # fmt: skip
"""Files by their names, and what is said of them: some words; None where the weights are read."""


def write(name, folder):
    """The path of a bomb, the file or, of several, the folder."""
    files, _ = BOMBS[name]
    for file, data in files.items():
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data() if callable(data) else data)
    first = next(iter(files))
    alone = len(files) == 1 or first.endswith((".xml", ".index"))
    return folder / name / first if alone and "/" not in first else folder / name
