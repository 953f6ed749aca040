"""Small sound files of every format that kolmo opens, from which damaged ones are made."""

import bz2
import dataclasses
import gzip
import io
import lzma
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from pathlib import Path

import numpy as np
import scipy.io

TESTS = Path(__file__).parent.parent
INPUTS = TESTS / "corpus" / "inputs"
HOSTILE = TESTS / "corpus" / "hostile"
DATA = TESTS / "data"


@dataclasses.dataclass(frozen=True)
class Case:
    """A sound checkpoint: the bytes of its files by their paths, and the path to open."""

    opened: str
    files: dict[str, bytes]

    def write(self, folder):
        """Put its files into a folder; the path to open."""
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return folder / self.opened


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
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.add(
            INPUTS / "same-values-f16.safetensors", "model/weights.safetensors", filter=_old
        )
    packers = {
        "m.tar": bytes,
        "m.tgz": partial(gzip.compress, mtime=0),
        "m.tar.xz": lzma.compress,
        "m.tbz": bz2.compress,
    }
    return [_file(folder / name, name, pack(made.getvalue())) for name, pack in packers.items()]


def _old(info):
    info.mtime = 0
    return info


def _matlab(folder):
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(3, 4)), "cells": {"a": np.arange(6), "b": [np.ones(3), "x"]}}
    for packed in (False, True):
        path = folder / f"packed-{packed}.mat"
        scipy.io.savemat(path, arrays, do_compression=packed)
        path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + path.read_bytes()[116:])  # no date
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


@cache
def cases(name):
    """The sound checkpoints of a format, made once."""
    with tempfile.TemporaryDirectory() as folder:
        paths = FORMATS[name](Path(folder))
        shared = Counter(path.parent for path in paths)  # its files do not belong together
        return [
            _case(path, path if shared[path.parent] > 1 or path.is_dir() else path.parent)
            for path in paths
        ]


def _case(path, home):
    """The checkpoint at a path, of all files in its home."""
    files = [home] if home.is_file() else sorted(home.rglob("*"))
    root = home.parent
    found = {str(file.relative_to(root)): file.read_bytes() for file in files if file.is_file()}
    return Case(str(path.relative_to(root)), found)
