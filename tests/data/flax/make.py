"""Writes the files here by Flax 0.12: python make.py, then commit what it writes."""

import json
import pathlib
import sys

import flax.serialization
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
from flax.training.train_state import TrainState

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from written import noted, pack, write_truth  # noqa: E402

RANDOM = np.random.default_rng(0)
FLOATS = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
DTYPES = [*FLOATS, "int8", "uint16", "int64", "bool"]


def normal(*shape):
    """Weights."""
    return RANDOM.normal(size=shape).astype(np.float32)


def leaves(tree, path=()):
    """The arrays of a tree by their paths."""
    if isinstance(tree, dict):
        return {k: v for key in tree for k, v in leaves(tree[key], (*path, key)).items()}
    return {".".join(path): noted(tree)} if hasattr(tree, "shape") else {}


def write(name, tree):
    """The tree in one file."""
    path = HERE / name
    path.write_bytes(flax.serialization.msgpack_serialize(tree))
    truth[name] = leaves(tree)
    pack(path)


truth = {}
params = {"Dense_0": {"kernel": normal(5, 3), "bias": normal(3)}, "out": {"kernel": normal(3, 2)}}
dtypes = {name: normal(2, 3).astype(np.dtype(name)) for name in DTYPES}
dtypes["scalar"], dtypes["number"] = np.float32(2.5), np.array(3.5)
dtypes["empty"], dtypes["odd"] = np.zeros((0, 3)), normal(4).astype(ml_dtypes.int4)
write("dtypes.msgpack", {**dtypes, "plain": 3, "text": "x", "lists": [1, 2], "none": None})
state = TrainState.create(apply_fn=None, params=params, tx=optax.adam(1e-3))
write("train_state.msgpack", flax.serialization.to_state_dict(state))
write(
    "old.msgpack", {"optimizer": {"target": params, "state": {"step": 1, "param_states": params}}}
)
flax.serialization.MAX_CHUNK_SIZE = 64
flax.serialization._msgpack_ext_pack.__globals__["MAX_CHUNK_SIZE"] = 64
write("pieces.msgpack", {"big": normal(9, 7), "half": jnp.asarray(normal(50), jnp.bfloat16)})
flax.serialization.MAX_CHUNK_SIZE = 2**30
shards = {"a": {"x": normal(3)}}, {"b": {"y": normal(2, 2), "z": normal(1)}}
names = {}
for number, shard in enumerate(shards, 1):
    name = f"flax_model-0000{number}-of-00002.msgpack"
    write(name, shard)
    names |= {path.replace(".", "/"): name for path in leaves(shard)}
index = {"metadata": {"total_size": 32}, "weight_map": names}
(HERE / "flax_model.msgpack.index.json").write_text(json.dumps(index))
write_truth(HERE, truth)
