"""The step of each checkpoint: from a mapping, from file names, or from metadata in the files.

Steps are numbers, so that ``step-2`` comes before ``step-10``. Of several numbers in a name the one
after *step* or *iter* is taken, then the one after *epoch*, else the last one that differs between
all names. A safetensors file whose name has no number may hold its step or epoch in its metadata,
as the checkpoints of momos do.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kolmo.checkpoints.naming import hub_hint
from kolmo.checkpoints.safetensors import HEADER_LIMIT
from kolmo.errors import InputError
from kolmo.files import check_readable
from kolmo.forms import LARGEST
from kolmo.spoken import command
from kolmo.text import public, shorten, without_secrets

Step = int | float

STEPS = "steps"
"""The folder within a run's where checkpoints along training lie."""

_NUMBER = re.compile(r"(?<!\d)(\d{1,18})([kKM]?)(?![A-Za-z\d])")
_SCALES = {"": 1, "k": 1_000, "K": 1_000, "M": 1_000_000}
_UNITS = (
    ("step", re.compile(r"(step|iter|iteration)s?[-_=. ]*$", re.I)),
    ("epoch", re.compile(r"(epoch|ep)s?[-_=. ]*$", re.I)),
)
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz", ".npy")
_SHARD = re.compile(r"-\d+-of-\d+\.")


@dataclasses.dataclass(frozen=True)
class StepSeries:
    """Checkpoints in the order of their steps.

    Attributes
    ----------
    sources : dict of step to source
    unit : {"step", "epoch"} or None
        What the steps count, if known.
    folder : Path or None
        The folder of all checkpoints, if there is a common one.
    left_out : list of str
        Further checkpoints of a step that is already there.
    """

    sources: dict[Step, Any]
    unit: str | None = None
    folder: Path | None = None
    left_out: tuple[str, ...] = ()


def find_series(sources: Any) -> StepSeries:
    """The series that a mapping, a list of paths, a glob or a folder names.

    Raises
    ------
    InputError
        If there are fewer than two checkpoints, or one has no step of its own.

    >>> list(find_series({10: "b", 2: "a"}).sources)
    [2, 10]
    """
    if isinstance(sources, Mapping):
        return _enough(StepSeries(_sorted({_step(key): value for key, value in sources.items()})))
    given = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    paths = [path for source in given for path in _expand(os.fspath(source), alone=len(given) == 1)]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise InputError(f"{twice}: is named twice")
    if len(paths) < 2:
        what = f"{given[0]}: " if len(given) == 1 else ""
        raise InputError(
            f"{what}a series takes two checkpoints or more; {command('analyze')} takes one"
        )
    return _enough(_series_of_paths(paths))


def _enough(series: StepSeries) -> StepSeries:
    if len(series.sources) < 2:
        raise InputError("a series takes checkpoints of two steps or more")
    return series


def _step(key: Any) -> Step:
    try:
        number = float(key)
        if not abs(number) <= LARGEST:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"step {shorten(repr(key), 40)} is no number up to {LARGEST:g}; "
            f"models by name are for {command('compare')}"
        ) from None
    return int(number) if number.is_integer() else number


def _sorted(sources: dict[Step, Any]) -> dict[Step, Any]:
    return dict(sorted(sources.items(), key=lambda item: item[0]))


# --- from a glob or a folder to paths ---------------------------------------------------------


def _expand(source: str, alone: bool) -> list[str]:
    """The checkpoints that a glob, or the only folder, stands for."""
    if "://" in source:
        return [source]
    if glob.has_magic(source) and not os.path.exists(source):
        matches = [
            path for path in glob.glob(source) if os.path.isdir(path) or _is_checkpoint(path)
        ]
        if not matches:
            raise InputError(f"{source}: there is no such checkpoint{hub_hint(source)}")
        return sorted(matches)
    if not os.path.exists(source):
        raise InputError(f"{source}: there is no such file{hub_hint(source)}")
    return _inside(source) if alone and os.path.isdir(source) else [source]


def _inside(folder: str) -> list[str]:
    """Checkpoints of a folder: those in ``steps``, where momos train puts them; folders with a
    number in their names; else files."""
    steps = os.path.join(folder, STEPS)
    if os.path.isdir(steps) and any(map(_is_checkpoint, os.listdir(steps))):
        return _inside(steps)
    paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    folders = [
        path
        for path in paths
        if os.path.isdir(path)
        and re.search(r"\d", os.path.basename(path))
        and any(map(_is_checkpoint, os.listdir(path)))
    ]
    files = [path for path in paths if os.path.isfile(path) and _is_checkpoint(path)]
    safe = [path for path in files if path.endswith(".safetensors")]
    if any(_SHARD.search(path) for path in files):
        raise InputError(f"{folder}: holds one checkpoint in shards, not a series")
    return folders or safe or files


