"""kolmo: how complex is a neural network, in bits?"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

__version__ = "0.1.0"

# Public names and the modules that hold them; imported when first used.
_PUBLIC = {
    "Accumulator": "kolmo.estimators.base",
    "Alphabet": "kolmo.symbols",
    "Certificate": "kolmo.container.certificate",
    "Checkpoint": "kolmo.checkpoints",
    "CodeLength": "kolmo.estimators.base",
    "ContractError": "kolmo.errors",
    "Curve": "kolmo.lossy.curve",
    "Estimator": "kolmo.estimators.base",
    "InputError": "kolmo.errors",
    "Inspection": "kolmo.inspection",
    "Interrupted": "kolmo.analysis",
    "KolmoError": "kolmo.errors",
    "LearnedDifference": "kolmo.lossy.differences",
    "LearningCoefficient": "kolmo.lossy.learning",
    "MissingExtraError": "kolmo.errors",
    "NoiseBits": "kolmo.lossy.noise",
    "NotApplicableError": "kolmo.errors",
    "NotExpressibleError": "kolmo.errors",
    "Null": "kolmo.nulls",
    "Quantizer": "kolmo.quantize",
    "Report": "kolmo.report.report",
    "Role": "kolmo.checkpoints.base",
    "Simplified": "kolmo.lossy.simplify",
    "WeightTensor": "kolmo.checkpoints",
    "analyze": "kolmo.analysis",
    "calibrate": "kolmo.calibration",
    "compare": "kolmo.analysis",
    "conditional_bdm": "kolmo.estimators.scores",
    "curve": "kolmo.lossy.curve",
    "delta": "kolmo.difference.delta",
    "estimate": "kolmo.estimating",
    "get_estimator": "kolmo.estimators.base",
    "get_null": "kolmo.nulls",
    "get_quantizer": "kolmo.quantize",
    "initialization": "kolmo.lossy.initial",
    "inspect": "kolmo.inspection",
    "learned_difference": "kolmo.lossy.differences",
    "learning_coefficient": "kolmo.lossy.learning",
    "load_report": "kolmo.report.report",
    "noise_bits": "kolmo.lossy.noise",
    "open_checkpoint": "kolmo.checkpoints",
    "pack": "kolmo.container.packing",
    "simplify": "kolmo.lossy.simplify",
    "trajectory": "kolmo.series.trajectory",
    "unpack": "kolmo.container.unpacking",
    "verify": "kolmo.container.verifying",
    "with_difference": "kolmo.lossy.differences",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and find_spec(f"kolmo.{name}"):  # kolmo.calibration, kolmo.testing
        return import_module(f"kolmo.{name}")
    raise AttributeError(f"module 'kolmo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
