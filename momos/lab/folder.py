"""The folder of a run: which files are the run's own, whose run it holds, how it is emptied.

::

    config.toml                       written first; its first line says that momos train wrote it
    init, best, last .safetensors     history.parquet, metrics.json, weights.mosaic, weights.kmo
    steps/epoch-0010.safetensors      checkpoints along training
    resume.pt                         while the run lasts
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kolmo.errors import InputError
from kolmo.locks import lock, open_folder
from momos.lab.config import TrainConfig
from momos.lab.settings import to_toml, train_config
from momos.tensors import make_folder, write_whole

CONFIG, RESUME, STEPS = "config.toml", "resume.pt", "steps"
_MADE_BY = "# A run of momos train: what it writes here is its own, and --overwrite deletes it."
_OWN = (
    *("init.safetensors", "best.safetensors", "last.safetensors"),
    *("history.parquet", "metrics.json", "weights.mosaic", "weights.kmo", RESUME),
)
_STEP = re.compile(r"(epoch|step)-\d+\.safetensors")


@contextmanager
def held(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """The folder, made if need be, is this run's alone while this lasts.

    Raises
    ------
    InputError
        If another run is writing there.
    """
    descriptor = None if path is None else open_folder(make_folder(path))
    if descriptor is None:
        yield
        return
    try:
        if not lock(descriptor):
            raise InputError(f"{path}: another run is writing there: wait, or name another folder")
        yield
    finally:
        os.close(descriptor)


def begin(path: str | os.PathLike[str], config: TrainConfig, overwrite: bool) -> Path:
    """The folder of a new run, which holds its configuration and nothing of an earlier one.

    Raises
    ------
    InputError
        If it holds another run and ``overwrite`` is false, or files that no run wrote under the
        names of a run's.
    """
    folder = make_folder(path)
    own = list(_own_files(folder))
    if own and not _is_run(folder):
        raise InputError(
            f"{own[0]}: is there already, and momos train did not write it: name another folder"
        )
    if not (overwrite and _is_run(folder)):
        _refuse_another(folder, config)
    for file in own:
        file.unlink()
    described = f"{_MADE_BY}\n{to_toml(config)}"
    write_whole(folder / CONFIG, described.encode())
    return folder


def _own_files(folder: Path) -> Iterator[Path]:
    """The files of a run that are there, but for its configuration."""
    yield from (folder / name for name in _OWN if (folder / name).exists())
    steps = folder / STEPS
    if steps.is_dir():
        yield from (file for file in sorted(steps.iterdir()) if _STEP.fullmatch(file.name))


def _is_run(folder: Path) -> bool:
    try:
        with (folder / CONFIG).open(encoding="utf-8") as file:
            return file.readline().rstrip("\n") == _MADE_BY
    except (OSError, ValueError):
        return False


def _refuse_another(folder: Path, config: TrainConfig) -> None:
    """InputError if the folder holds a run, or a file of settings, of another configuration."""
    path = folder / CONFIG
    if not path.exists():
        return
    try:
        before = _settings(train_config(path, {}))
    except InputError:
        what = "is no configuration of a run"
    else:
        now = _settings(config)
        differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if not differing:
            return
        name = differing[0]
        what = f"is of another run ({name} {before.get(name)} there, {now.get(name)} now)"
    raise InputError(
        f"{path}: {what}: name another folder, or delete that run's files with --overwrite "
        f"(overwrite=True)"
    )


def _settings(config: TrainConfig) -> dict[str, Any]:
    """The settings as a run takes them, those left open included; those of a mosaic by its name."""
    settings: dict[str, Any] = json.loads(json.dumps(config.settings()))
    mosaic = settings.pop("mosaic") or {}
    return settings | {f"mosaic {name}": value for name, value in mosaic.items()}