def _is_checkpoint(path: str) -> bool:
    return path.endswith(_SUFFIXES) and not os.path.basename(path).startswith((".", "resume."))


# --- from paths to steps ----------------------------------------------------------------------


def _series_of_paths(paths: Sequence[str]) -> StepSeries:
    common = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names = {path: _stem(path, common) for path in paths}
    unit, steps = _from_names(names)
    unknown = [path for path in paths if path not in steps]
    from_files = {path: _step_in_metadata(path) for path in unknown}
    silent = next((path for path in unknown if from_files[path] is None), None)
    if silent:
        raise InputError(
            f"{silent}: which step? neither its name nor its metadata has a number that differs; "
            f"name files as in step-10.safetensors, or give a mapping of steps to sources"
        )
    units = {pair[0] for pair in from_files.values() if pair} | ({unit} if unit else set())
    steps |= {path: pair[1] for path, pair in from_files.items() if pair}
    sources, left_out = _distinct(paths, steps, set(unknown))
    folder = Path(common) if len({os.path.dirname(path) for path in paths}) == 1 else None
    return StepSeries(_sorted(sources), units.pop() if len(units) == 1 else None, folder, left_out)


def _stem(path: str, common: str) -> str:
    """A path without the common folder and without its suffix."""
    if "://" in path:
        return public(path)
    inner = os.path.relpath(os.path.abspath(path), common)
    return inner.removesuffix(next((s for s in _SUFFIXES if inner.endswith(s)), ""))


def _from_names(names: Mapping[str, str]) -> tuple[str | None, dict[str, Step]]:
    """The unit, and the steps of the paths whose name has one."""
    numbers = {path: list(_NUMBER.finditer(name)) for path, name in names.items()}
    alike = len({_NUMBER.sub("#", name) for name in names.values()}) == 1
    if alike and all(numbers.values()):
        return _from_places(names, numbers)
    steps: dict[str, Step] = {}
    units: set[str | None] = set()
    for path, matches in numbers.items():
        if matches:
            chosen = min(matches, key=lambda m: (_rank(_unit(names[path], m)), -m.start()))
            steps[path] = _value(chosen)
            units.add(_unit(names[path], chosen))
    return units.pop() if len(units) == 1 else None, steps


def _from_places(
    names: Mapping[str, str], numbers: Mapping[str, list[re.Match[str]]]
) -> tuple[str | None, dict[str, Step]]:
    """Unit and steps of names that differ only in numbers, by the number that differs in all."""
    first = next(iter(numbers))
    places = [
        (_rank(_unit(names[first], match)), -place)
        for place, match in enumerate(numbers[first])
        if len({_value(matches[place]) for matches in numbers.values()}) == len(numbers)
    ]
    if not places:
        raise InputError(
            f"no number in the names distinguishes all steps: {', '.join(sorted(names)[:3])}"
        )
    place = -min(places)[1]
    unit = _unit(names[first], numbers[first][place])
    return unit, {path: _value(matches[place]) for path, matches in numbers.items()}


def _unit(name: str, match: re.Match[str]) -> str | None:
    before = name[: match.start()]
    return next((unit for unit, pattern in _UNITS if pattern.search(before)), None)


def _rank(unit: str | None) -> int:
    return {"step": 0, "epoch": 1, None: 2}[unit]


def _value(match: re.Match[str]) -> int:
    return int(match[1]) * _SCALES[match[2]]


def _distinct(
    paths: Iterable[str], steps: Mapping[str, Step], known: set[str]
) -> tuple[dict[Step, Any], tuple[str, ...]]:
    """One path for each step. Of two files with the same step in their metadata, such as a run's
    best and last, one is kept."""
    sources: dict[Step, Any] = {}
    left_out = []
    for path in paths:
        other = sources.get(steps[path])
        if other is not None and not {path, other} <= known:
            raise InputError(f"{other} and {path} are both of step {steps[path]}")
        if other is not None:
            left_out.append(without_secrets(f"{other} (the same step, {steps[path]}, as {path})"))
        sources[steps[path]] = path
    return sources, tuple(left_out)


def _step_in_metadata(path: str) -> tuple[str, Step] | None:
    """Unit and step in the metadata of a safetensors file: at its top, or one object within."""
    for fields in _metadata(path):
        for unit in ("step", "epoch"):
            try:
                return unit, _step(fields[unit])
            except (KeyError, InputError):
                continue
    return None


def _metadata(path: str) -> list[dict[str, Any]]:
    try:
        check_readable(path)
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= HEADER_LIMIT else {}
        stored = header.get("__metadata__", {})
        inner = [json.loads(text) for text in stored.values() if text.lstrip().startswith("{")]
    except (OSError, ValueError, AttributeError, RecursionError):
        return []
    return [entry for entry in (stored, *inner) if isinstance(entry, dict)]
