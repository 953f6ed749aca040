"""What the scripts here note of their files: every array, as the library that wrote it has it."""

import hashlib
import json
import lzma
import pathlib

import numpy as np


def noted(array):
    """Shape, dtype and a hash of the values, little-endian in row-major order."""
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
    data = np.ascontiguousarray(array).astype(dtype).tobytes()
    return [list(array.shape), array.dtype.name, hashlib.sha256(data).hexdigest()[:16]]


def write_truth(folder, truth):
    """For each file, the arrays by name: {file: {name: noted}}."""
    lines = [f" {json.dumps(f)}: {json.dumps(arrays)}" for f, arrays in sorted(truth.items())]
    (pathlib.Path(folder) / "truth.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def pack(path):
    """Put an xz archive in a file's place."""
    path = pathlib.Path(path)
    path.with_name(path.name + ".xz").write_bytes(lzma.compress(path.read_bytes(), preset=9))
    path.unlink()
