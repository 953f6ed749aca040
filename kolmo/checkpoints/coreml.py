"""CoreML: the weights of a ``.mlmodel`` file or of the model in an ``.mlpackage``.

A model is a protocol buffer: a network of layers, a program of operators with weights in a file
beside it, or a pipeline of models
(https://apple.github.io/coremltools/mlmodel/Format/Model.html).
"""

from __future__ import annotations

from kolmo.checkpoints.base import Checkpoint, Skipped, WeightTensor
from kolmo.checkpoints.coreml_network import network_tensors
from kolmo.checkpoints.coreml_program import MilProgram
from kolmo.checkpoints.coreml_values import MilFiles
from kolmo.checkpoints.folders import File, Folder
from kolmo.checkpoints.protobuf import WireMessage
from kolmo.checkpoints.unique import unique_names
from kolmo.errors import InputError

_NETWORKS, _PIPELINES, _PROGRAM = (303, 403, 500), (200, 201, 202), 502
"""Fields of a model: networks of layers (regressor, classifier, plain), pipelines, a program."""

_DEPTH = 16  # pipelines within pipelines


def open_coreml(file: File) -> Checkpoint:
    """The weights of a model, unread.

    Raises
    ------
    InputError
        If it is damaged, its weights are not beside it, or it is no neural network.
    """
    files = MilFiles(file)
    found = _model(WireMessage.of(file.stored), files, "", 0)
    if not found:
        raise InputError(
            f"{file.where}: a CoreML model without weights: no network of layers and no program"
        )
    named = unique_names(found)
    return Checkpoint(
        [one for one in named if isinstance(one, WeightTensor)],
        source=file.where,
        format="coreml",
        skipped=[one for one in named if isinstance(one, Skipped)],
        files=files.paths,
    )


def open_package(folder: Folder) -> Checkpoint | None:
    """The weights of the model in an ``.mlpackage``; None if there is not one model in it."""
    models = [name for name in folder.names() if name.endswith(".mlmodel")]
    return open_coreml(File(folder, models[0])) if len(models) == 1 else None


def _model(
    message: WireMessage, files: MilFiles, prefix: str, depth: int
) -> list[WeightTensor | Skipped]:
    found: list[WeightTensor | Skipped] = []
    for field in message.fields():
        if field.number in _NETWORKS:
            found += network_tensors(field.message(), prefix)
        elif field.number == _PROGRAM:
            found += MilProgram(field.message(), files, prefix).found()
        elif field.number in _PIPELINES and depth < _DEPTH:
            inner = field.message()
            if field.number != 202:
                inner = next((f.message() for f in inner.fields() if f.number == 1), inner)
            found += _pipeline(inner, files, prefix, depth)
    return found


def _pipeline(
    message: WireMessage, files: MilFiles, prefix: str, depth: int
) -> list[WeightTensor | Skipped]:
    fields = list(message.fields())
    names = [field.text() for field in fields if field.number == 2]
    models = [field.message() for field in fields if field.number == 1]
    names += [f"model {number}" for number in range(len(names), len(models))]
    return [
        one
        for name, model in zip(names, models, strict=False)
        for one in _model(model, files, f"{prefix}{name}/", depth + 1)
    ]
