"""What the first run on a machine costs: with compiled code still to be made, and with it kept.

    python -m tests.benchmarks.coldstart [--runs 3] [--only analyze]

Each command runs in new processes: with an empty folder for compiled code, then with the same
folder. Seconds of processor time and of the clock, the best of some runs; the difference is what
compiling takes.
"""

from __future__ import annotations

import argparse
import os
import resource
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

Seconds = tuple[float, float]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="", help="commands whose name holds this")
    options = parser.parse_args()
    heads = "cold, CPU s", "wall s", "kept, CPU s", "wall s", "compiling"
    print(" " * 22 + "".join(f"{head:>13}" for head in heads))
    with tempfile.TemporaryDirectory() as folder:
        make_weights(Path(folder))
        for name, command in COMMANDS.items():
            if options.only in name:
                cold, kept = measure(name, command, Path(folder), options.runs)
                figures = *cold, *kept, cold[0] - kept[0]
                print(f"{name:22}" + "".join(f"{x:13.2f}" for x in figures), flush=True)


def make_weights(folder: Path) -> None:
    """Weights for the commands in Python."""
    np.save(folder / "weights.npy", np.random.default_rng(0).normal(size=(256, 64)))


def measure(name: str, command: str, folder: Path, runs: int) -> tuple[Seconds, Seconds]:
    """The least seconds of some runs, without and with kept code."""
    arguments = [*command.split(), *([ESTIMATE] if command == "-c" else [])]
    cold, kept = [], []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as compiled:
            cold.append(seconds(arguments, folder, compiled))
            kept.append(seconds(arguments, folder, compiled))
    return best(cold), best(kept)


def best(times: list[Seconds]) -> Seconds:
    return min(cpu for cpu, _ in times), min(wall for _, wall in times)


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
