"""The compiled loop of the digits code."""

from __future__ import annotations

import numpy as np

from kolmo.compiled import Array, compiled


@compiled
def count_digits(numbers: Array, contexts: Array, counts: Array) -> None:
    """Count unsigned numbers by context, number of digits, and the two digits after the first.

    ``contexts`` is the context of each number; the counts are added to ``counts``, shape
    (contexts, 65, 4). 0 has no digit. A number of two digits has only one after the first: 0 or 1.
    """
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
