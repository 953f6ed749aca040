"""What operators of TensorFlow Lite make of their constant inputs.

Numbers are those of ``BuiltinOperator`` in the schema.
"""

from __future__ import annotations

from kolmo.checkpoints.base import Role

_PARAMETERS = {
    22: (1,),  # RESHAPE
    23: (1,),  # RESIZE_BILINEAR
    34: (1,),  # PAD
    37: (1, 2),  # BATCH_TO_SPACE_ND
    38: (1, 2),  # SPACE_TO_BATCH_ND
    39: (1,),  # TRANSPOSE
    40: (1,),  # MEAN
    45: (1, 2, 3),  # STRIDED_SLICE
    48: (1,),  # TOPK_V2
    49: (0,),  # SPLIT
    56: (1,),  # ARG_MAX
    60: (1, 2),  # PADV2
    65: (1, 2),  # SLICE
    67: (0,),  # TRANSPOSE_CONV
    68: (0, 1, 3),  # SPARSE_TO_DENSE
    69: (1,),  # TILE
    70: (1,),  # EXPAND_DIMS
    74: (1,),  # SUM
    79: (1,),  # ARG_MIN
    81: (1,),  # REDUCE_PROD
    82: (1,),  # REDUCE_MAX
    85: (1, 2, 3),  # ONE_HOT
    89: (1,),  # REDUCE_MIN
    91: (1,),  # REDUCE_ANY
    94: (0, 1),  # FILL
    96: (0, 1, 2),  # RANGE
    97: (1,),  # RESIZE_NEAREST_NEIGHBOR
    100: (1,),  # MIRROR_PAD
    102: (1, 2),  # SPLIT_V
    105: (1,),  # REVERSE_V2
    120: (2, 3, 4),  # NON_MAX_SUPPRESSION_V4
    121: (2, 3, 4, 5),  # NON_MAX_SUPPRESSION_V5
    128: (1,),  # CUMSUM
    130: (1,),  # BROADCAST_TO
    141: (0,),  # CONV_3D_TRANSPOSE
    151: (2,),  # DYNAMIC_UPDATE_SLICE
}

_ARITHMETIC = frozenset((0, 2, 18, 41, 42, 55, 57, 58, 61, 62, 63, 64, 71, 72, 78, 90, 95, 99, 123))
"""Sums, products and comparisons, in which a single number is a constant of the program."""


def role_of_uses(uses: set[tuple[int, int]], numel: int) -> Role | None:
    """What a constant is that operators use so; None if none does.

    >>> str(role_of_uses({(3, 1)}, 27)), str(role_of_uses({(22, 1)}, 2))
    ('weight', 'other')
    """
    if not uses:
        return None
    if numel == 1 and all(code in _ARITHMETIC for code, _ in uses):
        return Role.OTHER
    weighed = any(index not in _PARAMETERS.get(code, ()) for code, index in uses)
    return Role.WEIGHT if weighed else Role.OTHER
