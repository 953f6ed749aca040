"""Arrays of a checkpoint that pickle: the functions that load them are closures, which do not."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.checkpoints.loads import ArrayLoad, InMemory, Load, only

Bind = Callable[[WeightTensor, int], WeightTensor]


def bound(checkpoint: Checkpoint, bind: Bind) -> Checkpoint:
    """The same checkpoint with ``bind(tensor, number)`` in place of each array; the arrays that
    codes are stored in come before their tensor. Of one source, each has the same number whenever
    it is opened."""
    numbers = itertools.count()

    def made(tensor: WeightTensor) -> WeightTensor:
        if tensor.codes and tensor.codes.stored:
            stored = tuple(made(array) for array in tensor.codes.stored)
            codes = dataclasses.replace(tensor.codes, stored=stored)
            tensor = dataclasses.replace(tensor, codes=codes)
        return bind(tensor, next(numbers))

    tensors = [made(tensor) for tensor in checkpoint.values()]
    skipped = [
        dataclasses.replace(entry, tensor=entry.tensor and made(entry.tensor))
        for entry in checkpoint.skipped
    ]
    return checkpoint.holding(tensors, skipped)


def arrays(checkpoint: Checkpoint) -> Iterator[WeightTensor]:
    """All arrays of a checkpoint, in the order of their numbers."""
    beside = (entry.tensor for entry in checkpoint.skipped if entry.tensor)
    for tensor in itertools.chain(checkpoint.values(), beside):
        yield from _with_stored(tensor)


def _with_stored(tensor: WeightTensor) -> Iterator[WeightTensor]:
    for array in tensor.codes.stored if tensor.codes else ():
        yield from _with_stored(array)
    yield tensor


def with_loads(tensor: WeightTensor, load: Load, load_codes: Load | None) -> WeightTensor:
    """The tensor with other functions that load its weights, and its codes if it has some."""
    codes = tensor.codes
    if codes and load_codes:
        codes = dataclasses.replace(codes, load=load_codes)
    return dataclasses.replace(tensor, load=load, codes=codes)


# --- in memory ------------------------------------------------------------------------------


def by_value(tensor: WeightTensor, _: int) -> WeightTensor:
    """An array in memory, which pickles by its values."""
    codes = tensor.codes
    if codes is None and isinstance(tensor.load, ArrayLoad):
        return tensor
    load_codes = InMemory(codes.load, tensor.numel) if codes else None
    return with_loads(tensor, InMemory(tensor.load, tensor.numel), load_codes)


def stretch(tensor: WeightTensor, start: int, stop: int) -> WeightTensor:
    """The tensor, of which entries of arrays in memory pickle only if they are in [start, stop).

    The arrays that its codes are stored in are not a part of it.
    """
    load, codes = only(tensor.load, start, stop), tensor.codes
    if codes:
        codes = dataclasses.replace(codes, load=only(codes.load, start, stop), stored=())
    return dataclasses.replace(tensor, load=load, codes=codes)
