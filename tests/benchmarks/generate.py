"""Checkpoints of any size, like those of language models, from a seed.

Run: python -m tests.benchmarks.generate KIND FOLDER [--gb N] [--seed S] [--shard-gb N]

KIND is ``llama`` (embeddings, q/k/v/o, gate/up/down, norms; a file, or shards of up to 5 GB with an
index), ``small`` (20,000 tensors of 64 × 64), or a pair of files ``base`` and ``tuned``: ``lora``
(an update of rank 16 merged into every matrix), ``frozen`` (all equal but the last layers),
``dense`` (a small change of every weight).

Weights are bfloat16: rows of different scale, heavy tails, some columns of outliers. They are made
of one block of random weights, of which each piece of a tensor takes its stretches from a place of
its own, with scales of its own: no two stretches are equal for longer than chance has it, and
writing takes little more than the disk does.
"""

import argparse
import dataclasses
import functools
import json
import math
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np

from kolmo.checkpoints.writing import SafetensorsWriter

BF16 = np.dtype(ml_dtypes.bfloat16)
BLOCK = 1 << 24  # weights of the block that all others are made of
PIECE = 1 << 18  # weights that are made at a time, in a core's cache
SHARD_GB = 5.0
RANK = 16
HEADS = 8  # query heads for each head of keys and values


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A model of the llama kind."""

    vocabulary: int
    width: int
    layers: int

    @property
    def hidden(self) -> int:
        return 256 * math.ceil(3.5 * self.width / 256)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        width, keys = self.width, max(64, self.width // HEADS)
        found = {"model.embed_tokens.weight": (self.vocabulary, width)}
        for layer in range(self.layers):
            name = f"model.layers.{layer}"
            found |= {
                f"{name}.self_attn.q_proj.weight": (width, width),
                f"{name}.self_attn.k_proj.weight": (keys, width),
                f"{name}.self_attn.v_proj.weight": (keys, width),
                f"{name}.self_attn.o_proj.weight": (width, width),
                f"{name}.mlp.gate_proj.weight": (self.hidden, width),
                f"{name}.mlp.up_proj.weight": (self.hidden, width),
                f"{name}.mlp.down_proj.weight": (width, self.hidden),
                f"{name}.input_layernorm.weight": (width,),
                f"{name}.post_attention_layernorm.weight": (width,),
            }
        return {**found, "model.norm.weight": (width,), "lm_head.weight": (self.vocabulary, width)}


LLAMA_70B = Architecture(128_256, 8192, 80)


def architecture(gigabytes):
    """The one of about this size: wider models for more bytes, and layers to fill them."""
    weights = gigabytes * 1e9 / 2
    width, vocabulary = next(
        (width, vocabulary)
        for most, width, vocabulary in (
            (2e6, 64, 512), (2e7, 256, 4_000),
            (2e8, 512, 16_000), (8e8, 1024, 32_000), (4e9, 2048, 64_000), (1e99, 4096, 128_000),
        )
        if weights <= most
    )  # fmt: skip
    one = Architecture(vocabulary, width, 1)
    layer = size(one) - size(dataclasses.replace(one, layers=0))
    layers = round((weights - size(dataclasses.replace(one, layers=0))) / layer)
    return dataclasses.replace(one, layers=max(1, layers))


def size(model):
    return sum(map(math.prod, model.shapes().values()))


# --- weights --------------------------------------------------------------------------------


class Weights:
    """Random weights of any number, the same for one seed."""

    def __init__(self, seed):
        random = np.random.default_rng(seed)
        heavy = random.standard_normal(BLOCK, np.float32) / 50
        heavy *= np.sqrt(8 / random.chisquare(8, 1 << 20).astype(np.float32)).repeat(BLOCK >> 20)
        self._block = np.concatenate([heavy, heavy[:PIECE]])
        self._seed = seed

    def pieces(self, name, shape):
        """(first weight, weights as float32) of a tensor, piece by piece, of whole rows."""
        numel, row = math.prod(shape), shape[-1]
        random = np.random.default_rng([self._seed, *name.encode()])
        columns = np.ones(row, np.float32)
        columns[random.choice(row, max(1, row // 128), replace=False)] = 6
        step = max(1, PIECE // row)
        for first in range(0, numel // row, step):
            rows = min(step, numel // row - first)
            yield first * row, self._piece(random, rows, row, columns, len(shape))

    def _piece(self, random, rows, row, columns, axes):
        start, step = int(random.integers(BLOCK)), rows * row
        if step > PIECE:  # one row is longer than a piece
            return np.resize(self._block, step)
        stretch = self._block[start : start + step].reshape(rows, row)
        scales = random.lognormal(0, 0.3, (rows, 1)).astype(np.float32)
        made = stretch * scales
        made *= columns
        return made.reshape(-1) if axes > 1 else 1 + made.reshape(-1)  # a norm is near 1


def to_bf16(weights):
    """The upper halves of floats, rounded half up, which is far faster than a cast."""
    bits = weights.view(np.uint32) + np.uint32(0x8000)
    return bits.view(np.uint16)[1::2].view(BF16)


# --- files ----------------------------------------------------------------------------------


def write_file(path, shapes, pieces):
    """One file; ``pieces(name, shape)`` gives (first weight, weights as bfloat16)."""
    with open(path, "w+b") as file:
        writer = SafetensorsWriter(file, {name: (BF16, shape) for name, shape in shapes.items()})
        for name, shape in shapes.items():
            for first, weights in pieces(name, shape):
                writer.write(name, first, weights)


def write_shards(folder, shapes, pieces, shard_gb=SHARD_GB):
    """A file, or shards with an index; gives what kolmo opens."""
    shards, room = [{}], shard_gb * 1e9
    for name, shape in shapes.items():
        if shards[-1] and (room := room - 2 * math.prod(shape)) < 0:
            shards.append({})
            room = shard_gb * 1e9 - 2 * math.prod(shape)
        shards[-1][name] = shape
    folder.mkdir(parents=True, exist_ok=True)
    if len(shards) == 1:
        write_file(folder / "model.safetensors", shapes, pieces)
        return folder / "model.safetensors"
    places = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        write_file(folder / file, shard, pieces)
        places |= dict.fromkeys(shard, file)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def llama(folder, gigabytes, seed=0, shard_gb=SHARD_GB):
    """A checkpoint of about this size."""
    weights = Weights(seed)

    def pieces(name, shape):
        return ((first, to_bf16(piece)) for first, piece in weights.pieces(name, shape))

    return write_shards(folder, architecture(gigabytes).shapes(), pieces, shard_gb)


def small(folder, tensors=20_000, seed=0):
    """Many tensors of 4,096 weights."""
    weights = Weights(seed)
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {f"layers.{number}.weight": (64, 64) for number in range(tensors)}
    write_file(
        folder / "model.safetensors",
        shapes,
        lambda name, shape: ((at, to_bf16(piece)) for at, piece in weights.pieces(name, shape)),
    )
    return folder / "model.safetensors"


def pair(folder, gigabytes, seed, change):
    """A checkpoint ``base`` and ``tuned``, what ``change(name, shape, first, piece)`` makes."""
    weights, shapes = Weights(seed), architecture(gigabytes).shapes()

    def base(name, shape):
        return ((first, to_bf16(piece)) for first, piece in weights.pieces(name, shape))

    def tuned(name, shape):
        for first, piece in weights.pieces(name, shape):
            yield first, to_bf16(change(name, shape, first, to_bf16(piece).astype(np.float32)))

    return (
        write_shards(folder / "base", shapes, base),
        write_shards(folder / "tuned", shapes, tuned),
    )


def lora(folder, gigabytes, seed=0):
    """An update of rank 16 merged into every matrix."""

    def change(name, shape, first, piece):
        if len(shape) < 2:
            return piece
        left, right = factors(seed, name, *shape)
        rows = slice(first // shape[1], first // shape[1] + piece.size // shape[1])
        return piece + (left[rows] @ right).reshape(-1)

    return pair(folder, gigabytes, seed, change)


@functools.lru_cache(1)
def factors(seed, name, rows, columns):
    random = np.random.default_rng([seed, 1, *name.encode()])
    left = random.normal(0, 0.02, (rows, RANK)).astype(np.float32)
    return left, random.normal(0, 0.02, (RANK, columns)).astype(np.float32)


def frozen(folder, gigabytes, seed=0):
    """All layers but the last quarter of them equal; the others changed in every weight."""
    layers = architecture(gigabytes).layers
    last = tuple(f"model.layers.{number}." for number in range(layers * 3 // 4, layers))
    noise = Weights(seed + 1)

    def change(name, shape, first, piece):
        return piece + noise._block[: piece.size] / 100 if name.startswith(last) else piece

    return pair(folder, gigabytes, seed, change)


def dense(folder, gigabytes, seed=0):
    """A small change of every weight."""
    noise = Weights(seed + 1)

    def change(name, shape, first, piece):
        start = (first * 31 + sum(name.encode())) % (BLOCK - PIECE)
        return piece + np.resize(noise._block[start : start + PIECE], piece.size) / 100

    return pair(folder, gigabytes, seed, change)


KINDS = {"llama": llama, "lora": lora, "frozen": frozen, "dense": dense}


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.generate")
    parser.add_argument("kind", choices=[*KINDS, "small"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gb", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard-gb", type=float, default=SHARD_GB)
    chosen, began = parser.parse_args(), time.perf_counter()
    if chosen.kind == "small":
        small(chosen.folder, seed=chosen.seed)
    elif chosen.kind == "llama":
        llama(chosen.folder, chosen.gb, chosen.seed, chosen.shard_gb)
    else:
        KINDS[chosen.kind](chosen.folder, chosen.gb, chosen.seed)
    seconds = time.perf_counter() - began
    written = sum(path.stat().st_size for path in chosen.folder.rglob("*.safetensors"))
    print(f"{written / 1e9:.2f} GB in {seconds:.1f} s ({written / seconds / 1e6:.0f} MB/s)")


if __name__ == "__main__":
    sys.exit(main())
