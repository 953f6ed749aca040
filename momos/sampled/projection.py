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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kolmo.checkpoints.base import Skipped
from kolmo.errors import InputError
from momos.lab.config import MosaicConfig, Policy, Selection
from momos.mosaic.blocks import Array, Partition
from momos.mosaic.mosaic import Mosaic, read_source
from momos.mosaic.packing import index_dtype
from momos.nearest.device import nearest_on_device
from momos.nearest.exact import nearest_motifs
from momos.parameters import norm_parameters, select_parameters
from momos.sampled.selection import draw_motifs, refine_motifs
from momos.tensors import same_bits, to_arrays, to_torch

_FITS = 20  # times that motifs are refitted to a finished checkpoint
_CPU = torch.device("cpu")
_LARGEST = 1e150  # magnitudes whose squares float64 holds


@dataclasses.dataclass(frozen=True)
class ProjectionStats:
    """What a projection did.

    Attributes
    ----------
    blocks, motifs, motifs_used : int
        Blocks *m*, motifs *k*, and those of them that some block got.
    weights : int
        Weights in the projected tensors; padding is none.
    changed : int
        Weights whose value changed.
    distortion : float
        Sum of the squared changes of the weights.
    coverage : float
        Share of the model's trainable weights that are in projected tensors.
    skipped : tuple of Skipped
        Tensors that were left as they are, and why.
    seconds : float
    notes : tuple of str
        What looks wrong: motifs that collapsed, norm layers that shrank.
    """

    blocks: int
    motifs: int
    motifs_used: int
    weights: int
    changed: int
    distortion: float
    coverage: float
    skipped: tuple[Skipped, ...]
    seconds: float
    notes: tuple[str, ...] = ()


class MoMos:
    """Projects a model's weights, in place, onto a mosaic of motifs.

    Parameters
    ----------
    model : nn.Module
        Its trainable parameters are projected: weights, biases, norm affines. With
        quantization-aware training (`momos.lab.qat`) these are the latent weights.
    block_size : int
        Values a block, *s*.
    capacity : float, optional
        Motifs as a share of the blocks; 0.01 where neither it nor ``motifs`` is given.
    motifs : int, optional
        Number of motifs, *k*.
    zero_motif : bool
        Whether motif 0 is the zero block; it counts as one of the k.
    selection : {"sample", "kmeans"}
        The other motifs are blocks of the model at distinct positions, drawn uniformly anew at
        each projection, once for the whole model; ``kmeans`` goes on from there with up to ten
        rounds of Lloyd's iteration.
    include, exclude : list of globs
        Names of the parameters to project.
    policy : {"all", "no-norms", "matrices"}
        Which kinds of parameters may be projected: all of them, as published; all but those of
        norm layers, which start at 1, far from the other weights, and which one early projection
        may shrink; or those of two dimensions or more, which leaves biases dense too.
    seed : int
        Of the projection's own random generator; the global ones of torch and numpy are not
        touched.

    Raises
    ------
    InputError
        If an option is out of range, or nothing is selected, or dtypes are mixed.

    Notes
    -----
    Each block, the padding of a tensor's last one included, gets the motif at the least squared
    Euclidean distance, exactly; ties go to the lowest index.

    Examples
    --------
    >>> model = torch.nn.Linear(8, 4, bias=False)
    >>> stats = MoMos(model, block_size=2, motifs=3).project()
    >>> stats.blocks, stats.motifs, stats.coverage
    (16, 3, 1.0)
    >>> len(np.unique(model.weight.detach().reshape(-1, 2).numpy(), axis=0)) <= 3
    True
    """

    def __init__(
        self,
        model: torch.nn.Module,
        block_size: int = 4,
        capacity: float | None = None,
        motifs: int | None = None,
        zero_motif: bool = True,
        selection: Selection = "sample",
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        seed: int = 0,
        policy: Policy = "all",
    ) -> None:
        self.config = MosaicConfig(
            selection, None, block_size, motifs, capacity, zero_motif, policy=policy,  # type: ignore[arg-type]
            include=tuple(include), exclude=tuple(exclude),
        )  # fmt: skip
        if self.config.is_learned:
            raise InputError("learned motifs take part in the training: use momos.wrap()")
        self._model = model
        self._random = np.random.default_rng(seed)
        self._parameters, self.skipped = select_parameters(model, policy, include, exclude)
        self._norms = norm_parameters(model)
        self._projected: Mosaic | None = None

    @classmethod
    def from_config(cls, model: torch.nn.Module, config: MosaicConfig, seed: int = 0) -> MoMos:
        """The projector of a configuration, whose ``every`` is the caller's business."""
        return cls(
            model, config.block_size, config.capacity, config.motifs, config.zero_motif,
            config.selection, config.include, config.exclude, seed, config.policy,
        )  # fmt: skip

    @property
    def random_state(self) -> Any:
        """The state of the projection's random generator, to be put back when resuming."""
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
        tensors, _ = read_source(self._model)
        for name, array in mosaic.arrays().items():
            if not same_bits(array, tensors[name]):
                raise InputError(f"{name!r} has changed since the projection: project() again")
        dense = {name: t for name, t in tensors.items() if name not in mosaic.partition.shapes}
        return dataclasses.replace(mosaic, dense=dense, names=tuple(tensors))


