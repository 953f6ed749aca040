"""Block decomposition against pybdm, both sides in one run, on two threads.

Run: python tests/benchmarks/bdm.py [--large]

Times are the best of some runs; only the ratios mean anything. ``--large`` adds the growth to a
thousand million symbols.
"""

import subprocess
import sys
import time
import warnings

import numpy as np

import kolmo
from kolmo.estimators import get_estimator

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pybdm
    from pybdm.partitions import PartitionCorrelated


# In a process of its own, whose peak before is that of the weights and of compiling the loops.
_MEMORY = """
import resource, numpy as np, kolmo
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
weights, random = np.empty((10_000, 10_000), np.float32), np.random.default_rng(0)
kolmo.estimate(np.ones((8, 8), np.float32), "bdm", "sign")
kolmo.estimate(np.ones((8, 8), np.float32), "qubd", "affine:8")
for row in weights:
    row[:] = random.normal(size=row.size)
before = peak()
kolmo.estimate(weights, "bdm", "sign")
kolmo.estimate(weights, "qubd", "affine:8")
print(peak() - before)
"""


def best(work, runs=3):
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def measure(spec, symbols, alphabet):
    accumulator = get_estimator(spec).start(symbols.shape, alphabet)
    for start in range(0, symbols.size, 1 << 22):
        accumulator.update(symbols.reshape(-1)[start : start + (1 << 22)])
    return accumulator.finish()


def row(name, ours, theirs, wanted, copy=None):
    ratio = ours / theirs
    against = f"{1 / (ours * copy):6.2f} × w.copy()" if copy else ""
    print(f"{name:44}{theirs / 1e6:9.3f}{ours / 1e6:11.1f}{ratio:9.0f} ×   {wanted:12}{against}")


def main():
    random = np.random.default_rng(0)
    weights = random.normal(size=100_000_000).astype(np.float32)
    kolmo.estimate(weights[:1200], "bdm", "sign")  # compiles
    kolmo.estimate(weights[:64].reshape(8, 8), "qubd", "affine:8")
    print(f"{'':44}{'pybdm':>9}{'kolmo':>11}   (million symbols a second)")

    bits = (weights[:1_200_000] > 0).astype(np.int64)
    string = pybdm.BDM(ndim=1)
    theirs = bits.size / best(lambda: string.bdm(bits), 2)
    copy = best(weights.copy) / weights.size
    ours = weights.size / best(lambda: kolmo.estimate(weights, "bdm", "sign"), 5)
    row("1-D sign BDM of 100 M float32 weights", ours, theirs, "≥ 1000 ×", copy)

    square = weights.reshape(10_000, 10_000)
    plane = (square[:2000, :2000] > 0).astype(np.int64)
    theirs = plane.size / best(lambda: pybdm.BDM(ndim=2).bdm(plane), 2)
    seconds = best(lambda: kolmo.estimate(square, "qubd", "affine:8"), 3)
    row("QuBD, 8 planes, 10,000² float32 (planes)", 8 * square.size / seconds, theirs, "≥ 800 ×")
    print(f"{'':44}{seconds / (copy * square.size):20.2f} × w.copy()")
    grown = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True)
    print(f"{'extra memory of both':44}{float(grown.stdout):20.0f} MB   ≤ 200 MB")

    correlated = pybdm.BDM(ndim=1, partition=PartitionCorrelated, shift=1)
    theirs = 100_000 / best(lambda: correlated.bdm(bits[:100_000]), 2)
    signs = (weights[:10_000_000] > 0).view(np.uint8)
    ours = signs.size / best(lambda: measure("bdm,boundary=correlated", signs, 2))
    row("1-D, boundary correlated, shift 1, 10 M bits", ours, theirs, "≥ 300 ×")

    four = random.integers(0, 4, 10_000_000).astype(np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = pybdm.BDM(ndim=1, nsymbols=4, warn_if_missing_ctm=False)
    some = four[:1_200_000].astype(np.int64)
    theirs = some.size / best(lambda: table.bdm(some), 2)
    measure("bdm", four[:1200], 4)
    ours = four.size / best(lambda: measure("bdm", four, 4))
    row("1-D, 4 symbols, 10 M random symbols", ours, theirs, "≥ 200 ×")

    print("\ngrowth, ns a symbol")
    sizes = [10**6, 10**7, 10**8] + ([10**9] if "--large" in sys.argv else [])
    symbols = random.integers(0, 2, sizes[-1], dtype=np.uint8)
    rates = {}
    for size in sizes:
        rates[size] = best(lambda size=size: measure("bdm", symbols[:size], 2)) / size * 1e9
        print(f"{size:14,}{rates[size]:8.3f}")
    print(f"{'last / first':>14}{rates[sizes[-1]] / rates[sizes[0]]:8.2f}   (≤ 1.3)")


if __name__ == "__main__":
    main()
