"""Versions of the software that made a figure."""

from __future__ import annotations

import platform
import zlib
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("kolmo", "numpy", "ml_dtypes", "numba", "pybdm", "zstandard", "brotli", "torch")


def versions() -> dict[str, str]:
    """Versions of everything that a code length depends on; absent packages are left out.

    >>> "numpy" in versions()
    True
    """
    by_name = {"python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION}
    for package in _PACKAGES:
        try:
            by_name[package] = version(package)
        except PackageNotFoundError:
            continue
    return by_name
