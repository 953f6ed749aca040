"""What the first run on a machine costs: as the package was installed, and with nothing compiled.

    python -m tests.benchmarks.coldstart [--runs 3] [--only analyze]

Each command runs in new processes: with the machine code that building the package leaves, which is
what its user meets; with an empty folder for machine code, as after an installation on another
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

Seconds = tuple[float, float]


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
        compile_ahead(Path(folder, "installed"))
        for name, command in COMMANDS.items():
            if options.only in name:
                figures = measure(name, command, Path(folder), options.runs)
                print(f"{name:22}" + "".join(f"{x:18.2f}" for x in figures), flush=True)


def make_weights(folder: Path) -> None:
    """Weights for the commands in Python."""
    np.save(folder / "weights.npy", np.random.default_rng(0).normal(size=(256, 64)))


def compile_ahead(folder: Path) -> None:
    """Compile what the package compiles when it is built."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(folder)}
    subprocess.run(
        [sys.executable, "-m", "kolmo.ahead"], env=environment, check=True, capture_output=True
    )


def measure(name: str, command: str, folder: Path, runs: int) -> list[float]:
    """The least seconds of some runs in each state."""
    arguments = [*command.split(), *([ESTIMATE] if command == "-c" else [])]
    times: dict[str, list[Seconds]] = {state: [] for state in STATES}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as empty:
            shutil.copytree(folder / "installed", f"{empty}/installed")
            for state, compiled in zip(STATES, ("installed", "new", "new"), strict=True):
                times[state].append(seconds(arguments, folder, f"{empty}/{compiled}"))
    return [min(column) for state in STATES for column in zip(*times[state], strict=True)]


def seconds(arguments: list[str], folder: Path, compiled: str) -> Seconds:
    """Processor time and time on the clock of a new process."""
    own = {"PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": compiled, "KOLMO_STORE": "off"}
    environment = {**os.environ, **own}
    used, began = children(), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )
    return children() - used, time.perf_counter() - began


def children() -> float:
    """Seconds of processor time that all ended processes took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
