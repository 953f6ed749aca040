"""The arrays of a checkpoint that are asked for: by role, and by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Sequence

from kolmo.checkpoints.base import (
    Checkpoint,
    Role,
    Skipped,
    WeightTensor,
)
from kolmo.checkpoints.globs import why_left_out
from kolmo.errors import InputError
from kolmo.specs import several
from kolmo.spoken import option

DEFAULT_ROLES = (Role.WEIGHT,)
"""Roles that are measured where nothing else is asked for."""


def get_roles(names: str | Iterable[str | Role]) -> tuple[Role, ...]:
    """Roles by their names; one, or a list of them.

    Raises
    ------
    InputError
        If there is none, or one is unknown.

    Examples
    --------
    >>> get_roles(["weight", "buffer"])
    (<Role.WEIGHT: 'weight'>, <Role.BUFFER: 'buffer'>)
    """
    known = ", ".join(Role)
    roles = tuple(dict.fromkeys(several(names)))
    for name in roles:
        if name not in list(Role):
            raise InputError(f"unknown role {name!r}; known: {known}")
    if not roles:
        raise InputError(f"no role was given; known: {known}")
    return tuple(map(Role, roles))


def choose(
    checkpoint: Checkpoint,
    roles: str | Iterable[str | Role] = DEFAULT_ROLES,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
) -> Checkpoint:
    """The arrays of these roles and names; what is left out is listed in ``skipped``.

    Raises
    ------
    InputError
        If there is no number among them, or an argument does not fit.
    """
    asked = get_roles(roles)
    found = only_roles(checkpoint, asked)
    chosen = found.select(include, exclude) if found.numel else found
    if not chosen.numel:
        raise InputError(f"{checkpoint.source}: nothing to measure: {_why(chosen, asked)}")
    return chosen


def only_roles(checkpoint: Checkpoint, roles: Sequence[Role]) -> Checkpoint:
    """The arrays of these roles, whether the checkpoint lists them as tensors or as skipped."""
    kept: dict[str, WeightTensor] = {}
    left_out: list[Skipped] = []
    for tensor in checkpoint.values():
        role = tensor.role or Role.WEIGHT
        if role in roles:
            kept[tensor.name] = tensor
        else:
            reason = f"of the role {role}, which was not asked for"
            left_out.append(Skipped(tensor.name, reason, tensor.numel, role, tensor))
    for skipped in checkpoint.skipped:
        if skipped.role in roles and skipped.tensor is not None:
            name = free_name(skipped.name, kept)
            kept[name] = dataclasses.replace(skipped.tensor, name=name, role=skipped.role)
        else:
            left_out.append(skipped)
    return checkpoint.holding(kept.values(), left_out)


def free_name(name: str, taken: Container[str]) -> str:
    """The name, with a number after it where it is taken.

    >>> free_name("w", {"w", "w (2)"})
    'w (3)'
    """
    free, number = name, 2
    while free in taken:
        free, number = f"{name} ({number})", number + 1
    return free


def choose_entries(
    checkpoint: Checkpoint,
    roles: str | Iterable[str | Role],
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
) -> tuple[list[WeightTensor], list[Skipped]]:
    """The entries of these roles and names, as the checkpoint lists them.

    Raises
    ------
    InputError
        If there is none, or an argument does not fit.
    """
    asked = get_roles(roles)
    chosen, left_out = several(include), several(exclude)

    def wanted(name: str, role: Role) -> bool:
        return role in asked and why_left_out(name, chosen, left_out) is None

    tensors = [t for t in checkpoint.values() if wanted(t.name, t.role or Role.WEIGHT)]
    skipped = [s for s in checkpoint.skipped if wanted(s.name, s.role)]
    if not tensors and not skipped:
        some = "nothing in it is of these roles and names"
        there = len(checkpoint) or checkpoint.skipped
        raise InputError(f"{checkpoint.source}: {some if there else 'there is no array in it'}")
    return tensors, skipped


def _why(found: Checkpoint, roles: Sequence[Role]) -> str:
    """What there is in place of what was asked for."""
    totals: dict[Role, int] = {}
    for skipped in found.skipped:
        totals[skipped.role] = totals.get(skipped.role, 0) + skipped.numel
    there = [f"{count:,} {role}" for role, count in totals.items() if count and role not in roles]
    what = f"there is no {' or '.join(roles)} in it"
    if len(found):
        what = "its tensors are empty"
    return (
        f"{what}; it holds {', '.join(there)} ({option('roles')} says which are measured)"
        if there
        else what
    )
