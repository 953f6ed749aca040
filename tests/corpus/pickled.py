"""Checkpoints that are pickles of some sort, written by the library that owns each format.

Every case is a file and the arrays that are true of it: what the library itself would load.
"""

import argparse
import collections
import io
import pickle
import struct
import tarfile
import zipfile

import joblib
import ml_dtypes
import numpy as np
import torch

CASES = {}
NONE = {}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


WEIGHTS = {"fc1.weight": normal(12, 8), "fc1.bias": normal(12, seed=1),
           "fc2.weight": normal(5, 12, seed=2), "fc2.bias": normal(5, seed=3)}  # fmt: skip


def state_dict():
    return collections.OrderedDict((k, torch.from_numpy(v.copy())) for k, v in WEIGHTS.items())


def case(suffix):
    def register(function):
        CASES[function.__name__] = (suffix, function)
        return function

    return register


def saved(contents, **options):
    file = io.BytesIO()
    torch.save(contents, file, **options)
    return file.getvalue()


def write(name, folder):
    """The file of a case, and the arrays that it holds."""
    suffix, function = CASES[name]
    path = folder / f"{name}{suffix}"
    data, arrays = function()
    path.write_bytes(data)
    return path, arrays


# --- torch ----------------------------------------------------------------------------------


@case(".pt")
def torch_zip():
    return saved(state_dict()), WEIGHTS


@case(".pth")
def torch_legacy():
    return saved(state_dict(), _use_new_zipfile_serialization=False), WEIGHTS


