"""Draws of nulls against numpy's generators, both sides in one run, on one thread.

Run: python tests/benchmarks/nulls.py [MILLIONS OF WEIGHTS]

Nanoseconds of processor time a weight a draw: making the draw and reading it once. Times are the
best of some runs; only the ratios mean anything. The last lines are draws that are larger than
their window of 256 MiB, from weights that are computed as they are read.
"""

import sys
import time

import ml_dtypes
import numpy as np

from kolmo.checkpoints.base import WeightTensor, array_tensor
from kolmo.nulls import PERMUTATIONS, get_null
from kolmo.quantize import get_quantizer

NULLS = (*PERMUTATIONS, "gaussian", "uniform")
DTYPES = (np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32))


def best(work, runs):
    times = []
    for _ in range(runs):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return min(times)


def draw(null, tensor, number):
    """Draw a tensor, and look at every byte of it once; symbols at their full width for uniform."""
    source = get_null(null).draw(tensor, number, 0)
    drawn = source.drawn
    chunks = drawn.chunks() if drawn else source.coded(get_quantizer("symmetric:8")).chunks
    return sum(int(chunk.view(np.uint8)[::64].max(initial=0)) for chunk in chunks)


def of_numpy(null, weights, random):
    """What numpy offers for it, in memory."""
    bits = weights.view(f"u{weights.dtype.itemsize}")
    if null == "shuffled":
        return random.shuffle(bits.reshape(-1))
    if null in PERMUTATIONS:
        return random.permuted(bits, axis=PERMUTATIONS.index(null) % 2, out=bits)
    if null == "gaussian":
        wide = weights.astype(np.float64)
        return random.normal(wide.mean(), wide.std(), weights.shape).astype(weights.dtype)
    return random.integers(255, size=weights.size, dtype=np.uint8)


def computed(shape, dtype):
    """A tensor that takes no memory."""

    def load(start, stop):
        return np.arange(start, stop, dtype=np.uint32).astype(np.uint16).view(dtype)

    return WeightTensor("w", shape, dtype, load)


def main():
    numel = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 100_000_000
    random = np.random.default_rng(0)
    print(f"{'ns a weight a draw':34}{'numpy':>9}{'kolmo':>9}{'in cache':>10}")
    for dtype in DTYPES:
        side = int((numel * 2 / dtype.itemsize) ** 0.5)
        weights = random.standard_normal((side, side), np.float32).astype(dtype)
        small = weights[: 100_000 // side + 1].copy()
        for null in NULLS:
            for each in (small, weights):
                draw(null, array_tensor("w", each), 0)  # compiles
            one = weights[: side // 5].copy()
            theirs = best(lambda n=null, w=one: of_numpy(n, w, random), 2) / one.size
            own = [
                best(lambda n=null, w=w: draw(n, array_tensor("w", w), 1), runs) / w.size
                for w, runs in ((weights, 3), (small, 20))
            ]
            row = "".join(f"{1e9 * each:9.1f}" for each in (theirs, *own))
            print(f"{null:22}{dtype.name:12}{row}", flush=True)
    for null in PERMUTATIONS:
        tensor = computed((32_000, 4 * numel // 32_000), DTYPES[0])
        own = best(lambda n=null, t=tensor: draw(n, t, 1), 1) / tensor.numel
        print(f"{null:22}{'800 MB' if numel == 100_000_000 else '':12}{'':9}{1e9 * own:9.1f}")


if __name__ == "__main__":
    main()
