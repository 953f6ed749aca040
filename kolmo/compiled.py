"""One decorator for every compiled loop: its machine code is kept for later runs, and never stale.

Numba keeps machine code by the file of the function that is called first. Helpers of other files
are part of that code too, so that an edited helper would go unnoticed and the old code run on.
Here the folder that holds the code is named after the content of *all* files with compiled
functions: a change to one of them, or another version of a library, is another folder.

Anyone who can write to that folder can run code as the user who loads from it. It is therefore used
only if it belongs to the user and is closed to others. The first such folder of these is taken:

1. the folder that ``NUMBA_CACHE_DIR`` names, if it is set;
2. ``__pycache__`` of the installed package;
3. the user's cache folder (``~/.cache/kolmo`` on Linux);
4. a folder of the user's own in the temporary folder.

If there is none, a warning says so and functions are compiled anew in each process.

What was compiled while the package was built (:mod:`kolmo.ahead`) lies in the second folder. It is
read wherever new code is kept, if it belongs to the owner of the package: who can write to it could
as well write to the package itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import tempfile
import typing
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import llvmlite  # type: ignore[import-untyped]
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache, InTreeCacheLocator
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.core.runtime.nrt import rtsys
from numba.extending import intrinsic, overload
from numba.misc.appdirs import AppDirs
from numba.np.numpy_support import as_dtype, from_dtype

# Kernels take numba and llvmlite from here alone. Their files import each other in circles: when
# two threads enter by different ones, Python gives one what the other has half imported.
__all__ = [
    "Array",
    "as_dtype",
    "cgutils",
    "compiled",
    "folder_of_code",
    "from_dtype",
    "intrinsic",
    "ir",
    "kept",
    "kernel_files",
    "overload",
    "types",
]

Array = Any
"""Type of the arrays that compiled functions take: numba infers their dtype and dimensions."""

_ROOT = Path(__file__).parents[1]
_MARKS = b"kolmo.compiled", b"from numba", b"import numba"  # one of them is in every kernel file
_KEPT = 4  # folders of earlier kernels, such as those of another branch, that are not yet removed

kept: dict[str, Any] = {}
"""The functions that have been defined whose machine code is kept, by ``module.name``."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


@typing.overload
def compiled(function: _Function) -> _Function: ...
@typing.overload
def compiled(
    *, inline: bool = False, allocates: bool = False, fastmath: bool = False
) -> Callable[[_Function], _Function]: ...
def compiled(
    function: Any = None,
    *,
    inline: bool = False,
    allocates: bool = False,
    fastmath: bool = False,
) -> Any:
    """Compile a function when it is first called, free of the interpreter's lock.

    Parameters
    ----------
    function : callable
        Takes numbers and arrays, returns numbers; belongs to kolmo or momos. The code of functions
        of other modules is not kept, because a change of their helpers would go unnoticed.
    inline : bool
        Whether the machine code of the function is put where compiled code calls it; nothing else
        can call it.
    allocates : bool
        Whether the function makes arrays. Those that make none need not count references, which
        halves what there is to compile, and makes calls between them cheap.
    fastmath : bool
        Whether sums of floating-point numbers may be reordered.

    Examples
    --------
    >>> @compiled
    ... def triangle(n: int) -> int:
    ...     total = 0
    ...     for i in range(n):
    ...         total += i
    ...     return total
    >>> triangle(5)
    10
    """
    if function is None:
        return partial(compiled, inline=inline, allocates=allocates, fastmath=fastmath)
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return function if inline else np.errstate(over="ignore")(function)  # as machines count
    options = {"nopython": True, "nogil": True, "boundscheck": None, "fastmath": fastmath}
    options |= {"_nrt": allocates, "forceinline": inline, "no_cpython_wrapper": inline}
    dispatcher: Any = _Dispatcher(function, {}, options | {"no_cfunc_wrapper": True})
    if not inline and Path(function.__code__.co_filename) in kernel_files():
        kept[f"{function.__module__}.{function.__qualname__}"] = dispatcher
        if folder_of_code():
            dispatcher._cache = _Cache(function)
    return dispatcher


