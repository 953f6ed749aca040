"""Writes kolmo/signatures.json: the types for which loops are compiled while the package is built.

    python -m tests.signatures [MORE.json ...]

runs the commands below on small models of all dtypes and lists the types that compiled functions
were called for. Further files are lists of the same form, such as another program has kept with
``kolmo.ahead.spell_all(kolmo.compiled.kept.items())``; what they hold is added.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from kolmo.ahead import LIST

DTYPES = {"f4": "f4", "bf16": ml_dtypes.bfloat16, "f2": "f2", "f8": "f8", "i1": "i1"}
NATIVE = "zstd@shuffle kt nml planes enumerative entropy context mosaic bdm"
CODED = f"{NATIVE} lz76 lz78 prequential lowrank gaussian laplace"
BLOCKS = "bdm qubd ctm block-entropy"

RUN = """
import json, sys
from kolmo.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, sys.argv
from kolmo.ahead import spell_all
from kolmo.compiled import kept
print("\\n" + json.dumps(spell_all(kept.items())))
"""

Listed = dict[str, list[list[Any]]]


def main(more: list[str]) -> None:
    """Run the commands, write the list."""
    listed: Listed = {}
    with tempfile.TemporaryDirectory() as folder:
        for command in commands(Path(folder)):
            add(listed, used(command, Path(folder)))
    for path in more:
        add(listed, json.loads(Path(path).read_text()))
    for signatures in listed.values():
        signatures.sort(key=json.dumps)
    lines = ",\n".join(
        f" {json.dumps(name)}: {json.dumps(listed[name])}" for name in sorted(listed)
    )
    LIST.write_text(f"{{\n{lines}\n}}\n")


def commands(folder: Path) -> Iterator[list[str]]:
    """Commands whose loops are to be compiled before anybody calls them."""
    for name, dtype in DTYPES.items():
        model, other = (
            make_model(folder / f"{name}-{seed}.safetensors", dtype, seed) for seed in (0, 1)
        )
        yield ["analyze", model]
        yield [
            "analyze",
            model,
            *options("-q", "native"),
            *options("-e", NATIVE),
            *draws("shuffled"),
        ]
        yield ["analyze", model, "-q", "symmetric:8", *options("-e", CODED), *draws("row-shuffled")]
        for quantizer, null in (
            ("sign", "column-shuffled"),
            ("codebook:4", "shuffled"),
            ("affine:8", "row-shuffled"),
        ):
            yield ["analyze", model, "-q", quantizer, *options("-e", BLOCKS), *draws(null)]
        yield ["delta", model, other]
        for number, way in enumerate(([], ["--preset", "fast"], ["-q", "symmetric:8"])):
            yield ["pack", model, "-o", f"{name}-{number}.kmo", *way]
            yield ["unpack", f"{name}-{number}.kmo", "-o", f"{name}-{number}.safetensors"]


def options(flag: str, values: str) -> list[str]:
    return [word for value in values.split() for word in (flag, value)]


def draws(null: str) -> list[str]:
    return ["--null", null, "--draws", "1"]


def make_model(path: Path, dtype: Any, seed: int) -> str:
    """A model of large and small matrices; what depends on sizes takes all ways."""
    generator = np.random.default_rng(seed)
    shapes = [(256, 256)] * 2 + [(64, 48), (33,), (6, 4, 3, 3)]
    scale = 40 if dtype == "i1" else 1
    save_file(
        {
            f"layers.{index}.weight": (scale * generator.normal(size=shape)).astype(dtype)
            for index, shape in enumerate(shapes)
        },
        path,
    )
    return str(path)


def used(command: list[str], folder: Path) -> Listed:
    """The types for which a command called compiled functions."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command], cwd=folder, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def add(listed: Listed, found: Listed) -> None:
    """Add what is not listed yet."""
    for name, signatures in found.items():
        its = listed.setdefault(name, [])
        its += [one for one in signatures if one not in its]


if __name__ == "__main__":
    main(sys.argv[1:])
