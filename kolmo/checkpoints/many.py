"""Many checkpoints: those that globs and folders stand for, and their names."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from kolmo.checkpoints.choosing import Grouping, candidates, foremost, is_candidate
from kolmo.checkpoints.directories import checkpoint_folders
from kolmo.checkpoints.folders import File, Folder, LocalFolder
from kolmo.checkpoints.formats import FOLDERS, formats
from kolmo.checkpoints.naming import hub_hint, parsed
from kolmo.errors import InputError
from kolmo.text import natural_key, public

_DEEP = 4  # folders of folders of checkpoints


def find_checkpoints(sources: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """The checkpoints that paths, URLs, globs and folders stand for, by short names of their own.

    Parameters
    ----------
    sources : iterable of str or PathLike
        Each a checkpoint, a glob such as ``runs/*/step*.safetensors`` (``**`` goes through all
        folders), or a folder of checkpoints; or one of these with a name of its own,
        ``NAME=SOURCE``.

    Returns
    -------
    dict of str to str
        Paths or URLs in the order given, those of a glob or a folder by their numbers; each under
        the parts of its path that tell it from the others.

    Raises
    ------
    InputError
        If nothing is there, or two have the same name.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for step in (2, 10):
    ...     folder.joinpath(f"step-{step}.safetensors").touch()
    >>> list(find_checkpoints([folder])), list(find_checkpoints([folder / "*10*"]))
    (['step-2', 'step-10'], ['step-10'])
    """
    given = [_named(_slashed(os.fspath(source))) for source in sources]
    twice = next((path for pair in given if given.count(pair) > 1 for path in pair[1:]), None)
    if twice:
        raise InputError(f"{twice!r} is named twice; to measure it twice: A={twice} B={twice}")
    inner = [(name, _expanded(path)) for name, path in given]
    nameless = list(dict.fromkeys(path for name, paths in inner if not name for path in paths))
    short = dict(zip(nameless, short_names(nameless), strict=True))
    found: dict[str, str] = {}
    for name, paths in inner:
        named = _under(name, paths) if name else {short[path]: path for path in paths}
        for key, path in named.items():
            if found.setdefault(key, path) != path:
                raise InputError(f"{found[key]} and {path} both have the name {key!r}")
    return found


def _slashed(source: str) -> str:
    """A path with slashes between its parts, whatever the system has there."""
    return source if "://" in source else source.replace(os.sep, "/")


def _named(source: str) -> tuple[str, str]:
    """The name that NAME=SOURCE gives, empty without one: ``epoch=3.ckpt`` may be a file."""
    name, _, path = source.partition("=")
    if not path or not name or "/" in name or os.path.exists(source) or glob.glob(source):
        return "", source
    return name, path


def _under(name: str, paths: Sequence[str]) -> dict[str, str]:
    if len(paths) == 1:
        return {name: paths[0]}
    return {f"{name}/{short}": path for short, path in zip(short_names(paths), paths, strict=True)}


# --- from globs and folders to paths --------------------------------------------------------


def _expanded(source: str) -> list[str]:
    """The checkpoints that a source stands for, in natural order, each once."""
    matches = {path: _folder(path) for path in _matches(source)}
    if not matches:
        raise InputError(f"{source}: there is no such file or folder{hub_hint(source)}")
    if len(matches) > 1:
        matches = {p: f for p, f in matches.items() if _may_be(p, f)} or matches
    paths = [
        inner
        for path, folder in matches.items()
        for inner in (_inside(path, folder) if folder or len(matches) == 1 else _whole(path))
    ]
    return list(dict.fromkeys(paths))


def _matches(source: str) -> list[str]:
    """What a glob matches; a source that is none as it is."""
    is_url = "://" in source
    if not glob.has_magic(source) or (not is_url and os.path.exists(source)):
        return [source]
    return sorted(
        _globbed(source) if is_url else glob.glob(source, recursive=True), key=natural_key
    )


def _globbed(url: str) -> list[str]:
    from kolmo.checkpoints.remote import globbed

    return globbed(url)


def _folder(path: str) -> Folder | None:
    """The folder that this is; None of a file."""
    if "://" not in path:
        return LocalFolder(Path(path)) if os.path.isdir(path) else None
    if is_candidate(path):
        return None
    from kolmo.checkpoints.remote import open_url

    found = open_url(path)
    return None if isinstance(found, File) else found


def _may_be(path: str, folder: Folder | None) -> bool:
    """Whether a match may be a checkpoint, or hold some, by its name and those in it."""
    if folder is None:
        return is_candidate(path)
    return _is_known(folder) or bool(candidates(folder) or checkpoint_folders(folder))


def _is_known(folder: Folder) -> bool:
    return any(format.recognize(folder) for format in FOLDERS)


def _whole(path: str) -> list[str]:
    """What opens the model that a file is a part of, its index or its folder; else the file."""
    above, slash, name = path.rpartition("/")
    said = parsed(name, _endings())
    if not (said.total or said.is_slice or said.is_index):
        return [path]
    folder = _folder(above or ".")
    found = [one for one in candidates(folder) if name in one.files] if folder else []
    by_one = [one.files[0] for one in found if one.grouping in (Grouping.INDEX, Grouping.FILE)]
    return [f"{above}{slash}{by_one[0]}" if by_one else above or "."]


def _endings() -> list[str]:
    return [ending for format in formats() for ending in format.endings]


def _inside(path: str, folder: Folder | None) -> list[str]:
    """The checkpoints of a folder of several; a file, or a folder that is one, as it is."""
    inner = _below(folder, _DEEP) if folder else [""]
    return [f"{path.rstrip('/')}/{name}" if name else path for name in inner]


def _below(folder: Folder, depth: int) -> list[str]:
    """The names of several checkpoints in a folder; one that is empty where it is a checkpoint."""
    if not depth or _is_known(folder):
        return [""]
    if found := candidates(folder):
        models = foremost(folder, found)
        return _ordered(one.files[0] for one in models) if len(models) > 1 else [""]
    below = {inner.name: _below(inner, depth - 1) for inner in checkpoint_folders(folder)}
    if len(below) == 1 and list(below.values()) == [[""]]:
        return [""]
    paths = [f"{name}/{rest}".rstrip("/") for name, rests in below.items() for rest in rests]
    return _ordered(paths) or [""]


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=natural_key)


# --- names ----------------------------------------------------------------------------------


def short_names(paths: Sequence[str]) -> list[str]:
    """The parts of paths that tell them apart, without endings where these do not.

    >>> short_names(["runs/a/model.safetensors", "runs/b/model.safetensors"])
    ['a', 'b']
    >>> short_names(["runs/a/step-1.pt", "runs/b/step-1.pt", "base.pt"])
    ['runs/a/step-1', 'runs/b/step-1', 'base']
    >>> short_names(["runs/a/step-1.pt", "base.pt"])
    ['step-1', 'base']
    >>> short_names(["a/x.pt", "a/x.npz"]), short_names(["out/final.pt"])
    (['x.pt', 'x.npz'], ['final'])

    A file that is called as the one model of its folder has the folder's name, and a snapshot in
    the cache of the Hugging Face Hub that of its model:

    >>> short_names(["runs/bert/pytorch_model.bin"]), short_names(["runs/bert/head.bin"])
    (['bert'], ['head'])
    >>> short_names(["a/model.pt", "b/pytorch_model.bin"])
    ['a', 'b']
    >>> short_names(["hub/models--org--name/snapshots/0a1b2c/pytorch_model.bin"])
    ['name']

    Of a URL only what may be shown is in a name:

    >>> short_names(["https://host/a.pt?key=1", "https://host/b.pt?key=2"])
    ['a', 'b']
    >>> short_names(["https://host/get?id=1", "https://host/get?id=2"])
    ['get', 'get-2']
    """
    paths = _shown(paths)
    bare = [_without_ending(path) for path in paths]
    ways = ([_model(path) for path in paths], bare, list(paths))
    told = next((way for way in ways if len(set(way)) == len(set(paths))), list(paths))
    parts = [path.strip("/").split("/") for path in told]
    if len(set(told)) < 2:
        return [own[-1] for own in parts]
    first = _shared(parts)
    last = _shared([own[first:][::-1] for own in parts])
    return ["/".join(_apart(own[first : len(own) - last], parts, first)) for own in parts]


def _shown(paths: Sequence[str]) -> list[str]:
    """Paths, and URLs without what they may hide; those that are alike then have numbers."""
    alike: dict[str, list[str]] = {}
    shown = []
    for path in paths:
        bare = public(path) if "://" in path else path
        others = alike.setdefault(bare, [])
        others += [path] if path not in others else []
        number = others.index(path) + 1
        shown.append(bare if number == 1 else f"{bare}-{number}")
    return shown


def _model(path: str) -> str:
    """The path of the model that a path is of: a folder, or a file without its ending."""
    above, _, name = path.rstrip("/").rpartition("/")
    said = parsed(name, _endings())
    if said.is_main and (said.ending or said.is_index):
        path = above or os.getcwd().rpartition("/")[2] or path
    elif name in (".", ".."):
        path = os.path.basename(os.path.realpath(path))
    parts = path.rstrip("/").split("/")
    if len(parts) > 2 and parts[-2] == "snapshots" and parts[-3].startswith("models--"):
        return parts[-3].rpartition("--")[2]
    return _without_ending(path)


def _without_ending(path: str) -> str:
    lower = path.lower()
    ending = max((e for e in _endings() if lower.endswith(e)), key=len, default="")
    return path[: len(path) - len(ending)]


def _shared(parts: Sequence[Sequence[str]]) -> int:
    """How many first parts all have in common, of which one at least is left to each."""
    most = min(len(own) for own in parts) - 1
    alike = (len({own[place] for own in parts}) == 1 for place in range(most))
    return next((place for place, same in enumerate(alike) if not same), most)


def _apart(own: list[str], parts: Sequence[Sequence[str]], first: int) -> list[str]:
    """The parts of a path that differ, where all paths have as many; else the last, if it tells
    them apart."""
    if len({len(other) for other in parts}) > 1:
        return own[-1:] if len({other[-1] for other in parts}) == len(parts) else own
    differing = [len({other[first + at] for other in parts}) > 1 for at in range(len(own))]
    return [part for part, differs in zip(own, differing, strict=True) if differs]
