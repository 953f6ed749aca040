"""What another tool makes of weights: python rivals.py TOOL FILE.npz KIND BITS, where it is.

Prints JSON: the bytes that it writes, and the seconds that it takes to write and to read them, or
why it does neither. The file holds a checkpoint's symbols, an array a tensor: bit patterns of KIND,
``float32`` or ``bfloat16``, or quantizer's symbols of BITS bits. What is read must be what was
written. It imports nothing of kolmo, so that it runs where the tool does.
"""

from __future__ import annotations

import json
import lzma
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Tensors = dict[str, np.ndarray]
Measured = tuple[int, float, float]


class Missing(Exception):
    """Why a tool measures nothing."""


def timed(encode: Callable[[], bytes], decode: Callable[[bytes], bytes], wanted: bytes) -> Measured:
    start = time.perf_counter()
    data = encode()
    middle = time.perf_counter()
    found = decode(data)
    if bytes(found) != wanted:
        raise Missing("does not give back what it was given")
    return len(data), middle - start, time.perf_counter() - middle


def joined(tensors: Tensors) -> np.ndarray:
    return np.concatenate([array.reshape(-1) for array in tensors.values()])


def xz(tensors: Tensors, kind: str, bits: int) -> Measured:
    """xz -9e on the bytes of the symbols."""
    data = joined(tensors).tobytes()
    return timed(lambda: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME), lzma.decompress, data)


def zpaq(tensors: Tensors, kind: str, bits: int) -> Measured:
    """zpaq -m5, one thread."""
    if shutil.which("zpaq") is None:
        raise Missing("zpaq is not on the path")
    data = joined(tensors).tobytes()
    with tempfile.TemporaryDirectory() as folder:

        def run(*command: str) -> None:
            subprocess.run(["zpaq", *command, "-t1"], cwd=folder, capture_output=True, check=True)

        def encode() -> bytes:
            Path(folder, "x").write_bytes(data)
            run("add", "x.zpaq", "x", "-m5")
            return Path(folder, "x.zpaq").read_bytes()

        def decode(_: bytes) -> bytes:
            run("extract", "x.zpaq", "-to", "back", "-force")
            return Path(folder, "back", "x").read_bytes()

        return timed(encode, decode, data)


def zipnn(tensors: Tensors, kind: str, bits: int) -> Measured:
    """zipnn for bytes of a floating-point format, one thread."""
    if not kind:
        raise Missing("takes floats only")
    from zipnn import ZipNN

    data = joined(tensors).tobytes()
    coder = ZipNN(input_format="byte", bytearray_dtype=kind, threads=1)
    return timed(lambda: bytes(coder.compress(bytearray(data))), coder.decompress, data)


def openzl(tensors: Tensors, kind: str, bits: int) -> Measured:
    """openzl with its nodes for floats, or for numbers."""
    import openzl.ext as zl

    symbols = joined(tensors)
    compressor, graph = zl.Compressor(), zl.graphs.Compress()
    start = graph(compressor)
    if kind:
        parted = {"float32": zl.nodes.Float32Deconstruct, "bfloat16": zl.nodes.BFloat16Deconstruct}
        start = parted[kind]()(compressor, graph(compressor), graph(compressor))
    compressor.select_starting_graph(start)
    context = zl.CCtx()
    context.ref_compressor(compressor)
    context.set_parameter(zl.CParam.FormatVersion, zl.MAX_FORMAT_VERSION)
    return timed(
        lambda: context.compress([zl.Input(zl.Type.Numeric, symbols)]),
        lambda data: zl.DCtx().decompress(data)[0].content.as_nparray().tobytes(),
        symbols.tobytes(),
    )


def nncodec(tensors: Tensors, kind: str, bits: int) -> Measured:
    """NNCodec (ISO/IEC 15938-17) on integers, which its grid of step 1 leaves as they are."""
    if kind:
        raise Missing("codes quantized weights only")
    from nncodec import nnc

    half = (1 << bits - 1) - 1
    centred = {name: array.astype(np.float32) - half for name, array in tensors.items()}
    wanted = b"".join(array.tobytes() for array in centred.values())
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "x.nnc"))
        settings = {"qp": 0, "nonweight_qp": 0, "use_dq": False, "opt_qp": False, "verbose": False}

        def encode() -> bytes:
            return bytes(nnc.compress(centred, path, return_bitstream=True, **settings))

        def decode(data: bytes) -> bytes:
            found = nnc.decompress(bytearray(data))
            return b"".join(np.float32(found[name]).tobytes() for name in centred)

        return timed(encode, decode, wanted)


TOOLS = {"xz": xz, "zpaq": zpaq, "zipnn": zipnn, "openzl": openzl, "nncodec": nncodec}


def main() -> None:
    tool, path, kind, bits = sys.argv[1:]
    with np.load(path) as file:
        tensors = dict(file)
    try:
        found = dict(
            zip(("bytes", "write", "read"), TOOLS[tool](tensors, kind, int(bits)), strict=True)
        )
    except ImportError as error:
        found = {"missing": f"{tool} is not installed ({error.name or error})"}
    except Missing as why:
        found = {"missing": f"{tool} {why}"}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
