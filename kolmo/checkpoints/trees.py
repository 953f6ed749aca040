"""What the paths of JAX's nests of arrays say of roles."""

from __future__ import annotations

from collections.abc import Sequence

from kolmo.checkpoints.base import Role

_OPTIMIZER = ("opt_state", "opt_states", "optimizer_state", "optimizer_states", "param_states")
_BESIDE = "optimizer"  # the old API of Flax keeps the weights in it too, as its target


def tree_role(path: Sequence[str]) -> Role | None:
    """The role of an array by the keys on the way to it; None where they do not tell.

    >>> tree_role(["opt_state", "0", "mu", "kernel"]), tree_role(["params", "kernel"])
    (<Role.OPTIMIZER: 'optimizer'>, None)
    >>> tree_role(["optimizer", "target", "kernel"]), tree_role(["optimizer", "state", "step"])
    (None, <Role.OPTIMIZER: 'optimizer'>)
    """
    if set(path) & set(_OPTIMIZER):
        return Role.OPTIMIZER
    places = [at for at, key in enumerate(path) if key == _BESIDE]
    inside = [path[at + 1 : at + 2] for at in places]
    return Role.OPTIMIZER if any(list(key) != ["target"] for key in inside) else None
