"""Small sound files of every format that kolmo opens, from which damaged ones are made."""

import dataclasses
import io
import lzma
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import scipy.io

INPUTS = Path(__file__).parent / "inputs"
HOSTILE = Path(__file__).parent / "hostile"
DATA = Path(__file__).parent.parent / "data"


@dataclasses.dataclass(frozen=True)
class Case:
    """A checkpoint in a folder of its own: the path to open, and all files that belong to it."""

    path: Path
    files: tuple[Path, ...]


def _inputs(*patterns):
    """Each file or folder of the corpus of these names."""
    return lambda folder: [
        _copied(source, folder) for pattern in patterns for source in sorted(INPUTS.glob(pattern))
    ]


def _data(*patterns, beside=""):
    """Each file or folder of ``tests/data`` of these names, unpacked, with what lies beside it."""

    def made(folder):
        found = [source for pattern in patterns for source in sorted(DATA.glob(pattern))]
        return [_copied(source, folder / str(n), beside) for n, source in enumerate(found)]

    return made


def _copied(source, folder, beside=""):
    folder.mkdir(exist_ok=True, parents=True)
    for other in sorted(source.parent.glob(beside)) if beside else ():
        if other.is_file():
            shutil.copy(other, folder)
    if source.is_dir():
        shutil.copytree(source, folder / source.name)
    elif source.suffix == ".xz":
        (folder / source.stem).write_bytes(lzma.decompress(source.read_bytes()))
    else:
        shutil.copy(source, folder)
    return folder / (source.stem if source.suffix == ".xz" else source.name)


def _folders(archive, *names):
    """Folders within an archive of ``tests/data``."""

    def made(folder):
        with tarfile.open(DATA / archive) as opened:
            opened.extractall(folder, filter="data")
        return [folder / name for name in names]

    return made


def _written(module, write):
    """Files that a test module writes: ``write(module, folder)`` gives their paths."""
    return lambda folder: write(import_module(f"tests.{module}"), folder)


def _file(folder, name, data):
    folder.mkdir(exist_ok=True, parents=True)
    (folder / name).write_bytes(data)
    return folder / name


def _both(*makers):
    return lambda folder: [
        path for n, made in enumerate(makers) for path in made(_new(folder / f"of-{n}"))
    ]


def _new(folder):
    folder.mkdir()
    return folder


def _arrays(folder):
    """numpy's own files, of which the corpus has only odd ones."""
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(3, np.int8)}
    np.savez(folder / "plain.npz", **arrays)
    np.savez_compressed(folder / "packed.npz", **arrays, c=np.asfortranarray(np.ones((4, 5))))
    objects = np.array([{"w": np.ones(4), "v": [np.zeros(2)]}], dtype=object)
    np.savez(folder / "objects.npz", objects)
    return [folder / f"{name}.npz" for name in ("plain", "packed", "objects")]


def _tars(folder):
    """Tar archives, plain and compressed, of a file of the corpus."""
    paths = []
    for mode, name in (("w", "m.tar"), ("w:gz", "m.tgz"), ("w:xz", "m.tar.xz"), ("w:bz2", "m.tbz")):
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode=mode) as archive:
            archive.add(INPUTS / "same-values-f16.safetensors", "model/weights.safetensors")
        paths.append(_file(folder / name.replace(".", "-"), name, made.getvalue()))
    return paths


def _matlab(folder):
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(3, 4)), "cells": {"a": np.arange(6), "b": [np.ones(3), "x"]}}
    for packed in (False, True):
        scipy.io.savemat(folder / f"packed-{packed}.mat", arrays, do_compression=packed)
    return sorted(folder.iterdir())