def project_checkpoint(
    source: Any, config: MosaicConfig, seed: int = 0
) -> tuple[Mosaic, ProjectionStats]:
    """Project the floating-point tensors of a checkpoint, which is left as it is.

    Parameters
    ----------
    source : path, URL, state dict or mapping of arrays
    config : MosaicConfig
        With learned motifs, these are fitted to the weights: refitted and assigned some twenty
        times, while the rate rises.
    seed : int

    Returns
    -------
    Mosaic, ProjectionStats
        Its coverage is the share of the floating-point weights.

    Examples
    --------
    >>> weights = {"w": np.array([1, 1, 0.1, 0], np.float32)}
    >>> mosaic, stats = project_checkpoint(weights, MosaicConfig("sample", block_size=2, motifs=1))
    >>> mosaic.arrays()["w"].tolist(), stats.changed
    ([0.0, 0.0, 0.0, 0.0], 3)
    """
    if config.policy == "no-norms":
        raise InputError(
            "a checkpoint does not say which tensors belong to norm layers: use policy 'matrices', "
            "or exclude them by name"
        )
    tensors, cut = read_source(source, config.include, config.exclude)
    if config.policy == "matrices":
        cut = tuple(name for name in cut if tensors[name].ndim > 1)
    chosen = {name: tensors[name] for name in cut}
    project = fit_tensors if config.is_learned else project_tensors
    mosaic, stats = project(chosen, config, np.random.default_rng(seed))
    dense = {name: array for name, array in tensors.items() if name not in chosen}
    left = [Skipped(name, "kept dense", array.size) for name, array in dense.items()]
    floats = sum(array.size for array in dense.values() if array.dtype.kind not in "biu")
    mosaic = dataclasses.replace(mosaic, dense=dense, names=tuple(tensors))
    coverage = stats.weights / (stats.weights + floats)
    return mosaic, dataclasses.replace(stats, coverage=coverage, skipped=tuple(left))


def project_tensors(
    tensors: Mapping[str, Array],
    config: MosaicConfig,
    random: np.random.Generator,
    device: torch.device = _CPU,
) -> tuple[Mosaic, ProjectionStats]:
    """The mosaic nearest to some tensors of one dtype, for motifs drawn from them.

    The device is where nearest motifs are looked for; the result does not depend on it.
    """
    start = time.perf_counter()
    for name, array in tensors.items():
        _check_finite(name, array)
    shapes = {name: array.shape for name, array in tensors.items()}
    partition = Partition(shapes, config.block_size)
    if partition.count == 0:
        raise InputError("the tensors to project hold no weights")
    blocks = partition.cut(tensors)
    motifs = draw_motifs(blocks, config, random)
    if config.selection == "kmeans":
        motifs = refine_motifs(blocks, motifs, config.zero_motif, partition)
    indices = _nearest(blocks, motifs, device).astype(index_dtype(len(motifs)))
    mosaic = Mosaic(partition, motifs, indices, {}, tuple(tensors))
    return mosaic, _stats(tensors, mosaic, start)


def fit_tensors(
    tensors: Mapping[str, Array], config: MosaicConfig, random: np.random.Generator
) -> tuple[Mosaic, ProjectionStats]:
    """The mosaic of motifs that are fitted to some tensors of one dtype, at what bits cost."""
    from momos.learned.fitting import Fitting

    start = time.perf_counter()
    for name, array in tensors.items():
        _check_finite(name, array)
    latent = {name: to_torch(array) for name, array in tensors.items()}
    fitting = Fitting(latent, config, int(random.integers(1 << 32)))
    for turn in range(1, _FITS + 1):
        risen = min(1.0, turn / (config.ramp * _FITS)) if config.ramp else 1.0
        fitting.refit(config.rate * risen, risen)
        fitting.assign(config.rate * risen)
    mosaic = fitting.mosaic(latent)
    return mosaic, _stats(tensors, mosaic, start)


def _nearest(blocks: Array, motifs: Array, device: torch.device) -> Array:
    if device.type != "cuda":
        return nearest_motifs(blocks, motifs)
    there = [to_torch(array).to(device) for array in (blocks, motifs)]
    return np.asarray(nearest_on_device(*there).cpu().numpy())


def _stats(tensors: Mapping[str, Array], mosaic: Mosaic, start: float) -> ProjectionStats:
    changed, distortion = _compare(tensors, mosaic.arrays())
    motifs, used = len(mosaic.motifs), np.unique(mosaic.indices).size
    return ProjectionStats(
        blocks=mosaic.partition.count,
        motifs=motifs,
        motifs_used=used,
        notes=_collapsed(motifs, used),
        weights=mosaic.partition.numel,
        changed=changed,
        distortion=distortion,
        coverage=1.0,
        skipped=(),
        seconds=time.perf_counter() - start,
    )


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


def _collapsed(motifs: int, used: int) -> tuple[str, ...]:
    """A note where under half of the motifs are in use."""
    if 2 * used >= motifs:
        return ()
    return (
        f"only {used:,} of {motifs:,} motifs are in use: a high rate, or projecting without "
        f"training in between, makes motifs collapse",
    )


def _compare(before: Mapping[str, Array], after: Mapping[str, Array]) -> tuple[int, float]:
    """Weights whose value changed, and the sum of the squared changes."""
    changed, distortion = 0, 0.0
    for name, array in before.items():
        changes = after[name].astype(np.float64) - array.astype(np.float64)
        changed += int(np.count_nonzero(changes))
        distortion += float(np.square(changes).sum())
    return changed, distortion


def _check_finite(name: str, array: Array) -> None:
    magnitudes = np.abs(array.astype(np.float64))
    if (magnitudes <= _LARGEST).all():  # NaN compares false
        return
    what = "NaN" if np.isnan(magnitudes).any() else "an infinite or huge value"
    raise InputError(
        f"tensor {name!r} holds {what}, which no motif is nearest to: the training diverged, "
        f"or the tensor should be left out with exclude"
    )
