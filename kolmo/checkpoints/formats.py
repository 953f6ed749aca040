"""The table of formats: how a file of each is recognized, and which module reads it.

A module of a reader is imported when a file of its format is opened, and not before. Other
packages add formats by entry points of the group ``kolmo.checkpoints``, each a `Format`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from typing import Any

from kolmo.checkpoints import magic, messages
from kolmo.checkpoints.base import Checkpoint
from kolmo.checkpoints.folders import File, Folder
from kolmo.checkpoints.mistaken import what_it_is
from kolmo.checkpoints.words import is_words
from kolmo.errors import InputError
from kolmo.registry import Registry

HEAD = 512
"""Bytes at the start of a file by which it is recognized."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of checkpoints that are files.

    Attributes
    ----------
    name : str
        Unique, for messages: ``safetensors``.
    recognize : callable
        ``recognize(head, file)`` says whether a file has it, by its first `HEAD` bytes, and by more
        of the file only where these cannot tell.
    reader : str
        Module and function, as ``kolmo.checkpoints.numpy:open_npy``; ``open_npy(file)`` gives the
        `Checkpoint`, without its values; or None where reading shows that it is none of this
        format after all.
    endings : tuple of str
        How names of such files end, in small letters: by these a folder's checkpoint is chosen.
    joins : bool
        Whether the reader finds the other shards itself when it is given the first one.
    """

    name: str
    recognize: Callable[[bytes, File], bool]
    reader: str
    endings: tuple[str, ...] = ()
    joins: bool = False

    def open(self, file: File) -> Checkpoint | None:
        """The checkpoint in a file of this format; None if it is not of this format after all."""
        opened: Checkpoint | None = _function(self.reader)(file)
        return opened


@dataclasses.dataclass(frozen=True)
class FolderFormat:
    """A format of checkpoints that are folders of files.

    Attributes
    ----------
    name : str
        Unique, for messages.
    recognize : callable
        ``recognize(folder)`` says whether a folder has it, by the names of its files.
    reader : str
        Module and function; the function takes the `Folder`, and may give None as those of a
        `Format` do.
    marks : tuple of str
        How names of its files end that no other format has, by which it is found in a folder.
    """

    name: str
    recognize: Callable[[Folder], bool]
    reader: str
    marks: tuple[str, ...] = ()

    def open(self, folder: Folder) -> Checkpoint | None:
        """The checkpoint in a folder of this format; None if it is not of this format after all."""
        opened: Checkpoint | None = _function(self.reader)(folder)
        return opened


def _function(path: str) -> Any:
    module, _, function = path.partition(":")
    return getattr(import_module(module), function)


_HERE = "kolmo.checkpoints"

FORMATS = (
    Format(
        "safetensors",
        magic.is_safetensors,
        f"{_HERE}.safetensors:open_safetensors",
        (".safetensors",),
    ),
    Format("Flax index of shards", magic.is_flax_index, f"{_HERE}.flax:open_flax_index"),
    Format("index of shards", magic.is_index, f"{_HERE}.shards:open_index"),
    Format(
        "torch.export",
        magic.is_torch_export,
        f"{_HERE}.torch_export:open_torch_export",
        (".pt2",),
    ),
    Format(
        "torch",
        magic.is_torch_zip,
        f"{_HERE}.torch:open_torch_zip",
        (".pt", ".pth", ".bin", ".ckpt", ".th", ".pth.tar", ".ptl"),
    ),
    Format(".npz", magic.is_npz, f"{_HERE}.numpy:open_npz", (".npz",)),
    Format(".npy", magic.starts(b"\x93NUMPY"), f"{_HERE}.numpy:open_npy", (".npy",)),
    Format("GGUF", magic.starts(b"GGUF"), f"{_HERE}.gguf:open_gguf", (".gguf",), joins=True),
    Format(
        "ggml",
        magic.starts(b"lmgg", b"fmgg", b"tjgg", b"algg"),
        f"{_HERE}.ggml_bins:open_ggml",
        (".ggml",),
    ),
    Format("TensorFlow Lite", magic.is_tflite, f"{_HERE}.tflite:open_tflite", (".tflite",)),
    Format("CoreML", messages.is_coreml, f"{_HERE}.coreml:open_coreml", (".mlmodel",)),
    Format("blobs of CoreML", magic.is_mil_blobs, f"{_HERE}.coreml_blobs:open_blobs"),
    Format(
        "Paddle's parameters",
        magic.is_paddle_parameters,
        f"{_HERE}.paddle:open_parameters",
        (".pdiparams",),
    ),
    Format("Paddle's graph", messages.is_paddle_graph, f"{_HERE}.paddle:open_graph"),
    Format("OpenVINO", magic.is_openvino, f"{_HERE}.openvino:open_openvino"),
    Format("ONNX", messages.is_onnx, f"{_HERE}.onnx:open_onnx", (".onnx",)),
    Format("Keras", magic.is_keras, f"{_HERE}.keras:open_keras", (".keras",)),
    Format("HDF5, Keras", magic.is_hdf5, f"{_HERE}.keras:open_h5", (".h5", ".hdf5")),
    Format("TensorFlow.js", magic.is_tfjs, f"{_HERE}.tfjs:open_tfjs"),
    Format("Flax", magic.is_flax, f"{_HERE}.flax:open_flax", (".msgpack",)),
    Format(
        "fastText",
        magic.starts(b"\xba\x16\x4f\x2f"),
        f"{_HERE}.fasttext:open_fasttext",
        (".ftz",),
    ),
    Format(
        "MXNet",
        magic.starts(b"\x12\x01" + bytes(14)),
        f"{_HERE}.mxnet:open_mxnet",
        (".params", ".nd"),
    ),
    Format("llamafile", magic.starts(b"MZqFpD"), f"{_HERE}.packed:open_llamafile", (".llamafile",)),
    Format("Caffe", messages.is_caffe, f"{_HERE}.caffe:open_caffe", (".caffemodel",)),
    Format("MATLAB", magic.is_matlab, f"{_HERE}.matlab:open_matlab", (".mat",)),
    Format("thinc", magic.starts(b"\x84\xa5nodes"), f"{_HERE}.thinc:open_thinc"),
    Format("Darknet", magic.is_darknet, f"{_HERE}.darknet:open_darknet", (".weights",)),
    Format("word vectors", is_words, f"{_HERE}.words:open_words", (".vec",)),
    Format(
        "TensorFlow's checkpoints",
        magic.is_tensorflow_index,
        f"{_HERE}.tensorflow:open_index",
        (".index",),
    ),
    Format(
        "data of TensorFlow's checkpoints",
        magic.is_tensorflow_data,
        f"{_HERE}.tensorflow:open_data",
    ),
    # Its reader stands on the codes above this room, and is imported when there is one to read.
    Format(
        "kolmo's container",
        magic.starts(b"kmo"),
        "kolmo.container.reading:open_container",
        (".kmo",),
    ),
    Format(
        "archives and compressed files",
        magic.is_packed,
        f"{_HERE}.packed:open_packed",
        (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".nemo"),
    ),
    # The last: nothing marks the oldest pickles, but that they can be read.
    Format(
        "pickles, joblib",
        magic.may_be_pickle,
        f"{_HERE}.objects:open_pickled",
        (".pkl", ".pickle", ".joblib"),
    ),
)
"""All formats of files, in the order in which a file is tried for them, and in which one of several
files of the same model is chosen."""

FOLDERS = (
    FolderFormat("spaCy", magic.is_spacy, f"{_HERE}.thinc:open_pipeline", ("config.cfg",)),
    FolderFormat(
        "torch's distributed checkpoint",
        magic.has(".metadata", ".distcp"),
        f"{_HERE}.distributed:open_distributed",
        (".distcp",),
    ),
    FolderFormat(
        "Orbax",
        magic.is_orbax,
        f"{_HERE}.orbax:open_orbax",
        ("manifest.ocdbt", ".zarray", "zarr.json"),
    ),
    FolderFormat("Orbax, several trees", magic.is_orbax_items, f"{_HERE}.orbax:open_orbax_items"),
    FolderFormat(
        "folders of TensorFlow.js", magic.is_tfjs_folder, f"{_HERE}.tfjs:open_tfjs_folder"
    ),
    FolderFormat(
        "SavedModel",
        magic.has("saved_model.pb", "saved_model"),
        f"{_HERE}.tensorflow:open_saved_model",
        ("saved_model.pb",),
    ),
    FolderFormat(
        "folders of TensorFlow's checkpoints",
        magic.is_tensorflow_folder,
        f"{_HERE}.tensorflow:open_checkpoints",
    ),
    FolderFormat("DeepSpeed ZeRO", magic.is_zero, f"{_HERE}.deepspeed:open_zero"),
    FolderFormat(
        "pipelines of diffusers",
        magic.has("model_index.json", "/"),
        f"{_HERE}.pipelines:open_pipeline",
    ),
    FolderFormat(
        "sentence-transformers",
        magic.has("modules.json", "/"),
        f"{_HERE}.pipelines:open_sentence_transformer",
    ),
    FolderFormat("folder of OpenVINO", magic.has_ir, f"{_HERE}.openvino:open_folder"),
    FolderFormat(
        "package of CoreML",
        magic.has("Manifest.json", ".mlmodel"),
        f"{_HERE}.coreml:open_package",
    ),
    FolderFormat(
        "the Hugging Face Hub's cache",
        magic.is_hub_cache,
        f"{_HERE}.pipelines:open_hub_cache",
    ),
)
"""All formats of folders, in the order in which a folder is tried for them."""

_registry: Registry[Format] = Registry("format of checkpoints", "kolmo.checkpoints")
for _format in FORMATS:
    _registry.register(_format)


def known() -> str:
    """The names of all formats, for messages."""
    return ", ".join([*(format.name for format in formats()), *(folder.name for folder in FOLDERS)])


def formats() -> list[Format]:
    """All formats: ours, then those of other packages."""
    ours = [format.name for format in FORMATS]
    others = [name for name in _registry.names() if name not in ours]
    return [_registry.get(name) for name in (*ours, *others)]


def format_of(file: File) -> Format | None:
    """The first format that a file seems to have; None if it has none that is known."""
    head = file.head(HEAD)
    return next((format for format in formats() if format.recognize(head, file)), None)


def open_file(file: File) -> Checkpoint:
    """Open a file by what it holds, whatever its name.

    Raises
    ------
    InputError
        If it is no checkpoint, or cannot be read.
    """
    head = file.head(HEAD)
    if not head:
        raise InputError(f"{file.where}: the file is empty; download or copy it again")
    for format in formats():
        opened = format.open(file) if format.recognize(head, file) else None
        if opened is not None:
            return opened
    raise InputError(f"{file.where}: {what_it_is(head, file, _called(file.name), known())}")


def _called(name: str) -> str:
    """The format that a name claims by its ending."""
    claimed = [f.name for f in formats() if f.endings and name.lower().endswith(f.endings)]
    return claimed[0] if claimed else ""
