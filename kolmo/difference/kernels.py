"""The compiled loop of the digits code."""

from __future__ import annotations

from typing import Any

import numpy as np

from kolmo.compiled import compiled

Array = Any


@compiled
def count_digits(numbers: Array, contexts: Array, counts: Array) -> None:
    """Count each number (unsigned) by its context, its binary digits, and the two digits after the
    first; ``counts`` has shape (contexts, 65, 4)."""
    for i in range(numbers.size):
        number = np.uint64(numbers[i])
        digits = 0
        while number >> np.uint64(digits) and digits < 64:
            digits += 1
        after = np.uint64(0)
        if digits > 2:
            after = (number >> np.uint64(digits - 3)) & np.uint64(3)
        elif digits == 2:
            after = number & np.uint64(1)
        counts[contexts[i], digits, np.int64(after)] += 1
