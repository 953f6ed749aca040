"""Which containers and mosaic files are kept, and how they are made."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import kolmo
from kolmo.checkpoints.opening import open_source
from momos import Mosaic
from tests.golden.libraries import libraries
from tests.golden.lossy import description
from tests.golden.measured import FOLDER, SOURCES
from tests.golden.sources import SYNTHETIC, integers, smooth, tiles

VERSION = 3
"""Of the container's format."""

MOSAIC_VERSION = 4


@dataclasses.dataclass(frozen=True)
class Packed:
    """What a container is made of."""

    source: str
    quantizer: str = "native"
    preset: str = "best"

    @property
    def name(self) -> str:
        quantizer = "" if self.quantizer == "native" else f"-{self.quantizer.replace(':', '-')}"
        return f"{self.source}{quantizer}-{self.preset}"

    @property
    def path(self) -> Path:
        return FOLDER / f"kmo-{VERSION}" / f"{self.name}.kmo"

    def weights(self) -> Any:
        """The checkpoint, for any function that takes one."""
        if self.source in SOURCES:
            return SOURCES[self.source]
        return open_source(SYNTHETIC[self.source]())  # every array, integers and copies too

    def pack(self, path: Path) -> kolmo.Certificate:
        return kolmo.pack(
            self.weights(), path, quantizer=self.quantizer, preset=self.preset, threads=1
        )


class Levels(Packed):
    """A lossy file, which is verified on its own."""

    def weights(self) -> None:
        return None

    def pack(self, path: Path) -> kolmo.Certificate:
        return description().write(path, self.preset, 1, None)


COARSE = ("symmetric:8", "symmetric:4", "codebook:16")
CONTAINERS = [
    *(Packed(source) for source in SOURCES),
    *(Packed(source, quantizer) for source in ("trained", "momos") for quantizer in COARSE),
    *(Packed("trained", quantizer, "fast") for quantizer in ("native", *COARSE)),
    Packed("momos", "symmetric:4", "fast"),
    *(Packed(source) for source in SYNTHETIC),
    *(Packed(source, preset="fast") for source in ("constant", "dtypes")),
    Levels("levels", "lossy:0.25"),
]


def container_libraries() -> str:
    """Every library that a container may owe its bytes to."""
    return libraries("brotli", "bz2", "gzip", "xz", "zstd")


def tensors_of(path: Path) -> dict[str, list[Any]]:
    """Of each tensor of a checkpoint its dtype, its shape and the SHA-256 of its bytes."""
    return {
        name: [
            tensor.dtype.name,
            list(tensor.shape),
            hashlib.sha256(tensor.read().tobytes()).hexdigest(),
        ]
        for name, tensor in open_source(path).items()
    }


# --- mosaic files ---------------------------------------------------------------------------


def _half_motifs() -> Mosaic:
    """Motifs of 16 bits, a scale a tensor and one a row, and none."""
    source = {name: tiles(16, 4, (12, 8), seed=3) for name in ("plain", "tensor", "rows")}
    found = Mosaic.from_model(source, 4)
    scales = {"tensor": smooth(1).astype(np.float32), "rows": smooth(12, 5).astype(np.float32)}
    return dataclasses.replace(
        found, motifs=found.motifs.astype(np.float16), scales=scales, dtype=np.dtype(np.float32)
    )


def _with_dense() -> Mosaic:
    """Shapes that blocks do not fill, tensors beside the mosaic, and more motifs than repeat."""
    source = {
        "weight": tiles(9, 5, (20, 15)).astype(ml_dtypes.bfloat16),
        "odd": smooth(13, 6).astype(ml_dtypes.bfloat16),
        "norm": smooth(7, 7).astype(np.float32),
        "steps": np.array(12345),
        "mask": integers(10, 2).astype(bool),
    }
    return Mosaic.from_model(source, 5, exclude=["norm", "steps", "mask"])


def _tied() -> Mosaic:
    """Tensors that are one under two names: one of blocks, and one beside them."""
    weights, norm = tiles(12, 4, (16, 12), seed=5), smooth(6, 9).astype(np.float32)
    source = {"embed": weights, "norm": norm, "head": weights, "again": norm}
    return Mosaic.from_model(source, 4, exclude=["norm", "again"])


MOSAICS: Mapping[str, Any] = {
    "mixed": lambda: Mosaic.from_model({"w": np.sort(tiles(8, 4, (60, 40)), axis=0)}, 4),
    "packed": lambda: Mosaic.from_model({"w": smooth(96, 8).reshape(8, 12)}, 4),
    "scales": _half_motifs,
    "dense": _with_dense,
    "tied": _tied,
}
"""Mosaics by the name of their file."""


def mosaic_libraries() -> str:
    """The library that deflates a mosaic file's header."""
    return libraries("gzip")


def mosaic_path(name: str) -> Path:
    return FOLDER / f"mosaic-{MOSAIC_VERSION}" / f"{name}.mosaic"


def mosaic_facts(mosaic: Mosaic) -> dict[str, Any]:
    """What a mosaic is, and what it costs."""
    return {
        "bits": mosaic.code_length(),
        "description": mosaic.description_length(),
        "tensors": {
            name: [array.dtype.name, list(array.shape), _sha256(array)]
            for name, array in mosaic.arrays().items()
        },
    }


def _sha256(array: Any) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()
