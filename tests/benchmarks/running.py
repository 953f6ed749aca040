"""Layers that run as motifs against dense ones: time of a call, and bytes in memory.

    python tests/benchmarks/running.py [seconds]

prints the table of docs/mosaics.md (*Running compressed*): blocks of 8 and 4, float32, and torch's
dynamic quantization to int8, all in one run, in turns of five calls; of each the shortest call. One
thread is timed by its own clock, which other programs do not move; two by the clock on the wall.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from typing import Any

import torch
from torch import nn

import momos
from momos import MosaicLinear
from momos.running import kernels

SHAPES = [(1024, 1024), (2048, 2048), (4096, 4096)]
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5


def best(models: dict[str, nn.Module], x: torch.Tensor, threads: int) -> dict[str, float]:
    """The shortest call of each model, in microseconds, by turns of five calls each."""
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    found = dict.fromkeys(models, float("inf"))
    end = time.perf_counter() + SECONDS
    with torch.inference_mode():
        while time.perf_counter() < end:
            for name, model in models.items():
                for _ in range(5):
                    start = clock()
                    model(x)
                    found[name] = min(found[name], 1e6 * (clock() - start))
    return found


def filled(layer: MosaicLinear) -> MosaicLinear:
    blocks, rows = layer.indices.shape
    motifs = torch.randn(layer.block_size, 256)
    layer.take(torch.randint(256, (blocks, rows)), motifs, torch.rand(rows) + 0.5)
    return layer


def in_int8(model: nn.Module) -> nn.Module:
    quantize: Any = torch.ao.quantization.quantize_dynamic
    made: nn.Module = quantize(model, {nn.Linear}, torch.qint8)
    return made


def compare(name: str, models: dict[str, nn.Module], x: torch.Tensor, threads: int) -> None:
    found = best(models, x, threads)
    cells = [f"{name:12} {len(x):5} {threads:7}"]
    cells += [f"{us:8.0f} ({found['float32'] / us:5.2f} ×)" for us in found.values()]
    print(" ".join(cells), flush=True)


def main() -> None:
    warnings.simplefilter("ignore")  # of torch's own quantization
    torch.manual_seed(0)
    print(f"looks up bytes in registers: {kernels.is_quick()}; cores: {os.cpu_count()}")
    print("microseconds a call (how many times as quick as float32)")
    kinds = ("float32", "int8", "blocks of 8", "blocks of 4")
    print(f"{'layer':12} batch threads " + " ".join(f"{kind:>18}" for kind in kinds))
    for outputs, inputs in SHAPES:
        dense = nn.Linear(inputs, outputs)
        layers = {
            "float32": dense,
            "int8": in_int8(nn.Sequential(dense)),
            "blocks of 8": filled(MosaicLinear(inputs, outputs)),
            "blocks of 4": filled(MosaicLinear(inputs, outputs, block_size=4)),
        }
        for threads in (1, 2):
            for batch in (1, 16):
                x = torch.randn(batch, inputs)
                compare(f"{inputs} -> {outputs}", layers, x, threads)
        sizes = [4 * inputs * outputs + 4 * outputs, inputs * outputs + 8 * outputs]
        sizes += [layers[kind].resident_bytes for kind in kinds[2:]]
        shares = " ".join(f"{size:10,} (1/{sizes[0] / size:4.1f})" for size in sizes)
        print(f"{'':12} bytes         {shares}", flush=True)
    print("\na model of four layers, 1024-2048-2048-2048-512: rows a second")
    model = momos.MLP([1024, 2048, 2048, 2048, 512])
    models = {"float32": model, "int8": in_int8(model)}
    for kind, size in (("blocks of 8", 8), ("blocks of 4", 4)):
        models[kind] = momos.compile(model, block_size=size, rounds=0)
        for layer in models[kind].modules():
            if isinstance(layer, MosaicLinear):
                filled(layer)
    for threads in (1, 2):
        for batch in (1, 16):
            found = best(models, torch.randn(batch, 1024), threads)
            shown = ", ".join(f"{one} {batch / us * 1e6:,.0f}" for one, us in found.items())
            print(f"batch {batch}, {threads} threads: {shown}", flush=True)

    tell_accuracy()


def tell_accuracy() -> None:
    """What a trained network loses: 64-256-256-256-10 on the digits, its last layer left dense."""
    torch.set_num_threads(1)
    data = momos.load_dataset("digits")
    train, test = torch.from_numpy(data.train.images), torch.from_numpy(data.test.images)
    labels = torch.from_numpy(data.test.labels)
    kinds = ("float32", "8", "8, inputs", "4", "4, inputs")
    shown: dict[str, list[float]] = {kind: [] for kind in kinds}
    for seed in range(3):
        config = momos.TrainConfig(layers=4, hidden=256, epochs=30, seed=seed)
        model = momos.MLP([64, 256, 256, 256, 10])
        model.load_state_dict(momos.train(config).states["best"])
        for name, accuracies in shown.items():
            made = model
            if name != "float32":
                inputs = train if "inputs" in name else None
                size = int(name[0])
                made = momos.compile(model, block_size=size, inputs=inputs, exclude="layers.3")
            with torch.inference_mode():
                accuracies.append(float((made(test).argmax(dim=1) == labels).float().mean()))
    print("\ntest accuracy on the digits, by block size, mean of three seeds")
    for name, accuracies in shown.items():
        print(f"{name:10} {sum(accuracies) / 3:.4f}")


if __name__ == "__main__":
    main()
