"""What operators of ONNX make of their inputs: weights, statistics, scales, parameters of theirs.

Operators are those of https://onnx.ai/onnx/operators and, under ``com.microsoft``, those of
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""

from __future__ import annotations

import dataclasses

from kolmo.checkpoints.base import Role

PASSING = frozenset(
    {
        "Identity", "Cast", "CastLike", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten",
        "Expand", "QuantizeLinear", "DequantizeLinear",
    }
)  # fmt: skip
"""Operators whose first input comes out with the same numbers, or those that it stands for."""


@dataclasses.dataclass(frozen=True)
class OnnxScaling:
    """Where an operator takes the scale and the zero point of a quantized input.

    Attributes
    ----------
    scale, zero : int
        Of its inputs.
    axis : int
        The axis that scales go along, if there are many.
    by : tuple of int
        Inputs whose scale is multiplied in: a bias of 32 bits has that of activations times that
        of weights.
    """

    scale: int
    zero: int
    axis: int
    by: tuple[int, ...] = ()


SCALINGS: dict[str, dict[int, OnnxScaling]] = {
    "QLinearConv": {3: OnnxScaling(4, 5, 0), 8: OnnxScaling(4, -1, 0, (1,))},
    "QLinearMatMul": {0: OnnxScaling(1, 2, -2), 3: OnnxScaling(4, 5, -1)},
    "MatMulIntegerToFloat": {1: OnnxScaling(3, 5, -1)},
    "DynamicQuantizeMatMul": {1: OnnxScaling(2, 3, -1)},
    "QGemm": {3: OnnxScaling(4, 5, -1), 6: OnnxScaling(4, -1, 0, (1,))},
    "QAttention": {1: OnnxScaling(4, 7, -1)},
    "DynamicQuantizeLSTM": {1: OnnxScaling(8, 9, -1), 2: OnnxScaling(10, 11, -1)},
    "QLinearAdd": {0: OnnxScaling(1, 2, 0), 3: OnnxScaling(4, 5, 0)},
    "QLinearMul": {0: OnnxScaling(1, 2, 0), 3: OnnxScaling(4, 5, 0)},
    "QEmbedLayerNormalization": {i: OnnxScaling(i + 6, i + 11, 0) for i in range(2, 7)},
}
"""Operators that compute with codes, and the inputs that may be weights."""

PACKED = frozenset(("MatMulNBits", "GatherBlockQuantized", "QMoE", "MatMulBnb4"))
"""Operators that take codes packed into bytes, in a layout that is understood here."""

CODED = frozenset((*SCALINGS, *PACKED, "DequantizeLinear", "MatMulInteger", "ConvInteger"))
"""All operators that take codes."""

_STATISTICS = {
    "BatchNormalization": (3, 4),
    "RotaryEmbedding": (1, 2, 3),
    "GroupQueryAttention": (7, 8),
    "Attention": (3,),
    "STFT": (2,),
}

_SCALES = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "QLinearAdd": (1, 2, 4, 5, 6, 7),
    "QLinearMul": (1, 2, 4, 5, 6, 7),
    "QLinearSigmoid": (1, 2, 3, 4),
    "QLinearLeakyRelu": (1, 2, 3, 4),
    "QLinearSoftmax": (1, 2, 3, 4),
    "QLinearAveragePool": (1, 2, 3, 4),
    "QLinearGlobalAveragePool": (1, 2, 3, 4),
    "QLinearReduceMean": (1, 2, 3, 4),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "MatMulInteger": (2, 3),
    "ConvInteger": (2, 3),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "DynamicQuantizeMatMul": (2, 3),
    "DynamicQuantizeLSTM": (8, 9, 10, 11),
    "QAttention": (3, 4, 6, 7),
    "QEmbedLayerNormalization": tuple(range(8, 18)),
    "MatMulNBits": (2, 3, 4),
    "MatMulBnb4": (2,),
    "GatherBlockQuantized": (2, 3),
    "QMoE": (3, 6, 9, 11, 12, 13),
    "GroupQueryAttention": (12, 13),
}

_PARAMETERS = {
    "Clip": (1, 2),
    "Pad": (1, 2, 3),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
    "Dropout": (1, 2),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Unsqueeze": (1,),
    "Squeeze": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Split": (1,),
    "SplitToSequence": (1,),
    "SequenceAt": (1,),
    "ConstantOfShape": (0,),
    "Range": (0, 1, 2),
    "OneHot": (1, 2),
    "CumSum": (1,),
    "Trilu": (1,),
    "NonMaxSuppression": (2, 3, 4),
    "Loop": (0, 1),
    "If": (0,),
    "Where": (0,),
    "STFT": (1, 3),
    "DFT": (1, 2),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "HannWindow": (0,),
    "HammingWindow": (0,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "AffineGrid": (1,),
    "MaxUnpool": (1, 2),
    "RNN": (4, 5),
    "GRU": (4, 5),
    "LSTM": (4, 5, 6),
    "BitShift": (1,),
}

_ARITHMETIC = frozenset(
    {
        "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "And", "Or", "Xor",
        "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Where", "Concat", "Sqrt",
        "Neg", "Reciprocal", "Range", "PRelu", "Clip", "ConstantOfShape",
    }
)  # fmt: skip
"""Operators in which a single number is a constant of the program rather than a weight."""


def role_of_use(op: str, index: int) -> Role:
    """What an input of an operator is.

    >>> str(role_of_use("BatchNormalization", 3)), str(role_of_use("Conv", 1))
    ('buffer', 'weight')
    """
    if index in _SCALES.get(op, ()):
        return Role.BOOKKEEPING
    if index in _STATISTICS.get(op, ()):
        return Role.BUFFER
    reduces = op.startswith("Reduce") and index == 1
    return Role.OTHER if reduces or index in _PARAMETERS.get(op, ()) else Role.WEIGHT


def role_of_uses(uses: set[tuple[str, int]], *, single: bool) -> Role | None:
    """What a constant is that operators use so; None if none does.

    Parameters
    ----------
    uses : set of (str, int)
        Operators and their inputs.
    single : bool
        Whether it is a single number without axes.
    """
    if not uses:
        return None
    if single and all(op in _ARITHMETIC for op, _ in uses):
        return Role.OTHER
    roles = {role_of_use(op, index) for op, index in uses}
    order = (Role.WEIGHT, Role.BUFFER, Role.BOOKKEEPING, Role.OTHER)
    return next(role for role in order if role in roles)
