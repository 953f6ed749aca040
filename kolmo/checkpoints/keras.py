"""Keras: the HDF5 files of its versions 1 to 3 (https://keras.io/guides/serialization_and_saving).

A ``.weights.h5`` of Keras 3 has a group ``vars`` for each layer, with numbered datasets, and the
layer's name as an attribute. A whole model (``.h5``) of any version has ``model_weights`` with a
group for each layer, and ``optimizer_weights``. The tensors get the names that Keras gives its
variables, ``encoder/dense/kernel``. HDF5 files of others keep their own names, with dots.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kolmo.checkpoints.base import Checkpoint, Role, Skipped, WeightTensor
from kolmo.checkpoints.folders import File
from kolmo.checkpoints.hdf5 import Hdf5, Hdf5Dataset
from kolmo.checkpoints.keras_layers import STATISTICS, KerasLayer, layers_of, variable_names
from kolmo.checkpoints.keras_quantized import logical
from kolmo.errors import InputError

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
"""Groups that are no layer and have no part in names."""

_DESCRIPTION = 1 << 26  # bytes of a model's description at most

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


def open_keras(file: File) -> Checkpoint:
    """A ``.keras`` archive: the HDF5 file in it, and the description of its layers.

    Raises
    ------
    InputError
        If it is damaged.
    """
    description = file.archive.unpacked("config.json")
    if description.size > _DESCRIPTION:
        raise InputError(f"{file.where}: its config.json is over {_DESCRIPTION:,} bytes")
    layers = layers_of(bytes(description.read(0, description.size)))
    return read_h5(Hdf5(file.archive.unpacked("model.weights.h5")), file, layers)


def read_h5(hdf5: Hdf5, file: File, layers: Mapping[str, KerasLayer] | None = None) -> Checkpoint:
    """The tensors of an HDF5 file that is, or lies in, ``file``."""
    found = hdf5.datasets
    own = hdf5.attributes()
    layers = layers or layers_of(str(own.get("model_config", "")).encode())
    form = "keras"
    if any(_is_numbered(dataset) for dataset in found):
        numbered = _Numbered(hdf5, found, layers)
        named = [_renamed(d, *numbered.name(d)) for d in found]
    elif "layer_names" in (own | hdf5.attributes("model_weights")):
        named = [_renamed(d, *_legacy(d)) for d in found]
    else:
        named, form = [d.content for d in found], "hdf5"
    named = _told_apart(found, named)
    guesses = _guesses(found, named)
    entries = logical(named, layers) if form == "keras" else named
    return Checkpoint(
        [one for one in entries if isinstance(one, WeightTensor)],
        source=file.where,
        format=form,
        skipped=[one for one in entries if isinstance(one, Skipped)] + guesses,
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
    if role is None and name.rpartition("/")[2] in STATISTICS:
        role = Role.WEIGHT  # Keras counts moving statistics among a model's parameters
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


class _Numbered:
    """The names of variables that have numbers, by the layers around them."""

    def __init__(
        self, hdf5: Hdf5, found: Iterable[Hdf5Dataset], layers: Mapping[str, KerasLayer]
    ) -> None:
        self._hdf5, self._layers = hdf5, layers
        self._dtypes: dict[tuple[str, ...], dict[str, np.dtype[Any] | None]] = {}
        for dataset in found:
            content = dataset.content
            dtype = content.dtype if isinstance(content, WeightTensor) else None
            self._dtypes.setdefault(dataset.path[:-1], {})[dataset.path[-1]] = dtype

    def name(self, dataset: Hdf5Dataset) -> tuple[str, Role | None]:
        """A variable's name and role."""
        *groups, last = [part for part in dataset.path if part != "vars"]
        if groups[:1] == ["optimizer"]:
            return "/".join((*groups, last)), Role.OPTIMIZER
        names = [self._layer(tuple(groups[: at + 1])) for at in range(len(groups))]
        called = (*groups[-1:], *names[-1:])
        dtypes = self._dtypes[dataset.path[:-1]]
        layer = self._layers.get(names[-1], KerasLayer()) if names else KerasLayer()
        numbered = [dtypes[number] for number in sorted(dtypes, key=_order)]
        known = variable_names(layer, called, numbered)
        is_known = last.isdecimal() and len(last) < 4 and int(last) < len(known)
        variable = known[int(last)] if is_known else last
        role = Role.BUFFER if set(groups) & set(_BUFFERS) else None
        return "/".join(part for part in (*names, variable) if part), role

    def _layer(self, path: tuple[str, ...]) -> str:
        """What a layer is called; empty of a group that only holds layers."""
        own = self._hdf5.attributes(*path, "vars").get("name")
        if isinstance(own, str) and own:
            return own
        return "" if path[-1] in _CONTAINERS else path[-1]


def _order(number: str) -> tuple[int, str]:
    return len(number), number


# --- Keras 1 and 2, and whole models of Keras 3 -------------------------------------------------


def _legacy(dataset: Hdf5Dataset) -> tuple[str, Role | None]:
    """A weight's own name without the ``:0`` of TensorFlow, from the layer's name on."""
    path = dataset.path
    if path[0] == "optimizer_weights":
        return "/".join(("optimizer", *path[1:])).removesuffix(":0"), Role.OPTIMIZER
    layer, *rest = path[1:] if path[0] == "model_weights" else path
    own = rest[rest.index(layer) :] if layer in rest else [layer, *rest]
    return "/".join(own).removesuffix(":0"), None
