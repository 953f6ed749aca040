"""What the first run on a machine costs: as the package was installed, and with nothing compiled.

    python -m tests.benchmarks.coldstart [--runs 3] [--only analyze]

Each command runs in new processes, of a copy of the packages: with the machine code that building
them leaves, which is what its user meets; without any, as after an installation on another
processor; and with what that run has left. Seconds of processor time and of the clock, the best of
some runs.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
TRAINED, RANDOM = ROOT / "data" / "trained.safetensors", ROOT / "data" / "random.safetensors"
ESTIMATE = """
import numpy as np, kolmo
kolmo.estimate(np.load("weights.npy"), "bdm", "sign")
"""

COMMANDS = {
    "analyze": f"-m kolmo analyze {TRAINED}",
    "analyze -e context": f"-m kolmo analyze {TRAINED} -e context",
    "pack": f"-m kolmo pack {TRAINED} -o packed.kmo",
    "pack --preset fast": f"-m kolmo pack {TRAINED} -o fast.kmo --preset fast",
    "unpack": "-m kolmo unpack packed.kmo -o unpacked.safetensors",
    "delta": f"-m kolmo delta {RANDOM} {TRAINED}",
    "kolmo.estimate, bdm": "-c",
    "inspect": f"-m kolmo inspect {TRAINED}",
    "--help": "-m kolmo --help",
}
"""Commands by name, run in this order: one unpacks what an earlier one has packed."""

STATES = "installed", "nothing", "second run"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="commands whose name holds this")
    options = parser.parse_args()
    heads = [f"{state}, {unit}" for state in STATES for unit in ("CPU s", "wall s")]
    print(" " * 22 + "".join(f"{head:>18}" for head in heads))
    with tempfile.TemporaryDirectory() as folder:
        make_weights(Path(folder))
        installed, bare = copy_packages(Path(folder)), copy_packages(Path(folder))
        run(["-m", "kolmo.ahead"], Path(folder), installed)
        for name, command in COMMANDS.items():
            if options.only in name:
                words = [*command.split(), *([ESTIMATE] if command == "-c" else [])]
                runs = [measure(words, Path(folder), installed, bare) for _ in range(options.runs)]
                figures = [min(column) for column in zip(*runs, strict=True)]
                print(f"{name:22}" + "".join(f"{x:18.2f}" for x in figures), flush=True)


def make_weights(folder: Path) -> None:
    """Weights for the commands in Python."""
    np.save(folder / "weights.npy", np.random.default_rng(0).normal(size=(256, 64)))


def copy_packages(folder: Path) -> Path:
    """A copy of the packages without machine code."""
    target = Path(tempfile.mkdtemp(dir=folder))
    for name in ("kolmo", "momos"):
        ignored = shutil.ignore_patterns("compiled-*")
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    return target


def measure(words: list[str], folder: Path, installed: Path, bare: Path) -> list[float]:
    """Processor time and time on the clock in each state."""
    for compiled in (bare / "kolmo" / "__pycache__").glob("compiled-*"):
        shutil.rmtree(compiled)
    return [x for packages in (installed, bare, bare) for x in run(words, folder, packages)]


def run(words: list[str], folder: Path, packages: Path) -> tuple[float, float]:
    """The same of a new process."""
    environment = {**os.environ, "PYTHONPATH": str(packages), "KOLMO_STORE": "off"}
    environment.pop("NUMBA_CACHE_DIR", None)
    used, began = children(), time.perf_counter()
    subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, check=True, capture_output=True
    )
    return children() - used, time.perf_counter() - began


def children() -> float:
    """Seconds of processor time that all ended processes took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
