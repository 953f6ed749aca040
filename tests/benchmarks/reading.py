"""Reading every weight of a checkpoint: kolmo and the library that owns the format, in turn.

    python tests/benchmarks/reading.py [MEGABYTES]

prints, for each format, the speed of both and their ratio (above 1: kolmo is faster). Each reads
the same file from the page cache, all tensors whole, three times in turn; the best time counts.
gguf is measured where the package ``gguf`` is installed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import kolmo

Read = Callable[[Path], None]


def main(megabytes: int) -> None:
    print(f"{'format':24s} {'kolmo':>10s} {'official':>10s} {'ratio':>7s}")
    with tempfile.TemporaryDirectory() as folder:
        for name, path, official in cases(Path(folder), megabytes):
            ours, theirs = best(by_kolmo, official, path)
            size = path.stat().st_size / 2**30
            speeds = f"{size / ours:5.2f} GiB/s {size / theirs:5.2f} GiB/s"
            print(f"{name:24s} {speeds} {theirs / ours:6.2f}")


def cases(folder: Path, megabytes: int) -> Iterator[tuple[str, Path, Read]]:
    """Files of one size, each with the reader that its library offers."""
    random = np.random.default_rng(0)
    shape = (megabytes * 2**20 // (4 * 1024 * 24), 1024)
    arrays = {f"layer.{n}.weight": random.standard_normal(shape, np.float32) for n in range(24)}
    yield "safetensors", *safetensors_case(folder, arrays)
    yield "torch (zip)", *torch_case(folder, arrays, legacy=False)
    yield "torch (before 1.6)", *torch_case(folder, arrays, legacy=True)
    yield "npz", *npz_case(folder, arrays)
    if find_spec("gguf"):
        for kind in (
            "F16",
            "Q8_0",
            "Q4_0",
            "Q5_1",
            "Q3_K",
            "Q4_K",
            "Q6_K",
            "IQ4_XS",
            "IQ2_XS",
            "MXFP4",
        ):
            yield f"gguf {kind}", *gguf_case(folder, arrays, kind)


def safetensors_case(folder: Path, arrays: dict[str, np.ndarray]) -> tuple[Path, Read]:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    def read(path: Path) -> None:
        with safe_open(path, "numpy") as file:
            for name in arrays:
                file.get_tensor(name)

    save_file(arrays, folder / "w.safetensors")
    return folder / "w.safetensors", read


def torch_case(folder: Path, arrays: dict[str, np.ndarray], legacy: bool) -> tuple[Path, Read]:
    import torch

    path = folder / f"w{legacy}.pt"
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    return path, lambda path: torch.load(path, weights_only=True)


def npz_case(folder: Path, arrays: dict[str, np.ndarray]) -> tuple[Path, Read]:
    def read(path: Path) -> None:
        with np.load(path) as file:
            for name in file.files:
                file[name]

    np.savez(folder / "w.npz", **arrays)
    return folder / "w.npz", read


def gguf_case(folder: Path, arrays: dict[str, np.ndarray], kind: str) -> tuple[Path, Read]:
    import gguf

    code = gguf.GGMLQuantizationType[kind]
    path = folder / f"w-{kind}.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    for name, array in arrays.items():
        writer.add_tensor(name, blocks_of(array, code), raw_dtype=code)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    def read(path: Path) -> None:
        for tensor in gguf.GGUFReader(path).tensors:
            gguf.dequantize(tensor.data, tensor.tensor_type)

    return path, read


def blocks_of(array: np.ndarray, code: int) -> np.ndarray:
    """The array quantized; random blocks where the package only reads the type."""
    import gguf

    try:
        return gguf.quantize(array, code)
    except NotImplementedError:
        shape = gguf.quant_shape_to_byte_shape(array.shape, code)
        return np.random.default_rng(1).integers(0, 60, shape, np.uint8)


def by_kolmo(path: Path) -> None:
    for tensor in kolmo.open_checkpoint(path).values():
        tensor.read()


def best(ours: Read, theirs: Read, path: Path) -> tuple[float, float]:
    """The best times of both, in turn."""
    times: dict[Read, list[float]] = {ours: [], theirs: []}
    for read in (ours, theirs) * 4:
        start = time.perf_counter()
        read(path)
        times[read].append(time.perf_counter() - start)
    return min(times[ours][1:]), min(times[theirs][1:])


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 400)
