"""Scalings: how large the steps of a tensor's rows and columns are, beside each other.

At equal slope a bit gains the same wherever it is spent, so that the step of a weight is in
proportion to 1 / √importance (Cover & Thomas, *Elements of Information Theory*, 2nd ed., 10.3.3).
Where nothing is known of importance, each row's squared error counts in relation to its own power:
scales of neurons mean little, for what follows undoes them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from kolmo.checkpoints.base import WeightTensor, array_tensor
from kolmo.errors import InputError
from kolmo.lossy.feedback import Feedback
from kolmo.quantize.scales import Floats, alternating_scales, matrix_shape, row_sizes

Weighting = Literal["rows", "equal"]

VECTOR = 0.125
"""Steps of vectors, such as biases and norms, as a share of what rows of a matrix would have: they
are few, and what they do adds up over all inputs."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """Sizes of steps, relative to the one step of a whole description.

    Attributes
    ----------
    rows : float64 (n,)
        Positive, or 0 for a row of zeros.
    columns : float64 (d,), optional
    feedback : Feedback, optional
        How later weights make up for the errors of earlier ones.
    """

    rows: Floats
    columns: Floats | None = None
    feedback: Feedback | None = None


def plain_scaling(tensor: WeightTensor, weighting: Weighting) -> Scaling:
    """Steps in proportion to the root mean square of each row, or the same everywhere.

    >>> tensor = array_tensor("w", np.float32([[3, -3], [1, 1]]))
    >>> plain_scaling(tensor, "rows").rows.tolist(), plain_scaling(tensor, "equal").rows.tolist()
    ([3.0, 1.0], [1.0, 1.0])
    """
    rows, _ = matrix_shape(tensor.shape)
    if weighting == "equal":
        return Scaling(np.ones(rows))
    share = VECTOR if len(tensor.shape) < 2 else 1.0
    return Scaling(share * row_sizes(tensor))


def scaling_by(importance: Any, tensor: WeightTensor) -> Scaling:
    """Steps in proportion to 1 / √importance, as nearly as scales of rows and columns give it.

    Parameters
    ----------
    importance : array of the tensor's shape, or one that broadcasts to it
        Not negative: what a unit of squared error of each weight costs.
    tensor : WeightTensor

    Raises
    ------
    InputError
        If the array does not fit.
    """
    given = np.asarray(importance, np.float64)
    try:
        whole = np.broadcast_to(given, tensor.shape).reshape(matrix_shape(tensor.shape))
    except ValueError:
        raise InputError(
            f"tensor {tensor.name!r} of shape {list(tensor.shape)}: its importance is of shape "
            f"{list(given.shape)}"
        ) from None
    if not np.isfinite(whole).all() or whole.min(initial=0.0) < 0 or not whole.any():
        raise InputError(f"tensor {tensor.name!r}: importance is finite, not negative, not all 0")
    least = 1e-8 * float(whole.mean())  # what seems not to matter at all has a coarse step
    steps = array_tensor(tensor.name, 1 / np.sqrt(np.maximum(whole, least)))
    rows, columns = alternating_scales(steps)
    return Scaling(rows, columns)


def scalings_of(
    tensors: Mapping[str, WeightTensor], weighting: Weighting, importance: Mapping[str, Any]
) -> dict[str, Scaling]:
    """A scaling for each tensor: by its importance where that is given.

    Raises
    ------
    InputError
        If an importance is that of no tensor, or does not fit.
    """
    unknown = sorted(set(importance) - set(tensors))
    if unknown:
        raise InputError(f"importance of {unknown[0]!r}: no weights of that name are quantized")
    return {
        name: scaling_by(importance[name], tensor)
        if name in importance
        else plain_scaling(tensor, weighting)
        for name, tensor in tensors.items()
    }
