"""Optimizers' state by its names, in checkpoints that have no structure but names.

An optimizer keeps one or two numbers for each weight, under names of its own: torch's Adam has
``exp_avg`` and ``exp_avg_sq``, optax ``mu`` and ``nu``, TensorFlow's slots end in ``/Adam``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from kolmo.checkpoints.base import WeightTensor

# What torch's optimizers, and those that follow them, keep for each weight.
_SLOTS = {
    "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_avg_diff", "exp_avg_slow", "exp_avg_sq_row",
    "exp_avg_sq_col", "exp_inf", "momentum_buffer", "square_avg", "grad_avg", "acc_delta",
    "row_var", "col_var", "mu_product", "prev_flat_grad", "old_dirs", "old_stps", "H_diag",
    "absmax1", "absmax2", "qmap1", "qmap2", "master_param", "fp32_param", "moment1", "moment2",
    "adam_m", "adam_v",
}  # fmt: skip

# Keys of an optimizer in the names of what it holds.
_KEYS = re.compile(
    r"_?optim(izer)?s?(_?\d+|_weights|_states?|_state_dict|_slots?)?|opt_states?|param_states?|"
    r"\.OPTIMIZER_SLOT",
    re.IGNORECASE,
)

# Ends of names that TensorFlow and Paddle give to slots; what stands before is the weight's name.
_ENDS = re.compile(
    r"(/(Adam|Momentum|RMSProp|Adagrad|Adadelta|Ftrl|AdaMax|LAMB|adam_[mv])(_\d+)?|"
    r"_(moment[12]|velocity|beta[12]_pow_acc)_\d+)(:0)?$"
)
_PADDLE = re.compile(r"_(moment[12]|beta[12]_pow_acc)_\d+$")  # whatever lies beside it
_POWERS = re.compile(r"(^|/)beta[12]_power(_\d+)?(:0)?$")

_TWINS = {"mu": "nu", "m": "v"}
_SEPARATOR = re.compile(r"[./]")


def optimizer_states(tensors: Iterable[WeightTensor]) -> set[str]:
    """Names of the tensors that are an optimizer's state."""
    known = {tensor.name: tensor for tensor in tensors}
    keys = {name: _SEPARATOR.split(name) for name in known}
    found = {name for name, path in keys.items() if _is_state(name, path, known)}
    found |= set(_twins(known, keys))
    above = {name: name[: -len(path[-1])] for name, path in keys.items() if path[-1]}
    of_one_weight = {above[name] for name in found if keys[name][-1] in _SLOTS} - {""}
    return found | {name for name, start in above.items() if start in of_one_weight}


def _is_state(name: str, path: Sequence[str], known: dict[str, WeightTensor]) -> bool:
    if not _SLOTS.isdisjoint(path) or _POWERS.search(name) or _PADDLE.search(name):
        return True
    end = _ENDS.search(name)
    if end and (name[: end.start()] in known or f"{name[: end.start()]}:0" in known):
        return True
    held = [bool(_KEYS.fullmatch(key)) for key in path[:-1]]
    return any(held) and path[held.index(True) + 1] != "target"  # Flax's of 2020 holds the weights


def _twins(known: dict[str, WeightTensor], keys: dict[str, list[str]]) -> Iterator[str]:
    """Tensors under ``mu`` that have a twin under ``nu``, or ``m`` and ``v``, and those twins."""
    rests = {
        _rest(path, place): tensor.shape
        for name, tensor in known.items()
        for path in [keys[name]]
        if not _TWIN_KEYS.intersection(path)
        for place in range(min(len(path), 4))
    }
    for name, path in keys.items():
        for key in _TWINS.keys() & set(path[:-1]):
            at = path.index(key)
            start = sum(map(len, path[:at])) + at
            twin = f"{name[:start]}{_TWINS[key]}{name[start + len(key) :]}"
            shape = known[name].shape
            if twin in known and known[twin].shape == shape == rests.get(_rest(path, at + 1)):
                yield from (name, twin)


def _rest(path: Sequence[str], start: int) -> tuple[str, ...]:
    return tuple(path[start:])


_TWIN_KEYS = frozenset(_TWINS) | frozenset(_TWINS.values())
