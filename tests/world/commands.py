"""The commands that write, on inputs so small that each can be killed fifty times."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from kolmo.cli.app import COMMANDS as NAMES
from tests.world.inputs import other_networks, other_sources

MEASURED = ("-q", "sign", "-q", "native", "-e", "kt", "-e", "lz78", "--null", "shuffled")
ONE = ("-q", "sign", "-e", "kt", "--null", "shuffled")
FEW = ("--layers", "2", "--hidden", "8", "--epochs", "2", "--save-every", "1")
STUDY = (
    *("--layers", "1", "--hidden", "4", "--epochs", "1", "--seeds", "1", "--bits", "4"),
    *("--capacity", "0.05", "--rate", "0.3", "--draws", "1", "--save-every", "1"),
)
CALIBRATED = ("--quick", "-e", "kt", "-e", "zstd:3", "--null", "shuffled", "--family", "coin",
              "--workers", "1")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line, what it reads, and how it is called again after it was cut off."""

    line: str
    also: tuple[str, ...] = ()  # options that leave the work as it is
    again: tuple[str, ...] = ()
    replaces: bool = True  # what an earlier run has written
    changes: tuple[str, ...] = ()  # of its inputs
    store: str = "off"
    reads: tuple[str, ...] = ()  # what no word names
    prepare: Callable[[], None] = lambda: None  # in the process, before all else

    @property
    def words(self) -> list[str]:
        return [*self.line.split(), *self.also]

    @property
    def main(self) -> Callable[[], None]:
        return import_module(f"{self.line.split()[0]}.cli").main


COMMANDS = {
    "analyze json": Command("kolmo analyze m.safetensors -o r.json", MEASURED),
    "analyze csv": Command("kolmo analyze m.safetensors -o r.csv", MEASURED),
    "analyze parquet": Command("kolmo analyze m.safetensors -o r.parquet", MEASURED),
    "analyze html": Command("kolmo analyze m.safetensors --html r.html", MEASURED),
    "store": Command("kolmo analyze m.safetensors -o r.json", MEASURED, store="results.sqlite"),
    "store named": Command(
        "kolmo analyze m.safetensors --store s.sqlite -o r.json", MEASURED
    ),
    "store prune": Command(
        "kolmo store prune --store made.sqlite --older-than 0s", changes=("made.sqlite",)
    ),
    "store verify": Command("kolmo store verify --store made.sqlite", changes=("made.sqlite",)),
    "compare": Command(
        "kolmo compare base.safetensors m.safetensors -o c.json --html c.html --store s.sqlite", ONE
    ),
    "trajectory": Command(
        "kolmo trajectory step-1.safetensors step-2.safetensors -o t.json --html t.html", (
            *ONE, "--store", "s.sqlite"
        )
    ),
    "delta": Command("kolmo delta base.safetensors m.safetensors -o d.json"),
    "delta page": Command(
        "kolmo delta base.safetensors m.safetensors --html d.html --store s.sqlite"
    ),
    "demo": Command(
        "kolmo demo -o d.png", reads=("networks",),
        prepare=functools.partial(other_networks, "networks"),
    ),
    "plot": Command("kolmo plot made.json -o figures --format svg"),
    "plot pages": Command("kolmo plot made.json -o pages --interactive"),
    "pack": Command("kolmo pack m.safetensors -o m.kmo", ("--preset", "fast")),
    "unpack": Command("kolmo unpack made.kmo -o u.safetensors --overwrite"),
    "curve": Command(
        "kolmo curve m.safetensors -o files --plot c.svg",
        ("--step", "1", "--step", "2", "--preset", "fast"),
    ),
    "simplify": Command(
        "kolmo simplify m.safetensors -o s.kmo --evaluate tests.world.commands:size",
        ("--better", "higher", "--preset", "fast"),
    ),
    "calibrate": Command("kolmo calibrate -o c.json", CALIBRATED),
    "calibrate page": Command("kolmo calibrate -o c.csv -o c.md", CALIBRATED),
    "project": Command("momos project m.safetensors -o p.mosaic --rate 0.2 --motifs 8"),
    "expand": Command("momos expand made.mosaic -o e.safetensors --overwrite"),
    "fetch": Command(
        "momos fetch few --folder sets", reads=("served",),
        prepare=functools.partial(other_sources, "served"),
    ),
    "train": Command("momos train -o run --rate 1", FEW, again=("--resume",), replaces=False),
    "study": Command("momos study -o study", (*STUDY, "--threads", "1"), replaces=False),
}  # fmt: skip


def size(arrays):
    """A metric of weights: their mean square."""
    return float(
        np.mean([np.mean(np.square(array.astype(np.float64))) for array in arrays.values()])
    )


def made_files(folder: Path, inputs: Sequence[str]) -> list[str]:
    """The files in a folder that no input is."""
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    return [name for name in names if name not in inputs]


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
