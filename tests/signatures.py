"""Writes kolmo/signatures.json: the types for which loops are compiled while the package is built.

    python -m tests.signatures [MORE.json ...]

runs the commands below on small models of all dtypes and lists the types that compiled functions
were called for. Further files are lists of the same form, such as another program has kept with
``kolmo.ahead.spell_all(kolmo.compiled.kept.items())``; what they hold is added.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from kolmo.ahead import LIST, spell_all
from kolmo.cli import main as main_of_kolmo
from kolmo.compiled import kept

DATA = Path(__file__).parents[1] / "data"
DTYPES = {"i1": "i1", "f4": "f4", "bf16": ml_dtypes.bfloat16, "f2": "f2", "f8": "f8"}
NATIVE = "zstd@shuffle kt nml planes enumerative entropy context predictive mosaic bdm"
CODED = f"{NATIVE} lz76 lz78 prequential lowrank linear gaussian laplace"
BLOCKS = "bdm ctm block-entropy"
PLANES = "qubd,ndim=1 block-entropy"

Listed = dict[str, list[list[Any]]]


def main(more: list[str]) -> None:
    """Write the list, from a process that finds nothing compiled: of what it would find compiled,
    the functions that others call are not seen."""
    with tempfile.TemporaryDirectory() as folder:
        new = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": folder, "KOLMO_STORE": "off"}
        command = [sys.executable, "-m", "tests.signatures", "--run", folder]
        subprocess.run(command, env={**os.environ, **new}, check=True)
        listed: Listed = json.loads(Path(folder, "listed.json").read_text())
    for path in more:
        add(listed, json.loads(Path(path).read_text()))
    for signatures in listed.values():
        signatures.sort(key=json.dumps)
    lines = ",\n".join(
        f" {json.dumps(name)}: {json.dumps(listed[name])}" for name in sorted(listed)
    )
    LIST.write_text(f"{{\n{lines}\n}}\n")


def run_all(folder: Path) -> None:
    """Run the commands in this process, and keep what they called."""
    for command in (*on_data(folder), *commands(folder)):
        run(command)
    (folder / "listed.json").write_text(json.dumps(spell_all(kept.items())))


def commands(folder: Path) -> Iterator[list[str]]:
    """Commands whose loops are to be compiled before anybody calls them."""
    for name, dtype in DTYPES.items():
        model, other = (
            make_model(folder / f"{name}-{seed}.safetensors", dtype, seed) for seed in (0, 1)
        )
        yield ["analyze", model]
        yield [*measured(model, "native", NATIVE), *draws("shuffled")]
        yield [*measured(model, "symmetric:8", CODED), *draws("row-shuffled")]
        yield [*measured(model, "sign", BLOCKS), *draws("column-shuffled")]
        yield measured(model, "codebook:4", BLOCKS)
        yield measured(model, "affine:8", PLANES)
        yield ["delta", model, other]
        yield ["delta", model, model]
        for number, way in enumerate(([], ["--preset", "fast"], ["-q", "symmetric:8"])):
            packed = str(folder / f"{name}-{number}.kmo")
            yield ["pack", model, "-o", packed, *way]
            yield ["unpack", packed, "-o", packed.replace(".kmo", ".safetensors")]
        if name != "i1":
            yield ["simplify", model, "-o", str(folder / f"{name}-s.kmo"), "--distortion", "0.1"]
    yield ["curve", model, "--step", "0.3", "--inputs", "tests.signatures:calibration"]


def calibration() -> tuple[Any, Any, Any]:
    """A module of the last model's layers, and what it is called with."""
    import torch

    linear = {"layers": torch.nn.ModuleList([torch.nn.Linear(256, 256, bias=False)])}
    module = torch.nn.ModuleDict(linear)
    return module, [torch.ones(2, 256)], lambda module, batch: module["layers"][0](batch)


def on_data(folder: Path) -> Iterator[list[str]]:
    """The same on the models of ``data/``, whose tensors are small."""
    models = sorted(map(str, DATA.glob("*.safetensors")))
    for model in models:
        yield ["analyze", model]
        yield ["analyze", model, "-e", "context"]
        yield ["pack", model, "-o", str(folder / f"{Path(model).stem}.kmo")]
        yield ["delta", models[0], model]


def measured(model: str, quantizer: str, estimators: str) -> list[str]:
    chosen = [word for name in estimators.split() for word in ("-e", name)]
    return ["analyze", model, "-q", quantizer, *chosen]


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


def run(command: list[str]) -> None:
    """Run a command in this process, silently."""
    sys.argv = ["kolmo", *command]
    try:
        with redirect_stdout(io.StringIO()):
            main_of_kolmo()
    except SystemExit as end:
        if end.code:
            sys.exit(f"{' '.join(command)} failed")


def add(listed: Listed, found: Listed) -> None:
    """Add what is not listed yet."""
    for name, signatures in found.items():
        its = listed.setdefault(name, [])
        its += [one for one in signatures if one not in its]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_all(Path(sys.argv[2]))
    else:
        main(sys.argv[1:])
