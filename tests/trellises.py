"""Levels that obey a trellis, whatever their indices are."""

from __future__ import annotations

import numpy as np

from kolmo.codes.trellis import machine
from kolmo.symbols import Alphabet


def obeying(indices, memory=6, starts=None):
    """The levels of a matrix of indices, whose columns begin in these states."""
    trellis, found = machine(memory), np.zeros_like(indices)
    states = np.zeros(indices.shape[1], np.int64) if starts is None else np.array(starts)
    for row, own in enumerate(indices):
        found[row] = 2 * own - trellis.quantizers[states] * np.sign(own)
        states = trellis.following[states, own & 1]
    return found


def as_part(levels, half):
    """Levels as symbols of the alphabet from −half to half."""
    alphabet = Alphabet(2 * half + 1)
    return (levels + half).astype(alphabet.container), alphabet
