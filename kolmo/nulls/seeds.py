"""Seeds of draws, and the keys of the random words of compiled loops."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Seed = tuple[int, ...]

Key = NDArray[np.uint64]
"""Where SplitMix64 starts, and the odd number that it steps by."""


def name_seed(name: str) -> int:
    """128 bits of a hash of a name, so that no two names of a checkpoint share random numbers.

    >>> name_seed("layers.0.weight") == name_seed("layers.1.weight")
    False
    """
    text = name.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")


def random_keys(seed: Seed, count: int) -> list[Key]:
    """Independent keys.

    Steps whose binary digits change less than 24 times are made to change more (Steele, Lea &
    Flood 2014).
    """
    words = np.random.SeedSequence(seed).generate_state(2 * count, np.uint64)
    return [_key(int(start), int(step) | 1) for start, step in words.reshape(count, 2)]


def _key(start: int, step: int) -> Key:
    changes = (step ^ (step >> 1)).bit_count()
    return np.array([start, step if changes >= 24 else step ^ 0xAAAAAAAAAAAAAAAA], np.uint64)
