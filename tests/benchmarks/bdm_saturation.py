"""How BDM saturates: uniformly random, biased, low-rank and heavy-tailed objects.

Run: python tests/benchmarks/bdm_saturation.py
"""

import numpy as np

import kolmo
from kolmo.estimators import get_estimator

RUNS = 20


def measure(spec, symbols):
    accumulator = get_estimator(spec).start(symbols.shape, 2)
    accumulator.update(symbols.reshape(-1))
    return accumulator.finish()


def main():
    random = np.random.default_rng(0)
    print("1-D BDM of fair random bits\n     symbols  share seen  bits a symbol       sd  note")
    for size in (12_000, 50_000, 272_000, 400_906, 1_000_000, 5_500_000):
        runs = [measure("bdm", random.integers(0, 2, size, dtype=np.uint8)) for _ in range(RUNS)]
        bits = np.array([run.bits for run in runs])
        share = np.mean([run.details["share_seen"] for run in runs])
        figures = f"{share:12.4f}{bits.mean() / size:15.3f}{bits.std(ddof=1):9.2f}"
        print(f"{size:12,}{figures}  {runs[0].note}")

    print("\n2-D BDM of a fair random plane\n        side  share seen  bits a symbol")
    for side in (64, 256, 1024, 4096):
        run = measure("bdm,ndim=2", random.integers(0, 2, (side, side), dtype=np.uint8))
        print(f"{side:12,}{run.details['share_seen']:12.4f}{run.bits_per_weight:15.3f}")

    print("\n1-D BDM of 400,906 biased bits without structure, share of fair ones")
    fair = np.mean(
        [measure("bdm", random.integers(0, 2, 400_906, dtype=np.uint8)).bits for _ in range(5)]
    )
    for bias in (0.5, 0.45, 0.4, 0.3):
        drawn = [(random.random(400_906) < bias).astype(np.uint8) for _ in range(5)]
        print(f"    P(1) = {bias:4}{np.mean([measure('bdm', d).bits for d in drawn]) / fair:10.3f}")

    print("\nQuBD (affine:8) of structure, and of none, against other references")
    factors = random.normal(size=(512, 8)) @ random.normal(size=(8, 512))
    low_rank = factors.astype(np.float32)
    shuffled = random.permutation(low_rank.reshape(-1)).reshape(512, 512)
    ratio = qubd(low_rank) / qubd(shuffled)
    print(f"    rank 8 against its own shuffle                 {ratio:8.3f}")
    tails = random.standard_t(3, (512, 512)).astype(np.float32)
    uniform = random.uniform(-1, 1, (512, 512)).astype(np.float32)
    for quantizer in ("affine:8", "affine:8,clip=99.9"):
        ratio = qubd(tails, quantizer) / qubd(uniform, quantizer)
        print(f"    i.i.d. Student-t against uniform, {quantizer:20}{ratio:4.3f}")


def qubd(weights, quantizer="affine:8"):
    return kolmo.estimate(weights, "qubd", quantizer).bits


if __name__ == "__main__":
    main()
