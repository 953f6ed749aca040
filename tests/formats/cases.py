"""What the tests of the formats share: kinds of weights, and weights as plain values."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import ml_dtypes
import numpy as np

PAGES = Path("docs/formats")
FLOATS = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
    "float8_e5m2": ml_dtypes.float8_e5m2,
}


def random():
    return np.random.default_rng(0)


def as_contents(weights):
    """What the specification's decoder found, as `tests.checkpoints.contents` has it."""
    return {name: (dtype, bits.shape, bits.tobytes()) for name, (dtype, bits) in weights.items()}


def example(page):
    """The bytes of the first block of hex on a page."""
    return bytes.fromhex(re.search(r"```hex\n(.*?)```", (PAGES / page).read_text(), re.S)[1])


def patterns(array):
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def facts(path):
    """What was written down of a file when it was made."""
    return json.loads(path.parent.with_suffix(".json").read_text())[path.stem]["tensors"]


def summed(weights):
    return {
        name: [dtype, list(bits.shape), hashlib.sha256(bits.tobytes()).hexdigest()]
        for name, (dtype, bits) in weights.items()
    }
