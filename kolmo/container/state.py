"""The state of a model: what a container keeps of a checkpoint, so that the model can be loaded.

::

    checkpoint ─► weights, as they are stored: packed codes where there are codes
                  book-keeping and buffers, as they are stored
                  copies, under their own names, if they have the values of their originals
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from kolmo.checkpoints import Checkpoint
from kolmo.checkpoints.base import CHUNK, Role, Skipped, WeightTensor
from kolmo.checkpoints.selecting import choose, free_name, get_roles
from kolmo.quantize import Native, Quantizer
from kolmo.symbols import Alphabet

STATE_ROLES = (Role.WEIGHT, Role.BOOKKEEPING, Role.BUFFER, Role.COPY)
"""Roles of all that a model is loaded from."""


@dataclasses.dataclass(frozen=True, eq=False)
class Kept:
    """A tensor that goes into a container.

    Attributes
    ----------
    tensor : WeightTensor
        Without codes: its values are what is kept.
    role : Role
    packed_weights : int, optional
        The weights that it stands for, if it holds their packed codes.
    is_quantized : bool
        Whether the container's quantizer applies to it; else it is kept as it is.
    copy_of : str
        Of a copy, the name of the tensor that has the same values.
    """

    tensor: WeightTensor
    role: Role
    packed_weights: int | None = None
    is_quantized: bool = True
    copy_of: str = ""


def state_of(
    checkpoint: Checkpoint,
    quantizer: Quantizer,
    roles: Iterable[str | Role] = STATE_ROLES,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> tuple[list[Kept], list[Skipped]]:
    """What a container keeps of a checkpoint, copies last; and what is left out of it.

    Raises
    ------
    InputError
        If an option does not fit, or nothing is left.
    """
    asked = get_roles(roles)
    if Role.WEIGHT in asked:
        choose(checkpoint)  # which refuses a source without weights
    besides = _besides(checkpoint) if Role.OTHER not in asked else set()
    chosen = choose(checkpoint, _with_unknown(asked), include, exclude)
    as_stored, beside = isinstance(quantizer, Native), _book_keeping(checkpoint)
    found: list[Kept] = []
    left_out = [*_other_shards(checkpoint), *chosen.skipped]
    for tensor in chosen.values():
        role = tensor.role or Role.WEIGHT
        if tensor.name in besides:
            left_out.append(
                Skipped(tensor.name, "no part of the model", tensor.numel, role, tensor)
            )
        elif role is Role.BOOKKEEPING and not as_stored:
            reason = f"not needed: {quantizer} quantizes the weights that codes stand for"
            left_out.append(Skipped(tensor.name, reason, tensor.numel, role, tensor))
        else:
            is_whole = _is_whole(tensor, beside)
            found += _kept(tensor, role, as_stored and is_whole)
            left_out += _lost_codes(tensor, role) if as_stored and not is_whole else []
    copies = {s.name: s.copy_of for s in checkpoint.skipped if s.role is Role.COPY}
    kept, others = _with_copies(found, copies)
    return _told_apart(kept), [*left_out, *others]


def _other_shards(checkpoint: Checkpoint) -> list[Skipped]:
    if checkpoint.shards is None:
        return []
    reason = "only {} of {} shards of the model were given".format(*checkpoint.shards)
    return [Skipped("the other shards", reason, role=Role.WEIGHT)]


def _with_unknown(roles: Sequence[Role]) -> Sequence[Role]:
    """With a whole state go arrays that nobody understands: the model may not lack them."""
    return [*roles, Role.OTHER] if set(STATE_ROLES) <= set(roles) else roles


def _besides(checkpoint: Checkpoint) -> set[str]:
    """Arrays of which the source itself says that they lie beside the model."""
    others = (s for s in checkpoint.skipped if s.role is Role.OTHER and s.tensor)
    return {s.name for s in others if s.tensor and s.tensor.role is not None}


def _kept(tensor: WeightTensor, role: Role, packed: bool) -> Iterator[Kept]:
    """A tensor as it is stored: its packed codes, if it has any, or the values themselves."""
    is_quantized = role in (Role.WEIGHT, Role.COPY)
    if tensor.codes is None or not packed:
        plain = dataclasses.replace(tensor, codes=None)
        yield Kept(plain, role, None, is_quantized)
        return
    for number, codes in enumerate(tensor.codes.stored):
        weights = 0 if number else tensor.numel
        yield Kept(codes, role, weights if role is Role.WEIGHT else None, is_quantized)


def _lost_codes(tensor: WeightTensor, role: Role) -> list[Skipped]:
    if tensor.codes is None:
        return []
    reason = "its codes need numbers that are in no array: the weights they stand for are packed"
    return [Skipped(tensor.name, reason, 0, role)]


def _is_whole(tensor: WeightTensor, beside: int) -> bool:
    """Whether all that a quantized tensor's codes need is in arrays: in those of the codes
    themselves, or among ``beside`` bits of book-keeping. Some formats keep a scale in no array."""
    codes = tensor.codes
    if codes is None or not codes.stored:
        return False
    own = sum(_bits(part) for part in codes.stored)
    return codes.side_bits <= beside or own >= tensor.numel * codes.alphabet.bits + codes.side_bits


def _book_keeping(checkpoint: Checkpoint) -> int:
    """Bits of all arrays of book-keeping."""
    listed = [tensor for tensor in checkpoint.values() if tensor.role is Role.BOOKKEEPING]
    aside = [s.tensor for s in checkpoint.skipped if s.tensor and s.role is Role.BOOKKEEPING]
    return sum(map(_bits, [*listed, *aside]))


def _bits(tensor: WeightTensor) -> int:
    return tensor.numel * Alphabet.of_dtype(tensor.dtype).bits


# --- copies -----------------------------------------------------------------------------------


def _with_copies(
    found: Sequence[Kept], copies: Mapping[str, str]
) -> tuple[list[Kept], list[Skipped]]:
    """All tensors, copies last; and copies of other values, such as averages, which are no part
    of the state."""
    own = [kept for kept in found if kept.role is not Role.COPY]
    by_name = {kept.tensor.name: kept for kept in own}
    others: list[Skipped] = []
    for kept in found:
        tensor = kept.tensor
        if kept.role is not Role.COPY:
            continue
        original = by_name.get(copies.get(tensor.name, ""))
        if original is None or not _shows_the_same(tensor, original.tensor):
            reason = "has values of its own, and is no part of the model's state"
            others.append(Skipped(tensor.name, reason, tensor.numel, Role.COPY, tensor))
        else:
            name, is_quantized = original.tensor.name, original.is_quantized
            own.append(dataclasses.replace(kept, is_quantized=is_quantized, copy_of=name))
    return own, others


def _shows_the_same(copy: WeightTensor, original: WeightTensor) -> bool:
    """Whether a copy has the values of its original, in their order or transposed, or is a view
    of a part of them."""
    if copy.dtype != original.dtype:
        return False
    if _is_view(copy, original):
        return True
    if copy.numel != original.numel:
        return False
    return _is_equal(copy, original) or _is_transposed(copy, original)


def _is_view(copy: WeightTensor, original: WeightTensor) -> bool:
    return copy.place is not None and copy.place == original.place


def _is_equal(copy: WeightTensor, original: WeightTensor) -> bool:
    """Whether all bits are the same; reads on until they differ."""
    ranges = ((at, min(at + CHUNK, copy.numel)) for at in range(0, copy.numel, CHUNK))
    return all(copy.load(*r).tobytes() == original.load(*r).tobytes() for r in ranges)


def _is_transposed(copy: WeightTensor, original: WeightTensor) -> bool:
    if len(copy.shape) != 2 or copy.shape != original.shape[::-1]:
        return False
    if copy.load(0, 1).tobytes() != original.load(0, 1).tobytes():
        return False
    return np.ascontiguousarray(original.read().T).tobytes() == copy.read().tobytes()


def _told_apart(found: Sequence[Kept]) -> list[Kept]:
    """The same under names of which none is there twice."""
    told: dict[str, Kept] = {}
    for kept in found:
        name = free_name(kept.tensor.name, told)
        tensor = dataclasses.replace(kept.tensor, name=name)
        told[name] = dataclasses.replace(kept, tensor=tensor)
    return list(told.values())
