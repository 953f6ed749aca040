"""Shapes that numpy has no arrays of."""

from __future__ import annotations

import math

AXES = 64
"""Axes of an array at most, as in numpy."""

_ENTRIES = 1 << 59
"""Entries of an array fewer than these, as in numpy, where no side of it is 0."""


def array_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an array for a tensor: of one with more than 64 axes, which numpy does not
    have, axes of length one are left out; one with a side of zero beside sides that no memory
    holds, which numpy refuses, is flat.

    >>> array_shape((2, 1, 3)), array_shape((2, *[1] * 70, 3)), array_shape((0, *[2] * 70))
    ((2, 1, 3), (2, 3), (0,))
    >>> array_shape((0, 2**62, 4))
    (0,)
    """
    if len(shape) > AXES:
        shape = tuple(side for side in shape if side != 1)
    fits = math.prod(side or 1 for side in shape) < _ENTRIES
    return shape if len(shape) <= AXES and fits else (math.prod(shape),)
