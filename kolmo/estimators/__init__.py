"""Estimators: the code length of an object, in bits."""

from kolmo.estimators.base import (
    Accumulator,
    CodeLength,
    Estimator,
    estimator_class,
    estimator_names,
    get_estimator,
    register,
)

__all__ = [
    "Accumulator",
    "CodeLength",
    "Estimator",
    "estimator_class",
    "estimator_names",
    "get_estimator",
    "register",
]
