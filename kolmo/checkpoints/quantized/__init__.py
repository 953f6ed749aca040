"""Quantized checkpoints: the logical tensors that packed codes, scales and the like stand for.

A quantized model stores, in place of a layer's weight, codes of a few bits and what they need to
be numbers again. `logical_tensors` finds them by their names, dtypes and shapes, which suffice,
and by the model's configuration where one is there; each scheme is a module of its own, and finds
only what it understands wholly. What looks packed and is not understood is left out with the
reason: its words are no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.dtypes import bits_of
from kolmo.floats import is_float

MARKS = (
    *("qweight", "qzeros", "g_idx", "weight_packed", "absmax", "quant_map", "SCB", "W_q"),
    *("_packed_params.0", "_packed_params.1", "_packed_weight", "q_weight", "trellis", "Qidxs"),
    *("codes", "indices", "B", "bitmask", "weight_scale_inv", "weight_scale_2"),
    "weight_global_scale",
)
"""Ends of the names by which schemes find their arrays, where dtypes do not tell."""


def logical_tensors(checkpoint: Checkpoint, config: Mapping[str, Any] | None) -> Checkpoint:
    """The checkpoint with logical tensors in place of the arrays that quantization made of them.

    Parameters
    ----------
    checkpoint : Checkpoint
        With every stored array among its tensors; those whose role the format tells stay as they
        are.
    config : mapping, optional
        The contents of the model's ``config.json``; not trusted.

    Returns
    -------
    Checkpoint
        Each logical tensor at the place of its codes, under its framework's name; scales, zero
        points and the like are in ``skipped``. The same checkpoint if nothing is quantized.

    Examples
    --------
    >>> import numpy as np
    >>> from kolmo.checkpoints import open_checkpoint
    >>> codes = np.uint8([[1, 2], [3, 4]]).astype(np.int8)
    >>> stored = {"up.weight": codes, "up.weight_scale": np.float32([[0.5], [2]])}
    >>> found = open_checkpoint(stored)
    >>> found["up.weight"].read().tolist(), found["up.weight"].form, found.skipped[0].name
    ([[0.5, 1.0], [6.0, 8.0]], '8-bit INT8', 'up.weight_scale')
    """
    if not any(_may_be_quantized(name, tensor) for name, tensor in checkpoint.items()):
        return checkpoint
    from kolmo.checkpoints.quantized.schemes import replaced_by_logical  # nine modules

    return replaced_by_logical(checkpoint, config)


def _may_be_quantized(name: str, tensor: WeightTensor) -> bool:
    """Whether a scheme may find this one: by its name, or by a narrow dtype."""
    most = 8 if is_float(tensor.dtype) else 32
    return bits_of(tensor.dtype) <= most or tensor.codes is not None or name.endswith(MARKS)
