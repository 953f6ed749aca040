"""CPU time a weight of ranges, symbols and measurements in one pass, beside a copy of the weights.

Run: python tests/benchmarks/sweep.py

One core, four million weights in pieces of a million. Each figure is the best of some runs, in
nanoseconds of CPU time a weight; other work on the machine makes all of them longer.
"""

import time

import numpy as np

from kolmo.checkpoints import array_tensor
from kolmo.dtypes import DTYPES
from kolmo.estimators import get_estimator
from kolmo.estimators.sweep import Sweep
from kolmo.quantize import get_quantizer

SIDE, CHUNK, RUNS = 2048, 1 << 20, 7
NUMEL = SIDE * SIDE

WORK = {
    "order 0 of native, symmetric:8, sign": {
        "native": ["kt", "entropy"], "symmetric:8": ["kt", "entropy"], "sign": ["kt", "entropy"]},
    "native kt": {"native": ["kt"]},
    "symmetric:8 kt": {"symmetric:8": ["kt"]},
    "sign kt": {"sign": ["kt"]},
    "sign bdm": {"sign": ["bdm"]},
    "sign bdm, ctm, kt": {"sign": ["bdm", "ctm", "kt"]},
    "affine:8 qubd": {"affine:8": ["qubd"]},
}  # fmt: skip


def best(work, runs=RUNS):
    """The least CPU time of a function, in nanoseconds a weight."""
    times = []
    for _ in range(runs):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return min(times) / NUMEL * 1e9


def sweeping(weights, coders):
    """A function that measures the weights once; fitting and the final figures are left out."""

    def work():
        takers = [
            (coder, [get_estimator(e).start(weights.shape, coder.alphabet).inner for e in names])
            for coder, names in coders
        ]
        sweep, flat = Sweep(weights.dtype, takers), weights.reshape(-1)
        for start in range(0, NUMEL, CHUNK):
            sweep.update(flat[start : start + CHUNK])
        sweep.finish()

    return work


def main():
    normal = np.random.default_rng(0).normal(size=(SIDE, SIDE), scale=0.02)
    for name in ("bfloat16", "float16", "float32", "float64", "float8_e4m3fn"):
        weights = normal.astype(DTYPES[name])
        tensor = array_tensor("w", weights)
        print(f"{name:40}{best(weights.copy):8.3f}  (a copy)")
        for quantizer in ("symmetric:8", "affine:8"):
            spec = get_quantizer(quantizer)
            fitted = best(lambda spec=spec, tensor=tensor: spec.fit(tensor))
            coder = spec.fit(tensor)
            encoded = best(lambda coder=coder, weights=weights: coder.encode(weights))
            print(f"  {quantizer + ' fitted, encoded':38}{fitted:8.3f}{encoded:8.3f}")
        for what, spec in WORK.items():
            coders = [(get_quantizer(q).fit(tensor), names) for q, names in spec.items()]
            print(f"  {what:38}{best(sweeping(weights, coders)):8.3f}")


if __name__ == "__main__":
    main()
