"""gensim's models, which are pickles of objects with their great arrays in files beside them.

The arrays over a size lie in ``NAME.ATTRIBUTE.npy``, of an object within the model in
``NAME.wv.vectors.npy``; the pickle lists their attributes under ``__numpys``, and the objects that
were saved so under ``__recursive_saveloads`` (https://github.com/piskvorky/gensim,
gensim/utils.py: ``SaveLoad``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeGuard

from kolmo.checkpoints.base import Checkpoint, Role, WeightTensor
from kolmo.checkpoints.containers import gather
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.inert import Record
from kolmo.checkpoints.nests import TooDeepError
from kolmo.checkpoints.numpy import open_npy
from kolmo.errors import InputError

_DEEP = 8  # objects within objects
_TRAINING = ("vectors_lockf", "count", "sample_int", "cum_table", "key", "buckets_word")


def is_gensim(contents: Any) -> TypeGuard[Record]:
    """Whether a pickle holds an object of gensim."""
    return isinstance(contents, Record) and contents.name.startswith("gensim.")


def open_model(file: File, contents: Record) -> Checkpoint:
    """The arrays of a model, those in the files beside it too.

    Raises
    ------
    InputError
        If one of these files is not there, so that half of the model would be read.
    """
    try:
        tensors, skipped = gather(contents, "", file.where)
    except TooDeepError as error:
        raise InputError(f"{file.where}: {error}") from None
    files = list(file.files)
    for name in _separate(contents, "", 0):
        other = _beside(file, name)
        tensors += [dataclasses.replace(tensor, name=name) for tensor in open_npy(other).values()]
        files += other.files
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise InputError(f"{file.where}: a gensim model that is damaged (an array is there twice)")
    if not tensors:
        raise InputError(f"{file.where}: a gensim model ({contents.name[:80]}) without arrays")
    found = [_with_role(tensor) for tensor in tensors]
    return Checkpoint(found, source=file.where, format="gensim", skipped=skipped, files=files)


def _beside(file: File, name: str) -> File:
    other = file.beside(f"{file.name.rpartition('/')[2]}.{name}.npy")
    if not other.exists:
        raise InputError(
            f"{file.where}: a gensim model whose array {name[:200]!r} lies beside it in "
            f"{other.name[:200]!r}, which is not there; copy that file to it"
        )
    return other


def _with_role(tensor: WeightTensor) -> WeightTensor:
    """A tensor of gensim's; counts, locks and states of chance are no weights of the model."""
    is_other = tensor.name.rpartition(".")[2] in _TRAINING
    return dataclasses.replace(tensor, role=Role.OTHER if is_other else tensor.role)


def _separate(value: Any, prefix: str, depth: int) -> Iterator[str]:
    """The names of the arrays in other files, those of inner objects too."""
    state = value.state if isinstance(value, Record) else None
    if not isinstance(state, dict) or depth > _DEEP:
        return
    for name in _texts(state.get("__numpys")):
        yield prefix + name
    for name in _texts(state.get("__recursive_saveloads")):
        yield from _separate(state.get(name), f"{prefix}{name}.", depth + 1)


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
