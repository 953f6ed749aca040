"""Compiles ahead of time what commands will call, so that no user waits for it at first use.

``python -m kolmo.ahead`` compiles every function of ``signatures.json`` for the types that stand
there, on all processors, into the folder that :mod:`kolmo.compiled` chooses; what is there already
is only looked up. Building the package does it once, for the processor that builds. Types that are
not listed, or code that another processor made, are compiled when they are first called, as ever.

A type in ``signatures.json`` is

- the name of a number, such as ``"int64"``;
- ``{"of": dtype, "ndim": 2, "layout": "C", "mutable": true}``, an array; the dtype is what
  :func:`numpy.lib.format.dtype_to_descr` gives, or ``{"fields": [fields], "align": true}``;
- ``{"record": dtype}``, one entry of a structured array;
- ``{"tuple": "module:class", "items": [types]}``, a named tuple; without a class, ``""``.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kolmo.compiled import as_dtype, folder_of_code, from_dtype, kept, types

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("signatures.json")

Spelled = Any
"""A type as JSON holds it."""


def main() -> None:
    """Compile everything, modules side by side, the longest first; print the folder it is in."""
    modules = sorted({name.rpartition(".")[0] for name in read_list()}, key=_size, reverse=True)
    folder = folder_of_code()
    if folder is None:
        return
    context = multiprocessing.get_context("spawn")  # numba's locks are not to be forked
    with ProcessPoolExecutor(min(len(modules), os.cpu_count() or 1), context) as pool:
        list(pool.map(compile_module, modules))
    for module in modules:  # two modules that call a third may have kept it at the same moment
        compile_module(module)
    print(folder)


def compile_module(module: str) -> int:
    """Compile the listed functions of one module.

    Parameters
    ----------
    module : str
        Such as ``"kolmo.codes.kernels_rans"``.

    Returns
    -------
    int
        The number of types that its functions are compiled for.

    Examples
    --------
    >>> compile_module("kolmo.codes.kernels_byteplanes") > 0
    True
    """
    _import_alone(module)
    listed = {name: all_types for name, all_types in read_list().items()
              if name.rpartition(".")[0] == module}  # fmt: skip
    for name, signatures in listed.items():
        for signature in signatures:
            kept[name].compile(tuple(map(read, signature)))
    return sum(map(len, listed.values()))


def read_list() -> dict[str, list[list[Spelled]]]:
    """The signatures of functions by their names."""
    return dict(json.loads(LIST.read_text(encoding="utf-8")))


def _import_alone(module: str) -> None:
    """Import a file of kernels, which needs none but such files, without the packages around it.

    They import what is not installed yet while the package is built.
    """
    package = module.rpartition(".")[0]
    while package and package not in sys.modules:
        bare = ModuleType(package)
        bare.__path__ = [str(ROOT.joinpath(*package.split(".")))]
        sys.modules[package] = bare
        package = package.rpartition(".")[0]
    importlib.import_module(module)


def _size(module: str) -> int:
    """The length of a module's file, which tells roughly what compiling it takes."""
    return ROOT.joinpath(*module.split(".")).with_suffix(".py").stat().st_size


# --- types in words ---------------------------------------------------------------------------


def spell(kind: Any) -> Spelled:
    """A type as JSON holds it; :func:`read` is the way back.

    Examples
    --------
    >>> spell(types.int64)
    'int64'
    >>> spell(types.uint8[::1])
    {'of': '|u1', 'ndim': 1, 'layout': 'C', 'mutable': True}
    >>> read(spell(types.uint8[::1])) == types.uint8[::1]
    True
    """
    if isinstance(kind, types.Array):
        shape = {"ndim": kind.ndim, "layout": kind.layout, "mutable": kind.mutable}
        return {"of": _describe(kind.dtype), **shape}
    if isinstance(kind, types.Record):
        return {"record": _describe(kind)}
    return _spell_tuple(kind) if isinstance(kind, types.BaseTuple) else str(kind)


def read(spelled: Spelled) -> Any:
    """A type from what :func:`spell` made of it."""
    match spelled:
        case {"of": dtype, "ndim": ndim, "layout": layout, "mutable": mutable}:
            return types.Array(_dtype(dtype), ndim, layout, readonly=not mutable)
        case {"record": dtype}:
            return _dtype(dtype)
        case {"tuple": name, "items": items}:
            return types.BaseTuple.from_types(list(map(read, items)), _class(name))
    return from_dtype(np.dtype(spelled))  # as numpy names it; numba's own names have changed


def _spell_tuple(kind: Any) -> Spelled:
    its = getattr(kind, "instance_class", None)
    name = f"{its.__module__}:{its.__qualname__}" if its else ""
    return {"tuple": name, "items": [spell(item) for item in kind]}


def _describe(kind: Any) -> Any:
    dtype = as_dtype(kind)
    description = json.loads(json.dumps(np.lib.format.dtype_to_descr(dtype)))
    return {"fields": description, "align": dtype.isalignedstruct} if dtype.fields else description


def _dtype(description: Any) -> Any:
    match description:
        case {"fields": fields, "align": align}:
            named = [field for field in _with_tuples(fields) if field[0]]  # numpy pads as before
            return from_dtype(np.dtype(named, align=align))
    return from_dtype(np.dtype(description))


def _with_tuples(description: Any) -> Any:
    """Fields and shapes as tuples, which JSON makes lists."""
    if not isinstance(description, list):
        return description
    return [(name, _with_tuples(kind), *map(tuple, shape)) for name, kind, *shape in description]


def _class(name: str) -> type | None:
    module, _, qualname = name.partition(":")
    return getattr(importlib.import_module(module), qualname) if name else None


def spell_all(dispatchers: Iterable[tuple[str, Any]]) -> dict[str, list[list[Spelled]]]:
    """What functions have been compiled for in this process, by their names."""
    return {
        name: [[spell(kind) for kind in signature] for signature in one.signatures]
        for name, one in dispatchers
        if one.signatures
    }


if __name__ == "__main__":
    main()
