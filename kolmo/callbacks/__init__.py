"""Complexity as a training metric: bits a weight, share of the shuffle and a verdict, by step.

::

    Monitor             a loop of your own
    LightningMonitor    Lightning's Trainer (extra ``lightning``)
    TransformersMonitor Hugging Face's Trainer (extra ``transformers``)

All three measure the same windows of the weights in the same way (`kolmo.callbacks.monitor`), and
never touch the training: no random numbers of its own, no gradients, no weights.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Reading": "kolmo.callbacks.readings",
    "LightningMonitor": "kolmo.callbacks.lightning",
    "Monitor": "kolmo.callbacks.monitor",
    "TransformersMonitor": "kolmo.callbacks.transformers",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'kolmo.callbacks' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
