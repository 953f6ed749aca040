"""open_checkpoint: recognize what a source is, by content, and open it."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kolmo.checkpoints.base import Checkpoint, WeightTensor
from kolmo.checkpoints.binding import arrays, bound, by_value, with_loads
from kolmo.checkpoints.directories import open_folder, open_named
from kolmo.checkpoints.folders import File, LocalFolder
from kolmo.checkpoints.loads import Load, is_near
from kolmo.checkpoints.naming import hub_hint
from kolmo.checkpoints.origins import Origin, fingerprint
from kolmo.checkpoints.roles import require_weights, sort_out
from kolmo.errors import InputError

_KEPT = 4  # checkpoints that a process keeps open for tensors that came from elsewhere


def open_checkpoint(source: Any, roles: Sequence[str] = ()) -> Checkpoint:
    """Open weights without reading them.

    Parameters
    ----------
    source : str, PathLike, Checkpoint, nn.Module or mapping
        A file (safetensors, torch, a pickle, joblib, .npz, .npy; recognized by content; torch,
        scikit-learn and joblib need not be installed), the index of a sharded checkpoint, a
        directory that holds one of these, a URL (any that fsspec knows), a live module, a state
        dict, or arrays (of numpy, torch, JAX and all that have ``__array__`` or ``__dlpack__``)
        in a nest of mappings and lists.
    roles : str or list of str, optional
        What to open besides weights: ``buffer``, ``optimizer``, ``copy``, ``book-keeping`` or
        ``other``.

    Returns
    -------
    Checkpoint
        A mapping of names to `WeightTensor`; ``skipped`` lists what is no weight, with its role,
        and why.

    Raises
    ------
    InputError
        If it cannot be read, is not what it claims to be, or holds nothing to measure.
    MissingExtraError
        If a format needs a package that is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> ckpt = open_checkpoint({"w": np.ones((2, 3), np.float32)})
    >>> ckpt["w"].shape, ckpt["w"].dtype, ckpt.numel
    ((2, 3), dtype('float32'), 6)
    """
    if isinstance(source, Checkpoint):
        return source.with_roles(roles)
    return require_weights(survey(source).with_roles(roles))


def survey(source: Any) -> Checkpoint:
    """A source with its weights sorted out, also if there are none; a checkpoint as it is."""
    return source if isinstance(source, Checkpoint) else sort_out(open_source(source))


def open_source(source: Any) -> Checkpoint:
    """All arrays of a source that `open_checkpoint` knows, whatever they are to a network.

    The checkpoint and its tensors pickle: those of a path or a URL by where they were opened,
    those in memory by their values.
    """
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, (str, os.PathLike)):
        return _open_by_name(os.fspath(source))
    from kolmo.checkpoints.memory import open_memory  # which knows nests of many frameworks

    return bound(open_memory(source), by_value)


def _open_by_name(name: str) -> Checkpoint:
    opened = _open_url(name) if "://" in name else open_path(Path(name))
    origin = opened.opened_from(name if "://" in name else os.path.abspath(name))
    return bound(opened, functools.partial(_by_origin, origin))


def open_path(path: Path) -> Checkpoint:
    """Open a file or a directory."""
    try:
        path.is_dir()
    except OSError as error:  # of a folder above it that may not be looked into
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if path.is_dir():
        return open_folder(LocalFolder(path))
    index = path.with_name(f"{path.name}.index") if path.name else path
    if not path.exists() and index.is_file():  # TensorFlow calls its checkpoints by their prefix
        return open_named(File.local(index))
    if not path.exists():
        raise InputError(f"{path}: there is no such file{hub_hint(str(path))}")
    return open_named(File.local(path))


# --- remote ---------------------------------------------------------------------------------


def _open_url(url: str) -> Checkpoint:
    """Open what a URL names, by ranges; its servers' words stand for hashes of its files."""
    from kolmo.checkpoints.remote import RemoteFolder, open_url, public

    found = open_url(url)
    folder = found.folder if isinstance(found, File) else found
    checkpoint = open_named(found) if isinstance(found, File) else open_folder(found)
    checkpoint.source = public(url)
    checkpoint.versions = folder.versions if isinstance(folder, RemoteFolder) else {}
    return checkpoint


# --- opened again ---------------------------------------------------------------------------


def check_unchanged(checkpoint: Checkpoint) -> None:
    """Compare the files behind a checkpoint with what they were when it was opened.

    Raises
    ------
    InputError
        If one was changed or removed meanwhile: figures may be of neither version.
    """
    now = {file: fingerprint(file) for file in checkpoint.files}
    if checkpoint.versions and checkpoint.origin:
        now |= _open_url(checkpoint.origin.source).versions
    for file, then in checkpoint.fingerprints.items():
        if now.get(file, then) != then:
            raise InputError(f"{file}: it was changed while it was read")


def _by_origin(origin: Origin, tensor: WeightTensor, number: int) -> WeightTensor:
    """A tensor that another process reads from the same source."""
    load = OpenedLoad(origin, tensor.name, number, load=tensor.load)
    codes = tensor.codes
    load_codes = OpenedLoad(origin, tensor.name, number, True, codes.load) if codes else None
    return with_loads(tensor, load, load_codes)


class OpenedLoad:
    """Loads an array of a source; after pickling, of the source opened again where it is used.

    Parameters
    ----------
    origin : Origin
    name : str
        The array's name in it.
    number : int
        Its number among all arrays.
    is_codes : bool
        Whether it loads the codes rather than the weights.
    load : callable, optional
        The reader's own function; without one the source is opened when it is called first.
    """

    def __init__(
        self,
        origin: Origin,
        name: str,
        number: int,
        is_codes: bool = False,
        load: Load | None = None,
    ) -> None:
        self._place = (origin, name, number, is_codes)
        self._load = load

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        return self._reader(start, stop)

    @property
    def into(self) -> Any:
        """What fills an array, where the reader can (`kolmo.checkpoints.loads`)."""
        return self._reader.into  # type: ignore[attr-defined]

    @property
    def offset(self) -> Any:
        """What tells the byte of the file where entries begin, where the reader can."""
        return self._reader.offset  # type: ignore[attr-defined]

    @property
    def is_near(self) -> bool:
        """Whether pieces are read at no more cost than all at once."""
        return is_near(self._reader)

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenedLoad, self._place

    @property
    def _reader(self) -> Load:
        if self._load is None:
            self._load = self._opened_again()
        return self._load

    def _opened_again(self) -> Load:
        origin, name, number, is_codes = self._place
        with _lock:
            found = _reopened(origin)
        tensor = found[number] if number < len(found) else None
        if tensor is None or tensor.name != name or (is_codes and tensor.codes is None):
            raise _changed(origin)
        return tensor.codes.load if is_codes and tensor.codes else tensor.load


_lock = threading.RLock()


@functools.lru_cache(maxsize=_KEPT)
def _reopened(origin: Origin) -> list[WeightTensor]:
    """All arrays of a source, opened once in this process for as many tensors as are read of it."""
    opened = _open_by_name(origin.source)
    if opened.origin != origin:
        raise _changed(origin)
    return list(arrays(opened))


def _changed(origin: Origin) -> InputError:
    from kolmo.checkpoints.remote import public

    return InputError(f"{public(origin.source)}: it was changed while it was measured")
