"""A finished checkpoint as a mosaic, its motifs sampled or fitted."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Skipped
from kolmo.errors import InputError
from kolmo.floats import is_float
from kolmo.progress import Wanted, progress_bar
from momos.config import LearnedMosaic, SampledMosaic, require_mosaic
from momos.learned.fitting import fit_tensors
from momos.mosaic.mosaic import Mosaic
from momos.mosaic.reading import read_source
from momos.mosaic.stats import ProjectionStats
from momos.sampled.projection import project_tensors


def project_checkpoint(
    source: Any,
    config: SampledMosaic | LearnedMosaic | None = None,
    seed: int = 0,
    *,
    bits: float | None = None,
    progress: Wanted = None,
) -> tuple[Mosaic, ProjectionStats]:
    """Project the floating-point tensors of a checkpoint, which is left as it is.

    Parameters
    ----------
    source : path, URL, state dict or mapping of arrays
    config : SampledMosaic or LearnedMosaic, optional
        Learned motifs are fitted to the weights: refitted and assigned twenty times, while the
        rate rises. Without one, as many single weights as the bits ask for, a scale a channel.
    seed : int
    bits : float, optional
        Bits a weight that indices shall take, about, whatever the rate; of learned motifs.
    progress : bool or callable, optional
        Whether to show how far it has come, or where to tell it.

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
    config = _config_for(bits) if config is None else config
    require_mosaic(config)
    _require_bits(config, bits)
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
    with progress_bar(progress) as report:
        if isinstance(config, LearnedMosaic):
            mosaic, stats = fit_tensors(chosen, config, random, bits, report)
        else:
            report(0, 1, "finding motifs")
            mosaic, stats = project_tensors(chosen, config, random)
    dense = {name: array for name, array in tensors.items() if name not in chosen}
    left = [Skipped(name, "kept dense", array.size) for name, array in dense.items()]
    floats = sum(array.size for array in dense.values() if is_float(array.dtype))
    mosaic = dataclasses.replace(mosaic, dense=dense, names=read.names, aliases=read.aliases)
    coverage = stats.weights / (stats.weights + floats)
    return mosaic, dataclasses.replace(stats, coverage=coverage, skipped=tuple(left))


def motifs_for(bits: float) -> int:
    """Motifs enough for indices of so many bits a weight: zero, and levels on both sides of it.

    >>> motifs_for(1), motifs_for(2.2)
    (7, 19)
    """
    _check_bits(bits)
    return 4 * math.ceil(2**bits) - 1


def _check_bits(bits: float) -> None:
    if not 0 < bits <= 8:
        raise InputError(f"bits a weight are in (0, 8], not {bits}")


def _config_for(bits: float | None) -> LearnedMosaic:
    if bits is None:
        raise InputError("what mosaic is wanted? give a config, or bits a weight")
    return LearnedMosaic(motifs=motifs_for(bits), scale="channel")


def _require_bits(config: SampledMosaic | LearnedMosaic, bits: float | None) -> None:
    if bits is None:
        return
    _check_bits(bits)
    if not isinstance(config, LearnedMosaic) or config.block_size > 1 or config.sparsity:
        raise InputError("bits a weight are those of a momos.LearnedMosaic of single weights")
