"""A finished checkpoint as a mosaic, its motifs sampled or fitted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Skipped
from kolmo.errors import InputError
from kolmo.floats import is_float
from momos.config import LearnedMosaic, SampledMosaic, require_mosaic
from momos.learned.fitting import fit_tensors
from momos.mosaic.mosaic import Mosaic
from momos.mosaic.reading import read_source
from momos.mosaic.stats import ProjectionStats
from momos.sampled.projection import project_tensors


def project_checkpoint(
    source: Any, config: SampledMosaic | LearnedMosaic, seed: int = 0
) -> tuple[Mosaic, ProjectionStats]:
    """Project the floating-point tensors of a checkpoint, which is left as it is.

    Parameters
    ----------
    source : path, URL, state dict or mapping of arrays
    config : SampledMosaic or LearnedMosaic
        Learned motifs are fitted to the weights: refitted and assigned twenty times, while the
        rate rises.
    seed : int

    Returns
    -------
    Mosaic, ProjectionStats
        Its coverage is the share of the floating-point weights.

    Examples
    --------
    >>> weights = {"w": np.array([1, 1, 0.1, 0], np.float32)}
    >>> mosaic, stats = project_checkpoint(weights, SampledMosaic(block_size=2, motifs=1))
    >>> mosaic.arrays()["w"].tolist(), stats.changed
    ([0.0, 0.0, 0.0, 0.0], 3)
    """
    require_mosaic(config)
    if config.policy == "no-norms":
        raise InputError(
            "a checkpoint does not say which tensors belong to norm layers: use policy 'matrices', "
            "or exclude them by name"
        )
    read = read_source(source, config.include, config.exclude)
    tensors, cut = read.tensors, read.cut
    if config.policy == "matrices":
        cut = tuple(name for name in cut if tensors[name].ndim > 1)
    chosen = {name: tensors[name] for name in cut}
    random = np.random.default_rng(seed)
    if isinstance(config, LearnedMosaic):
        mosaic, stats = fit_tensors(chosen, config, random)
    else:
        mosaic, stats = project_tensors(chosen, config, random)
    dense = {name: array for name, array in tensors.items() if name not in chosen}
    left = [Skipped(name, "kept dense", array.size) for name, array in dense.items()]
    floats = sum(array.size for array in dense.values() if is_float(array.dtype))
    mosaic = dataclasses.replace(mosaic, dense=dense, names=read.names, aliases=read.aliases)
    coverage = stats.weights / (stats.weights + floats)
    return mosaic, dataclasses.replace(stats, coverage=coverage, skipped=tuple(left))
