"""MoMos: choose motifs, give every block its nearest one, overwrite the weights.

::

    tensors ─ cut ─► blocks ─ choose ─► motifs ─ nearest ─► indices ─► Mosaic ─► the model's weights

The method of Bakhtiarifard, Chen, Wenshøj, Dam, Selvan, arXiv 2602.14896. Gradients flow to all
weights as usual, the optimizer steps dense weights, and a projection follows now and then; the
optimizer's state is left as it is.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from kolmo.errors import InputError
from kolmo.symbols import container
from momos.config import SampledMosaic
from momos.mosaic.blocks import Array, Partition
from momos.mosaic.mosaic import Mosaic
from momos.mosaic.reading import read_source
from momos.mosaic.stats import ProjectionStats, check_finite, projection_stats
from momos.nearest.device import nearest_on_device
from momos.nearest.exact import nearest_motifs
from momos.parameters import norm_parameters, select_parameters
from momos.sampled.selection import draw_motifs, refine_motifs
from momos.tensors import same_bits, to_arrays, to_torch

_CPU = torch.device("cpu")


class MoMos:
    """Projects a model's weights, in place, onto a mosaic of motifs.

    Parameters
    ----------
    model : nn.Module
        Its trainable parameters are projected: weights, biases, norm affines. With
        quantization-aware training (`momos.lab.qat`) these are the latent weights.
    config : SampledMosaic, optional
        Its ``every`` is the caller's business.
    seed : int
        Seed of the projection's own random generator; the global ones of torch and numpy are not
        touched.

    Raises
    ------
    InputError
        If the configuration is not a sampled mosaic's, nothing is selected, or dtypes are mixed.

    Notes
    -----
    Each block, the padding of a tensor's last one included, gets the motif at the least squared
    Euclidean distance, exactly; ties go to the lowest index.

    Examples
    --------
    >>> model = torch.nn.Linear(8, 4, bias=False)
    >>> stats = MoMos(model, SampledMosaic(block_size=2, motifs=3)).project()
    >>> stats.blocks, stats.motifs, stats.coverage
    (16, 3, 1.0)
    >>> len(np.unique(model.weight.detach().reshape(-1, 2).numpy(), axis=0)) <= 3
    True
    """

    def __init__(
        self, model: torch.nn.Module, config: SampledMosaic | None = None, seed: int = 0
    ) -> None:
        self.config = SampledMosaic() if config is None else config
        if not isinstance(self.config, SampledMosaic):
            raise InputError(
                f"a projection takes a momos.SampledMosaic, not {config!r}; learned mosaics take "
                f"part in the training: use momos.wrap()"
            )
        self._model = model
        self._random = np.random.default_rng(seed)
        self._parameters, self.skipped = select_parameters(
            model, self.config.policy, self.config.include, self.config.exclude
        )
        self._norms = norm_parameters(model)
        self._projected: Mosaic | None = None

    @property
    def random_state(self) -> Any:
        """State of the projection's random generator, to be restored when resuming."""
        return self._random.bit_generator.state

    @random_state.setter
    def random_state(self, state: Any) -> None:
        self._random.bit_generator.state = state

    def project(self) -> ProjectionStats:
        """Draw motifs and overwrite the weights with them.

        Raises
        ------
        InputError
            If a weight is NaN or infinite; the tensor is named and nothing is changed.
        """
        start = time.perf_counter()
        tensors = to_arrays(self._parameters)
        device = next(iter(self._parameters.values())).device
        mosaic, stats = project_tensors(tensors, self.config, self._random, device)
        with torch.no_grad():
            for name, array in mosaic.arrays().items():
                self._parameters[name].copy_(to_torch(array))
        self._projected = mosaic
        skipped = sum(entry.numel for entry in self.skipped)
        norms = {name: array for name, array in tensors.items() if name in self._norms}
        return dataclasses.replace(
            stats,
            notes=(*stats.notes, *_shrunk(norms, mosaic.arrays())),
            coverage=stats.weights / (stats.weights + skipped),
            skipped=self.skipped,
            seconds=time.perf_counter() - start,
        )

    def mosaic(self) -> Mosaic:
        """The model as the last projection left it, with everything else in its state dict.

        All k motifs are in it, used or not, so that its description length is the paper's.

        Raises
        ------
        InputError
            If the weights have changed since the last projection, or there was none.
        """
        mosaic = self._projected
        if mosaic is None:
            raise InputError("the model is no mosaic yet: call project() first")
        read = read_source(self._model)
        tensors = read.tensors
        for name, array in mosaic.arrays().items():
            if not same_bits(array, tensors[name]):
                raise InputError(f"{name!r} has changed since the projection: project() again")
        dense = {name: t for name, t in tensors.items() if name not in mosaic.partition.shapes}
        return dataclasses.replace(mosaic, dense=dense, names=read.names, aliases=read.aliases)


def project_tensors(
    tensors: Mapping[str, Array],
    config: SampledMosaic,
    random: np.random.Generator,
    device: torch.device = _CPU,
) -> tuple[Mosaic, ProjectionStats]:
    """The mosaic nearest to tensors of one dtype, its motifs drawn from them.

    Nearest motifs are searched on the device; the result does not depend on it.
    """
    start = time.perf_counter()
    for name, array in tensors.items():
        check_finite(name, array)
    shapes = {name: array.shape for name, array in tensors.items()}
    partition = Partition(shapes, config.block_size)
    if partition.count == 0:
        raise InputError("the tensors to project hold no weights")
    blocks = partition.cut(tensors)
    motifs = draw_motifs(blocks, config, random)
    if config.selection == "kmeans":
        motifs = refine_motifs(blocks, motifs, config.zero_motif, partition)
    indices = _nearest(blocks, motifs, device).astype(container(len(motifs)))
    mosaic = Mosaic(partition, motifs, indices, {}, tuple(tensors))
    return mosaic, projection_stats(tensors, mosaic, start)


def _nearest(blocks: Array, motifs: Array, device: torch.device) -> Array:
    if device.type != "cuda":
        return nearest_motifs(blocks, motifs)
    moved = [to_torch(array).to(device) for array in (blocks, motifs)]
    return np.asarray(nearest_on_device(*moved).cpu().numpy())


def _shrunk(before: Mapping[str, Array], after: Mapping[str, Array]) -> list[str]:
    """A note for each norm layer whose scales a projection cut to under half."""
    means = {
        name: (float(np.abs(a).mean()), float(np.abs(after[name]).mean()))
        for name, a in before.items()
        if a.size
    }
    return [
        f"norm layer {name!r} shrank from a mean of {old:.3g} to {new:.3g}: "
        f"leave norm layers dense with policy='no-norms'"
        for name, (old, new) in means.items()
        if new < old / 2
    ]
