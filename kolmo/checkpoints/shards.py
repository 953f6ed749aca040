"""Models in several files: an index that says which tensor lies in which, or shards without one.

An index is JSON with a ``weight_map`` of tensor names to files of its folder
(https://huggingface.co/docs/transformers/big_models). It is not trusted: it names no file outside
its folder, and no index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.files import plural
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.formats import HEAD, open_file
from kolmo.checkpoints.magic import is_index
from kolmo.checkpoints.safetensors import HEADER_LIMIT, parse_json
from kolmo.errors import InputError
from kolmo.text import natural_key


def open_index(index: File) -> Checkpoint:
    """The tensors of all shards that an index names, shards in the natural order of their names.

    Each shard may have any format but that of an index.

    Raises
    ------
    InputError
        If a shard is missing, lies outside the folder, or lacks a tensor that it should hold.
    """
    names: dict[str, set[str]] = {}
    for tensor, shard in _read_index(index).items():
        names.setdefault(shard, set()).add(tensor)
    shards = named_shards(index)
    _refuse_missing(index, shards)
    opened = [_open_shard(index, shard) for shard in shards]
    tensors: list[WeightTensor] = []
    skipped: list[Skipped] = []
    for part, name in zip(opened, sorted(names, key=natural_key), strict=True):
        wanted = names[name]
        _refuse_lacking(index, name, part, wanted)
        tensors += [tensor for tensor in part.values() if tensor.name in wanted]
        skipped += [entry for entry in part.skipped if entry.name in wanted]
        reason = f"in {name}, but not in the index"
        unlisted = [tensor for tensor in part.values() if tensor.name not in wanted]
        skipped += [Skipped(t.name, reason, t.numel, Role.OTHER, t) for t in unlisted]
    files = [*index.files, *(file for part in opened for file in part.files)]
    return Checkpoint(
        tensors, source=index.where, format=opened[0].format, skipped=skipped, files=files
    )


def open_shards(shards: Sequence[File]) -> Checkpoint:
    """The tensors of shards that belong together by their names, in that order."""
    opened = [open_file(shard) for shard in shards]
    seen: dict[str, str] = {}
    for shard in opened:
        for name in shard:
            if name in seen:
                raise InputError(
                    f"{shard.source}: holds tensor {name!r}, as does {seen[name]}; these are no "
                    f"shards of one model; name one of them"
                )
            seen[name] = shard.source
    return Checkpoint(
        [tensor for shard in opened for tensor in shard.values()],
        source=shards[0].folder.where,
        format=opened[0].format,
        skipped=[entry for shard in opened for entry in shard.skipped],
        files=[file for shard in opened for file in shard.files],
    )


def named_shards(index: File) -> list[File]:
    """The files that an index names, in natural order; InputError if one is outside its folder."""
    names = sorted(set(_read_index(index).values()), key=natural_key)
    return [index.beside(name) for name in names]


def _open_shard(index: File, shard: File) -> Checkpoint:
    if is_index(shard.head(HEAD), shard):
        raise InputError(f"{index.where}: it names {shard.name!r} as a shard, which is an index")
    return open_file(shard)


def _refuse_missing(index: File, shards: Iterable[File]) -> None:
    missing = [shard.name for shard in shards if not shard.exists]
    if missing:
        more = f", and {plural(len(missing) - 1, 'shard')} more" if len(missing) > 1 else ""
        raise InputError(
            f"{index.where}: the index names {missing[0]!r}, which is not in "
            f"{index.folder.where}{more}; download what is missing, or name a shard"
        )


def _refuse_lacking(index: File, name: str, shard: Checkpoint, wanted: set[str]) -> None:
    lacking = sorted(wanted - set(shard) - {entry.name for entry in shard.skipped})
    if lacking:
        raise InputError(
            f"{index.where}: the index places {lacking[0]!r} in {name}, which does not hold it "
            f"({plural(len(lacking), 'tensor')} missing there)"
        )


def _read_index(file: File) -> dict[str, str]:
    where, size = file.where, file.stored.size
    if size > HEADER_LIMIT:
        raise InputError(f"{where}: an index of {size:,} bytes is over the limit")
    weight_map = parse_json(where, file.head(size)).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(shard, str) for shard in weight_map.values()
    ):
        raise InputError(f"{where}: an index has a 'weight_map' of tensor names to shard files")
    if not weight_map:
        raise InputError(f"{where}: the index names no tensor")
    return weight_map
