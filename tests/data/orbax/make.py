"""Writes the folders here by Orbax 0.12 and TensorStore 0.1: python make.py, then commit them.

``trees.tar.xz`` holds one tree in every layout of Orbax, ``zarr.tar.xz`` arrays in every way that
zarr packs them, ``database.tar.xz`` a database of several levels, versions and deleted keys.
"""

import itertools
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import tensorstore as ts
from jax.sharding import Mesh, NamedSharding, PartitionSpec

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from written import noted, write_truth  # noqa: E402

RANDOM = np.random.default_rng(0)
MESH = Mesh(np.array(jax.devices()).reshape(2, 2), ("x", "y"))


LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
TURNED = {"name": "transpose", "configuration": {"order": [2, 0, 1]}}
ZSTD = {"name": "zstd", "configuration": {"level": 3}}
CODECS = {
    "plain": [LITTLE],
    "big": [{"name": "bytes", "configuration": {"endian": "big"}}],
    "gzip": [LITTLE, {"name": "gzip", "configuration": {"level": 5}}],
    "packed": [TURNED, LITTLE, ZSTD, {"name": "crc32c"}],
}


def normal(*shape):
    """Weights."""
    return RANDOM.normal(size=shape).astype(np.float32)


def sharded(array):
    """The array on four devices, in four chunks."""
    return jax.device_put(array, NamedSharding(MESH, PartitionSpec("x", "y")))


def leaves(tree, path=()):
    """The arrays of a tree by their paths."""
    if hasattr(tree, "_asdict"):
        tree = tree._asdict()
    if isinstance(tree, (list, tuple)):
        tree = {str(number): value for number, value in enumerate(tree)}
    if isinstance(tree, dict):
        return {k: v for key in tree for k, v in leaves(tree[key], (*path, key)).items()}
    return {".".join(path): noted(tree)} if isinstance(tree, (np.ndarray, jax.Array)) else {}


def tree():
    """Weights, the state of Adam, numbers and text."""
    params = {
        "dense": {"kernel": sharded(normal(4, 6)), "bias": jnp.asarray(normal(3), "bfloat16")}
    }
    params["list"] = [normal(2), np.zeros((2, 2), np.float32)]
    state = optax.adam(1e-3).init(params)
    return {"params": params, "opt_state": state, "step": 5, "rate": 0.1, "name": "x", "no": None}


def save(name, tree, **options):
    """The tree in one folder."""
    handler = ocp.PyTreeCheckpointHandler(**options)
    with ocp.Checkpointer(handler) as saver:
        saver.save(FOLDER / "trees" / name, args=ocp.args.PyTreeSave(tree))


def write(driver, path, metadata, array):
    """One array by TensorStore."""
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}
    ts.open({**spec, "metadata": metadata}, create=True).result().write(array).result()
    return noted(array)


def write_zarr():
    """Arrays packed in many ways."""
    base, array, found = FOLDER / "zarr", normal(7, 9, 5), {}
    packers = {name: {"id": name, "level": 3} for name in ("gzip", "zlib", "zstd")}
    for packer, setting in {"none": None, "blosc": {"id": "blosc"}, **packers}.items():
        for order, separator in itertools.product("CF", "./"):
            name = f"v2-{packer}-{order}-{'dot' if separator == '.' else 'slash'}"
            sides = {"shape": [7, 9, 5], "chunks": [3, 4, 5], "dtype": "<f4"}
            metadata = {**sides, "order": order, "compressor": setting}
            metadata["dimension_separator"] = separator
            found[name] = write("zarr", base / name, metadata, array)
    holed = array.copy()
    holed[4:, :6] = 1.5  # the fill value, which is not written
    for name, place in itertools.product(CODECS, ("no", "start", "end")):
        shard = {"chunk_shape": [2, 3, 5], "codecs": CODECS[name], "index_location": place}
        shard["index_codecs"] = [LITTLE, {"name": "crc32c"}]
        grid = {"name": "regular", "configuration": {"chunk_shape": [4, 6, 5]}}
        metadata = {"shape": [7, 9, 5], "data_type": "float32", "fill_value": 1.5}
        metadata |= {"chunk_grid": grid, "codecs": CODECS[name]}
        if place != "no":
            metadata["codecs"] = [{"name": "sharding_indexed", "configuration": shard}]
        full = f"v3-{name}-{place}"
        found[full] = write("zarr3", base / full, metadata, holed)
    for dtype in ("bfloat16", "float8_e4m3fn", "bool", "int64", "uint8", "float64"):
        data = normal(3, 2).astype(np.dtype(dtype))
        found[dtype] = write("zarr3", base / dtype, {"shape": [3, 2], "data_type": dtype}, data)
    return found


def write_database():
    """Many keys in a tree of small nodes, some of them deleted."""
    spec = {"driver": "ocdbt", "base": f"file://{FOLDER}/database/",
            "config": {"max_decoded_node_bytes": 800, "max_inline_value_bytes": 20,
                       "version_tree_arity_log2": 1}}  # fmt: skip
    store = ts.KvStore.open(spec).result()
    found = {}
    for first in range(0, 120, 40):
        with ts.Transaction() as together:
            for number in range(first, first + 40):
                key, value = f"layer{number % 7}/key{number}", bytes([number]) * (number % 50)
                store.with_transaction(together)[key] = value
                found[key] = value.hex()
    for number in range(0, 120, 41):
        del store[f"layer{number % 7}/key{number}"]
        del found[f"layer{number % 7}/key{number}"]
    return found


def pack(name):
    """The folder as an archive."""
    with tarfile.open(HERE / f"{name}.tar.xz", "w:xz", preset=9) as archive:
        archive.add(FOLDER / name, name)


FOLDER = pathlib.Path(tempfile.mkdtemp())
whole = tree()
save("ocdbt", whole)
save("zarr", whole, use_ocdbt=False)
save("zarr3", whole, use_zarr3=True)
save("zarr3-folders", whole, use_ocdbt=False, use_zarr3=True)
with ocp.CheckpointManager(FOLDER / "trees" / "manager") as manager:
    both = {"params": ocp.args.StandardSave(whole["params"]), "note": ocp.args.JsonSave({"a": 1}),
            "opt_state": ocp.args.StandardSave(whole["opt_state"])}  # fmt: skip
    manager.save(10, args=ocp.args.Composite(**both))
    manager.wait_until_finished()
old = FOLDER / "trees" / "aggregate"
old.mkdir()
small = {"params": {"dense": {"kernel": normal(2, 3)}, "far": "PLACEHOLDER://params.far"}}
(old / "checkpoint").write_bytes(flax.serialization.msgpack_serialize(small))
far = normal(4, 3)
gzip = {"id": "gzip", "level": 1}
metadata = {"shape": [4, 3], "chunks": [4, 3], "dtype": "<f4", "compressor": gzip}
truth = {"trees": leaves(whole), "zarr": write_zarr(), "database": write_database()}
truth["aggregate"] = {
    "params.dense.kernel": noted(small["params"]["dense"]["kernel"]),
    "params.far": write("zarr", old / "params.far", metadata, far),
}
for name in ("trees", "zarr", "database"):
    pack(name)
write_truth(HERE, truth)
shutil.rmtree(FOLDER)
