"""momos: train networks that are a mosaic of motifs, and study how simple they are."""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Public names and the modules that hold them; imported when first used.
_PUBLIC = {
    "LearnedMosaic": "momos.config",
    "LightningMosaic": "momos.trainers.lightning",
    "MLP": "momos.lab.models",
    "MoMos": "momos.sampled.projection",
    "Mosaic": "momos.mosaic.mosaic",
    "MosaicConv2d": "momos.running.layers",
    "MosaicLinear": "momos.running.layers",
    "ProjectEvery": "momos.trainers.callbacks",
    "ProjectionStats": "momos.mosaic.stats",
    "SampledMosaic": "momos.config",
    "StudyConfig": "momos.lab.arms",
    "StudyResult": "momos.lab.outcome",
    "TrainConfig": "momos.lab.config",
    "TrainResult": "momos.lab.training",
    "TransformersMosaic": "momos.trainers.transformers",
    "build_model": "momos.lab.models",
    "compile": "momos.running.compiling",
    "fake_quantize": "momos.lab.qat",
    "fetch_dataset": "momos.lab.datasets",
    "freeze": "momos.wrapping",
    "load_dataset": "momos.lab.datasets",
    "project_checkpoint": "momos.checkpoint",
    "quantize_in_training": "momos.lab.qat",
    "quantized_state_dict": "momos.lab.qat",
    "study": "momos.lab.studies",
    "train": "momos.lab.training",
    "wrap": "momos.wrapping",
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
