"""Tensors of every kind, and what a reader should say of them."""

import json

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

from kolmo.checkpoints.opening import open_source

RANDOM = np.random.default_rng(3)
ARRAYS = {
    "float64": RANDOM.normal(size=(3, 5)),
    "float32": RANDOM.normal(size=(7, 2, 3)).astype(np.float32),
    "float16": RANDOM.normal(size=9).astype(np.float16),
    "int64": np.array(-5),
    "int8": RANDOM.integers(-128, 128, 11).astype(np.int8),
    "uint8": RANDOM.integers(0, 256, (2, 2)).astype(np.uint8),
    "bool": np.array([True, False, True]),
    "empty": np.zeros((0, 4), np.float32),
    "one": np.float32([1.5]),
    "special": np.uint32([0x7FC00001, 0xFF800000, 0x80000000, 1]).view(np.float32),
}


def tensors():
    made = {name: torch.from_numpy(np.array(array)) for name, array in ARRAYS.items()}
    made["bfloat16"] = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    made["float8_e4m3fn"] = made["bfloat16"].to(torch.float8_e4m3fn)
    made["float8_e5m2"] = made["bfloat16"].to(torch.float8_e5m2)
    return made


def raw(tensor):
    array = tensor.read()
    return array.dtype.name, array.shape, array.tobytes()


def contents(source):
    return {name: raw(tensor) for name, tensor in open_source(source).items()}


def expected():
    return contents(tensors())


def save_torch(path, obj, legacy=False):
    torch.save(obj, path, _use_new_zipfile_serialization=not legacy)
    return path


def write_shards(folder, index="model.safetensors.index.json"):
    names = {"a": "model-00002-of-00010.safetensors", "b": "model-00010-of-00010.safetensors"}
    for name, file in names.items():
        safetensors.numpy.save_file({name: np.full(4, len(file), np.float32)}, folder / file)
    (folder / index).write_text(json.dumps({"weight_map": {"b": names["b"], "a": names["a"]}}))
    return folder / index
