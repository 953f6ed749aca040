"""What the commands read, so small that each command takes a moment."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import kolmo
from kolmo.cli.demo import NETWORKS

Arrays = dict[str, np.ndarray]


def make_inputs(folder: Path, words: list[str], seed: int = 0) -> None:
    """Two checkpoints of a few weights, and what else the words of a command line name."""
    random = np.random.default_rng(seed)
    base = {f"layer.{i}": random.normal(size=(24, 16 + i)).astype(np.float32) for i in range(4)}
    tuned = {name: array + np.float32(0.5) * (array > 1) for name, array in base.items()}
    save_file(base, folder / "base.safetensors")
    save_file(tuned, folder / "m.safetensors")
    for name, make in MAKERS.items():
        if name in words:
            make(folder / name, tuned)


def _container(path: Path, arrays: Arrays) -> None:
    kolmo.pack(arrays, path, preset="fast", progress=False)


def _measured(path: Path | None, arrays: Arrays, **more: object) -> kolmo.Report:
    quick = {"quantizers": ["sign", "native"], "estimators": ["kt"], "progress": False}
    report = kolmo.analyze(arrays, name="m", nulls=["shuffled"], **quick, **more)
    if path:
        report.save(path)
    return report


def _store(path: Path, arrays: Arrays) -> None:
    _measured(None, arrays, store=path)


def _mosaic(path: Path, arrays: Arrays) -> None:
    from momos.checkpoint import project_checkpoint  # which imports torch
    from momos.config import SampledMosaic

    project_checkpoint(arrays, SampledMosaic(motifs=4))[0].save(path)


def _step(path: Path, arrays: Arrays) -> None:
    number = int(path.stem.partition("-")[2])
    save_file({name: array * np.float32(number) for name, array in arrays.items()}, path)


def _networks(folder: Path, arrays: Arrays) -> None:
    folder.mkdir()
    for number, name in enumerate(NETWORKS, start=1):
        first = dict(list(arrays.items())[:number])
        save_file(first, folder / f"{name}.safetensors")


def _served(folder: Path, _: Arrays) -> None:
    folder.mkdir()
    for name in SERVED:
        (folder / name).write_bytes(_bytes_of(name))


def _bytes_of(name: str) -> bytes:
    return name.encode() * 500


SERVED = ("images.gz", "labels.gz")
MAKERS: Mapping[str, Callable[[Path, Arrays], object]] = {
    "made.kmo": _container,
    "made.json": _measured,
    "made.mosaic": _mosaic,
    "made.sqlite": _store,
    "step-1.safetensors": _step,
    "step-2.safetensors": _step,
    "networks": _networks,
    "served": _served,
}


# --- inputs that no word of a command line names --------------------------------------------


def other_networks(folder: str) -> None:
    """Have ``kolmo demo`` measure networks of a folder."""
    from kolmo.cli import demo

    demo.FOLDER = Path(folder)


def other_sources(folder: str) -> None:
    """Have ``momos fetch`` know a data set of two files of a folder."""
    from momos.lab.datasets.fetch import SOURCES

    SOURCES["few"] = {
        f"file://{Path(folder).resolve()}/{name}": hashlib.sha256(_bytes_of(name)).hexdigest()
        for name in SERVED
    }
