"""Folders of runs and of studies: which files are their own, whose run it is, how it is emptied.

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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kolmo.errors import InputError
from kolmo.files import Paths, check_standing, directory, marked
from kolmo.locks import held_folder
from kolmo.spoken import option
from momos.lab.config import TrainConfig
from momos.lab.settings import to_toml, train_config
from momos.tensors import make_folder, write_whole

CONFIG, RESUME, STEPS = "config.toml", "resume.pt", "steps"
_MADE_BY = "# A run of momos train: what it writes here is its own, and --overwrite deletes it."
OF_RUN = (
    *("init.safetensors", "best.safetensors", "last.safetensors"),
    *("history.parquet", "metrics.json", "weights.mosaic", "weights.kmo", RESUME),
)
_STUDY = "study.txt"
_MADE_BY_STUDY = "A study of momos: what momos study writes here is its own, and written anew.\n"
OF_STUDY = (
    *("results.parquet", "results.csv", "trajectory.parquet", "trajectory.csv", "summary.csv"),
    *("findings.txt", "index.html", "checkpoints", "runs", "measured", _STUDY),
    *("trajectory.png", "trajectory_native.png", "trajectory_levels.png", "published.png"),
    *("accuracy.png", "bits.png", "ratio_to_init.png", "ratio_to_shuffled.png"),
)
"""Names that a study writes in its folder."""

_is_study = marked(rb"\A" + _MADE_BY_STUDY.encode())
_is_record = marked(rb'\A\{\s*"key": "[0-9a-f]{64}"')
is_checkpoint = marked(rb'\A.{8}\{"__metadata__":\{"momos"')
"""Whether a file is a checkpoint that momos wrote."""

_STEP = re.compile(r"(epoch|step)-\d+\.safetensors")


@contextmanager
def held(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """The folder, made if need be, is this run's alone while this lasts.

    Raises
    ------
    InputError
        If another run is writing there.
    """
    if path is None:
        yield
        return
    with directory(Path(path)), held_folder(make_folder(path)) as is_ours:
        if not is_ours:
            raise InputError(f"{path}: another run is writing there: wait, or name another folder")
        yield


def begin(path: str | os.PathLike[str], config: TrainConfig, overwrite: bool) -> Path:
    """The folder of a new run, which holds its configuration and nothing of an earlier one.

    Raises
    ------
    InputError
        If it holds another run and ``overwrite`` is false, or files that no run wrote under the
        names of a run's.
    """
    folder = make_folder(path)
    own, settings = list(_own_files(folder)), folder / CONFIG
    if not _is_run(folder):
        for file in (*own, *([settings] if settings.exists() else [])):
            raise InputError(
                f"{file}: is there already, and momos train did not write it: name another folder"
            )
    if not overwrite:
        _refuse_another(folder, config)
    for file in own:
        file.unlink()
    if overwrite or not settings.exists():
        write_whole(settings, f"{_MADE_BY}\n{to_toml(config)}".encode())
    return folder


def begin_study(path: str | os.PathLike[str], inputs: Paths, overwrite: bool) -> Path:
    """The folder of a study, which holds nothing else under the names that a study writes.

    Raises
    ------
    InputError
        If it holds other files of these names, unless they may be overwritten, or one that is read.
    """
    folder = make_folder(path)
    named = [folder / name for name in OF_STUDY if (folder / name).exists()]
    if named and not (overwrite or _is_of_study(folder)):
        raise InputError(
            f"{named[0]}: is there already, and momos study did not write it: name another folder, "
            f"or have it replaced with {option('overwrite', True)}"
        )
    refuse_inputs(inputs, folder, OF_STUDY)
    write_whole(folder / _STUDY, _MADE_BY_STUDY.encode())
    return folder


def refuse_inputs(inputs: Paths, folder: Path, names: Iterable[str]) -> None:
    """InputError if one of these files of a folder is read, such as the settings of the run."""
    read = list(inputs)
    for output in (folder / name for name in names if (folder / name).is_file()):
        check_standing(output, inputs=read, overwrite=True)


def _is_of_study(folder: Path) -> bool:
    """Whether a study wrote the folder, with its mark, or before there was one."""
    return _is_study(folder / _STUDY) or any(map(_is_record, (folder / "runs").glob("*.json")))


def _own_files(folder: Path) -> Iterator[Path]:
    """The files of a run that are there, but for its configuration."""
    yield from (folder / name for name in OF_RUN if (folder / name).exists())
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
