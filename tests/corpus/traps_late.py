"""More inputs as those of `tests.corpus.traps`, which were made before its faults were mended and
run after that: what they show was not looked for."""

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
from zstandard import ZstdCompressor

from tests.corpus.bombs import GOOD, HUGE, _field, _tar, _tensor, _zarr, _zip
from tests.corpus.traps import MILLION, _openvino, _rebuilt, _text, torch_zip
from tests.corpus.traps_own import container, mosaic, squeezed

NPY = io.BytesIO()
np.save(NPY, np.ones(4, np.float32))
NPY = NPY.getvalue()


def _hdf5_loop():
    """A group whose tree of names is its own child, many times."""
    tree_at, heap_at = 96 + 40, 2000
    entry = struct.pack("<QQII", 0, 96, 1, 0) + struct.pack("<QQ", tree_at, heap_at)
    head = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0)
    head += struct.pack("<QQQQ", 0, (1 << 64) - 1, 1 << 20, (1 << 64) - 1) + entry
    header = struct.pack("<BBHII", 1, 0, 1, 1, 24) + bytes(4)
    header += struct.pack("<HHB3x", 17, 16, 0) + struct.pack("<QQ", tree_at, heap_at)
    tree = b"TREE" + struct.pack("<BBHQQ", 0, 1, 50, (1 << 64) - 1, (1 << 64) - 1)
    tree += struct.pack("<QQ", 0, tree_at) * 50 + bytes(8)
    heap = b"HEAP" + bytes(4) + struct.pack("<QQQ", 64, 0, heap_at + 40) + bytes(64)
    made = bytearray(max(len(head), 96))
    made[: len(head)] = head
    made = bytes(made[:96]) + header.ljust(40, b"\0") + tree
    return made.ljust(heap_at, b"\0") + heap + bytes(4096)


def _hdf5_shared(count):
    """Datasets of 4 MiB of zeros, all in one chunk."""
    from tests.fuzz.hand import Hand
    from tests.fuzz.hdf5_files import CHUNKS, DEFLATE, Writer

    write, side = Writer(Hand(np.random.default_rng(0), 0), False), 1 << 20
    packed = zlib.compress(bytes(4 * side))
    first, last = struct.pack("<IIQQ", len(packed), 0, 0, 0), struct.pack("<IIQQ", 0, 0, side, 0)
    tree = write.tree(1, [(first, write.place(packed))], last, CHUNKS)
    layout = struct.pack("<BBBQII", 3, 2, 2, tree, side, 4)
    said = [(1, write.space((side,))), (3, write.type("<f4")), (8, layout),
            (11, write._filters([DEFLATE], 4))]  # fmt: skip
    return write.file(write.group([(f"w{n:04}", write.header(said)) for n in range(count)]))


def _gguf_tensors(count):
    """Tensors of no numbers under short names."""
    head = b"GGUF" + struct.pack("<IQQ", 3, count, 0)
    return head + b"".join(
        struct.pack("<Q", 5) + b"%05x" % n + struct.pack("<IQIQ", 1, 0, 0, 0) for n in range(count)
    ) + bytes(64)  # fmt: skip


def _tflite(count):
    """A graph whose vector of tensors names one table over and over."""
    data = bytearray(struct.pack("<I4s", 0, b"TFL3"))

    def table(fields):
        """A table of offsets, by field; filled in when what they lead to is placed."""
        vtable = len(data)
        data.extend(struct.pack("<HH", 4 + 2 * len(fields), 4 + 4 * len(fields)))
        for n, field in enumerate(fields):
            data.extend(struct.pack("<H", 4 + 4 * n if field else 0))
        data.extend(bytes(-len(data) % 4))
        at = len(data)
        data.extend(struct.pack("<i", at - vtable) + bytes(4 * len(fields)))
        return at

    def lead(place, target):
        struct.pack_into("<I", data, place, target - place)

    model = table([0, 0, 1, 0, 1])
    struct.pack_into("<I", data, 0, model)
    graphs = len(data)
    data.extend(struct.pack("<II", 1, 0))
    lead(model + 12, graphs)
    buffers = len(data)
    data.extend(struct.pack("<I", 0))
    lead(model + 20, buffers)
    graph = table([1])
    lead(graphs + 4, graph)
    tensors = len(data)
    data.extend(struct.pack("<I", count) + bytes(4 * count))
    lead(graph + 4, tensors)
    tensor = table([0, 0, 0, 0])
    for n in range(count):
        place = tensors + 4 + 4 * n
        lead(place, tensor)
    return bytes(data)


