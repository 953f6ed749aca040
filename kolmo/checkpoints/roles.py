"""Roles: which arrays of a checkpoint are weights, and what the others are.

Weights are the floating-point parameters of networks. What the format itself says of an array
counts; of the rest names, dtypes, shapes and values tell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence, Set

from kolmo.checkpoints.averages import averages_among
from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.buffers import buffer_reason
from kolmo.checkpoints.copies import Copies, copies_by_place
from kolmo.checkpoints.integers import integer_role
from kolmo.checkpoints.optimizers import optimizer_states
from kolmo.checkpoints.twins import copies_by_content
from kolmo.errors import InputError
from kolmo.floats import is_float


def sort_out(checkpoint: Checkpoint) -> Checkpoint:
    """The same source with its weights alone; all else is in ``skipped``, with its role.

    Integers are weights where there is nothing but integers.
    """
    tensors = list(checkpoint.values())
    left_out = _left_out(tensors)
    for copies in (_by_place, _averages, _twins):
        for name, (original, reason) in copies(checkpoint, _others(tensors, left_out)).items():
            left_out[name] = Skipped(name, reason, 0, Role.COPY, None, original)
    skipped = [
        dataclasses.replace(left_out[tensor.name], numel=tensor.numel, tensor=tensor)
        for tensor in tensors
        if tensor.name in left_out
    ]
    before = [_refined(entry) for entry in checkpoint.skipped]
    return checkpoint.holding(_others(tensors, left_out), [*before, *skipped])


def _refined(entry: Skipped) -> Skipped:
    """An array beside the networks, as what its name says."""
    if entry.role is not Role.OTHER or entry.tensor is None:
        return entry
    role, reason = _role(entry.tensor, optimizer_states([entry.tensor]), set(), True)
    is_known = role in (Role.BUFFER, Role.OPTIMIZER) and is_floating(entry.tensor)
    return dataclasses.replace(entry, role=role, reason=reason) if is_known else entry


def _others(tensors: Sequence[WeightTensor], left_out: Collection[str]) -> list[WeightTensor]:
    return [tensor for tensor in tensors if tensor.name not in left_out]


def _by_place(_: Checkpoint, weights: Sequence[WeightTensor]) -> Copies:
    return copies_by_place(weights)


def _averages(checkpoint: Checkpoint, weights: Sequence[WeightTensor]) -> Copies:
    copies = averages_among(weights, list(checkpoint.values()))
    return {name: (original, f"the average of {original!r}") for name, original in copies.items()}


def _twins(checkpoint: Checkpoint, weights: Sequence[WeightTensor]) -> Copies:
    """Tensors of one network that are stored twice, where the format does not tell ties itself."""
    networks: dict[str, list[WeightTensor]] = {}
    for tensor in weights:
        if tensor.role is Role.WEIGHT:
            continue
        of = next((n for n in checkpoint.networks if tensor.name.startswith(f"{n}.")), "")
        networks.setdefault(of, []).append(tensor)
    found: Copies = {}
    for own in networks.values():
        for name, original in copies_by_content(own, "://" in checkpoint.source).items():
            found[name] = original, f"the values of {original!r}, stored twice"
    return found


def require_weights(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, if there is anything in it to measure.

    Raises
    ------
    InputError
        If not; the message says what it holds instead.
    """
    if checkpoint.numel:
        return checkpoint
    raise InputError(f"{checkpoint.source}: {_without_weights(checkpoint)}")


def _without_weights(checkpoint: Checkpoint) -> str:
    counts: dict[Role, int] = {}
    for entry in checkpoint.skipped:
        counts[entry.role] = counts.get(entry.role, 0) + entry.numel
    counts = {role: count for role, count in counts.items() if count}
    if not counts:
        empty = len(checkpoint) + sum(s.tensor is not None for s in checkpoint.skipped)
        return f"nothing to measure: {'its tensors are empty' if empty else 'it has no tensors'}"
    held = ", ".join(f"{count:,} {role}" for role, count in counts.items())
    if set(counts) == {Role.OPTIMIZER}:
        return f"the state of an optimizer alone, without the weights of a model ({held} entries)"
    return f"nothing to measure: it holds no weights, but {held}"


def _left_out(tensors: Sequence[WeightTensor]) -> dict[str, Skipped]:
    """Every array that is no weight, by name; its tensor is not yet in it."""
    names = {tensor.name for tensor in tensors}
    states = optimizer_states(tensors)
    has_floats = any(is_floating(tensor) and tensor.numel for tensor in tensors)
    found = {}
    for tensor in tensors:
        role, reason = _role(tensor, states, names, has_floats)
        if role is not Role.WEIGHT:
            found[tensor.name] = Skipped(tensor.name, reason, role=role)
    return found


def _role(
    tensor: WeightTensor, states: Set[str], names: Set[str], has_floats: bool
) -> tuple[Role, str]:
    """A tensor's role, and if it is no weight, why."""
    if tensor.role is not None:
        return tensor.role, f"{tensor.role} by what the format says"
    if tensor.codes is not None:
        return Role.WEIGHT, ""
    if tensor.name in states:
        return Role.OPTIMIZER, "the state of an optimizer"
    if not is_floating(tensor):
        return integer_role(tensor, names) if has_floats else (Role.WEIGHT, "")
    reason = buffer_reason(tensor, names)
    return (Role.BUFFER, reason) if reason else (Role.WEIGHT, "")


def is_floating(tensor: WeightTensor) -> bool:
    """Whether its entries are floating-point numbers, those that codes stand for too."""
    return tensor.codes is not None or is_float(tensor.dtype)
