"""What `kolmo.delta` says of differences of many kinds, how long it takes, and how much it holds.

Run: python -m tests.benchmarks.delta [seen|held|aside] [--thorough] [--rows N] [--only GLOB]

Each case is a matrix and what was made of it, or several, in two files, measured in a process of
its own after small runs, one of its first rows, that load compiled code. The table has the code
that is the shortest, its bits a weight, those of the weights alone, nanoseconds of CPU a weight,
and the most memory above what the interpreter and its libraries held before. ``held`` are cases
that no threshold was chosen on at first, ``aside`` those that none was chosen on since.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
Pair = tuple[Any, Any]  # matrices, or several by name
Make = Callable[[Any, int], Pair]  # of a generator and a number of rows

_CHILD = """
import json, re, sys, time
import numpy as np
import kolmo
small = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
more = json.loads(sys.argv[3])
def held():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
kolmo.delta({"w": small}, {"w": small + 1e-3 * small[::-1]}, **more)
kolmo.delta({"w": small}, {"w": small + np.outer(small[0], small[1])}, **more)
opened = [kolmo.open_checkpoint(path) for path in sys.argv[1:3]]
kolmo.delta(*[{n: t.read()[:128] for n, t in each.items()} for each in opened], **more)
before = held()
began, wall = time.process_time(), time.perf_counter()
report = kolmo.delta(sys.argv[1], sys.argv[2], **more)
seconds, wall = time.process_time() - began, time.perf_counter() - wall
peak = held()
table = report.table[lambda t: t.scope == ("tensor" if len(opened[0]) == 1 else "model")]
rows = table.set_index("estimator")
print(json.dumps({
    "numel": int(rows.numel["delta"]), "bits": float(rows.bits["delta"]),
    "alone": float(rows.bits["alone"]), "details": json.loads(rows.details["delta"]),
    "seconds": seconds, "wall": wall, "mb": (peak - before) / 1024,
}))
"""


# --- differences ------------------------------------------------------------------------------


def _weights(random: Any, rows: int, columns: int, dtype: Any, scale: float = 0.02) -> Any:
    return random.normal(0, scale, (rows, columns)).astype(dtype)


def equal(dtype: Any, columns: int = 1024) -> Make:
    """Nothing changed."""

    def make(random: Any, rows: int) -> Pair:
        base = _weights(random, rows, columns, dtype)
        return base, base

    return make


def dense(dtype: Any, scale: float, columns: int = 1024, outliers: bool = False) -> Make:
    """Normal noise everywhere; ``outliers``: a few columns of weights and of noise are larger."""

    def make(random: Any, rows: int) -> Pair:
        wide = np.where(random.random(columns) < 0.01, 20, 1) if outliers else np.ones(columns)
        base = (_weights(random, rows, columns, np.float64) * wide).astype(dtype)
        noise = random.normal(0, scale, base.shape) * wide
        return base, (base.astype(np.float64) + noise).astype(dtype)

    return make


def lora(
    dtype: Any, rank: int, scale: float, columns: int = 1024, noise: float = 0.0, decay: float = 1.0
) -> Make:
    """A product of two thin matrices merged; its factors may decay, noise may come on top."""

    def make(random: Any, rows: int) -> Pair:
        base = _weights(random, rows, columns, dtype)
        a = random.normal(0, scale / rank**0.5, (rows, rank)) * decay ** np.arange(rank)
        product = a.astype(np.float32) @ random.normal(size=(rank, columns)).astype(np.float32)
        extra = random.normal(0, noise, base.shape) if noise else 0
        return base, (base.astype(np.float64) + product + extra).astype(dtype)

    return make


def merged(dtype: Any, rank: int, alpha: float, columns: int = 1024, rounded: bool = True) -> Make:
    """Factors of the dtype, as they are trained, whose scaled product is merged into weights of
    heavy tails; ``rounded``: the product is rounded to the dtype, and then scaled, before."""

    def make(random: Any, rows: int) -> Pair:
        base = (random.standard_t(6, (rows, columns)) / 50).astype(dtype)
        a = random.uniform(-1, 1, (rank, columns)) / columns**0.5
        b = random.normal(0, 2e-2, (rows, rank))
        a, b = (part.astype(dtype).astype(np.float32) for part in (a, b))
        product = b @ a
        if rounded:
            product = product.astype(dtype).astype(np.float32)
        product = (product * np.float32(alpha / rank)).astype(dtype if rounded else np.float32)
        return base, (base.astype(np.float32) + product.astype(np.float32)).astype(dtype)

    return make


def attention(dtype: Any, rank: int, columns: int = 768) -> Make:
    """A layer of which only the matrices of queries and values are adapted."""

    def make(random: Any, rows: int) -> Pair:
        both: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        adapt = lora(dtype, rank, 2e-3, columns)
        for name in "qkvo":
            pair = adapt(random, rows)
            for part, weights in zip(both, pair, strict=True):
                part[name] = weights if name in "qv" else pair[0]
        return both

    return make


def rank_one(dtype: Any, scale: float, columns: int = 1024) -> Make:
    """u·vᵀ of vectors of the dtype."""

    def make(random: Any, rows: int) -> Pair:
        base = _weights(random, rows, columns, dtype)
        u, v = random.normal(size=rows).astype(dtype), random.normal(0, scale, columns)
        product = np.multiply.outer(u.astype(np.float64), v.astype(dtype).astype(np.float64))
        return base, (base.astype(np.float64) + product).astype(dtype)

    return make


def sparse(dtype: Any, share: float, columns: int = 1024) -> Make:
    """Few entries have new values."""

    def make(random: Any, rows: int) -> Pair:
        base = _weights(random, rows, columns, dtype)
        new = _weights(random, rows, columns, dtype)
        return base, np.where(random.random(base.shape) < share, new, base)

    return make


def unrelated(dtype: Any, columns: int = 1024) -> Make:
    """Another start."""

    def make(random: Any, rows: int) -> Pair:
        return _weights(random, rows, columns, dtype), _weights(random, rows, columns, dtype)

    return make


def quantized(dtype: Any, levels: int, columns: int = 1024) -> Make:
    """Rounded to a grid for each row, before and after noise."""

    def make(random: Any, rows: int) -> Pair:
        base = _weights(random, rows, columns, np.float64)
        tuned = base + random.normal(0, 1e-3, base.shape)
        step = np.abs(base).max(axis=1, keepdims=True) / levels
        base, tuned = (np.rint(w / step) * step for w in (base, tuned))
        return base.astype(dtype), tuned.astype(dtype)

    return make


def pruned(dtype: Any, share: float, columns: int = 1024) -> Make:
    """Some weights are zero now."""

    def make(random: Any, rows: int) -> Pair:
        base = _weights(random, rows, columns, dtype)
        return base, np.where(random.random(base.shape) < share, base.dtype.type(0), base)

    return make


def repeated(dtype: Any, columns: int = 1024) -> Make:
    """The lower half of the new weights repeats the upper one."""

    def make(random: Any, rows: int) -> Pair:
        base = _weights(random, rows, columns, dtype)
        half = _weights(random, rows // 2, columns, dtype)
        return base, np.concatenate([half, half])

    return make


SEEN = {
    "equal f32": equal(np.float32),
    "equal bf16": equal(BFLOAT16),
    "dense f32": dense(np.float32, 1e-3),
    "dense bf16": dense(BFLOAT16, 1e-3),
    "tiny dense f32": dense(np.float32, 1e-6),
    "tiny dense bf16": dense(BFLOAT16, 2e-5),
    "dense outliers bf16": dense(BFLOAT16, 1e-3, outliers=True),
    "lora 4 f32": lora(np.float32, 4, 1e-3),
    "lora 4 bf16": lora(BFLOAT16, 4, 1e-3),
    "lora 16 f32": lora(np.float32, 16, 1e-3),
    "lora 16 bf16": lora(BFLOAT16, 16, 1e-3),
    "lora 8 noisy bf16": lora(BFLOAT16, 8, 1e-3, noise=3e-4),
    "rank one f32": rank_one(np.float32, 1e-3),
    "rank one bf16": rank_one(BFLOAT16, 1e-3),
    "sparse 1 % f32": sparse(np.float32, 0.01),
    "sparse 1 % bf16": sparse(BFLOAT16, 0.01),
    "unrelated bf16": unrelated(BFLOAT16),
    "int8 grid f32": quantized(np.float32, 127),
}
"""Cases that thresholds were chosen on."""

HELD = {
    "equal f16": equal(np.float16, 1536),
    "dense f16": dense(np.float16, 3e-4, 1536),
    "dense f64": dense(np.float64, 1e-4, 700),
    "tiny dense f16": dense(np.float16, 1e-6, 1536),
    "dense outliers f32": dense(np.float32, 1e-4, 2048, outliers=True),
    "lora 2 bf16": lora(BFLOAT16, 2, 2e-3, 2048),
    "lora 8 f16": lora(np.float16, 8, 5e-4, 640),
    "lora 32 bf16": lora(BFLOAT16, 32, 1e-3, 1536),
    "lora 64 f32": lora(np.float32, 64, 3e-3, 768),
    "lora 16 faint bf16": lora(BFLOAT16, 16, 2e-5, 1536),
    "lora 16 decay f32": lora(np.float32, 16, 1e-3, 1536, noise=1e-5, decay=0.7),
    "lora 4 under noise bf16": lora(BFLOAT16, 4, 3e-4, 1536, noise=1e-3),
    "rank one f16": rank_one(np.float16, 3e-3, 768),
    "sparse 10 % f16": sparse(np.float16, 0.1, 1536),
    "sparse .01 % bf16": sparse(BFLOAT16, 1e-4, 2048),
    "pruned f32": pruned(np.float32, 0.5, 1536),
    "unrelated f32": unrelated(np.float32, 1536),
    "int4 grid bf16": quantized(BFLOAT16, 7, 1536),
    "repeated bf16": repeated(BFLOAT16, 1536),
}
"""Cases set aside."""

ASIDE = {
    "equal int8": lambda random, rows: 2 * (random.integers(-90, 90, (rows, 900), np.int8),),
    "dense bf16 narrow": dense(BFLOAT16, 4e-4, 192),
    "dense f16 wide": dense(np.float16, 2e-3, 3000, outliers=True),
    "dense f32 faint": dense(np.float32, 3e-8, 1280),
    "lora 3 f32": lora(np.float32, 3, 2e-3, 1280),
    "lora 3 bf16": lora(BFLOAT16, 3, 5e-4, 2304),
    "lora 3 f16": lora(np.float16, 3, 1e-3, 384),
    "lora 6 bf16": lora(BFLOAT16, 6, 3e-3, 896),
    "lora 6 f16": lora(np.float16, 6, 2e-3, 1728),
    "lora 12 f32": lora(np.float32, 12, 5e-4, 1100),
    "lora 12 bf16": lora(BFLOAT16, 12, 4e-4, 3072),
    "lora 24 bf16": lora(BFLOAT16, 24, 2e-3, 1408),
    "lora 24 f32": lora(np.float32, 24, 1e-3, 960),
    "lora 12 decay f16": lora(np.float16, 12, 1e-3, 1152, decay=0.8),
    "lora 6 noisy f32": lora(np.float32, 6, 1e-3, 832, noise=1e-6),
    "merged 8 bf16": merged(BFLOAT16, 8, 16, 1280),
    "merged 16 bf16 float": merged(BFLOAT16, 16, 4, 960, rounded=False),
    "merged 6 f16": merged(np.float16, 6, 24, 1600),
    "merged 24 f32": merged(np.float32, 24, 48, 896),
    "merged 1 bf16": merged(BFLOAT16, 1, 3, 1200),
    "attention 12 bf16": attention(BFLOAT16, 12),
    "attention 6 f32": attention(np.float32, 6, 512),
    "sparse 3 % bf16": sparse(BFLOAT16, 0.03, 1100),
    "pruned f16": pruned(np.float16, 0.2, 1300),
}
"""Cases set aside later."""


# --- measuring --------------------------------------------------------------------------------


def measured(pair: Pair, **options: Any) -> dict[str, Any]:
    """What a process of its own says of two matrices."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{name}.safetensors")) for name in ("base", "tuned")]
        for path, weights in zip(paths, pair, strict=True):
            named = weights if isinstance(weights, dict) else {"w": weights}
            save_file({name: np.ascontiguousarray(w) for name, w in named.items()}, path)
        command = [sys.executable, "-c", _CHILD, *paths, json.dumps(options)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(cases: dict[str, Make], rows: int, **options: Any) -> Iterator[str]:
    """A line for each case."""
    yield (
        f"| {'case':24} | {'code':24} | rank | bits/w | alone | ns CPU/w | ns/w | MB |\n"
        f"|---|---|---:|---:|---:|---:|---:|---:|"
    )
    for number, (name, make) in enumerate(cases.items()):
        found = measured(make(np.random.default_rng(number), rows), **options)
        numel, details = found["numel"], found["details"]
        yield (
            f"| {name:24} | {_code(details):24} | {details.get('rank', '')!s:>4} "
            f"| {found['bits'] / numel:6.3f} | {found['alone'] / numel:5.2f} "
            f"| {1e9 * found['seconds'] / numel:8,.0f} | {1e9 * found['wall'] / numel:6,.0f} "
            f"| {found['mb']:5,.0f} |"
        )


def _code(details: dict[str, Any]) -> str:
    """The shortest code, or how many tensors have which."""
    return details.get("code") or ", ".join(f"{n} {c}" for c, n in details["tensors"].items())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("half", nargs="?", choices=["seen", "held", "aside"], default="seen")
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--only", default="*")
    given = parser.parse_args()
    cases = {"seen": SEEN, "held": HELD, "aside": ASIDE}[given.half]
    chosen = {name: make for name, make in cases.items() if fnmatch.fnmatch(name, given.only)}
    options: dict[str, Any] = {"threads": 1, **({"thorough": True} if given.thorough else {})}
    for line in table(chosen, given.rows, **options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
