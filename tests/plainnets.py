"""What the bundled perceptrons and convnets compute, in numpy; nothing of momos or torch."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Weights = dict[str, Array]


def accuracy(weights: Weights, images: Array, labels: Array, plan: str | None) -> float:
    """Share of images, shape (n, features), whose largest logit is their label's."""
    guesses = [logits(weights, part, plan).argmax(axis=1) for part in np.array_split(images, 40)]
    return float((np.concatenate(guesses) == labels).mean())


def logits(weights: Weights, images: Array, plan: str | None) -> Array:
    """Those of a convnet by its plan, for images with one channel; of a perceptron without."""
    return perceptron(weights, images) if plan is None else convnet(weights, images, plan)


def perceptron(weights: Weights, x: Array) -> Array:
    for layer in range(count := len(weights) // 2):
        x = x @ weights[f"layers.{layer}.weight"].T + weights[f"layers.{layer}.bias"]
        x = x if layer == count - 1 else np.maximum(x, 0)
    return x


def convnet(weights: Weights, x: Array, plan: str) -> Array:
    side = round(x.shape[1] ** 0.5)
    x = x.reshape(len(x), 1, side, side)
    for number, word in enumerate(word for word in plan.split() if word != "a"):
        name = f"convolutions.{number}"
        options = {k: int(v) for k, v in re.findall(r"([ksg])(\d+)", word)}
        groups = x.shape[1] if word[0] == "d" else options.get("g", 1)
        x = convolved(x, weights[f"{name}.weight"], options.get("s", 1), groups)
        if word[0] == "c":
            if word.endswith("m"):
                even = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
                x = even.reshape(*x.shape[:2], x.shape[2] // 2, 2, -1, 2).max(axis=(3, 5))
            x = x / np.sqrt(np.square(x).mean(axis=(1, 2, 3), keepdims=True) + 1e-5)
            x = np.maximum(x + weights[f"{name}.bias"][:, None, None], 0)
    x = x.mean(axis=(2, 3)) if plan.split()[-1] == "a" else x.reshape(len(x), -1)
    return x @ weights["head.weight"].T + weights["head.bias"]


def convolved(x: Array, kernels: Array, stride: int, groups: int) -> Array:
    edge = kernels.shape[2] // 2
    x = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    seen = np.lib.stride_tricks.sliding_window_view(x, kernels.shape[2:], (2, 3))
    seen = seen[:, :, ::stride, ::stride]
    parts = zip(np.split(seen, groups, axis=1), np.split(kernels, groups), strict=True)
    return np.concatenate(
        [np.moveaxis(np.tensordot(s, k, ((1, 4, 5), (1, 2, 3))), -1, 1) for s, k in parts], axis=1
    )


def fashion_mnist_test(folder: Path) -> tuple[Array, Array]:
    """The test images, standardized by the 55,000 that momos trains on, and their labels."""
    train, test = (read_idx(folder, f"{part}-images-idx3-ubyte", 16) for part in ("train", "t10k"))
    train = train.reshape(60_000, -1)[np.random.default_rng(0).permutation(60_000)[5_000:]]
    images = (test.reshape(10_000, -1).astype(np.float32) - train.mean()) / train.std()
    return images.astype(np.float32), read_idx(folder, "t10k-labels-idx1-ubyte", 8)


def read_idx(folder: Path, name: str, header: int) -> Array:
    path = folder / name
    data = (
        path.read_bytes()
        if path.exists()
        else gzip.decompress((folder / f"{name}.gz").read_bytes())
    )
    return np.frombuffer(data, np.uint8, offset=header)
