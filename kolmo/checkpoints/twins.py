"""Tensors of the same values that are stored twice, as safetensors stores tied embeddings.

Opening a checkpoint reads kilobytes: of tensors of one shape and dtype a few entries are compared,
and only those that agree in them are read whole.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np

from kolmo.checkpoints.base import WeightTensor
from kolmo.errors import KolmoError

_HEAD = 64  # entries at the beginning that are compared first
_PLACES = 8  # and places all over the tensor that are compared next
_TURNED = 8  # entries of a transposed tensor that are compared first
_WHOLE = 1 << 24  # entries of a transposed tensor, at most, that are compared whole
_SURE = 64  # bits: what agrees by chance once in 2^64 times is a copy
_FAR = 32  # tensors, at most, of which entries are read over a network

Key = Callable[[WeightTensor], Hashable]


def copies_by_content(tensors: Sequence[WeightTensor], is_far: bool = False) -> dict[str, str]:
    """Names of tensors that are equal to an earlier one, with the name of that one.

    Few values say nothing: tensors of ones, as norms have them, are equal and no copies.
    ``is_far`` says that every read goes over a network; then no more than the largest are compared.
    """
    alike = _nearest(list(_groups(tensors, _form))) if is_far else list(_groups(tensors, _form))
    copies: dict[str, str] = {}
    for group in alike:
        for same in _equal(group):
            copies |= {tensor.name: same[0].name for tensor in same[1:]}
    return copies if is_far else copies | _transposed(tensors, copies)


def _form(tensor: WeightTensor) -> Hashable:
    """What two tensors that are stored alike have in common."""
    codes = tensor.codes
    coded = (codes.scheme, codes.alphabet, codes.side_bits) if codes else None
    return (tensor.shape, tensor.dtype.name, coded) if tensor.numel > 1 else None


def _groups(tensors: Iterable[WeightTensor], key: Key) -> Iterator[list[WeightTensor]]:
    """Two tensors or more of one key, which is not None; those that cannot be read have none."""
    found: dict[Hashable, list[WeightTensor]] = {}
    for tensor in tensors:
        try:
            found.setdefault(key(tensor), []).append(tensor)
        except KolmoError:  # whoever measures it is told
            continue
    found.pop(None, None)
    return (group for group in found.values() if len(group) > 1)


def _nearest(groups: list[list[WeightTensor]]) -> list[list[WeightTensor]]:
    """The groups of the largest tensors, as many as are compared over a network."""
    groups.sort(key=lambda group: -group[0].numel)
    sizes = np.cumsum([len(group) for group in groups])
    return [group for group, size in zip(groups, sizes, strict=True) if size <= _FAR]


def _equal(group: list[WeightTensor]) -> Iterator[list[WeightTensor]]:
    for heads in _groups(group, _head):
        for samples in _groups(heads, _sample):
            yield from _groups(samples, _digest)


def _head(tensor: WeightTensor) -> Hashable:
    return tensor.load(0, min(_HEAD, tensor.numel)).tobytes()


def _sample(tensor: WeightTensor) -> Hashable:
    """Entries all over a tensor; None where so few values occur that others may well agree."""
    size = min(_HEAD, tensor.numel)
    starts = np.linspace(0, tensor.numel - size, _PLACES).astype(np.int64)
    parts = [tensor.load(int(start), int(start) + size) for start in dict.fromkeys(starts)]
    entries = np.concatenate(parts)
    values = np.unique(entries.view(f"V{entries.dtype.itemsize}")).size
    return entries.tobytes() if tensor.numel * math.log2(values) >= _SURE else None


def _digest(tensor: WeightTensor) -> Hashable:
    digest = hashlib.blake2b()
    for chunk in tensor.chunks(reuse=True):
        digest.update(chunk.view(np.uint8).data)
    return digest.digest()


# --- transposed -----------------------------------------------------------------------------


def _transposed(tensors: Sequence[WeightTensor], known: dict[str, str]) -> dict[str, str]:
    """Matrices whose transpose is another one."""
    matrices = [t for t in tensors if t.name not in known and _may_be_turned(t)]
    tall = [tensor for tensor in matrices if tensor.shape[0] > tensor.shape[1] > 1]
    wide = [tensor for tensor in matrices if 1 < tensor.shape[0] < tensor.shape[1]]
    forms: set[Hashable] = {(tensor.shape, tensor.dtype.name) for tensor in tall}
    forms &= {(tensor.shape[::-1], tensor.dtype.name) for tensor in wide}
    places = {tensor.name: number for number, tensor in enumerate(tensors)}
    found = {}
    for pair in _groups([*tall, *wide], lambda tensor: _turned_head(tensor, forms)):
        one, *others = sorted(pair, key=lambda tensor: places[tensor.name])
        found.update({t.name: one.name for t in others if _are_transposed(one, t)})
    return found


def _may_be_turned(tensor: WeightTensor) -> bool:
    return len(tensor.shape) == 2 and not tensor.codes and _TURNED < tensor.numel <= _WHOLE


def _turned_head(tensor: WeightTensor, forms: set[Hashable]) -> Hashable:
    """The first entries of a tall matrix, or of the tall one that a wide one is turned from."""
    rows, columns = tensor.shape
    form = ((max(rows, columns), min(rows, columns)), tensor.dtype.name)
    if form not in forms:
        return None
    count = min(_TURNED, rows, columns)
    if rows > columns:
        return form, tensor.load(0, count).tobytes()
    return form, b"".join(tensor.load(i * columns, i * columns + 1).tobytes() for i in range(count))


def _are_transposed(one: WeightTensor, other: WeightTensor) -> bool:
    if one.shape == other.shape or _sample(one) is None:
        return False
    return one.read().T.tobytes() == other.read().tobytes()
