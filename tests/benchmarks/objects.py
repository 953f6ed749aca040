"""Small checkpoints of every kind that `generality` packs: arrays from a seed, about 256 × 512.

``OBJECTS`` maps kinds to the objects of each by name: functions of a random generator that give
arrays by name. They are what weights are found to be: numbers that were narrower once, that lie on
a grid, that depend on their neighbours, on other rows or on other tensors, and numbers that do not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.benchmarks.making import (
    BF16,
    COLUMNS,
    E4M3,
    E5M2,
    NF4,
    ROWS,
    SHAPE,
    Array,
    Random,
    angles,
    clustered,
    codebook,
    copies,
    correlated,
    cosines,
    damped,
    gabor,
    grid,
    hadamard,
    low_rank,
    mixed,
    outliers,
    pruned,
    smooth,
    spectrogram,
    trained,
    transformer,
    truncated,
    two_of_four,
    vectors,
    weights,
)

Make = Callable[[Random], "Array | dict[str, Array]"]

CASTS: dict[str, Make] = {
    "f32, 5 zero bits": lambda r: truncated(weights(r), 5),
    "f32, 7 zero bits": lambda r: truncated(weights(r), 7),
    "f32, 10 zero bits": lambda r: truncated(weights(r), 10),
    "f32, 13 zero bits": lambda r: truncated(weights(r), 13),
    "f32 of f16": lambda r: weights(r).astype(np.float16).astype(np.float32),
    "f32 of bf16": lambda r: weights(r).astype(BF16).astype(np.float32),
    "f32 of e4m3": lambda r: (16 * weights(r)).astype(E4M3).astype(np.float32),
    "f32 of e5m2": lambda r: weights(r).astype(E5M2).astype(np.float32),
    "f64 of f32": lambda r: weights(r).astype(np.float64),
    "f64 of f16": lambda r: weights(r).astype(np.float16).astype(np.float64),
    "f64 of bf16": lambda r: weights(r).astype(BF16).astype(np.float64),
    "f16 of bf16": lambda r: weights(r).astype(BF16).astype(np.float16),
    "bf16 of f16": lambda r: weights(r).astype(np.float16).astype(BF16),
    "bf16 of e4m3": lambda r: (16 * weights(r)).astype(E4M3).astype(BF16),
    "f16 of e4m3": lambda r: (16 * weights(r)).astype(E4M3).astype(np.float16),
    "f32, scaled f16": lambda r: weights(r).astype(np.float16) * np.float32(0.123),
    "f32, scaled bf16": lambda r: weights(r).astype(BF16).astype(np.float32) * np.float32(0.7),
    "f32, mean of two bf16": lambda r: (
        sum(weights(r).astype(BF16).astype(np.float32) for _ in "ab") / np.float32(2)
    ),
    "f32, some tensors of f16": lambda r: {
        "a": weights(r, (64, 512)).astype(np.float16).astype(np.float32),
        "b": weights(r, (64, 512)),
        "c": weights(r, (64, 512)).astype(BF16).astype(np.float32),
    },
    "f32, some rows of f16": lambda r: np.concatenate(
        [weights(r, (128, 512)).astype(np.float16).astype(np.float32), weights(r, (128, 512))]
    ),
}
GRIDS: dict[str, Make] = {
    "int8, tensor": lambda r: grid(r, 8),
    "int4, tensor": lambda r: grid(r, 4),
    "int8, rows": lambda r: grid(r, 8, COLUMNS),
    "int4, groups of 32": lambda r: grid(r, 4, 32),
    "int4, groups of 128": lambda r: grid(r, 4, 128),
    "int4 affine, groups of 128": lambda r: grid(r, 4, 128, affine=True),
    "int8 affine, rows": lambda r: grid(r, 8, COLUMNS, affine=True),
    "int8 affine, tensor": lambda r: grid(r, 8, affine=True),
    "int3, groups of 64": lambda r: grid(r, 3, 64),
    "int8, groups of 256, f16": lambda r: grid(r, 8, 256, dtype=np.float16),
    "int4, groups of 64, bf16": lambda r: grid(r, 4, 64, dtype=BF16),
    "int6, rows, f64": lambda r: grid(r, 6, COLUMNS, dtype=np.float64),
    "ternary, rows": lambda r: np.float32(
        abs(w := weights(r)).mean(1, keepdims=True) * np.sign(w) * (abs(w) > 0.02)
    ),
    "NF4, groups of 64": lambda r: codebook(r, np.array(NF4), 64),
    "NF4, groups of 64, bf16": lambda r: codebook(r, np.array(NF4), 64).astype(BF16),
    "powers of two": lambda r: np.float32(
        np.sign(w := weights(r)) * 2.0 ** np.rint(np.log2(abs(w)))
    ),
    "3 decimals": lambda r: np.float32(np.round(weights(r), 3)),
    "5 decimals": lambda r: np.float32(np.round(weights(r), 5)),
    "4 decimals, f64": lambda r: np.round(weights(r).astype(np.float64), 4),
    "k / 2^10": lambda r: np.rint(weights(r) * 1024) / np.float32(1024),
    "k / 2^14, f64": lambda r: np.rint(weights(r).astype(np.float64) * 2**14) / 2**14,
    "k / 3": lambda r: np.rint(weights(r) * 3000) / np.float32(3000),
    "16 clusters": lambda r: clustered(r, 16),
    "200 clusters": lambda r: clustered(r, 200),
    "3000 clusters": lambda r: clustered(r, 3000),
    "vectors of 4 out of 256": lambda r: vectors(r, 256, 4),
    "vectors of 8 out of 1000": lambda r: vectors(r, 1000, 8),
    "quantized while trained": lambda r: trained(r, quantize=True),
}
CONVOLUTIONS: dict[str, Make] = {
    "1-D, smooth": lambda r: smooth(r, (64, 48, 25), 1),
    "1-D, very smooth": lambda r: smooth(r, (64, 16, 65), 1, 8),
    "2-D 3 × 3, smooth": lambda r: smooth(r, (96, 128, 3, 3), 2, 1),
    "2-D 7 × 7, smooth": lambda r: smooth(r, (64, 32, 7, 7), 2),
    "2-D 5 × 5, bf16": lambda r: smooth(r, (64, 64, 5, 5), 2).astype(BF16),
    "3-D, smooth": lambda r: smooth(r, (48, 64, 3, 3, 3), 3),
    "separable": lambda r: weights(r, (64, 48, 7, 1)) * weights(r, (64, 48, 1, 7)) * 30,
    "Gabor": lambda r: gabor(r, 256, 11),
    "2-D 3 × 3, plain": lambda r: weights(r, (128, 128, 3, 3)),
    "channels last, smooth": lambda r: np.ascontiguousarray(
        smooth(r, (64, 64, 5, 5), 2).transpose(2, 3, 1, 0)
    ),
    "spectrogram": lambda r: spectrogram(512),
    "scale of filters": lambda r: (
        smooth(r, (128, 64, 3, 3), 2) * weights(r, (1, 64, 1, 1), 0.1) * 50
    ),
}
STRUCTURED: dict[str, Make] = {
    "Toeplitz": lambda r: np.lib.stride_tricks.sliding_window_view(weights(r, (767,)), 512)[
        :, ::-1
    ],
    "circulant": lambda r: np.stack(
        [np.roll(w, i) for w in [weights(r, (512,))] for i in range(512)]
    ),
    "Kronecker": lambda r: np.kron(weights(r, (16, 32)), 30 * weights(r, (16, 16))),
    "Hadamard": lambda r: hadamard(512) * np.sign(weights(r, (512,))),
    "cosine transform": lambda r: cosines(400),
    "orthogonal": lambda r: np.float32(np.linalg.qr(r.standard_normal((384, 384)))[0]),
    "symmetric": lambda r: (w := weights(r, (384, 384), 0)) + w.T,
    "antisymmetric": lambda r: (w := weights(r, (384, 384), 0)) - w.T,
    "triangular": lambda r: np.tril(weights(r, (512, 512))),
    "blocks on the diagonal": lambda r: (
        np.kron(np.eye(8, dtype=np.float32), np.ones((64, 64), "f")) * weights(r, (512, 512))
    ),
    "low rank": lambda r: low_rank(r, 8),
    "low rank, bf16": lambda r: low_rank(r, 4).astype(BF16),
    "low rank, and noise": lambda r: low_rank(r, 8) + weights(r, spread=0) / 50,
    "an update merged": lambda r: {
        "base": (w := weights(r).astype(BF16)),
        "tuned": (w.astype(np.float32) + low_rank(r, 4) / 20).astype(BF16),
    },
    "an update merged, f32": lambda r: {
        "base": (w := weights(r)),
        "tuned": w + low_rank(r, 4) / 20,
    },
}
REPEATED: dict[str, Make] = {
    "rows permuted": lambda r: copies(r, lambda r, rows: rows),
    "rows times powers of two": lambda r: copies(
        r, lambda r, rows: rows * np.float32(2.0) ** r.integers(-3, 4, (len(rows), 1))
    ).astype(np.float32),
    "rows times factors": lambda r: copies(
        r, lambda r, rows: np.float32(rows * r.uniform(0.5, 2, (len(rows), 1)))
    ),
    "signs of rows": lambda r: copies(
        r, lambda r, rows: rows * r.choice(np.float32([-1, 1]), (len(rows), 1))
    ),
    "rows with noise": lambda r: copies(
        r, lambda r, rows: np.float32(rows * (1 + 1e-4 * r.standard_normal(rows.shape)))
    ),
    "rows with noise, bf16": lambda r: copies(
        r, lambda r, rows: np.float32(rows * (1 + 0.02 * r.standard_normal(rows.shape)))
    ).astype(BF16),
    "columns permuted": lambda r: np.ascontiguousarray(copies(r, lambda r, rows: rows).T),
    "tensors, one transposed": lambda r: {
        "in": (w := weights(r)),
        "out": np.ascontiguousarray(w.T),
    },
    "tensors, one negated": lambda r: {"a": (w := weights(r)), "b": -w},
    "tensors, averaged": lambda r: {
        "live": (w := weights(r)),
        "ema": np.float32(w * (1 + 1e-3 * r.standard_normal(w.shape))),
    },
    "tensors, cast": lambda r: {"half": (w := weights(r)).astype(BF16), "master": w},
    "tensors, a few changed": lambda r: {
        "a": (w := weights(r)),
        "b": np.where(r.random(w.shape) < 0.02, weights(r), w),
    },
}
SPARSE: dict[str, Make] = {
    "2 of 4": two_of_four,
    "50 %": lambda r: pruned(r, r.random(SHAPE) < 0.5),
    "90 %": lambda r: pruned(r, r.random(SHAPE) < 0.1),
    "99 %": lambda r: pruned(r, r.random(SHAPE) < 0.01),
    "80 %, bf16": lambda r: pruned(r, r.random(SHAPE) < 0.2, BF16),
    "rows": lambda r: pruned(r, r.random((ROWS, 1)) < 0.4),
    "columns": lambda r: pruned(r, r.random((1, COLUMNS)) < 0.4),
    "blocks of 16": lambda r: pruned(r, np.kron(r.random((16, 32)) < 0.3, np.ones((16, 16), bool))),
}
TABLES: dict[str, Make] = {
    "embedding, correlated": correlated,
    "embedding, correlated, bf16": lambda r: correlated(r).astype(BF16),
    "embedding, words never seen": lambda r: np.concatenate(
        [weights(r), np.tile(weights(r, (1, COLUMNS)), (128, 1))]
    ),
    "positions, sines": lambda r: np.float32(
        np.concatenate([np.sin(a := angles(512, 256)), np.cos(a)], 1)
    ),
    "positions, sines in turn": lambda r: np.float32(
        np.stack([np.sin(a := angles(512, 256)), np.cos(a)], 2).reshape(512, 256)
    ),
    "positions, rotary, bf16": lambda r: np.tile(np.cos(angles(1024, 128)), (1, 2)).astype(BF16),
    "positions, learned": lambda r: smooth(r, (256, 512), 1) + damped(r).T[:256, :1] / 20,
    "causal mask": lambda r: np.triu(np.full((384, 384), -np.inf, np.float32), 1),
    "sorted": lambda r: np.sort(weights(r).ravel()),
    "sorted, f64": lambda r: np.cumsum(r.exponential(size=60000)),
    "linspace": lambda r: np.linspace(0, 1, 100_001, dtype=np.float32),
    "smooth rows": damped,
    "smooth rows, bf16": lambda r: damped(r).astype(BF16),
    "smooth rows, f16": lambda r: damped(r).astype(np.float16),
    "smooth rows, int8": lambda r: np.int8(np.rint(127 * damped(r))),
    "smooth columns": lambda r: np.ascontiguousarray(damped(r).T),
    "Adam's second moments": lambda r: np.float32(weights(r) ** 2 * weights(r) ** 2),
}
INTEGERS: dict[str, Make] = {
    "int8, Gaussian": lambda r: np.int8(np.clip(np.rint(30 * r.standard_normal(SHAPE)), -127, 127)),
    "int8, rows of scales": lambda r: np.int8(np.clip(np.rint(600 * weights(r)), -127, 127)),
    "int8, uniform": lambda r: r.integers(-128, 128, SHAPE, np.int8),
    "uint8, two codes a byte": lambda r: np.uint8(
        (q := np.clip(np.rint(2.5 * r.standard_normal(SHAPE) + 8), 0, 15))[:, ::2] + 16 * q[:, 1::2]
    ),
    "int32, eight codes": lambda r: (
        (
            np.clip(np.rint(2.5 * r.standard_normal((256, 128, 8)) + 8), 0, 15).astype(np.uint32)
            << np.arange(0, 32, 4, np.uint32)
        )
        .sum(2, dtype=np.uint32)
        .view(np.int32)
    ),
    "int32, indices": lambda r: np.int32(r.permutation(60000)),
    "int32, sorted indices": lambda r: np.sort(r.integers(0, 1 << 20, 60000, np.int32)),
    "int64, tokens": lambda r: np.minimum(r.zipf(1.3, (128, 256)), 50000).astype(np.int64),
    "int64, relative positions": lambda r: np.int64(
        31 * (y := np.arange(256) // 16)[:, None] - 31 * y + (x := np.arange(256) % 16)[:, None] - x
    ),
    "int16": lambda r: np.int16(np.rint(8000 * weights(r))),
    "uint16, of a codebook": lambda r: r.integers(0, 1000, SHAPE, np.uint16),
    "bool, mask": lambda r: r.random(SHAPE) < 0.1,
    "bool, blocks": lambda r: np.kron(r.random((32, 64)) < 0.5, np.ones((8, 8), bool)),
    "uint8, image": lambda r: np.uint8(np.clip(smooth(r, (256, 512), 2, 8) * 12 + 128, 0, 255)),
}
DISTRIBUTIONS: dict[str, Make] = {
    "Gaussian": lambda r: np.float32(0.02 * r.standard_normal(SHAPE)),
    "Gaussian, f16": lambda r: (0.02 * r.standard_normal(SHAPE)).astype(np.float16),
    "Gaussian, bf16": lambda r: (0.02 * r.standard_normal(SHAPE)).astype(BF16),
    "Gaussian, f64": lambda r: 0.02 * r.standard_normal((128, 512)),
    "Gaussian, e4m3": lambda r: r.standard_normal(SHAPE).astype(E4M3),
    "rows of scales, e5m2": lambda r: weights(r).astype(E5M2),
    "rows of scales": weights,
    "rows of scales, bf16": lambda r: weights(r).astype(BF16),
    "columns of scales, f16": lambda r: np.ascontiguousarray(weights(r, (512, 256)).T).astype("f2"),
    "Student, 3": lambda r: np.float32(0.02 * r.standard_t(3, SHAPE)),
    "uniform": lambda r: (r.random(SHAPE, np.float32) * 2 - 1) * np.float32(0.0442),
    "uniform, bf16": lambda r: r.uniform(-0.05, 0.05, SHAPE).astype(BF16),
    "truncated normal": lambda r: np.float32(
        0.02 * np.where(abs(w := r.standard_normal(SHAPE)) < 2, w, r.uniform(-2, 2, SHAPE))
    ),
    "outlier columns": lambda r: outliers(r, np.float32),
    "outlier columns, bf16": lambda r: outliers(r, BF16),
    "positive": lambda r: np.float32(r.lognormal(-2, 0.5, SHAPE)),
    "about one": lambda r: np.float32(1 + 0.05 * r.standard_normal(SHAPE)),
    "two scales": lambda r: np.float32(
        r.standard_normal(SHAPE) * np.where(r.random(SHAPE) < 0.1, 1, 0.01)
    ),
}
SHAPES: dict[str, Make] = {
    "400 tiny tensors": lambda r: {f"layers.{i}.bias": weights(r, (48,)) for i in range(400)},
    "150 tensors, bf16": lambda r: {
        f"blocks.{i}.w": weights(r, (16, 40)).astype(BF16) for i in range(150)
    },
    "five weights": lambda r: weights(r, (5,)),
    "constant": lambda r: np.full(SHAPE, 0.1, np.float32),
    "ones and zeros": lambda r: {"scale": np.ones(9000, np.float32), "bias": np.zeros(9000, "f")},
    "infinities and no numbers": lambda r: np.where(
        r.random(SHAPE) < 0.01, r.choice(np.float32([np.inf, np.nan, -0.0]), SHAPE), weights(r)
    ),
    "one long vector": lambda r: weights(r, (131_071,), 0.1),
    "thin": lambda r: weights(r, (30_000, 3)),
    "a transformer": lambda r: transformer(r, np.float32),
    "a transformer, bf16": lambda r: transformer(r, BF16),
    "a transformer, f16": lambda r: transformer(r, np.float16),
    "a state with buffers": mixed,
    "trained": trained,
}
OBJECTS = {
    "casts": CASTS,
    "grids": GRIDS,
    "convolutions": CONVOLUTIONS,
    "structured": STRUCTURED,
    "repeated": REPEATED,
    "sparse": SPARSE,
    "tables": TABLES,
    "integers": INTEGERS,
    "distributions": DISTRIBUTIONS,
    "shapes": SHAPES,
}