FORMATS: dict[str, Callable[[Path], list[Path]]] = {
    "safetensors": _inputs("*.safetensors", "moe-*", "lora-adapter", "hf-repo"),
    "shards": _inputs("st-sharded", "st-sharded-no-index", "checkpoint-500", "st-one-shard-*"),
    "quantized": _both(
        _inputs("bnb-*", "gptq-*", "compressed-*", "mxfp4-*"),
        _data("quantized/*/model.safetensors", beside="config.json"),
    ),
    "numpy": _both(_inputs("*.npy", "*.npz"), _arrays),
    "torch": _inputs("torch-*.pt", "*.ckpt"),
    "torch before 1.6": _both(
        _inputs("*.pth", "*.pth.tar"),
        lambda folder: [_copied(HOSTILE / "legacy-good.pth", folder)],
    ),
    "TorchScript, torch.export": _inputs("torch-script.pt", "*.pt2"),
    "torch's distributed checkpoint": _both(_inputs("dcp"), _data("distributed/step-7")),
    "DeepSpeed, slices": _both(
        _inputs("deepspeed-*"),
        _written("test_folders_distributed", lambda m, folder: m.write_all(folder)),
    ),
    "pickle, joblib": _both(
        _inputs("*.pkl", "*.joblib"),
        _written("test_pickles", lambda m, folder: [m.write(name, folder)[0] for name in m.CASES]),
    ),
    "NeMo, archives": _both(_inputs("*.nemo", "*.zip", "*.gz"), _tars),
    "diffusers": _inputs("diffusers-*"),
    "GGUF": _both(
        _inputs("*.gguf"),
        _data("gguf/[!s]*.gguf"),
        _data("gguf/split-00001*", beside="split-*.gguf"),
    ),
    "ggml": _written(
        "test_ggml_bins",
        lambda m, folder: [_file(folder / k, "x.bin", data) for k, data in m.FILES.items()],
    ),
    "llamafile": _written(
        "test_llamafile",
        lambda m, folder: [
            m.write(folder / "m.llamafile", {"m.gguf": m.gguf({"a": m.floats(m.W)})})
        ],
    ),
    "ONNX": _both(
        _inputs("onnx-[!e]*", "onnx-external"),
        _data("onnx/*.onnx"),
        _data("onnx/external/*.onnx", beside="*[!x]"),
    ),
    "OpenVINO": _both(
        *(_data(f"openvino/{name}.xml", beside=f"{name}.bin") for name in ("dtypes", "network")),
        _data("openvino/compressed.xml", beside="compressed.bin"),
    ),
    "TensorFlow Lite": _data("tflite/*.tflite"),
    "CoreML": _data("coreml/*.mlmodel", "coreml/*.mlpackage"),
    "HDF5": _both(_inputs("*.h5"), _data("hdf5/*.xz", "keras/*.h5.xz")),
    "Keras": _both(_inputs("*.keras"), _data("keras/*.keras.xz")),
    "Flax": _both(_inputs("*.msgpack"), _data("flax/*.msgpack.xz")),
    "Orbax": _both(
        _inputs("orbax"),
        _folders(
            "orbax/trees.tar.xz",
            *(
                f"trees/{name}"
                for name in ("ocdbt", "zarr", "zarr3", "zarr3-folders", "manager/10", "aggregate")
            ),
        ),
    ),
    "MXNet": _written(
        "test_mxnet",
        lambda m, folder: [
            _file(
                folder / str(v),
                "net-0000.params",
                m.file_of([m.written(a, v) for a in m.ARRAYS.values()], m.ARRAYS),
            )
            for v in range(4)
        ],
    ),
    "Caffe": _written("test_caffe", lambda m, folder: [_file(folder, "n.caffemodel", m.NET)]),
    "Darknet": _written("test_darknet", lambda m, folder: [m.write(folder)]),
    "thinc, spaCy": _data("thinc/model", "thinc/pipeline"),
    "word vectors, fastText, gensim": _both(
        _data("words/*.bin", "words/*.ftz", "words/*.vec", "words/*.txt", "words/*.kv"),
        _data("words/word2vec.model", beside="word2vec.model.*.npy"),
    ),
    "TensorFlow": _folders(
        "tensorflow/files.tar.xz",
        *(f"files/{name}" for name in ("steps", "one", "saved", "exported", "keras/model.index")),
    ),
    "TensorFlow.js": _written("test_tfjs", lambda m, folder: [m.write(folder / "model")]),
    "MATLAB": _matlab,
    "Paddle": _data("paddle/*.pd*", "paddle/*.json", beside="*.*"),
}
"""What writes the files of each format into an empty folder, and gives the paths to open."""


def cases(name, folder):
    """The sound checkpoints of a format, each in a folder of its own."""
    (folder / "made").mkdir(parents=True)
    made = []
    paths = FORMATS[name](folder / "made")
    shared = Counter(path.parent for path in paths)  # files of such a folder do not belong together
    for number, path in enumerate(paths):
        home = path if shared[path.parent] > 1 or path.is_dir() else path.parent
        target = folder / str(number) / home.name
        target.parent.mkdir()
        (shutil.copytree if home.is_dir() else shutil.copy)(home, target)
        opened = target / path.relative_to(home) if home != path else target
        files = [target] if target.is_file() else sorted(target.rglob("*"))
        made.append(Case(opened, tuple(file for file in files if file.is_file())))
    return made
