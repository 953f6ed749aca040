"""Calibration: the estimators measured, on objects whose complexity is known.

Which one sees what, how far each is from the truth, and how often it finds structure in noise.
"""

from kolmo.calibration.base import KnownObject
from kolmo.calibration.objects import FAMILIES, known_object
from kolmo.calibration.result import CalibrationResult, load_calibration
from kolmo.calibration.suite import EFFORTS, Effort, calibrate

__all__ = [
    "EFFORTS",
    "FAMILIES",
    "CalibrationResult",
    "Effort",
    "KnownObject",
    "calibrate",
    "known_object",
    "load_calibration",
]