def _overlapping():
    """A zip two of whose members are the same bytes."""
    data = bytearray(_zip({"a.npy": NPY, "b.npy": NPY}, zipfile.ZIP_STORED))
    at = data.rindex(b"PK\1\2")
    struct.pack_into("<I", data, at + 42, 0)
    return bytes(data)


def _expanding_zarr():
    """Four chunks of 256 MiB of zeros."""
    chunk = zlib.compress(bytes(1 << 28), 6)
    files = _zarr([1 << 28], [1 << 26], compressor={"id": "zlib", "level": 6})
    return {**files, **{f"w/{n}": chunk for n in range(4)}}


def _equal_names(count):
    tensor = _rebuilt([4], [1]) + b"q\1" + b"0"
    flat = b"".join(_text(f"a.{n}") + b"h\1" for n in range(count))
    inner = b"".join(_text(f"{n}") + b"h\1" for n in range(count))
    return torch_zip(b"\x80\2" + tensor + b"}(" + flat + _text("a") + b"}(" + inner + b"uu.")


def _kmo_header(count):
    """A header of so many zeros."""
    from kolmo.codes.numbers import number_bytes
    from kolmo.container.fields import deflate, names_bytes, text_bytes
    from kolmo.container.format import MAGIC, with_foot

    head = text_bytes("native") + number_bytes(1) + names_bytes(["w"])
    packed = deflate(head + number_bytes(count) + bytes(count))
    return MAGIC + with_foot(number_bytes(len(packed)) + packed, bytes(16))


def _many_units(count):
    from kolmo.codes.base import get_code
    from kolmo.symbols import Alphabet

    data = get_code("constant").encode(
        [np.zeros(1, np.uint8)], Alphabet.of_dtype(np.dtype("uint8"))
    )
    return container([(1,)] * count, [(1, data, [(n, 0, 1)]) for n in range(count)], "uint8")


def _mosaic_ties(count):
    tensors = [["t", [1 << 10, 1 << 10], 0]]
    tensors += [[f"u{n}", [1 << 10, 1 << 10], ["t"]] for n in range(count)]
    header = {"block_size": 64, "motifs": [1, "float32"], "dtype": "float32", "indices": "packed",
              "tensors": tensors}  # fmt: skip
    return mosaic(header, bytes(256))


def _matlab_cells(count):
    def element(kind, data):
        return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)

    inner = element(6, struct.pack("<2I", 1, 0)) + element(5, struct.pack("<2i", count, 1))
    inner += element(1, b"c") + struct.pack("<2I", 14, 0) * count
    header = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x100, b"IM")
    return header + element(14, inner)


def _const(shape):
    text = (f'<layer id="0" name="a" type="Const"><data element_type="f32" shape="{shape}" '
            f'offset="0" size="16"/></layer>')  # fmt: skip
    return _openvino(text.encode())


def _frames(count):
    return ZstdCompressor(write_content_size=False).compress(b"") * count


