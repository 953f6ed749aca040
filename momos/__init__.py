"""momos: train networks that are a mosaic of motifs, and study how simple they are."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Public names and the modules that hold them; imported when first used.
_PUBLIC = {
    "LightningMosaic": "momos.lightning",
    "MLP": "momos.models",
    "MoMos": "momos.projection",
    "Mosaic": "momos.mosaic",
    "MosaicConfig": "momos.config",
    "ProjectEvery": "momos.callbacks",
    "ProjectionStats": "momos.projection",
    "StudyConfig": "momos.studies",
    "StudyResult": "momos.studies",
    "TrainConfig": "momos.config",
    "TrainResult": "momos.training",
    "TransformersMosaic": "momos.transformers",
    "build_model": "momos.models",
    "fake_quantize": "momos.qat",
    "fetch_dataset": "momos.datasets",
    "freeze": "momos.learning",
    "load_dataset": "momos.datasets",
    "project_checkpoint": "momos.projection",
    "quantize_in_training": "momos.qat",
    "quantized_state_dict": "momos.qat",
    "study": "momos.studies",
    "train": "momos.training",
    "wrap": "momos.learning",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'momos' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
