"""Null models: weights without structure, with which a figure is compared.

``shuffled``         the tensor's own weights at random places: keeps the values, destroys structure
``row-shuffled``     each row's own weights at random places in it: keeps what every row holds
``column-shuffled``  the same with columns
``scaled``           the scale of each row and column, and the values apart from it at random places
``signs``            the same magnitudes at the same places, with random signs
``gaussian``         independent normal weights of the tensor's mean and standard deviation
``uniform``          independent symbols, uniform over the alphabet
``inits``            the same in each of several initializations, checkpoints or made from seeds
``reference``        the tensor of the same name in another checkpoint, such as the initialization

Which one? What a code gains beyond ``shuffled`` is due to places; what it still gains beyond
``row-shuffled`` (``column-shuffled``) is not due to rows (columns) of different scale or mean, and
what it gains beyond ``scaled`` is due to neither scale.

What a p-value is worth: it is exact where the weights, under the hypothesis, are exchangeable with
the draws. Of a shuffle the hypothesis is that all orders of the weights (of each row's, of each
column's) are alike, whatever their values are; of ``uniform``, that symbols are independent and
uniform; of ``signs``, that signs are fair and independent given the magnitudes. Of ``gaussian`` and
``scaled`` it is only approximate: mean and deviation, or scales, are fitted to the weights, which
are therefore nearer to them than a draw is. A ``reference`` is a single draw and has none.

Each draw has random numbers of its own, seeded by the run's seed, the tensor's name, the null and
the number of the draw, so that neither order nor threads matter, and a draw is the same wherever it
is made. It is made when it is read, and never holds more than a window of a large tensor.
"""

from kolmo.nulls.base import Coded, Null, Source, Weights, unmoved
from kolmo.nulls.choosing import FITTED, NULLS, PERMUTATIONS, get_null
from kolmo.nulls.made import NormalWeights, Uniform, UniformSymbols
from kolmo.nulls.permuted import ColumnShuffled, Permuted, RowShuffled, Shuffled
from kolmo.nulls.reference import Reference

__all__ = [
    "FITTED",
    "NULLS",
    "PERMUTATIONS",
    "Coded",
    "ColumnShuffled",
    "NormalWeights",
    "Null",
    "Permuted",
    "Reference",
    "RowShuffled",
    "Shuffled",
    "Source",
    "Uniform",
    "UniformSymbols",
    "Weights",
    "get_null",
    "unmoved",
]
