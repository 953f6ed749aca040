"""Tensors that a rule makes: constants, ranges, masks, sines of positions, symmetric matrices.

A rule is believed only if every weight obeys it. Its first weights are looked at first, so that
other tensors cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kolmo.checkpoints.base import WeightTensor
from kolmo.floats import is_float, mantissa_bits

HELD = 1 << 22
"""Weights of the largest tensor that is compared with rules other than being constant."""

_HEAD = 1 << 14  # weights that are looked at first, at most

RULES = {
    *("constant", "range", "identity", "diagonal", "sinusoids"),
    *("lower triangular mask", "upper triangular mask"),
}
"""The patterns that leave nothing of a tensor to be told: a line of program makes it."""

Matrix = NDArray[np.float64]


def pattern_of(tensor: WeightTensor, distinct: int | None) -> str:
    """The rule that makes a tensor; empty if none of these does.

    Parameters
    ----------
    tensor : WeightTensor
    distinct : int or None
        Its distinct values, where they are few enough to be known.

    Returns
    -------
    str
        ``constant``, ``range`` (steps of one size), ``identity``, ``diagonal``,
        ``lower triangular mask`` and ``upper triangular mask`` (two values, one of them on and
        below or above the diagonal), ``lower triangular``, ``upper triangular``, ``sinusoids``
        (each column is a sinusoid of its row's number), ``symmetric``, ``antisymmetric``.

    Examples
    --------
    >>> from kolmo.checkpoints import array_tensor
    >>> pattern_of(array_tensor("mask", np.tril(np.ones((1, 1, 9, 9), np.float32))), 2)
    'lower triangular mask'
    """
    if distinct == 1 and tensor.numel > 1:
        return "constant"
    if not 2 < tensor.numel <= HELD:
        return ""
    shape = _matrix_shape(tensor)
    columns = shape[1] if shape else tensor.numel
    head = tensor.load(0, min(tensor.numel, max(3, _HEAD // columns) * columns))
    slack = 2.0 ** -mantissa_bits(tensor.dtype) if is_float(tensor.dtype) else 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # of weights that are no finite numbers
        return _range(tensor, _doubles(head), slack) or _of_matrix(tensor, head, shape, slack)


def _of_matrix(
    tensor: WeightTensor, head: NDArray[Any], shape: tuple[int, int] | None, slack: float
) -> str:
    if shape is None:
        return ""
    first = _doubles(head).reshape(-1, shape[1])
    hopeful = [name for name, (may_be, _) in _RULES.items() if may_be(first, shape)]
    if not hopeful:
        return ""
    whole = _doubles(tensor.load(0, tensor.numel)).reshape(shape)
    return next((name for name in hopeful if _RULES[name][1](whole, slack)), "")


def _matrix_shape(tensor: WeightTensor) -> tuple[int, int] | None:
    """The sides of a matrix, whatever sides of 1 it has besides."""
    sides = [side for side in tensor.shape if side > 1]
    return (sides[0], sides[1]) if len(sides) == 2 and min(sides) > 2 else None


def _doubles(weights: NDArray[Any]) -> Matrix:
    return weights.astype(np.float64)


def _range(tensor: WeightTensor, head: Matrix, slack: float) -> str:
    """Steps of one size, each weight as near as its dtype can write it."""
    first, step = head[0], head[1] - head[0]
    if not np.isfinite(head[:3]).all() or not step or abs(head[2] - head[1] - step) > abs(step) / 2:
        return ""
    whole = head if head.size == tensor.numel else _doubles(tensor.load(0, tensor.numel))
    step = (whole[-1] - first) / (whole.size - 1)
    off = np.abs(whole - (first + step * np.arange(whole.size)))
    room = slack * np.abs(whole[[0, -1]]).max()
    return "range" if (off <= min(2 * room, abs(step) / 4)).all() else ""


# --- matrices ---------------------------------------------------------------------------------


def _is_identity(whole: Matrix, _: float) -> bool:
    return _is_diagonal(whole, 0.0) and bool((np.diagonal(whole) == 1).all())


def _is_diagonal(whole: Matrix, _: float) -> bool:
    held = int(np.count_nonzero(np.diagonal(whole)))
    return held > 0 and np.count_nonzero(whole) == held


def _is_lower_mask(whole: Matrix, _: float) -> bool:
    """Two values, one above the diagonal and one below it; either may have the diagonal."""
    above, below = whole[0, -1], whole[-1, 0]
    if above == below:
        return False
    rows, columns = whole.shape
    masks = (np.where(np.tri(rows, columns, k, dtype=bool), below, above) for k in (0, -1))
    return any(np.array_equal(whole, mask) for mask in masks)


def _is_lower_one(whole: Matrix, slack: float) -> bool:
    """A mask that blots out what is above the diagonal."""
    return _is_lower_mask(whole, slack) and _blots(whole[0, -1], whole[-1, 0])


def _is_upper_one(whole: Matrix, slack: float) -> bool:
    return _is_lower_mask(whole, slack) and not _blots(whole[0, -1], whole[-1, 0])


def _blots(value: float, other: float) -> bool:
    """Whether this value, not the other, is the one that a mask leaves out: 0 beside 1, or what is
    far below 0 beside 0."""
    return value < other


def _is_lower(whole: Matrix, _: float) -> bool:
    return not np.triu(whole, 1).any()


def _is_upper(whole: Matrix, _: float) -> bool:
    return not np.tril(whole, -1).any()


def _are_sinusoids(whole: Matrix, slack: float) -> bool:
    """Each column obeys w[t + 1] + w[t − 1] = 2 cos(ω) w[t], as every sinusoid does."""
    inner = whole[1:-1]
    sums = whole[2:] + whole[:-2]
    squares = (inner * inner).sum(axis=0)
    if not squares.all():  # a sine of frequency 0
        return False
    ratio = (sums * inner).sum(axis=0) / squares
    room = max(1e-3, 8 * slack)  # tables are made in float32, of large arguments
    return bool((np.abs(ratio) <= 2 + room).all() and (np.abs(sums - ratio * inner) <= room).all())


def _is_symmetric(whole: Matrix, _: float) -> bool:
    return np.array_equal(whole, whole.T)


def _is_antisymmetric(whole: Matrix, _: float) -> bool:
    return np.array_equal(whole, -whole.T)


Shape = tuple[int, int]


def _is_square(first: Matrix, shape: Shape) -> bool:
    return shape[0] == shape[1]


def _may_be_mask(first: Matrix, shape: Shape) -> bool:
    row = first[0, 2:] if _is_square(first, shape) else np.array([])
    return bool(row.size and (row == row[0]).all())


def _may_be_lower(first: Matrix, shape: Shape) -> bool:
    return _is_square(first, shape) and not first[0, 1:].any()


def _may_be_upper(first: Matrix, shape: Shape) -> bool:
    return _is_square(first, shape) and not first[1, 0] and not first[2, :2].any()


def _may_be_sinusoids(first: Matrix, shape: Shape) -> bool:
    """Sines and cosines of 0, and of whatever comes next."""
    binary = (first[0] == 0) | (first[0] == 1)
    return bool(binary.all() and first[0].any() and (np.abs(first) <= 1.01).all())


def _may_be_symmetric(first: Matrix, shape: Shape) -> bool:
    return _is_square(first, shape) and np.array_equal(np.abs(first[0, :3]), np.abs(first[:3, 0]))


_RULES: Mapping[str, tuple[Callable[[Matrix, Shape], bool], Callable[[Matrix, float], bool]]] = {
    "identity": (_may_be_lower, _is_identity),
    "diagonal": (_may_be_lower, _is_diagonal),
    "lower triangular mask": (_may_be_mask, _is_lower_one),
    "upper triangular mask": (_may_be_mask, _is_upper_one),
    "lower triangular": (_may_be_lower, _is_lower),
    "upper triangular": (_may_be_upper, _is_upper),
    "sinusoids": (_may_be_sinusoids, _are_sinusoids),
    "symmetric": (_may_be_symmetric, _is_symmetric),
    "antisymmetric": (_may_be_symmetric, _is_antisymmetric),
}
"""By name: whether the first rows allow it, and whether the whole matrix obeys it."""
