"""The default analysis of a checkpoint against the usual tools, one after another.

Run: python tests/benchmarks/defaults.py CHECKPOINT.safetensors

Prints the seconds of gzip -9, bz2 -9, lzma preset 9 and pybdm on the same weights, those of
``kolmo analyze`` in a process of its own, and their ratio. Without an argument a network of four
million normal weights stands in.
"""

import bz2
import gzip
import lzma
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

import kolmo


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else _stand_in(Path(folder))
        checkpoint = kolmo.open_checkpoint(path)
        weights = np.concatenate(
            [t.read().reshape(-1) for t in checkpoint.values() if t.dtype == np.float32]
        )
        print(f"{path}: {weights.size:,} float32 weights")
        seconds = {
            "gzip -9": _time(lambda: gzip.compress(weights.tobytes(), 9)),
            "bz2 -9": _time(lambda: bz2.compress(weights.tobytes(), 9)),
            "lzma preset 9": _time(lambda: lzma.compress(weights.tobytes(), preset=9)),
            "pybdm, sign bits": _time(lambda: _pybdm(weights)),
        }
        command = [sys.executable, "-m", "kolmo", "analyze", str(path)]
        ours = _time(lambda: subprocess.run(command, check=True, capture_output=True))
    for name, value in seconds.items():
        print(f"{name:28}{value:8.1f} s")
    total = sum(seconds.values())
    print(f"{'all of them':28}{total:8.1f} s")
    print(f"{'kolmo analyze (defaults)':28}{ours:8.1f} s   {total / ours:.1f} times faster")


def _time(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _pybdm(weights: np.ndarray) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pybdm
    return pybdm.BDM(ndim=1).bdm((weights > 0).astype(np.int64))


def _stand_in(folder: Path) -> Path:
    path = folder / "normal.npy"
    np.save(path, np.random.default_rng(0).normal(size=(2000, 2000)).astype(np.float32))
    return path


if __name__ == "__main__":
    main()
