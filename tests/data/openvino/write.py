"""Writes the files of this folder with OpenVINO, and what its plugin makes of compressed weights.

python write.py        # needs openvino, numpy
"""

import pathlib

import numpy as np
import openvino as ov
from openvino import opset13 as op

HERE = pathlib.Path(__file__).parent
TRUTH = {}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def constant(name, kind, shape, values):
    made = ov.op.Constant(kind, ov.Shape(list(shape)), np.asarray(values).ravel().tolist())
    made.set_friendly_name(name)
    return made


def named(name, array):
    made = op.constant(array)
    made.set_friendly_name(name)
    return made


def save(name, results, inputs, truth):
    model = ov.Model(results, inputs, name)
    for suffix in ("xml", "bin"):
        (HERE / f"{name}.{suffix}").unlink(missing_ok=True)
    ov.save_model(model, str(HERE / f"{name}.xml"), compress_to_fp16=False)
    TRUTH.update({f"{name}.xml/{key}": array for key, array in truth.items()})
    return model


def network():
    x = op.parameter([1, 3, 8, 8], np.float32, name="x")
    arrays = {
        "conv.weight": normal(5, 3, 3, 3),
        "conv.bias": normal(1, 5, 1, 1, seed=1),
        "gamma": normal(5, seed=2),
        "beta": normal(5, seed=3),
        "mean": normal(5, seed=4),
        "var": np.abs(normal(5, seed=5)),
        "fc.weight": normal(4, 180, seed=6),
        "half.weight": normal(4, 4, seed=7).astype(np.float16),
    }
    c = {key: named(key, array) for key, array in arrays.items()}
    y = op.convolution(x, c["conv.weight"], [1, 1], [0, 0], [0, 0], [1, 1])
    y = op.add(y, c["conv.bias"])
    y = op.batch_norm_inference(y, c["gamma"], c["beta"], c["mean"], c["var"], 1e-5)
    y = op.reshape(y, named("shape", np.int64([1, 180])), False)
    y = op.matmul(y, c["fc.weight"], False, True)
    y = op.multiply(y, named("scalar", np.float32(0.5)))
    y = op.matmul(y, op.convert(c["half.weight"], np.float32), False, False)
    condition = op.parameter([], np.bool_, name="condition")
    branch = op.if_op(condition)
    bodies = []
    for seed in (8, 9):
        inner = op.parameter([1, 4], np.float32)
        weight = named("branch.weight", normal(4, 4, seed=seed))
        bodies.append(
            ov.Model([op.result(op.matmul(inner, weight, False, False))], [inner], "body")
        )
    branch.set_then_body(bodies[0])
    branch.set_else_body(bodies[1])
    branch.set_input(y.output(0), bodies[0].get_parameters()[0], bodies[1].get_parameters()[0])
    out = branch.set_output(bodies[0].get_results()[0], bodies[1].get_results()[0])
    save("network", [op.result(out)], [x, condition], arrays)


def dtypes():
    kinds = {
        "f32": np.float32,
        "f16": np.float16,
        "f64": np.float64,
        "i8": np.int8,
        "i16": np.int16,
        "i32": np.int32,
        "i64": np.int64,
        "u8": np.uint8,
        "u16": np.uint16,
        "u32": np.uint32,
        "u64": np.uint64,
    }
    arrays = {
        kind: (normal(3, 5, seed=len(kind)) * 9).astype(dtype)
        if kind[0] != "u"
        else np.abs(normal(3, 5) * 9).astype(dtype)
        for kind, dtype in kinds.items()
    }
    arrays["boolean"] = normal(3, 5) > 0
    nodes = [named(kind, array) for kind, array in arrays.items()]
    save("dtypes", [op.result(node) for node in nodes], [], arrays)


def compressed():
    """Weights that the graph turns back; the plugin's results are their values."""
    r, results, names = np.random.default_rng(3), [], []
    t = ov.Type
    for name, kind, shape, zero, scale_shape, half, last in [
        ("u8_channels", t.u8, (6, 8), t.u8, (6, 1), False, None),
        ("i8_channels", t.i8, (6, 8), None, (6, 1), False, None),
        ("u4_groups", t.u4, (4, 2, 16), t.u4, (4, 2, 1), False, (4, 32)),
        ("u4_one_zero", t.u4, (4, 2, 16), "one", (4, 2, 1), False, (4, 32)),
        ("i4_groups", t.i4, (4, 2, 16), None, (4, 2, 1), False, (4, -1)),
        ("u4_half", t.u4, (4, 2, 16), t.u4, (4, 2, 1), True, (4, 32)),
        ("u8_tensor", t.u8, (5, 7), t.u8, (1, 1), False, None),
        ("nf4", t.nf4, (4, 16), None, (4, 1), False, None),
        ("f8e4m3", t.f8e4m3, (4, 6), None, (4, 1), False, None),
    ]:
        low, high = {t.u8: (0, 256), t.i8: (-128, 128), t.u4: (0, 16), t.i4: (-8, 8)}.get(
            kind, (0, 0)
        )
        values = r.integers(low, high, shape) if high else r.uniform(-1, 1, shape)
        wide = np.float16 if half else np.float32
        node = op.convert(constant(name, kind, shape, values), wide)
        if zero is not None:
            sides = (1,) * len(shape) if zero == "one" else scale_shape
            points = constant(f"{name}.zero", kind, sides, r.integers(low, high, sides))
            node = op.subtract(node, op.convert(points, wide))
        scale = r.uniform(0.01, 0.1, scale_shape).astype(wide)
        node = op.multiply(node, named(f"{name}.scale", scale))
        if last is not None:
            node = op.reshape(node, named(f"{name}.shape", np.int64(last)), False)
        if half:
            node = op.convert(node, np.float32)
        results.append(op.result(node))
        names.append(name)
    model = save("compressed", results, [], {})
    found = ov.Core().compile_model(model, "CPU")([])
    for name, array in zip(names, found.values(), strict=True):
        TRUTH[f"compressed.xml/{name}"] = np.array(array)


if __name__ == "__main__":
    network()
    dtypes()
    compressed()
    np.savez_compressed(HERE / "truth.npz", **TRUTH)
