"""What sources are called in a report: paths by what tells them apart, objects by what they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from kolmo.checkpoints.base import Checkpoint
from kolmo.checkpoints.many import find_checkpoints, short_names
from kolmo.checkpoints.nests import is_torch

_WRAPPERS = (
    "DataParallel",
    "DistributedDataParallel",
    "FullyShardedDataParallel",
    "OptimizedModule",
)


def titled(sources: Any) -> Mapping[str, Any]:
    """Sources by names.

    Parameters
    ----------
    sources : mapping of names to sources, or a source, or a list of them
        Paths and globs may stand for several (`kolmo.checkpoints.many.find_checkpoints`). A mapping
        has its own names.

    Examples
    --------
    >>> import numpy as np
    >>> list(titled([{"w": np.zeros(3)}, np.zeros(4), {"w": np.ones(3)}]))
    ['arrays', 'array', 'arrays-2']
    """
    if isinstance(sources, Mapping) and not isinstance(sources, Checkpoint):
        return sources
    given = list(sources) if isinstance(sources, (list, tuple)) else [sources]
    if all(isinstance(source, (str, os.PathLike)) for source in given):
        return find_checkpoints(given)
    return _apart(pair for source in given for pair in _titles(source))


def title(source: Any) -> str:
    """The name of one source.

    Examples
    --------
    >>> title("runs/a/model.safetensors"), title("hf://org/name"), title({"w": [1.0]})
    ('a', 'name', 'arrays')
    """
    if isinstance(source, (str, os.PathLike)):
        return short_names([os.fspath(source)])[0]
    if isinstance(source, Checkpoint):
        return _of_checkpoint(source)
    if hasattr(source, "state_dict"):
        return type(_unwrapped(source)).__name__
    if isinstance(source, Mapping):
        return "state_dict" if any(map(is_torch, source.values())) else "arrays"
    return "array" if hasattr(source, "shape") else "arrays"


def _titles(source: Any) -> list[tuple[str, Any]]:
    if isinstance(source, (str, os.PathLike)):
        return list(find_checkpoints([source]).items())
    return [(title(source), source)]


def _apart(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Sources under names of their own: ``MLP``, ``MLP-2``."""
    found: dict[str, Any] = {}
    for name, source in pairs:
        free, number = name, 2
        while free in found:
            free, number = f"{name}-{number}", number + 1
        found[free] = source
    return found


def _of_checkpoint(checkpoint: Checkpoint) -> str:
    if checkpoint.format == "arrays":
        return "arrays"
    return checkpoint.source if checkpoint.format == "module" else title(checkpoint.source)


def _unwrapped(module: Any) -> Any:
    """The network that a wrapper of torch holds."""
    while type(module).__name__ in _WRAPPERS:
        module = getattr(module, "_orig_mod", None) or module.module
    return module
