"""Speed of the description-length codes: python -m tests.benchmarks.codes [CHECKPOINT]

Native and 8-bit symbols of a checkpoint at model scope, on one core; 20 million normal weights
where no checkpoint is given.
"""

import sys
import time

import numpy as np

from kolmo.checkpoints import open_checkpoint
from kolmo.checkpoints.base import Checkpoint, array_tensor
from kolmo.estimators import get_estimator
from kolmo.quantize import get_quantizer

ESTIMATORS = ["entropy", "kt", "nml", "enumerative", "gaussian", "laplace", "mosaic", "lz76"]


def main(source=None):
    if source:
        checkpoint = open_checkpoint(source)
    else:
        weights = np.random.default_rng(0).normal(size=(5000, 4000)).astype(np.float32)
        checkpoint = Checkpoint([array_tensor("normal", weights)], source="normal", format="arrays")
    tensors = [tensor for tensor in checkpoint.values() if tensor.dtype == np.float32]
    print(f"{'quantizer':12} {'estimator':12} {'bits/weight':>11} {'seconds':>8} {'MB/s raw':>9}")
    for spec in ("native", "symmetric:8"):
        quantizer = get_quantizer(spec)
        coders = [quantizer.fit(tensor) for tensor in tensors]
        symbols = [c.encode(t.read()).reshape(-1) for c, t in zip(coders, tensors, strict=True)]
        for name in ESTIMATORS:
            if spec == "native" and name in ("gaussian", "laplace", "lz76"):
                continue
            measure(name, [s[:64] for s in symbols], coders[0].alphabet)  # compile
            begin = time.perf_counter()
            code = measure(name, symbols, coders[0].alphabet)
            seconds = time.perf_counter() - begin
            speed = code.raw_bits / 8e6 / seconds
            print(f"{spec:12} {name:12} {code.bits_per_weight:11.4f} {seconds:8.2f} {speed:9.0f}")


def measure(name, symbols, alphabet):
    accumulator = get_estimator(name).start_many([s.shape for s in symbols], alphabet)
    for piece in symbols:
        accumulator.update(piece)
    return accumulator.finish()


if __name__ == "__main__":
    main(*sys.argv[1:])