LATE = {
    "hdf5-shared": lambda: {"m.h5": _hdf5_shared(300)},
    "hdf5-loop": lambda: {"m.h5": _hdf5_loop()},
    "gguf-tensors-packed": lambda: {"m.gguf.gz": gzip.compress(_gguf_tensors(260_000))},
    "gguf-arrays": lambda: {
        "m.gguf": b"GGUF"
        + struct.pack("<IQQQ", 3, 0, 1, 1)
        + b"a"
        + struct.pack("<IIQ", 9, 9, 80_000)
        + struct.pack("<IQ", 0, 0) * 80_000
        + bytes(64)
    },
    "tflite-shared": lambda: {"m.tflite": _tflite(200_000)},
    "zip-overlap": lambda: {"m.npz": _overlapping()},
    "zarr-expanding": _expanding_zarr,
    "zarr-sides": lambda: _zarr([2] * 62, [1] * 62),
    "torch-equal-names": lambda: {"m.pt": _equal_names(5000)},
    "torch-offset": lambda: {
        "m.pt": torch_zip(b"\x80\2" + _rebuilt([HUGE, HUGE], [HUGE, 1]) + b".")
    },
    "gzip-members": lambda: {"m.gz": gzip.compress(b"") * 100_000 + gzip.compress(GOOD)},
    "zstd-frames": lambda: {"m.zst": _frames(100_000) + ZstdCompressor().compress(GOOD)},
    "bzip2-streams": lambda: {"m.bz2": bz2.compress(b"") * 70_000 + bz2.compress(GOOD)},
    "xz-streams": lambda: {"m.xz": lzma.compress(b"") * 30_000 + lzma.compress(GOOD)},
    "tar-twice": lambda: {
        "m.tar": _tar(
            ("m.safetensors", tarfile.REGTYPE, GOOD), ("m.safetensors", tarfile.REGTYPE, GOOD)
        )
    },
    "tar-links": lambda: {
        "m.tar": _tar(
            ("m.safetensors", tarfile.REGTYPE, GOOD),
            ("n.safetensors", tarfile.LNKTYPE, "n.safetensors"),
        )
    },
    "onnx-nodes": lambda: {
        "m.onnx": _field(1, 8)
        + _field(
            7, b"\x0a\x00" * MILLION + _field(5, _tensor([1], _field(8, b"w"), _field(9, bytes(4))))
        )
    },
    "words-claims": lambda: {"m.vec": b"999999999999 9999999\nword 1 2 3\n"},
    "words-columns": lambda: {"m.vec": b"2 3\nword 1 2 3\n" + b"x" * MILLION},
    "matlab-cells": lambda: {"m.mat": _matlab_cells(120_000)},
    "config-digits": lambda: {
        "config.json": b'{"a": ' + b"9" * 10_000_00 + b"}",
        "model.safetensors": GOOD,
    },
    "index-digits": lambda: {
        "model.safetensors.index.json": json.dumps(
            {
                "weight_map": {
                    "w": f"model-{'7' * 100_000}.safetensors",
                    "v": f"model-{'7' * 100_000}8.safetensors",
                }
            }
        ).encode(),
    },
    "index-names": lambda: {
        "model.safetensors.index.json": json.dumps(
            {"weight_map": {f"{n}": "a" for n in range(200_000)}}
        ).encode(),
        "a": GOOD,
    },
    "openvino-shape": lambda: _const(",".join(["1"] * 200_000)),
    "openvino-digits": lambda: _const("9" * 200_000),
    "flax-ints": lambda: {
        "m.msgpack": b"\x81\xa1w\xde\xff\xff"
        + b"".join(b"\xcf" + (n << 48).to_bytes(8, "big") + b"\xc0" for n in range(65535))
    },
    "diffusers-parts": lambda: {
        "model_index.json": json.dumps({f"p{n}": ["a", "b"] for n in range(50_000)}).encode(),
        "p1/model.safetensors": GOOD,
    },
    "kmo-brotli": lambda: {"m.kmo": squeezed("brotli", 1 << 22)},
    "kmo-zstd": lambda: {"m.kmo": squeezed("zstd", 1 << 22)},
    "kmo-bz2": lambda: {"m.kmo": squeezed("bz2", 1 << 22)},
    "kmo-header": lambda: {"m.kmo": _kmo_header(40_000_000)},
    "kmo-many-units": lambda: {"m.kmo": _many_units(20_000)},
    "mosaic-ties": lambda: {"m.mosaic": _mosaic_ties(60)},
    "mosaic-many-ties": lambda: {"m.mosaic": _mosaic_ties(60_000)},
}
