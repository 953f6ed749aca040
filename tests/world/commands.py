"""The commands that write, on inputs so small that each can be killed fifty times."""

import dataclasses
import itertools
import json
import re
import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

import kolmo
from kolmo.cli.app import COMMANDS as NAMES
from kolmo.store import open_store

MEASURED = ["-q", "sign", "-q", "native", "-e", "kt", "-e", "lz78", "--null", "shuffled"]
FEW = ["--layers", "2", "--hidden", "8", "--epochs", "2"]
STUDY = ["--layers", "1", "--hidden", "4", "--epochs", "1", "--seeds", "1", "--bits", "4"]
STUDY += ["--capacity", "0.05", "--rate", "0.3", "--draws", "1", "--save-every", "1"]


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line, and how it is called again after it was cut off."""

    line: str
    also: tuple[str, ...] = ()  # options that leave the work as it is
    again: tuple[str, ...] = ()
    replaces: bool = True  # what an earlier run has written
    store: str = "off"

    @property
    def words(self) -> list[str]:
        return [*self.line.split(), *self.also]

    @property
    def main(self) -> Callable[[], None]:
        return import_module(f"{self.line.split()[0]}.cli").main


COMMANDS = {
    "analyze json": Command("kolmo analyze m.safetensors -o r.json", (*MEASURED,)),
    "analyze csv": Command("kolmo analyze m.safetensors -o r.csv", (*MEASURED,)),
    "analyze parquet": Command("kolmo analyze m.safetensors -o r.parquet", (*MEASURED,)),
    "analyze html": Command("kolmo analyze m.safetensors --html r.html", (*MEASURED,)),
    "store": Command(
        "kolmo analyze m.safetensors -o r.json", (*MEASURED,), store="results.sqlite"
    ),
    "delta": Command("kolmo delta base.safetensors m.safetensors -o d.json"),
    "pack": Command("kolmo pack m.safetensors -o m.kmo", ("--preset", "fast")),
    "unpack": Command("kolmo unpack made.kmo -o u.safetensors"),
    "simplify": Command(
        "kolmo simplify m.safetensors -o s.kmo --evaluate tests.world.commands:size",
        ("--better", "higher", "--preset", "fast"),
    ),
    "calibrate": Command(
        "kolmo calibrate -o c.json --quick -e kt -e zstd:3 --null shuffled --family coin",
        ("--workers", "1"),
    ),
    "project": Command("momos project m.safetensors -o p.mosaic --rate 0.2 --motifs 8"),
    "train": Command(
        "momos train -o run --rate 1", (*FEW,), again=("--resume",), replaces=False
    ),
    "study": Command(
        "momos study -o study", (*STUDY, "--threads", "1"), replaces=False
    ),
}  # fmt: skip


def size(arrays):
    """A metric of weights: their mean square."""
    return float(
        np.mean([np.mean(np.square(array.astype(np.float64))) for array in arrays.values()])
    )


def make_inputs(folder: Path, seed: int = 0) -> None:
    """Two checkpoints of a few weights, and a container."""
    random = np.random.default_rng(seed)
    base = {f"layer.{i}": random.normal(size=(24, 16 + i)).astype(np.float32) for i in range(4)}
    tuned = {name: array + np.float32(0.5) * (array > 1) for name, array in base.items()}
    save_file(base, folder / "base.safetensors")
    save_file(tuned, folder / "m.safetensors")
    kolmo.pack(folder / "m.safetensors", folder / "made.kmo", preset="fast", progress=False)


def made_files(folder: Path, inputs: Sequence[str]) -> list[str]:
    """The files in a folder that no input is."""
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    return [name for name in names if name not in inputs]


# --- what a file says, if it is whole -------------------------------------------------------


def contents(path: Path):
    """What a file says, but for times that were measured; an error if it is not whole."""
    return _READERS.get(path.suffix, Path.read_bytes)(path)


def is_partial(path: Path) -> bool:
    """Whether a file is, or belongs to, a report that says that its run was cut off."""
    if path.suffix == ".html":
        return "stopped before" in path.read_text(encoding="utf-8")
    path = path.with_name(path.name.removesuffix(".meta.json"))
    if path.suffix not in (".json", ".csv", ".parquet"):
        return False
    return not kolmo.load_report(path).provenance["finished"]


def _json(path):
    text = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(text, dict) and "provenance" in text and "table" in text:
        return _report(path)
    return json.dumps(_timeless(text), sort_keys=True)


def _timeless(value):
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items() if key != "seconds"}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def _report(path):
    report = kolmo.load_report(path)
    return report.table.drop(columns="seconds").to_csv() + report.coverage.to_csv()


def _table(path):
    read = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
    table = read(path)
    return table.drop(columns=[c for c in table.columns if "seconds" in c]).to_csv()


def _parquet(path):
    return _report(path) if path.name == "r.parquet" else _table(path)


def _html(path):
    text = path.read_text(encoding="utf-8")
    assert text.rstrip().endswith("</html>")
    return re.sub(r"[0-9.e-]+ s\b|\"seconds\":[^,}]*|20\d\d-\d\d-\d\dT[0-9:.+]*", "", text)


def _container(path):
    kolmo.verify(path, progress=False)
    return path.read_bytes()


def _tensors(path):
    load_file(path)
    return path.read_bytes()


def _mosaic(path):
    kolmo.open_checkpoint(path)
    return path.read_bytes()


def _store(path):
    """A store is whole if all that it keeps is: what is not there yet will be measured."""
    copy = path.with_name(f"{path.name}.copy")
    for suffix in ("", "-wal", "-journal"):
        if path.with_name(path.name + suffix).exists():
            shutil.copy(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
    try:
        with open_store(copy) as opened:
            assert opened.is_open
            assert opened.check().good
    finally:
        for each in path.parent.glob(f"{copy.name}*"):
            each.unlink()
    return "whole"


def _png(path):
    data = path.read_bytes()
    assert data.endswith(b"IEND\xaeB`\x82")
    return data


_READERS = {
    ".json": _json, ".csv": _table, ".parquet": _parquet, ".html": _html, ".kmo": _container,
    ".safetensors": _tensors, ".mosaic": _mosaic, ".sqlite": _store, ".png": _png,
}  # fmt: skip


def import_all(names) -> None:
    """Import what these commands import, so that forked processes need not."""
    for name in ("kolmo.cli.measuring", "kolmo.structure.chain", "pyarrow.parquet"):
        import_module(name)
    for name in NAMES:
        import_module(f"kolmo.cli.{name}")
    if any(COMMANDS[name].line.startswith("momos") for name in names):
        for name in ("matplotlib.pyplot", "sklearn.datasets", "momos.lab.studies"):
            import_module(name)
        import_module("torch").set_num_threads(1)  # threads do not survive a fork
        _draw_few()


def _draw_few() -> None:
    """Let a study draw two of its figures: they are written alike, and take most of its time."""
    writing = import_module("momos.lab.writing")
    panels = writing.study_panels
    writing.study_panels = lambda *given: itertools.islice(panels(*given), 2)


__all__ = ["COMMANDS", "Command", "contents", "import_all", "made_files", "make_inputs"]