@case(".pt")
def torch_dtypes():
    base = torch.from_numpy(normal(6, 4))
    floats = [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
    integers = [torch.int8, torch.uint8, torch.int16, torch.int64, torch.uint16, torch.uint64]
    tensors = {str(d): base.to(d) for d in floats} | {
        str(d): (9 * base.abs()).to(d) for d in integers
    }
    tensors["bool"] = base > 0
    names = {torch.bfloat16: "bfloat16", torch.float8_e4m3fn: "float8_e4m3fn",
             torch.float8_e5m2: "float8_e5m2"}  # fmt: skip
    arrays = {
        k: v.view(torch.int16 if v.itemsize == 2 else torch.uint8).numpy().view(
            getattr(ml_dtypes, names[v.dtype])
        ) if v.dtype in names else v.numpy()
        for k, v in tensors.items()
    }  # fmt: skip
    return saved(tensors), arrays


def views():
    base = torch.from_numpy(normal(16, 16))
    image = torch.from_numpy(normal(4, 3, 5, 5, seed=2))
    return {
        "strided": base[::2, ::3],
        "corner": base[3:, 5:].t(),
        "expanded": torch.from_numpy(normal(1, 8, seed=1)).expand(6, 8),
        "overlapping": torch.from_numpy(normal(20, seed=4)).unfold(0, 5, 1),
        "flipped": base.flip(0),
        "channels_last": image.to(memory_format=torch.channels_last),
        "scalar": torch.tensor(0.5),
        "empty": torch.empty(0, 7),
        "deep": torch.arange(8.0).reshape([1] * 29 + [8]),
        "negated": torch.imag(torch.complex(normal_t(4), normal_t(4, 1)).conj()),
    }


def normal_t(*shape):
    return torch.from_numpy(normal(*shape))


@case(".pt")
def torch_views():
    tensors = {k: v for k, v in views().items() if k != "negated"}
    return saved(tensors), {k: v.numpy() for k, v in tensors.items()}


@case(".pt")
def torch_negated():
    tensor = torch.complex(torch.ones(3), torch.arange(3.0)).conj().imag
    assert tensor.is_neg()
    return saved({"w": tensor}), {"w": np.float32([-0.0, -1, -2])}


@case(".pth")
def torch_legacy_views():
    tensors = {k: v for k, v in views().items() if k != "negated"}
    data = saved(tensors, _use_new_zipfile_serialization=False)
    return data, {k: v.numpy() for k, v in tensors.items()}


@case(".pt")
def torch_module():
    module = torch.nn.Sequential(torch.nn.Linear(8, 12), torch.nn.ReLU(), torch.nn.BatchNorm1d(12))
    module.register_buffer("scratch", torch.ones(7), persistent=False)
    module.note = torch.ones(2)
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    return saved({"epoch": 3, "model": module, "ema": None, "g": torch.get_rng_state()}), state


class Tagged(torch.Tensor):
    """A tensor of a class of its own."""


@case(".pt")
def torch_subclass():
    return saved({"w": torch.from_numpy(normal(8, 8)).as_subclass(Tagged)}), {"w": normal(8, 8)}


@case(".pt")
def torch_parameters():
    w = torch.nn.Parameter(torch.from_numpy(normal(3, 2)))
    w.note = "kept"  # a parameter with a state
    buffer = torch.nn.Buffer(torch.from_numpy(normal(4)))
    contents = {"p": w, "list": [{"deep": torch.ones(2)}], "b": buffer, 7: torch.ones(3)}
    arrays = {"p": normal(3, 2), "list.0.deep": np.ones(2, "f4"), "b": normal(4),
              "7": np.ones(3, "f4")}  # fmt: skip
    return saved(contents), arrays


@case(".ckpt")
def lightning():
    contents = {"epoch": 1, "state_dict": state_dict(), "best": np.float64(0.5),
                "hyper_parameters": argparse.Namespace(lr=1e-3),
                "rng": np.random.RandomState(0).get_state(),
                "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(9)}}}]}  # fmt: skip
    return saved(contents), WEIGHTS


@case(".pt")
def torch_odd():
    w = torch.from_numpy(normal(6, 4))
    contents = {
        "w": w,
        "complex": torch.complex(w, w),
        "conjugate": torch.complex(w, w).conj(),
        "half_complex": torch.complex(w, w).to(torch.complex32),
        "bits": torch.zeros(24, dtype=torch.uint8).view(torch.bits8),
        "f4": torch.zeros(24, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        "quantized": torch.quantize_per_tensor(w, 0.1, 0, torch.qint8),
        "coo": (w * (w > 0)).to_sparse(),
        "csr": (w * (w > 0)).to_sparse_csr(),
        "meta": torch.empty(6, 4, device="meta"),
        "nested": torch.nested.nested_tensor([torch.ones(3, 4), torch.ones(3, 4)]),
    }
    parts = np.stack([normal(6, 4)] * 2, axis=-1)
    arrays = {
        "w": normal(6, 4),
        "complex": parts,
        "half_complex": parts.astype(np.float16),
        "f4": np.zeros(48, ml_dtypes.float4_e2m1fn),
        "quantized": contents["quantized"].dequantize().numpy(),
    }
    return saved(contents), arrays


def network():
    model = torch.nn.Sequential(torch.nn.Linear(8, 12), torch.nn.ReLU(), torch.nn.Linear(12, 5))
    names = {k.replace("fc1", "0").replace("fc2", "2"): v for k, v in WEIGHTS.items()}
    model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in names.items()})
    return model.eval(), names


@case(".pt")
def torch_script():
    file, (model, names) = io.BytesIO(), network()
    torch.jit.save(torch.jit.script(model), file)
    return file.getvalue(), names


@case(".pt")
def torch_script_frozen():
    file, (model, names) = io.BytesIO(), network()
    torch.jit.save(torch.jit.freeze(torch.jit.script(model)), file)
    found = [names["0.weight"], names["0.bias"], names["2.weight"], names["2.bias"]]
    return file.getvalue(), {f"?{number}": array for number, array in enumerate(found)}


@case(".pt2")
def torch_export():
    file, (model, names) = io.BytesIO(), network()
    torch.export.save(torch.export.export(model, (torch.zeros(1, 8),)), file)
    return file.getvalue(), names


@case(".pt2")
def torch_export_old():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("version", "3.0")
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", saved(state_dict()))
    return file.getvalue(), WEIGHTS


def tar_of(members, mode="w"):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


@case(".nemo")
def nemo():
    members = {"./model_config.yaml": b"x: 1\n", "./model_weights.ckpt": saved(state_dict())}
    return tar_of(members), WEIGHTS


@case(".nemo")
def nemo_packed():
    members = {"./model_config.yaml": b"x: 1\n", "./model_weights.ckpt": saved(state_dict())}
    return tar_of(members, "w:gz"), WEIGHTS


@case(".pth.tar")
def torch_2017():
    """As torch 0.1.10 and before wrote them: three pickled streams in a tar archive."""
    storages, tensors = pickle.dumps(2, 2), pickle.dumps(3, 2)
    flat = np.concatenate([WEIGHTS["fc1.weight"].ravel(), WEIGHTS["fc2.bias"]])
    for key, data, kind in ((11, flat, torch.FloatStorage), (12, np.arange(6), torch.LongStorage)):
        storages += (
            pickle.dumps((key, "cpu", kind), 2) + struct.pack("<q", data.size) + data.tobytes()
        )
    storages += pickle.dumps([(13, 11, 96, 5)], 2)
    for key, storage, size, stride, offset in (
        (21, 11, (12, 8), (8, 1), 0), (22, 13, (5,), (1,), 0), (23, 12, (3, 2), (1, 3), 0)
    ):  # fmt: skip
        axes = len(size)
        tensors += pickle.dumps((key, storage, torch.FloatTensor), 2)
        tensors += struct.pack(f"<ii{2 * axes}qq", axes, 0, *size, *stride, offset)
    file = io.BytesIO()
    pickler = pickle.Pickler(file, 2)
    keys = {"a": Outside(21), "b": Outside(22), "c": Outside(23)}
    pickler.persistent_id = lambda value: value.key if isinstance(value, Outside) else None
    pickler.dump({"state_dict": keys})
    members = {"sys_info": pickle.dumps({}, 2), "pickle": file.getvalue(), "tensors": tensors,
               "storages": storages}  # fmt: skip
    arrays = {"a": WEIGHTS["fc1.weight"], "b": WEIGHTS["fc2.bias"],
              "c": np.arange(6).reshape(2, 3).T}  # fmt: skip
    return tar_of(members), arrays


class Outside:
    """A tensor that lies outside the pickle."""

    def __init__(self, key):
        self.key = key


# --- pickles --------------------------------------------------------------------------------

ARRAYS = {
    "a": normal(6, 5), "fortran": np.asfortranarray(normal(6, 5, seed=1)),
    "big": normal(7).astype(">f4"),
    "half": normal(3).astype(np.float16), "bf16": normal(4).astype(ml_dtypes.bfloat16),
    "bool": normal(9) > 0, "scalar": np.array(2.5), "empty": np.zeros((0, 3)),
    "long": normal(300, 80),
    "int": np.arange(5, dtype=np.int16), "view": normal(8, 8)[::2, 1::3],
}  # fmt: skip


def pickled_by(protocol):
    def make():
        return pickle.dumps({**ARRAYS, "none": None, "text": "x"}, protocol), ARRAYS

    return make


for _protocol in range(6):
    CASES[f"pickle_{_protocol}"] = (".pkl", pickled_by(_protocol))


@case(".pkl")
def pickle_of_tensors():
    return pickle.dumps(state_dict()), WEIGHTS


@case(".pkl")
def pickle_of_lists():
    contents = [normal(3), {"x": (normal(2), normal(4))}]
    return pickle.dumps(contents), {"0": normal(3), "1.x.0": normal(2), "1.x.1": normal(4)}


def dumped(contents, **options):
    file = io.BytesIO()
    joblib.dump(contents, file, **options)
    return file.getvalue()


@case(".joblib")
def joblib_plain():
    return dumped(ARRAYS), ARRAYS


def packed_by(form):
    return lambda: (dumped(ARRAYS, compress=(form, 3)), ARRAYS)


for _form in ("zlib", "gzip", "bz2", "lzma", "xz", "lz4"):
    CASES[f"joblib_{_form}"] = (".joblib", packed_by(_form))


@case(".joblib")
def joblib_objects():
    objects = np.array([{"w": normal(3)}, None], object)
    return dumped({"a": normal(2), "o": objects, "z": normal(5)}), {
        "a": normal(2), "o.0.w": normal(3), "z": normal(5)
    }  # fmt: skip


@case(".joblib")
def sklearn_mlp():
    from sklearn.neural_network import MLPClassifier

    x, y = normal(32, 4), np.arange(32) % 3
    model = MLPClassifier((6,), max_iter=200, tol=1e9, n_iter_no_change=1, random_state=0).fit(x, y)
    arrays = {f"coefs_.{i}": w for i, w in enumerate(model.coefs_)}
    return dumped(model), arrays | {f"intercepts_.{i}": w for i, w in enumerate(model.intercepts_)}


@case(".npz")
def npz_of_dict():
    file = io.BytesIO()
    np.savez_compressed(file, params=np.array(WEIGHTS, object), plain=normal(4))
    arrays = {f"params.{name}": array for name, array in WEIGHTS.items()}
    return file.getvalue(), {**arrays, "plain": normal(4)}


@case(".npy")
def npy_of_dict():
    file = io.BytesIO()
    np.save(file, np.array({"w": normal(4), "text": "x"}, object))
    return file.getvalue(), {"w": normal(4)}
