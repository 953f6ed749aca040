"""Tensors that are there twice: tied, views into another tensor, the same bytes stored again."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from kolmo.checkpoints.base import WeightTensor
from kolmo.checkpoints.places import Place

Copies = dict[str, tuple[str, str]]
"""Names of copies; of each, the name of the original, and the reason to leave the copy out."""


Placed = tuple[Place, WeightTensor]


def copies_by_place(tensors: Iterable[WeightTensor]) -> Copies:
    """Tensors whose values lie where those of another lie, or within them.

    Of two at the same place the first is the original; of two that lie one in the other, the
    larger, unless it is a vector that others make up whole: a flat form of theirs.
    """
    originals: dict[Hashable, WeightTensor] = {}
    copies: Copies = {}
    for tensor in tensors:
        if tensor.place is None or tensor.numel == 0 or tensor.codes:  # whose scales lie elsewhere
            continue
        original = originals.setdefault(tensor.place, tensor).name
        if original != tensor.name:
            copies[tensor.name] = original, f"tied to {original!r}, counted once"
    placed = [(place, t) for place, t in originals.items() if isinstance(place, Place)]
    return copies | _views(placed)


def _views(placed: Sequence[Placed]) -> Copies:
    flat = _flat_forms(placed)
    held = _held([entry for entry in placed if entry[1].name not in flat])
    views = {name: (of.name, f"a view into {of.name!r}, counted there") for name, of in held}
    return views | {name: (of, f"the flat form of {of!r} and others") for name, of in flat.items()}


def _flat_forms(placed: Sequence[Placed]) -> dict[str, str]:
    """Vectors that other tensors make up whole, with the name of the first of those."""
    parts: dict[str, list[str]] = {}
    places = {tensor.name: place for place, tensor in placed}
    for name, holder in _held(placed):
        if len(holder.shape) == 1:
            parts.setdefault(holder.name, []).append(name)
    return {
        holder: names[0]
        for holder, names in parts.items()
        if _are_whole([places[name] for name in names], places[holder])
    }


def _are_whole(parts: Sequence[Place], whole: Place) -> bool:
    """Whether dense parts make up all of it, side by side."""
    spans = sorted((part.low, part.high) for part in parts if part.is_dense)
    ends = [whole.low, *(high for _, high in spans)]
    is_gapless = all(low <= end for (low, _), end in zip(spans, ends, strict=False))
    return len(spans) > 1 and is_gapless and ends[-1] == whole.high


def _held(placed: Sequence[Placed]) -> list[tuple[str, WeightTensor]]:
    """Names of tensors that lie within another, which shows all its bytes, with that one."""
    memories: dict[Hashable, list[tuple[int, int, int]]] = {}
    for number, (place, _) in enumerate(placed):
        memories.setdefault(place.memory, []).append((place.low, -place.high, number))
    held = []
    for spans in memories.values():
        widest = None
        for _, _, number in sorted(spans):
            place, tensor = placed[number]
            if widest and place.high <= widest[0].high:
                held.append((number, tensor.name, widest[1]))
            elif place.is_dense:
                widest = placed[number]
    return [(name, holder) for _, name, holder in sorted(held, key=lambda entry: entry[0])]
