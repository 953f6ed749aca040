"""Averaged weights (EMA, SWA) beside the weights that they are averages of.

Programs keep them under a key or a prefix that says so, and under the names of the originals, or
under names made from those: without dots, after a key, or as a list in the same order.

In a GAN the average of the generator is a network of its own: it is the one that draws, and the
others are what trained it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kolmo.checkpoints.base import Role, WeightTensor
from kolmo.checkpoints.buffers import buffer_reason
from kolmo.checkpoints.tensor_names import normalized, words
from kolmo.floats import is_float

_AVERAGED = {"ema", "swa", "avg", "average", "averages", "averaged", "shadow", "polyak"}
_JUDGES = {"d", "dis", "disc", "discriminator", "critic", "netd"}


def says_average(name: str) -> bool:
    """Whether a key or a prefix says that what follows are averages.

    >>> says_average("state_dict_ema"), says_average("schema")
    (True, False)
    """
    return bool(_AVERAGED & set(words(name)))


def says_judge(name: str) -> bool:
    """Whether a key is that of a GAN's discriminator.

    >>> [says_judge(name) for name in ("D", "netD", "decoder")]
    [True, True, False]
    """
    return bool(_JUDGES & set(words(name)))


def averages_of(
    averages: Sequence[WeightTensor], originals: Sequence[WeightTensor]
) -> dict[str, str]:
    """The original of each average, by name; empty unless every average has one.

    Numbers beside them, such as the decay of the average, need none.
    """
    known = {_letters(tensor.name): tensor for tensor in originals}
    for after in (0, 1):  # keys before the originals' names
        found = {}
        for tensor in averages:
            rest = ".".join(tensor.name.split(".")[after:])
            found[tensor.name] = known.get(_letters(rest)) if rest else None
        if copies := _all_found(averages, found):
            return copies
    return _in_order(averages, originals)


def averages_among(
    weights: Sequence[WeightTensor], tensors: Sequence[WeightTensor]
) -> dict[str, str]:
    """Names of weights whose prefix says that they are averages, with the tensors they are of."""
    if any(says_judge(tensor.name.partition(".")[0]) for tensor in weights):
        return {}
    groups: dict[tuple[str, ...], list[WeightTensor]] = {}
    for tensor in weights:
        path = tensor.name.split(".")
        at = next((n for n, key in enumerate(path) if says_average(key)), None)
        if at is not None:
            groups.setdefault(tuple(path[: at + (at + 1 < len(path))]), []).append(tensor)
    known = {_letters(t.name): t for t in tensors if not says_average(t.name)} if groups else {}
    copies: dict[str, str] = {}
    for prefix, group in groups.items():
        copies |= _under(prefix, group, known)
    return copies


def _under(
    prefix: tuple[str, ...], group: Sequence[WeightTensor], known: Mapping[str, WeightTensor]
) -> dict[str, str]:
    """The originals of the averages under a prefix: under it without ``ema``, or without a key."""
    for before in (_plain(prefix), ".".join(prefix[:-1])):
        found = {}
        for tensor in group:
            rest = ".".join(_plain([key]) for key in tensor.name.split(".")[len(prefix) :])
            found[tensor.name] = known.get(_letters(f"{before}.{rest}".strip(".")))
        if copies := _all_found(group, found):
            return copies
    return {}


def _plain(path: Iterable[str]) -> str:
    """Keys without the words that say average."""
    kept = ["_".join(w for w in key.split("_") if not says_average(w)) for key in path]
    return ".".join(key for key in kept if key)


def _letters(name: str) -> str:
    return "".join(letter for letter in normalized(name) if letter.isalnum())


def _all_found(
    averages: Iterable[WeightTensor], found: Mapping[str, WeightTensor | None]
) -> dict[str, str]:
    copies = {}
    for tensor in averages:
        original = found[tensor.name]
        if original is not None and original.shape == tensor.shape:
            copies[tensor.name] = original.name
        elif tensor.numel > 1 and is_float(tensor.dtype):
            return {}
    return copies


def _in_order(
    averages: Sequence[WeightTensor], originals: Sequence[WeightTensor]
) -> dict[str, str]:
    """Averages that are a list, which has no names: one for each weight, in their order."""
    names = {tensor.name for tensor in originals}
    listed = [t for t in averages if t.name.rpartition(".")[2].isdigit()]
    weights = [
        t
        for t in originals
        if is_float(t.dtype) and t.role is not Role.BUFFER and not buffer_reason(t, names)
    ]
    if not listed or [t.shape for t in listed] != [t.shape for t in weights]:
        return {}
    return {a.name: b.name for a, b in zip(listed, weights, strict=True)}
