"""Objects of known complexity: frozen generators, each with its known value in bits.

========== =============================================== ====================================
family     what it is                                      known value, n symbols
========== =============================================== ====================================
coin       independent bits, P(1) = p                      n h(p), exact
markov     bits that stay the same with probability s      1 + (n − 1) h(s), exact
periodic   p random bits, over and over                    at most p + δ(p)
generator  bits of SplitMix64                              at most 64
mosaic     blocks of 4 levels, each one of k motifs        at most 4 k log2 15 + (n / 4) log2 k
lowrank    product of r columns by r rows of 16 levels     at most 4 r (rows + columns)
smooth     k × k cosines with coefficients of 8 bits       at most 8 k²
sparse     a share p of the weights is not zero            n (h(p) + p log2 14), exact
heavy      Student-t weights of ν degrees of freedom       n H(levels), exact
========== =============================================== ====================================

h is the entropy of a bit, δ the Elias delta code. *Exact* is the entropy of the source: no code is
shorter in the mean, and K is within some √n of it for nearly all of its objects. *At most* is a
description from which the object comes back; what is shorter may exist. One thing is left aside
in the exact ones: numpy's generator drew them from a seed, so that strictly their K is as tiny as
that of ``generator``. No practical estimator sees that, and none is blamed for it.
"""

from __future__ import annotations

from kolmo.calibration.base import KnownObject, Shape
from kolmo.calibration.bits import Coin, Markov, Periodic, PseudoRandom
from kolmo.calibration.levels import HeavyTails, LowRankLevels, Repeated, Smooth, Sparse
from kolmo.errors import InputError

FAMILIES: dict[str, type[KnownObject]] = {
    cls.family: cls
    for cls in (
        *(Coin, Markov, Periodic, PseudoRandom, Repeated, LowRankLevels, Smooth, Sparse),
        HeavyTails,
    )
}
"""The families by name."""


def known_object(
    family: str, grade: float | None = None, shape: Shape = (64, 64), seed: int = 0
) -> KnownObject:
    """An object of a family, of its typical grade unless another is given.

    Raises
    ------
    InputError
        For a family that does not exist.

    >>> known_object("periodic", 7).weights().shape
    (64, 64)
    """
    if family not in FAMILIES:
        raise InputError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    cls = FAMILIES[family]
    return cls(cls.typical if grade is None else grade, shape, seed)
