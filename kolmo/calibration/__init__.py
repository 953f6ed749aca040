"""Calibration: the estimators measured on objects whose complexity is known.

It shows which structure each estimator sees, how far it is from the known value, and how often it
takes noise for structure.
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
