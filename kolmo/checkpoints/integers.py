"""Integers and booleans beside floating-point weights: buffers, or codes not understood."""

from __future__ import annotations

import re
from collections.abc import Set

import numpy as np

from kolmo.checkpoints.base import Role, WeightTensor
from kolmo.checkpoints.tensor_names import words

_SEPARATOR = re.compile(r"[./]")
_SAMPLE = 256  # entries that are looked at

# Words in names of codes, and of weights whose integers can only be codes.
_CODES = {
    "qweight", "packed", "codes", "code", "quantized", "quant", "qzeros", "blocks", "int", "q",
    "weight", "weights", "kernel", "embedding", "w",
}  # fmt: skip

# Words in names of what counts and points.
_BUFFERS = {
    "position", "positions", "pos", "index", "indices", "idx", "ids", "id", "mask", "masks",
    "count", "counter", "counts", "step", "steps", "num", "tracked", "offset", "offsets", "length",
    "lengths", "size", "sizes", "table", "lookup", "perm", "permutation", "seed", "rng", "version",
    "token", "tokens", "map", "shape", "cdf", "iter", "epoch", "group",
}  # fmt: skip

_SCALES = ("scale", "scales", "absmax", "scb", "zero_point", "zeros", "qzeros", "zp", "quant_state")


def integer_role(tensor: WeightTensor, names: Set[str]) -> tuple[Role, str]:
    """The role of integers or booleans among weights, and the reason."""
    if tensor.dtype == np.bool_:
        return Role.BUFFER, "booleans, such as a mask"
    if not _looks_packed(tensor, names):
        return Role.BUFFER, "integers, such as positions or a counter"
    return Role.OTHER, (
        f"integers of {8 * tensor.dtype.itemsize} bits that look like packed or quantized weights, "
        f"in a form that is not understood"
    )


def _looks_packed(tensor: WeightTensor, names: Set[str]) -> bool:
    last = _SEPARATOR.split(tensor.name)[-1]
    found = set(words(last))
    if tensor.numel < 2 or found & _BUFFERS:
        return False
    if _has_scales(tensor.name, names) or found & _CODES:
        return True
    is_matrix = len([side for side in tensor.shape if side > 1]) > 1
    return is_matrix and tensor.dtype.itemsize in (1, 4) and _is_random(tensor)


def _has_scales(name: str, names: Set[str]) -> bool:
    stem = name.removesuffix("_packed").removesuffix("_blocks")
    return any(f"{stem}{mark}{scale}" in names for scale in _SCALES for mark in "._")


def _is_random(tensor: WeightTensor) -> bool:
    """Whether its numbers use all bits: those that count or point are small, or in an order."""
    values = tensor.load(0, min(tensor.numel, _SAMPLE)).astype(np.int64)
    if tensor.dtype.itemsize == 1:
        return len(np.unique(values)) > 2 and bool((np.diff(values) < 0).any())
    return bool(np.abs(values).max() >= 1 << 24)
