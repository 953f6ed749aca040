"""Digests of contents: two tensors with the same weights have the same one, wherever they are.

::

    weights ─ stripes of whole rows ─► BLAKE3 of each ─┐
    dtype, shape, form, side bits ─────────────────────┴─► BLAKE3 ─► digest of the tensor ─► object

The cut into stripes depends on the shape alone, so that stripes may be hashed in any order, on any
thread or machine. Names are no content: frozen layers, tied ones and the same tensor of another
checkpoint have one digest. Each level has a context of its own (BLAKE3's key derivation), so that
no digest of one level is one of another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from kolmo.checkpoints.base import CHUNK, WeightTensor
from kolmo.checkpoints.loads import refilled
from kolmo.symbols import Shape

SIZE = 32
"""Bytes of a digest."""

_STRIPE = "kolmo 2026 stripe of a tensor"
_TENSOR = "kolmo 2026 tensor"
_OBJECT = "kolmo 2026 object of tensors"


def stripes(shape: Shape) -> list[tuple[int, int]]:
    """The stripes [start, stop) of the flattened weights, in order.

    Each is as many whole rows (slices of the first axis) as 4,194,304 weights hold; a longer row is
    cut, and so are then all rows, as if they were one. They are the chunks of
    `WeightTensor.chunks`.

    >>> stripes((3, 1 << 21)), stripes((0, 5)), stripes(())
    ([(0, 4194304), (4194304, 6291456)], [], [(0, 1)])
    """
    numel = math.prod(shape)
    row = numel // shape[0] if shape and shape[0] else 1
    step = CHUNK // row * row if 0 < row <= CHUNK else CHUNK
    return [(start, min(start + step, numel)) for start in range(0, numel, step)]


def stripe_digest(weights: NDArray[Any], codes: NDArray[Any] | None = None) -> bytes:
    """The digest of a stripe: of its weights and, of a quantized tensor, of their codes.

    The interpreter's lock is released; nothing is copied on little-endian machines.

    Parameters
    ----------
    weights : array
        Flat, of the tensor's dtype, as ``tensor.load`` gives them.
    codes : array, optional
        As ``tensor.codes.load`` gives them.
    """
    state = blake3(derive_key_context=_STRIPE)
    state.update(_little_endian(weights))
    if codes is not None:
        state.update(_little_endian(codes))
    return state.digest()


class TensorDigest:
    """The digest of a tensor, from those of its stripes in any order.

    Attributes
    ----------
    stripes : list of (int, int)
        What is to be added: the digest of the weights [start, stop) for each.

    Examples
    --------
    >>> from kolmo.checkpoints import array_tensor
    >>> tensor = array_tensor("w", np.arange(6, dtype=np.float32))
    >>> whole = TensorDigest(tensor)
    >>> for index, (start, stop) in enumerate(whole.stripes):
    ...     whole.add(index, stripe_digest(tensor.load(start, stop)))
    >>> whole.digest() == digest(tensor)
    True
    """

    def __init__(self, tensor: WeightTensor) -> None:
        self.stripes = stripes(tensor.shape)
        self._header = _header(tensor)
        self._digests = [b""] * len(self.stripes)

    def add(self, index: int, stripe: bytes) -> None:
        """The digest of stripe ``index``."""
        self._digests[index] = stripe

    def digest(self) -> bytes:
        """32 bytes.

        Raises
        ------
        ValueError
            If a stripe is missing.
        """
        if not all(self._digests):
            raise ValueError(f"stripe {self._digests.index(b'')} of the tensor is missing")
        state = blake3(derive_key_context=_TENSOR)
        state.update(self._header)
        for each in self._digests:
            state.update(each)
        return state.digest()


def digest(tensor: WeightTensor) -> bytes:
    """The digest of a tensor's content: dtype, shape, weights, and of a quantized one its codes.

    Returns
    -------
    bytes
        32 of them.

    Examples
    --------
    >>> from kolmo.checkpoints import array_tensor
    >>> a, b = (array_tensor(name, np.zeros((2, 3))) for name in "ab")
    >>> digest(a) == digest(b), digest(a) == digest(array_tensor("a", np.zeros((3, 2))))
    (True, False)
    """
    whole, codes = TensorDigest(tensor), tensor.codes
    read = refilled(tensor.load, tensor.dtype, whole.stripes)
    for index, (weights, piece) in enumerate(zip(read, whole.stripes, strict=True)):
        of_codes = codes.load(*piece) if codes else None
        whole.add(index, stripe_digest(weights, of_codes))
    return whole.digest()


def object_digest(parts: Iterable[bytes]) -> bytes:
    """The digest of several tensors in order, such as those of a model, from theirs.

    >>> object_digest([b"a" * 32, b"b" * 32]) == object_digest([b"b" * 32, b"a" * 32])
    False
    """
    state = blake3(derive_key_context=_OBJECT)
    for part in parts:
        if len(part) != SIZE:
            raise ValueError(f"a digest has {SIZE} bytes, not {len(part)}")
        state.update(part)
    return state.digest()


def _header(tensor: WeightTensor) -> bytes:
    """What the tensor is besides its numbers; its length comes first, so that it ends somewhere."""
    facts: dict[str, Any] = {"dtype": tensor.dtype.name, "shape": [int(n) for n in tensor.shape]}
    if tensor.codes:
        alphabet = tensor.codes.alphabet
        facts["codes"] = [tensor.codes.scheme, alphabet.size, alphabet.format]
        facts["side_bits"] = int(tensor.codes.side_bits)
    text = json.dumps(facts, sort_keys=True).encode()
    return len(text).to_bytes(8, "little") + text


def _little_endian(numbers: NDArray[Any]) -> memoryview:
    """The bytes of an array, least significant first; not a copy where they lie so already."""
    flat = np.ascontiguousarray(numbers).reshape(-1)
    width = flat.dtype.itemsize
    return flat.view(f"u{width}").astype(f"<u{width}", copy=False).view(np.uint8).data