@cache
def kernel_files() -> dict[Path, bytes]:
    """The files of kolmo and momos on which compiled code depends, and what they hold."""
    paths = sorted(path for name in ("kolmo", "momos") for path in (_ROOT / name).rglob("*.py"))
    files = {path: path.read_bytes() for path in paths if path.is_file()}  # no editor's dead link
    return {path: text for path, text in files.items() if any(mark in text for mark in _MARKS)}


# --- quicker compilation --------------------------------------------------------------------


class _Dispatcher(CPUDispatcher):
    """Numba's dispatcher, which compiles less.

    Numba would compile a function anew for each constant that it is given; LLVM, which puts the
    constants in where the function is inlined, gains nothing by that.
    """

    def get_call_template(self, args: Any, kws: Any) -> Any:
        plain = {name: types.unliteral(kind) for name, kind in kws.items()}
        return super().get_call_template([types.unliteral(kind) for kind in args], plain)

    def compile(self, sig: Any) -> Any:
        with global_compiler_lock, _remembering():
            return super().compile(sig)


_call_types: dict[Any, Any] = {}


@contextmanager
def _remembering() -> Iterator[None]:
    """Resolve each call of a built-in function once for the same types, such as integer + integer.

    Numba asks all that ever defined such a function, for every place where it is called: about a
    third of the time that it takes to compile.
    """
    functions: Any = types.BaseFunction
    resolve = functions.get_call_type

    def remember(function: Any, context: Any, args: Any, kws: Any) -> Any:
        if kws:
            return resolve(function, context, args, kws)
        key = function, context, args
        if key not in _call_types:
            _call_types[key] = resolve(function, context, args, kws)
        return _call_types[key]

    nested = resolve.__module__ == __name__
    functions.get_call_type = resolve if nested else remember
    try:
        yield
    finally:
        functions.get_call_type = resolve


# --- where compiled code is kept ------------------------------------------------------------


@cache
def folder_of_code() -> Path | None:
    """The folder for these kernels, made if need be; None, and a warning, if there can be none.

    Examples
    --------
    >>> folder_of_code().is_dir()
    True
    """
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return None
    folders = [stem.resolve().with_name(f"{stem.name}-{_digest()}") for stem in _stems()]
    folder = next(filter(_make, folders), None)
    if folder is None:
        _warn(f"none of {', '.join(str(folder.parent) for folder in folders)} is writable by you "
              "and by you alone")  # fmt: skip
    return folder


@cache
def _shipped() -> Path | None:
    """The folder of code that came with the package, where it is another one and can be trusted."""
    folder = _in_package().resolve()
    folder = folder.with_name(f"{folder.name}-{_digest()}")
    if folder == folder_of_code() or not folder.exists():
        return None
    return folder if _is_private(folder, owner=Path(__file__).stat().st_uid) else None


@cache
def _digest() -> str:
    versions = numba.__version__, llvmlite.__version__, np.__version__
    whole = hashlib.sha256(repr(versions).encode())
    for path, text in kernel_files().items():
        whole.update(f"{path.relative_to(_ROOT).as_posix()} {len(text)}\n".encode() + text)
    return whole.hexdigest()[:32]


def _stems() -> Iterator[Path]:
    """Places for compiled code, the best first, to whose names the digest is added."""
    if chosen := numba.config.CACHE_DIR:  # type: ignore[attr-defined]
        yield Path(chosen, "kolmo")
    yield _in_package()
    yield Path(AppDirs("kolmo", appauthor=False).user_cache_dir, "compiled")
    with suppress(FileNotFoundError):  # there is no temporary folder
        yield Path(tempfile.gettempdir(), f"kolmo-{_user()}")


def _in_package() -> Path:
    return Path(__file__).with_name("__pycache__") / "compiled"


def _user() -> int:
    return 0 if sys.platform == "win32" else os.geteuid()


