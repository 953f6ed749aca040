"""thinc's models and spaCy's pipelines, against their own libraries (tests/data/thinc/make.py)."""

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from kolmo.checkpoints.opening import open_source
from kolmo.errors import InputError

DATA = Path(__file__).parent / "data" / "thinc"


def packed(value):
    """A value in msgpack, in its longest forms."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, str):
        return b"\xdb" + struct.pack(">I", len(value.encode())) + value.encode()
    if isinstance(value, list):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(packed, value))
    inner = b"".join(packed(key) + packed(held) for key, held in value.items())
    return bytes([0x80 + len(value)]) + inner


def test_a_model_has_the_parameters_of_its_nodes():
    found, truth = open_source(DATA / "model"), np.load(DATA / "model.npz")
    assert (found.format, list(found)) == ("thinc", list(truth))
    assert list(found)[:2] == ["1.relu.W", "1.relu.b"]
    for name, tensor in found.items():
        assert tensor.read().tobytes() == truth[name].tobytes()


def test_a_pipeline_has_all_its_components_and_vectors():
    found, truth = open_source(DATA / "pipeline"), np.load(DATA / "pipeline.npz")
    assert found.format == "spaCy"
    assert set(found.networks) == {"tok2vec", "tagger"}
    assert set(found) == {*truth, "vocab.vectors"}
    assert found["vocab.vectors"].read().tolist() == [[1, 2], [3, 4]]
    for name in truth:
        assert found[name].read().tobytes() == truth[name].tobytes()
    assert len(found.files) == 3


def test_a_pipeline_below_a_folder_is_found(tmp_path):
    """A package of spaCy has its pipeline in a folder of its version."""
    shutil.copytree(DATA / "pipeline", tmp_path / "en_core-1.0")
    assert len(open_source(tmp_path)) > 8


def write_model(path, params, shims=(), nodes=None):
    nodes = nodes or [{"index": 0, "name": "wrapper", "dims": {}, "refs": {}}]
    parts = {"nodes": nodes, "attrs": [{}], "params": [params], "shims": [list(shims)]}
    data = packed(parts).replace(packed("nodes"), b"\xa5nodes", 1)
    path.write_bytes(data)
    return path


def test_a_model_of_torch_within(tmp_path):
    layer = torch.nn.Linear(3, 40)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    shim = packed({"config": {"a": 1}, "state": buffer.getvalue()})
    scale = {"nd": True, "type": ">f8", "kind": b"", "shape": [1], "data": struct.pack(">d", 2.5)}
    found = open_source(write_model(tmp_path / "model", {"s": scale, "n": None}, [shim]))
    assert list(found) == ["0.wrapper.s", "0.wrapper.weight", "0.wrapper.bias"]
    assert found["0.wrapper.s"].read().tolist() == [2.5]
    assert (found["0.wrapper.weight"].read() == layer.weight.detach().numpy()).all()


@pytest.mark.parametrize(
    "change", [{"shape": [3]}, {"shape": [-1]}, {"type": "<U3"}, {"data": 3}, {"nd": False}]
)
def test_arrays_that_contradict_themselves(tmp_path, change):
    array = {"nd": True, "type": "<f4", "kind": b"", "shape": [2], "data": bytes(8), **change}
    with pytest.raises(InputError, match=r"thinc model \(spaCy\) that is damaged"):
        open_source(write_model(tmp_path / "model", {"W": array}))


def test_a_model_without_parameters(tmp_path):
    with pytest.raises(InputError, match="without parameters"):
        open_source(write_model(tmp_path / "model", {"W": None}))
