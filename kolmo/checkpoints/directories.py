"""Opening folders: those that are a checkpoint, those that hold one, those that hold several."""

from __future__ import annotations

from kolmo.checkpoints.base import Checkpoint, Role, Skipped
from kolmo.checkpoints.choosing import (
    Candidate,
    Grouping,
    candidates,
    choose,
    is_candidate,
    several,
    shard_count,
)
from kolmo.checkpoints.folders import File, Folder, PackedFolder, SubFolder
from kolmo.checkpoints.formats import FOLDERS, HEAD, format_of, known, open_file
from kolmo.checkpoints.magic import is_text
from kolmo.checkpoints.mistaken import unfinished_download, zip_kind
from kolmo.checkpoints.naming import is_training
from kolmo.checkpoints.quantized import logical_tensors
from kolmo.checkpoints.quantized.config import config_beside
from kolmo.checkpoints.shards import open_shards
from kolmo.checkpoints.slices import open_slices
from kolmo.errors import InputError
from kolmo.text import natural_key

_DEEP = 32  # folders within folders
_NAMELESS = 1 << 11  # files that are looked into because no name is that of a checkpoint

# What only folders of other formats than those of files hold, by how names end.
_MARKS = tuple(mark for format in FOLDERS for mark in format.marks)


def open_folder(folder: Folder) -> Checkpoint:
    """The checkpoint that a folder is, or holds.

    Raises
    ------
    InputError
        If there is none, or several of which the user must name one.
    """
    for _ in range(_DEEP):
        for format in FOLDERS:
            opened = format.open(folder) if format.recognize(folder) else None
            if opened is not None:
                return _logical(opened, folder)
        if candidates(folder):
            return open_plain(folder)
        below = _latest(folder, checkpoint_folders(folder))
        if len(below) != 1:
            break
        folder = below[0]
    if below:
        raise several(folder, [inner.name for inner in below], len(below))
    return _open_nameless(folder)


def open_named(file: File) -> Checkpoint:
    """The checkpoint of a file that the user named; of a shard, what it is a shard of is said."""
    part_of = next((format.name for format in FOLDERS if file.name.endswith(format.marks)), "")
    if part_of:
        raise InputError(
            f"{file.where}: a part of a checkpoint that is a folder ({part_of}); give "
            f"{file.folder.where}"
        )
    if reason := unfinished_download(file):
        raise InputError(f"{file.where}: {reason}")
    opened, total = _logical(open_file(file), file.folder, file.name), shard_count(file)
    if total > 1:
        opened.shards = (1, total)
    return opened


def _logical(opened: Checkpoint, folder: Folder, name: str = "model") -> Checkpoint:
    """A model with logical tensors in place of quantized ones; the configuration beside its files
    may say how they were quantized."""
    return logical_tensors(opened, config_beside(File(folder, name)))


def checkpoint_folders(folder: Folder) -> list[SubFolder]:
    """The folders in a folder that may be, or hold, a checkpoint: by the names of their files."""
    names = [name for name in folder.names() if "/" in name and _may_be(name)]
    tops = dict.fromkeys(name.partition("/")[0] for name in names)
    return [
        SubFolder(folder, top)
        for top in sorted(tops, key=natural_key)
        if not top.startswith((".", "__MACOSX")) and not is_training(top)
    ]


def _latest(folder: Folder, below: list[SubFolder]) -> list[SubFolder]:
    """Of several steps of a training, the one that a program named in a file as the latest."""
    for name in ("latest", "latest_checkpointed_iteration.txt"):
        file = File(folder, name)
        if file.exists:
            named = file.head(256).decode("utf-8", "replace").strip()
            wanted = {named, f"iter_{named:0>7}"}
            return [inner for inner in below if inner.name in wanted] or below
    return below


def _may_be(name: str) -> bool:
    return is_candidate(name) or name.endswith(_MARKS)


def open_plain(folder: Folder) -> Checkpoint:
    """The checkpoint that is chosen among the files that lie in a folder itself."""
    chosen, others = choose(folder, candidates(folder))
    opened = _logical(_open(folder, chosen), folder, chosen.files[0])
    beside = [*others, *_training(folder), *_below(folder, chosen)]
    return opened.holding(opened.values(), [*opened.skipped, *beside])


def _open(folder: Folder, chosen: Candidate) -> Checkpoint:
    files = [File(folder, name) for name in chosen.files]
    if chosen.grouping in (Grouping.INDEX, Grouping.FILE):
        return open_file(files[0])
    if chosen.grouping is Grouping.SLICES:
        return open_slices(files)
    if chosen.missing:
        missing = ", ".join(chosen.missing[:5]) + (" …" if len(chosen.missing) > 5 else "")
        raise InputError(
            f"{folder.where}: {len(files):,} of {chosen.name.total:,} shards of a model; missing: "
            f"{missing}; download what is missing, or name a shard to measure it alone"
        )
    format = format_of(files[0])
    return open_file(files[0]) if format and format.joins else open_shards(files)


def _open_nameless(folder: Folder) -> Checkpoint:
    """The one file whose content is that of a checkpoint, in a folder where no name is."""
    files = [File(folder, name) for name in folder.names() if "/" not in name and _is_seen(name)]
    if len(files) > _NAMELESS:
        raise InputError(
            f"{folder.where}: none of its {len(files):,} files is called as a checkpoint is; name "
            f"the one that you mean"
        )
    found = [file for file in files if file.exists and _has_format(file)]
    if len(found) == 1:
        return _logical(open_file(found[0]), folder)
    if found:
        raise several(folder, [file.name for file in found], len(found))
    training = _training(folder)
    if training:
        named = ", ".join(entry.name for entry in training[:5])
        raise InputError(
            f"{folder.where}: holds the state of a training and no model ({named}); name one of "
            f"its files if you want that measured"
        )
    named = ", ".join(name[:60] for name in folder.names()[:5]) or "nothing"
    if isinstance(folder, PackedFolder) and (kind := zip_kind(folder.names())):
        raise InputError(f"{folder.where}: this is {kind}; give a checkpoint")
    raise InputError(
        f"{folder.where}: there is no checkpoint in this {_noun(folder)}, which holds {named} "
        f"(known: {known()})"
    )


def _noun(folder: Folder) -> str:
    return "archive" if isinstance(folder, PackedFolder) else "directory"


def _is_seen(name: str) -> bool:
    return not name.startswith(".") and not is_training(name)


def _has_format(file: File) -> bool:
    return not is_text(file.head(HEAD)) and format_of(file) is not None


# --- what lies beside -----------------------------------------------------------------------


def _training(folder: Folder) -> list[Skipped]:
    """The state of a training that lies in a folder, which is never opened."""
    reason = "state of the training, not opened"
    names = [name for name in folder.names() if "/" not in name and is_training(name)]
    return [Skipped(name, reason, role=Role.OPTIMIZER) for name in names]


def _below(folder: Folder, chosen: Candidate) -> list[Skipped]:
    """Checkpoints in folders of a folder that has one itself."""
    files = {name.partition("/")[0] for name in chosen.files if "/" in name}
    below = [inner.name for inner in checkpoint_folders(folder) if inner.name not in files]
    return [Skipped(f"{name}/", "a folder beside the checkpoint, not opened") for name in below]
