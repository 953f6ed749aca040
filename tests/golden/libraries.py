"""The libraries whose versions decide what a compressor writes."""

from __future__ import annotations

from kolmo.estimators import estimator_class
from kolmo.provenance import library_version
from tests.golden.measured import COMPRESSORS


def library(golden: str) -> str:
    """The library, and its version, that a golden depends on; empty where it is our own code."""
    compressor = golden.rpartition("-")[2]
    if compressor not in COMPRESSORS:
        return ""
    (name,) = estimator_class(compressor).software
    return f"{name} {library_version(name) or 'is missing'}"


def libraries(*names: str) -> str:
    """Those of several compressors."""
    return ", ".join(library(name) for name in names)
