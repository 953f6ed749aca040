"""What another tool makes of weights: python rivals.py TOOL FILE.npz KIND BITS, where it is.

Without a file it takes one file after the other, as lists in JSON on the lines of its input.

Prints JSON: the bytes that it writes, the seconds that it takes to write and to read them, and the
most memory that it took, in bytes; or why it does neither. The file holds a checkpoint's symbols,
an array a tensor: bit patterns of KIND, a floating-point dtype such as ``float32``; integers, where
KIND is empty, of a dtype or a quantizer's symbols of BITS bits. What is read must be what was
written. It imports nothing of kolmo, so that it runs where the tool does.

Tools that take bytes are given those of all arrays in a row, as they are or shuffled: the first
bytes of all numbers, then the second ones. Each of the others has its best setting for the case.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Tensors = dict[str, np.ndarray]
Measured = tuple[int, float, float]
Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]

PIECE = 1 << 16
"""Numbers of a frame, where a tool that adapts to none of its frames may do so by short ones."""


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


def shuffled(symbols: np.ndarray) -> bytes:
    """The first bytes of all numbers, then the second ones, and so on."""
    return symbols.view(np.uint8).reshape(-1, symbols.itemsize).T.tobytes()


# --- tools for bytes ------------------------------------------------------------------------


def general(codec: Callable[[], Codec], shuffle: bool, tensors: Tensors, kind: str, bits: int):
    """A tool that knows nothing of numbers."""
    symbols = joined(tensors)
    if shuffle and symbols.itemsize == 1:
        raise Missing("shuffles no numbers of a byte")
    data = shuffled(symbols) if shuffle else symbols.tobytes()
    encode, decode = codec()
    return timed(lambda: encode(data), decode, data)


def gzip9() -> Codec:
    return partial(gzip.compress, compresslevel=9, mtime=0), gzip.decompress


def bz2_9() -> Codec:
    return partial(bz2.compress, compresslevel=9), bz2.decompress


def xz9e() -> Codec:
    return partial(lzma.compress, preset=9 | lzma.PRESET_EXTREME), lzma.decompress


def zstd19() -> Codec:
    import zstandard

    return zstandard.ZstdCompressor(level=19).compress, zstandard.ZstdDecompressor().decompress


def brotli11() -> Codec:
    import brotli

    return partial(brotli.compress, quality=11, lgwin=24), brotli.decompress


def zpaq5() -> Codec:
    """zpaq -m5, one thread."""
    if shutil.which("zpaq") is None:
        raise Missing("is not on the path")

    def run(folder: str, *command: str) -> None:
        subprocess.run(["zpaq", *command, "-t1"], cwd=folder, capture_output=True, check=True)

    def encode(data: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "x").write_bytes(data)
            run(folder, "add", "x.zpaq", "x", "-m5")
            return Path(folder, "x.zpaq").read_bytes()

    def decode(data: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "x.zpaq").write_bytes(data)
            run(folder, "extract", "x.zpaq", "-to", "back", "-force")
            return Path(folder, "back", "x").read_bytes()

    return encode, decode


# --- tools for numbers ----------------------------------------------------------------------


def zipnn(tensors: Tensors, kind: str, bits: int) -> Measured:
    """zipnn for bytes of a floating-point format, one thread."""
    if kind not in ("float32", "bfloat16", "float16"):
        raise Missing("takes floats of 16 and 32 bits only")
    from zipnn import ZipNN

    data = joined(tensors).tobytes()
    coder = ZipNN(input_format="byte", bytearray_dtype=kind, threads=1)
    return timed(lambda: bytes(coder.compress(bytearray(data))), coder.decompress, data)


def pcodec(tensors: Tensors, kind: str, bits: int) -> Measured:
    """The smallest of pcodec's files at its highest level: of numbers as they are, as integers, and
    of each tensor for itself."""
    from pcodec import ChunkConfig, standalone

    config = ChunkConfig(compression_level=12, enable_8_bit=True)
    symbols, parts = joined(tensors), [array.reshape(-1) for array in tensors.values()]
    wholes = [[symbols], parts]
    if kind in ("float16", "float32", "float64"):
        wholes += [[part.view(kind) for part in whole] for whole in wholes]

    def encode(whole: list[np.ndarray]) -> list[bytes]:
        return [standalone.simple_compress(part, config) for part in whole]

    def decode(files: list[bytes]) -> bytes:
        return b"".join(standalone.simple_decompress(file).tobytes() for file in files)

    return best_of([partial(encode, whole) for whole in wholes], decode, symbols.tobytes())


def best_of(
    encoders: list[Callable[[], list[bytes]]],
    decode: Callable[[list[bytes]], bytes],
    wanted: bytes,
) -> Measured:
    """The smallest of what encoders write, and its seconds alone."""
    found = []
    for encode in encoders:
        start = time.perf_counter()
        try:
            files = encode()
        except (RuntimeError, TypeError) as error:
            why = error
            continue
        found.append((sum(map(len, files)), time.perf_counter() - start, files))
    if not found:
        raise Missing(f"does not take it: {str(why).splitlines()[0][:80]}")
    size, seconds, files = min(found, key=lambda one: one[0])
    start = time.perf_counter()
    if decode(files) != wanted:
        raise Missing("does not give back what it was given")
    return size, seconds, time.perf_counter() - start


def openzl(tensors: Tensors, kind: str, bits: int) -> Measured:
    """The smallest of openzl's graphs: for the whole, for each tensor, and for short pieces."""
    import openzl.ext as zl

    symbols = joined(tensors)
    cuts = [[symbols], [array.reshape(-1) for array in tensors.values() if array.size]]
    if symbols.size > PIECE:
        cuts.append(np.split(symbols, range(PIECE, symbols.size, PIECE)))

    def encode(graph: str, cut: list[np.ndarray]) -> list[bytes]:
        compressor = zl.Compressor()
        compressor.select_starting_graph(dict(graphs(compressor, kind))[graph]())
        context = zl.CCtx()
        context.ref_compressor(compressor)
        context.set_parameter(zl.CParam.StickyParameters, 1)
        context.set_parameter(zl.CParam.FormatVersion, zl.MAX_FORMAT_VERSION)
        context.set_parameter(zl.CParam.PermissiveCompression, 1)
        context.set_parameter(zl.CParam.CompressionLevel, 9)
        return [context.compress([zl.Input(zl.Type.Numeric, part)]) for part in cut]

    def decode(files: list[bytes]) -> bytes:
        read = zl.DCtx()
        return b"".join(read.decompress(file)[0].content.as_nparray().tobytes() for file in files)

    names = [name for name, _ in graphs(zl.Compressor(), kind)]
    encoders = [partial(encode, name, cut) for name in names for cut in cuts]
    return best_of(encoders, decode, symbols.tobytes())


