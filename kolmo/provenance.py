"""Versions of the software that made a figure."""

from __future__ import annotations

import ctypes
import platform
import zlib
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from kolmo import __version__

_PACKAGES = ("numpy", "ml_dtypes", "numba", "pybdm", "zstandard", "brotli", "torch")

_LINKED = {
    "libbzip2": ("_bz2", "BZ2_bzlibVersion"),
    "liblzma": ("_lzma", "lzma_version_string"),
}
"""C libraries behind modules of Python: the module, and the function that tells the version."""


def versions() -> dict[str, str]:
    """Versions of everything that a code length depends on; absent packages are left out.

    >>> "numpy" in versions()
    True
    """
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    by_name = {
        "kolmo": __version__,
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }
    for package in _PACKAGES:
        try:
            by_name[package] = version(package)
        except PackageNotFoundError:
            continue
    return by_name


@cache
def library_version(name: str) -> str:
    """The version of ``zlib``, ``libbzip2``, ``liblzma``, ``libzstd``, or of a package of Python.

    Empty if it is not installed.

    >>> library_version("zlib") == zlib.ZLIB_RUNTIME_VERSION, library_version("no-such-package")
    (True, '')
    """
    if name == "zlib":
        return zlib.ZLIB_RUNTIME_VERSION
    if name in _LINKED:
        return _linked(*_LINKED[name])
    try:
        return _zstd() if name == "libzstd" else version(name)
    except (PackageNotFoundError, ImportError):
        return ""


def _zstd() -> str:
    import zstandard

    return ".".join(map(str, zstandard.ZSTD_VERSION))


def _linked(module: str, function: str) -> str:
    """What a C library tells; where it is out of reach, the version of Python, which links it."""
    try:
        loaded = ctypes.CDLL(getattr(import_module(module), "__file__", None))
        tell = getattr(loaded, function)
    except (OSError, AttributeError):
        return f"that of Python {platform.python_version()}"
    tell.restype = ctypes.c_char_p
    return str(tell().decode())
