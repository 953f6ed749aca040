"""Which file of a folder is its checkpoint: decided by names, nothing is opened but an index.

A folder may hold one model in several formats and variants, in shards, beside the state of its
training. What is chosen is, in this order: a model whose shards are all there; one as it is before
a variant (``model.fp16.safetensors``); the format that stands first in the table of formats; an
index, then shards without one, then a single file. Of several models, those in safetensors come
first, then those that are called as a folder's own model is; if there are several still, the user
must name one.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

from kolmo.checkpoints.base import Role, Skipped
from kolmo.checkpoints.folders import File, Folder, depth_of
from kolmo.checkpoints.formats import FORMATS, format_of
from kolmo.checkpoints.naming import Name, is_training, parsed, sibling
from kolmo.checkpoints.shards import named_shards
from kolmo.errors import InputError
from kolmo.text import natural_key

_RANKS = {ending: rank for rank, format in reversed([*enumerate(FORMATS)])
          for ending in format.endings}  # fmt: skip
_FIRST = _RANKS[".safetensors"]

_RANK = re.compile(r"mp_rank_[0-9]+")
_SLICED = re.compile(r"\.[0-9]{2,3}\.")


class Grouping(enum.IntEnum):
    """How a model lies in a folder."""

    INDEX = 0
    SHARDS = 1
    SLICES = 2
    FILE = 3


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A checkpoint of a folder: its files, the one to name first, and what its name says."""

    files: tuple[str, ...]
    grouping: Grouping
    name: Name
    missing: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """The place of its format in the table."""
        return _RANKS.get(self.name.ending, len(_RANKS))

    @property
    def order(self) -> tuple[object, ...]:
        """Which of two candidates for one model is chosen: the lesser."""
        name = self.name
        return (bool(self.missing), bool(name.variant), self.rank, self.grouping, self.files[0])

    @property
    def tier(self) -> int:
        """Which of two models is chosen: that of the lesser tier."""
        return 0 if self.rank == _FIRST else 1 if self.name.is_main else 2


def is_candidate(name: str) -> bool:
    """Whether a file may be a checkpoint, by its name."""
    base = name.rpartition("/")[2]
    if base.startswith(".") or is_training(base):
        return False
    found = parsed(base, _RANKS)
    return bool(found.ending) or found.is_index


def candidates(folder: Folder) -> list[Candidate]:
    """The checkpoints that lie in a folder itself, not below it."""
    names = sorted((n for n in folder.names() if "/" not in n and is_candidate(n)), key=natural_key)
    read = {name: parsed(name, _RANKS) for name in names}
    found = [_index(folder, name) for name in names if read[name].is_index]
    claimed = {shard for index in found for shard in index.files}
    left = {name: read[name] for name in names if name not in claimed}
    groups: dict[Name, list[str]] = {}
    for name, said in left.items():
        groups.setdefault(dataclasses.replace(said, number=0), []).append(name)
    return found + [made for said, files in groups.items() for made in _grouped(said, files)]


def choose(folder: Folder, found: Sequence[Candidate]) -> tuple[Candidate, list[Skipped]]:
    """The checkpoint to open, and the others with the reason why not.

    Raises
    ------
    InputError
        If several models are there and none comes before the others.
    """
    firsts = foremost(folder, found)
    if len(firsts) > 1:
        raise several(folder, [one.files[0] for one in firsts], len(firsts))
    chosen = firsts[0]
    others = [one for one in found if one is not chosen]
    return chosen, [_left_out(one, chosen) for one in others]


def foremost(folder: Folder, found: Sequence[Candidate]) -> list[Candidate]:
    """The models of a folder, each as it would be opened, before which no other one comes."""
    models: dict[str, list[Candidate]] = {}
    for one in sorted(found, key=lambda one: one.order):
        models.setdefault(one.name.model, []).append(one)
    best = {model: _sound(folder, ordered) for model, ordered in models.items()}
    first = min((one.tier for one in best.values()), default=0)
    return [one for one in best.values() if one.tier == first]


def _sound(folder: Folder, ordered: Sequence[Candidate]) -> Candidate:
    """The first candidate for a model that begins as a checkpoint does, if there are several."""
    if len(ordered) == 1:
        return ordered[0]
    return next((one for one in ordered if _begins_well(folder, one)), ordered[0])


def _begins_well(folder: Folder, one: Candidate) -> bool:
    file = File(folder, one.files[0])
    return one.grouping is Grouping.INDEX or (file.exists and format_of(file) is not None)


def several(folder: Folder, names: Sequence[str], count: int) -> InputError:
    """The error for a folder of several checkpoints."""
    if all(_RANK.match(name) for name in names):
        return InputError(
            f"{folder.where}: a model that is cut over {count} ranks of tensor parallelism, which "
            f"are not joined; convert it to one by the program that wrote it, or name a rank to "
            f"measure its part"
        )
    named = ", ".join(sorted(names, key=natural_key)[:5])
    more = f" and {count - 5} more" if count > 5 else ""
    example = f"such as {folder.where.rstrip('/')}/{sorted(names, key=natural_key)[0]}"
    how = "after unpacking it" if depth_of(folder) else example
    return InputError(f"{folder.where}: holds {count} checkpoints; name one: {named}{more} ({how})")


def _left_out(one: Candidate, chosen: Candidate) -> Skipped:
    name = one.files[0]
    if one.name.model == chosen.name.model:
        why = "its shards are not all there" if one.missing else "the same model by its name"
        return Skipped(name, f"{why}; {chosen.files[0]} was chosen", role=Role.COPY)
    return Skipped(name, f"another checkpoint of the folder; {chosen.files[0]} was chosen")


def _index(folder: Folder, name: str) -> Candidate:
    try:
        shards = named_shards(File(folder, name))
    except InputError:  # it is told if nothing else is there
        return Candidate((name,), Grouping.INDEX, parsed(name, _RANKS), (name,))
    missing = tuple(shard.name for shard in shards if not shard.exists)
    files = (name, *(shard.name for shard in shards))
    return Candidate(files, Grouping.INDEX, parsed(name, _RANKS), missing)


def _grouped(name: Name, files: list[str]) -> Iterable[Candidate]:
    """The candidates of files that differ by their numbers alone."""
    if name.is_slice:
        return [Candidate(tuple(files), Grouping.SLICES, name)]
    if not name.total:
        return [Candidate((file,), Grouping.FILE, name) for file in files]
    return [
        Candidate(tuple(files), Grouping.SHARDS, name, tuple(missing_shards(files, name.total)))
    ]


def missing_shards(files: Sequence[str], total: int) -> list[str]:
    """The shards that lack among those of a model, which count from 1 on, or from 0 on.

    >>> missing_shards(["m-00001-of-00003.bin", "m-00002-of-00003.bin"], 3)
    ['m-00003-of-00003.bin']
    """
    numbers = {parsed(file, _RANKS).number: file for file in files}
    first = 0 if 0 in numbers else 1
    file = files[0]
    lacking = [n for n in range(first, first + min(total, 1 << 16)) if n not in numbers]
    return [sibling(file, other) for other in lacking]


def shard_count(file: File) -> int:
    """Of how many shards a file is one, by its name; 1 if it is a model, or its reader joins it
    with the others itself."""
    said = parsed(file.name.rpartition("/")[2], _RANKS)
    if said.is_index:
        return 1
    if said.is_slice:
        wanted = (f".{number:02}.".join(_SLICED.split(file.name, 1)) for number in range(1000))
        return max(1, sum(1 for _ in takewhile(file.folder.has, wanted)))
    format = format_of(file) if said.total > 1 else None
    return 1 if format is None or format.joins else said.total