def graphs(compressor: Any, kind: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names of openzl's graphs for numbers of a kind, and what builds each.

    Each lane of bytes goes to the smallest of entropy coding, matches and both; so do numbers as
    they are, as differences, by their table of values, or with the exponent apart.
    """
    import openzl.ext as zl

    ends, nodes = zl.graphs, zl.nodes

    def smallest(*more: Any) -> Any:
        plain = [ends.Entropy(), ends.Fse(), ends.Compress(), ends.Zstd(), ends.Store()]
        return ends.BruteForce([*(end(compressor) for end in plain), *more])(compressor)

    def lanes() -> Any:
        return nodes.ConvertNumToStructLE()(compressor, structs())

    def structs() -> Any:
        lane = nodes.TransposeSplit()(compressor, smallest())
        return ends.BruteForce([lane, ends.FieldLz()(compressor)])(compressor)

    def numbers() -> Any:
        return ends.BruteForce([lanes(), ends.Compress()(compressor)])(compressor)

    def table() -> Any:
        return nodes.Tokenize(type=zl.Type.Numeric, sort=True)(compressor, numbers(), numbers())

    yield "numbers", lambda: ends.Compress()(compressor)
    yield "matches", lambda: ends.FieldLz()(compressor)
    yield "lanes", lanes
    yield "table", table
    yield "differences", lambda: nodes.DeltaInt()(compressor, numbers())
    yield "packed", lambda: nodes.RangePack()(compressor, numbers())
    parted = {"float32": "Float32", "bfloat16": "BFloat16", "float16": "Float16"}
    if kind in parted:
        apart = getattr(nodes, f"{parted[kind]}Deconstruct")()
        yield "exponents", lambda: apart(compressor, structs(), smallest())


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


BYTES = {"gzip": gzip9, "bz2": bz2_9, "xz": xz9e, "zstd": zstd19, "brotli": brotli11, "zpaq": zpaq5}
TOOLS = {
    **{tool: partial(general, codec, False) for tool, codec in BYTES.items()},
    **{
        f"{tool} shuffled": partial(general, codec, True)
        for tool, codec in BYTES.items()
        if tool != "zpaq"
    },
    "zipnn": zipnn,
    "openzl": openzl,
    "pcodec": pcodec,
    "nncodec": nncodec,
}


def peak() -> int:
    """The most memory in bytes that this process, or one that it ran, has taken."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return 1024 * max(resource.getrusage(one).ru_maxrss for one in who)


def answer(tool: str, path: str, kind: str, bits: str) -> dict[str, Any]:
    """What is printed."""
    with np.load(path) as file:
        tensors = dict(file)
    try:
        measured = TOOLS[tool](tensors, kind, int(bits))
    except ImportError as error:
        return {"missing": f"{tool} is not installed ({error.name or error})"}
    except Missing as why:
        return {"missing": f"{tool} {why}"}
    return dict(zip(("bytes", "write", "read"), measured, strict=True)) | {"peak": peak()}


def main() -> None:
    tool, *asked = sys.argv[1:]
    if asked:
        print(json.dumps(answer(tool, *asked)))
        return
    for line in sys.stdin:
        print(json.dumps(answer(tool, *json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
