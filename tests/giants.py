"""Checkpoints of 100 GB that take kilobytes of disk: their values are holes.

Each function writes a file of one format and gives the number of its weights.
"""

import io
import json
import os
import pickle as pickles
import struct
from pathlib import Path

import numpy as np

HUGE = 100 * 10**9
"""Bytes of values in each file."""

LAYERS = 8
SHAPE = (HUGE // 4 // LAYERS // 1000, 1000)
SIZE = 4 * SHAPE[0] * SHAPE[1]
NAMES = [f"layers.{n}.weight" for n in range(LAYERS)]
WEIGHTS = LAYERS * SHAPE[0] * SHAPE[1]


def safetensors(path: Path) -> int:
    header = {
        name: {"dtype": "F32", "shape": SHAPE, "data_offsets": [n * SIZE, (n + 1) * SIZE]}
        for n, name in enumerate(NAMES)
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + LAYERS * SIZE)
    return WEIGHTS


def npy(path: Path) -> int:
    path.write_bytes(npy_header((LAYERS * SHAPE[0], SHAPE[1])))
    os.truncate(path, path.stat().st_size + LAYERS * SIZE)
    return WEIGHTS


def npy_header(shape: tuple[int, ...]) -> bytes:
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return np.lib.format.magic(1, 0) + struct.pack("<H", len(text)) + text


def npz(path: Path) -> int:
    """A stored archive, whose members are holes but for their headers."""
    header, directory = npy_header(SHAPE), b""
    size = len(header) + SIZE
    with open(path, "wb") as file:
        for name in NAMES:
            member, at = f"{name}.npy".encode(), file.tell()
            extra = struct.pack("<HHQQ", 1, 16, size, size)
            fixed = struct.pack("<5H3L2H", 45, 0, 0, 0, 33, 0, 2**32 - 1, 2**32 - 1,
                                len(member), len(extra))  # fmt: skip
            file.write(b"PK\x03\x04" + fixed + member + extra + header)
            file.seek(SIZE, os.SEEK_CUR)
            extra = struct.pack("<HHQQQ", 1, 24, size, size, at)
            entry = struct.pack("<6H3L5H2L", 45, 45, 0, 0, 0, 33, 0, 2**32 - 1, 2**32 - 1,
                                len(member), len(extra), 0, 0, 0, 0, 2**32 - 1)  # fmt: skip
            directory += b"PK\x01\x02" + entry + member + extra
        begin = file.tell()
        file.write(directory)
        end = file.tell()
        file.write(b"PK\x06\x06" + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, LAYERS, LAYERS,
                                               len(directory), begin))  # fmt: skip
        file.write(b"PK\x06\x07" + struct.pack("<LQL", 0, end, 1))
        file.write(b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, LAYERS, LAYERS, len(directory),
                                               2**32 - 1, 0))  # fmt: skip
    return WEIGHTS


def torch_zip(path: Path) -> int:
    """An archive of torch, of tensors that are holes themselves, written without their values."""
    import torch

    hole = path.with_suffix(".hole")
    hole.touch()
    os.truncate(hole, SIZE)
    layers = {
        name: torch.from_file(str(hole), shared=True, size=SIZE // 4).view(SHAPE) for name in NAMES
    }
    with torch.serialization.skip_data():
        torch.save(layers, path)
    return WEIGHTS


def gguf(path: Path) -> int:
    infos = b"".join(
        struct.pack("<Q", len(name)) + name.encode() + struct.pack("<LQQLQ", 2, SHAPE[1], SHAPE[0],
                                                                   0, n * (SIZE + -SIZE % 32))
        for n, name in enumerate(NAMES)
    )  # fmt: skip
    head = b"GGUF" + struct.pack("<LQQ", 3, LAYERS, 0) + infos
    head += bytes(-len(head) % 32)
    path.write_bytes(head)
    os.truncate(path, len(head) + LAYERS * (SIZE + -SIZE % 32))
    return WEIGHTS


def onnx(path: Path) -> int:
    """A graph whose initializers lie in a file beside it."""
    data = path.with_suffix(".data")
    data.touch()
    os.truncate(data, LAYERS * SIZE)
    tensors = b""
    for n, name in enumerate(NAMES):
        places = {"location": data.name, "offset": str(n * SIZE), "length": str(SIZE)}
        entries = [field(1, k.encode()) + field(2, v.encode()) for k, v in places.items()]
        tensor = b"".join(b"\x08" + varint(side) for side in SHAPE) + b"\x10\x01"
        tensor += field(8, name.encode()) + b"".join(field(13, e) for e in entries) + b"\x70\x01"
        node = field(1, b"x") + field(1, name.encode()) + field(2, b"y") + field(4, b"MatMul")
        tensors += field(1, node) + field(5, tensor)
    path.write_bytes(b"\x08\x08" + field(7, tensors + field(2, b"main")))
    return WEIGHTS


def field(number: int, data: bytes) -> bytes:
    """A field of bytes in the wire format of protobuf."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def torch_legacy(path: Path) -> int:
    """A torch file of before 1.6: a small one, whose storage is said to be longer, and a hole."""
    import torch

    file = io.BytesIO()
    torch.save({"w": torch.zeros(SMALL)}, file, _use_new_zipfile_serialization=False)
    head = said_to_be_longer(file.getvalue()[: -4 * SMALL])
    path.write_bytes(head[:-8] + struct.pack("<q", LONG))  # the storage's own number of entries
    os.truncate(path, len(head) + 4 * LONG)
    return LONG


def pickle(path: Path) -> int:
    """A pickled array whose bytes are said to be more, and a hole."""
    data = pickles.dumps({"w": np.zeros(SMALL, np.float32)}, protocol=4)
    head, tail = data.split(b"B" + struct.pack("<L", 4 * SMALL) + bytes(4 * SMALL))
    head = said_to_be_longer(head[:2] + head[11:])  # without the frame, which has a length too
    with open(path, "wb") as file:
        file.write(head + b"\x8e" + struct.pack("<Q", 4 * LONG))
        file.seek(4 * LONG, os.SEEK_CUR)
        file.write(tail)
    return LONG


SMALL, LONG = 70_000, HUGE // 4


def said_to_be_longer(data: bytes) -> bytes:
    """A pickle that says `LONG` wherever it said `SMALL`."""
    return data.replace(b"J" + struct.pack("<i", SMALL), b"\x8a\x05" + LONG.to_bytes(5, "little"))


GIANTS = {
    "safetensors": safetensors, "npy": npy, "npz": npz, "torch (zip)": torch_zip,
    "torch (before 1.6)": torch_legacy, "GGUF": gguf, "ONNX with external data": onnx,
    "pickle": pickle,
}  # fmt: skip
"""Names of formats, and what writes a file of each."""


def bytes_read() -> int:
    """What this process has read from files until now, in all of its calls of read."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])
