"""Keras: the HDF5 files of its versions 1 to 3 (https://keras.io/guides/serialization_and_saving).

A ``.weights.h5`` of Keras 3 has a group ``vars`` for each layer, with numbered datasets, and the
layer's name as an attribute. A whole model (``.h5``) of any version has ``model_weights`` with a
group for each layer, and ``optimizer_weights``. The tensors get the names that Keras gives its
variables, ``encoder/dense/kernel``. HDF5 files of others keep their own names, with dots.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.hdf5 import Hdf5, Hdf5Dataset

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
"""Groups that are no layer and have no part in names."""

_KERNEL = ("kernel", "bias")
_SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")
_RECURRENT = ("kernel", "recurrent_kernel", "bias")
_STATISTICS = ("moving_mean", "moving_variance")

_VARIABLES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("dense", "einsum_dense"), _KERNEL),
    **dict.fromkeys(("query_dense", "key_dense", "value_dense", "output_dense"), _KERNEL),
    **dict.fromkeys((f"conv{n}d" for n in (1, 2, 3)), _KERNEL),
    **dict.fromkeys((f"conv{n}d_transpose" for n in (1, 2, 3)), _KERNEL),
    **dict.fromkeys((f"depthwise_conv{n}d" for n in (1, 2)), _KERNEL),
    **dict.fromkeys(("separable_conv1d", "separable_conv2d"), _SEPARABLE),
    **dict.fromkeys(("lstm_cell", "gru_cell", "simple_rnn_cell"), _RECURRENT),
    "batch_normalization": ("gamma", "beta", *_STATISTICS),
    "layer_normalization": ("gamma", "beta"),
    "group_normalization": ("gamma", "beta"),
    "rms_normalization": ("scale",),
    "embedding": ("embeddings",),
    "reversible_embedding": ("embeddings", "reverse_embeddings"),
    "p_re_lu": ("alpha",),
    "normalization": ("mean", "variance", "count"),
}
"""The variables of layers in the order of their numbers, by the class's name in snake case."""

_BUFFERS = ("seed_generator", "metrics", "_metrics", "_loss_tracker")
"""Groups of random states and of what is logged in training."""


def open_h5(file: File) -> Checkpoint:
    """An HDF5 file, of Keras or of another program.

    Raises
    ------
    InputError
        If it is damaged.
    """
    return read_h5(Hdf5(file.stored), file)


def read_h5(hdf5: Hdf5, file: File) -> Checkpoint:
    """The tensors of an open HDF5 file that is, or lies in, ``file``."""
    found = hdf5.datasets
    form = "keras"
    if any(_is_numbered(dataset) for dataset in found):
        named = [_renamed(d, *_numbered(hdf5, d, _counts(found))) for d in found]
    elif "layer_names" in (hdf5.attributes() | hdf5.attributes("model_weights")):
        named = [_renamed(d, *_legacy(d)) for d in found]
    else:
        named, form = [d.content for d in found], "hdf5"
    named = _told_apart(found, named)
    return Checkpoint(
        [one for one in named if isinstance(one, WeightTensor)],
        source=file.where,
        format=form,
        skipped=[one for one in named if isinstance(one, Skipped)] + _guesses(found, named),
        files=file.files,
    )


def _guesses(
    found: Sequence[Hdf5Dataset], named: Sequence[WeightTensor | Skipped]
) -> list[Skipped]:
    """A remark for each tensor whose dtype the file does not say."""
    pairs = zip(found, named, strict=True)
    return [Skipped(one.name, dataset.guess) for dataset, one in pairs if dataset.guess]


def _renamed(dataset: Hdf5Dataset, name: str, role: Role | None) -> WeightTensor | Skipped:
    content = dataset.content
    if isinstance(content, Skipped):
        return dataclasses.replace(content, name=name)
    return dataclasses.replace(content, name=name, role=role)


def _told_apart(
    found: Sequence[Hdf5Dataset], named: Sequence[WeightTensor | Skipped]
) -> list[WeightTensor | Skipped]:
    """Where two layers have one name, the paths in the file in its place."""
    times = Counter(one.name for one in named)
    return [
        one if times[one.name] == 1 else dataclasses.replace(one, name="/".join(dataset.path))
        for dataset, one in zip(found, named, strict=True)
    ]


# --- Keras 3 ----------------------------------------------------------------------------------


def _is_numbered(dataset: Hdf5Dataset) -> bool:
    return dataset.path[-2:-1] == ("vars",) and dataset.path[-1].isdecimal()


def _counts(found: Iterable[Hdf5Dataset]) -> Counter[tuple[str, ...]]:
    """The number of variables of each layer."""
    return Counter(dataset.path[:-1] for dataset in found)


def _numbered(
    hdf5: Hdf5, dataset: Hdf5Dataset, counts: Counter[tuple[str, ...]]
) -> tuple[str, Role | None]:
    """A variable's name, by the names of the layers around it, and its role."""
    *layers, last = [part for part in dataset.path if part != "vars"]
    if layers[:1] == ["optimizer"]:
        return "/".join((*layers, last)), Role.OPTIMIZER
    names = [_layer_name(hdf5, layers[: at + 1]) for at in range(len(layers))]
    variable = _variable(layers[-1:], names[-1:], last, counts[dataset.path[:-1]])
    role = Role.BUFFER if set(layers) & set(_BUFFERS) else None
    return "/".join(part for part in (*names, variable) if part), role


def _layer_name(hdf5: Hdf5, path: Sequence[str]) -> str:
    """What a layer is called; empty of a group that only holds layers."""
    own = hdf5.attributes(*path, "vars").get("name")
    if isinstance(own, str) and own:
        return own
    return "" if path[-1] in _CONTAINERS else path[-1]


def _variable(group: Sequence[str], called: Sequence[str], number: str, count: int) -> str:
    """What a layer calls its variable of a number; the number where its class is unknown."""
    names = (re.sub(r"_\d+$", "", name) for name in (*group, *called))
    known = next((_VARIABLES[name] for name in names if name in _VARIABLES), ())
    if known[-2:] == _STATISTICS and count < len(known):  # of gamma and beta, one or none is there
        known = ("0", "1")[: count - 2] + _STATISTICS
    return known[int(number)] if number.isdecimal() and int(number) < len(known) else number


# --- Keras 1 and 2, and whole models of Keras 3 -------------------------------------------------


def _legacy(dataset: Hdf5Dataset) -> tuple[str, Role | None]:
    """A weight's own name without the ``:0`` of TensorFlow, from the layer's name on."""
    path = dataset.path
    if path[0] == "optimizer_weights":
        return "/".join(("optimizer", *path[1:])).removesuffix(":0"), Role.OPTIMIZER
    layer, *rest = path[1:] if path[0] == "model_weights" else path
    own = rest[rest.index(layer) :] if layer in rest else [layer, *rest]
    return "/".join(own).removesuffix(":0"), None
