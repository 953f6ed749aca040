"""The libraries whose versions decide what a compressor writes."""

from __future__ import annotations

import ctypes
import sys
import zlib
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import zstandard


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} is missing"


def _linked(module: str, function: str) -> str:
    """The version that a C library behind a module of Python tells; the module does not."""
    try:
        loaded = ctypes.CDLL(getattr(import_module(module), "__file__", None))
        tell = getattr(loaded, function)
    except (OSError, AttributeError):
        return f"that of Python {sys.version.split()[0]}"
    tell.restype = ctypes.c_char_p
    return str(tell().decode())


_LIBRARIES: Mapping[str, Callable[[], str]] = {
    "brotli": lambda: _package("brotli"),
    "bz2": lambda: f"libbzip2 {_linked('_bz2', 'BZ2_bzlibVersion')}",
    "gzip": lambda: f"zlib {zlib.ZLIB_RUNTIME_VERSION}",
    "ppmd": lambda: _package("pyppmd"),
    "xz": lambda: f"liblzma {_linked('_lzma', 'lzma_version_string')}",
    "zstd": lambda: f"libzstd {'.'.join(map(str, zstandard.ZSTD_VERSION))}",
}


def library(golden: str) -> str:
    """The library, and its version, that a golden depends on; empty where it is our own code."""
    compressor = golden.rpartition("-")[2]
    return _LIBRARIES[compressor]() if compressor in _LIBRARIES else ""


def libraries(*names: str) -> str:
    """Those of several compressors."""
    return ", ".join(library(name) for name in names)