def _make(folder: Path) -> bool:
    """Whether a folder exists or could be made, writable by the user and by nobody else."""
    try:
        is_new = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    if is_new:
        _remove_oldest(folder)
    return _is_private(folder)


def _is_private(folder: Path, owner: int | None = None) -> bool:
    """Whether nobody but an owner, the user if none is given, can write to a folder, or put
    another folder in its place.

    Windows has access lists instead of modes; there a user's folders are closed to others.
    """
    try:
        its = folder.lstat()
        above = [parent.stat().st_mode for parent in folder.parents]
    except OSError:
        return False
    if sys.platform == "win32":
        return True
    owner = _user() if owner is None else owner
    closed = stat.S_ISDIR(its.st_mode) and its.st_uid == owner and not its.st_mode & 0o022
    return closed and all(not mode & 0o022 or mode & stat.S_ISVTX for mode in above)


def _remove_oldest(folder: Path) -> None:
    """Remove the oldest folders of earlier kernels; processes that use one then compile anew."""
    stem = folder.name.removesuffix(_digest())
    with suppress(OSError):
        others = sorted(folder.parent.glob(f"{stem}*"), key=lambda path: path.stat().st_mtime)
        for other in filter(_is_private, others[: -_KEPT - 1]):
            shutil.rmtree(other, ignore_errors=True)


@cache
def _warn(reason: str) -> None:
    """Warn, once of each reason: while numba compiles, Python forgets what it has warned of."""
    warnings.warn(
        f"compiled code is not kept, so that each process compiles it anew: {reason} "
        "(NUMBA_CACHE_DIR may name another folder)",
        RuntimeWarning,
        stacklevel=2,
    )


# --- the locator given to numba ---------------------------------------------------------------


class _Locator(InTreeCacheLocator):
    """Says where a function's code is. That it is not stale, the name of the folder says; times
    of files are lost when a package is installed."""

    def __init__(self, function: Any, folder: str) -> None:
        super().__init__(function, function.__code__.co_filename)
        self._cache_path = folder

    def get_source_stamp(self) -> str:
        return _digest()

    def ensure_cache_path(self) -> None:
        if not _make(Path(self._cache_path)):
            raise PermissionError("it is not writable by you, or not by you alone")


class _Implementation(CompileResultCacheImpl):
    """Numba's implementation with our locator, and with file names that include the package,
    because all packages share a folder. Numba's constructor would ask its own locators."""

    _place = staticmethod(folder_of_code)

    def __init__(self, function: Any) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(function, str(self._place()))
        name = f"{function.__module__}.{function.__qualname__}"
        self._filename_base = self.get_filename_base(name, getattr(sys, "abiflags", ""))


class _ImplementationShipped(_Implementation):
    _place = staticmethod(_shipped)


class _CacheShipped(FunctionCache):
    """Reads what came with the package, without what only a compiler needs: numba would import, for
    the first function, all that it knows to compile, linear algebra of scipy included, which takes
    longer than to load ten functions."""

    _impl_class: type[_Implementation] = _ImplementationShipped

    def load_overload(self, signature: Any, context: Any) -> Any:
        rtsys.initialize(context)  # registers what code that makes arrays calls
        try:
            with self._guard_against_spurious_io_errors():
                return self._load_overload(signature, context)
        except Exception:  # a damaged file can raise anything; what it holds is compiled anew
            with suppress(OSError):
                self.flush()
        return None


class _Cache(_CacheShipped):
    """The cache for new code, whose errors never stop a program."""

    _impl_class = _Implementation

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        self._shipped = _CacheShipped(function) if _shipped() else None

    def load_overload(self, signature: Any, context: Any) -> Any:
        found = self._shipped and self._shipped.load_overload(signature, context)
        if found is None and _is_private(Path(self.cache_path)):  # it was, but may be so no longer
            found = super().load_overload(signature, context)
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except OSError as error:  # no space left, or the folder is no longer the user's own
            _warn(f"{self.cache_path}: {error.strerror or error}")
