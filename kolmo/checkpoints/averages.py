"""Averaged weights (EMA, SWA) beside the weights that they are averages of.

Programs keep them under a key or a prefix that says so, and under the names of the originals, or
under names made from those: without dots, after a prefix, or as a list in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.tensor_names import normalized, words

_AVERAGED = {"ema", "swa", "avg", "average", "averages", "averaged", "shadow", "polyak"}


def says_average(name: str) -> bool:
    """Whether a key or a prefix says that what follows are averages.

    >>> says_average("state_dict_ema"), says_average("schema")
    (True, False)
    """
    return bool(_AVERAGED & set(words(name)))


def averages_of(
    averages: Sequence[WeightTensor], originals: Sequence[WeightTensor]
) -> dict[str, str]:
    """The original of each average, by name; empty unless all floating-point tensors have one."""
    wanted = [tensor for tensor in averages if tensor.dtype.kind in "fcV"]
    for key in (_by_name, _by_letters, _by_end):
        known = {key(tensor.name): tensor for tensor in originals}
        pairs = [(tensor, known.get(key(tensor.name))) for tensor in wanted]
        if pairs and all(found and found.shape == tensor.shape for tensor, found in pairs):
            return {tensor.name: found.name for tensor, found in pairs if found}
    return _in_order(wanted, originals)


def _by_name(name: str) -> str:
    return normalized(name)


def _by_letters(name: str) -> str:
    return "".join(letter for letter in normalized(name) if letter.isalnum())


def _by_end(name: str) -> str:
    """A name without its first key, such as ``shadow`` or ``ema_model``."""
    first, _, rest = name.partition(".")
    return normalized(rest) if says_average(first) else normalized(name)


def _in_order(
    averages: Sequence[WeightTensor], originals: Sequence[WeightTensor]
) -> dict[str, str]:
    """Averages that are a list, which has no names: one for each original, in their order."""
    is_list = averages and all(t.name.rpartition(".")[2].isdigit() for t in averages)
    if not is_list or [t.shape for t in averages] != [t.shape for t in originals]:
        return {}
    return {a.name: b.name for a, b in zip(averages, originals, strict=True)}
