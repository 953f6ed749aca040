"""Writes the files of this folder with the libraries that own the format, and what they decode.

    python write.py        # needs onnx, onnxruntime, ml_dtypes; any Python

For each model, `truth.npz` holds under ``FILE/TENSOR`` the values that `onnx` decodes, or that
`onnxruntime` or onnx's reference evaluator compute of quantized ones.
"""

import pathlib

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

HERE = pathlib.Path(__file__).parent
TRUTH = {}
MS = "com.microsoft"
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid(MS, 1), helper.make_opsetid("own", 1)]


def rng(seed=0):
    return np.random.default_rng(seed)


def normal(*shape, seed=0):
    return rng(seed).standard_normal(shape).astype(np.float32)


def wide(array):
    """The values in a dtype that numpy can save."""
    array = np.asarray(array)
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], -1)
    if type(array.dtype.type(0)).__module__ == "numpy":
        return array
    return array.astype(np.int8 if "int" in array.dtype.name else np.float32)


def model(nodes, initializers, inputs=(), outputs=(), opsets=OPSETS, **more):
    sparse = more.pop("sparse", ())
    graph = helper.make_graph(
        list(nodes),
        "g",
        list(inputs),
        list(outputs),
        list(initializers),
        sparse_initializer=list(sparse),
    )
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


def value(name, kind=T.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def save(name, made, truth, **how):
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    onnx.save(made, str(path), **how)
    TRUTH.update({f"{name}/{key}": wide(array) for key, array in truth.items()})


KINDS = [
    "FLOAT",
    "UINT8",
    "INT8",
    "UINT16",
    "INT16",
    "INT32",
    "INT64",
    "BOOL",
    "FLOAT16",
    "DOUBLE",
    "UINT32",
    "UINT64",
    "COMPLEX64",
    "COMPLEX128",
    "BFLOAT16",
    "FLOAT8E4M3FN",
    "FLOAT8E4M3FNUZ",
    "FLOAT8E5M2",
    "FLOAT8E5M2FNUZ",
    "UINT4",
    "INT4",
    "FLOAT4E2M1",
    "FLOAT8E8M0",
    "UINT2",
    "INT2",
    "FLOAT6E2M3",
    "FLOAT6E3M2",
]


def values(kind):
    dtype = helper.tensor_dtype_to_np_dtype(getattr(T, kind))
    x = normal(3, 7, seed=len(kind)) * 3
    if kind == "BOOL":
        return x > 0
    if kind == "FLOAT8E8M0":
        return (2.0 ** np.round(x)).astype(dtype)
    if "INT" in kind and dtype.kind in "iu" and dtype.name[-2:] not in ("t2", "t4"):
        return rng(3).integers(
            np.iinfo(dtype).min, np.iinfo(dtype).max, (3, 7), dtype, endpoint=True
        )
    if "INT" in kind:
        bits = int(kind[-1])
        low = 0 if kind[0] == "U" else -(1 << bits - 1)
        return rng(3).integers(low, low + (1 << bits), (3, 7)).astype(dtype)
    if "COMPLEX" in kind:
        return (x + 1j * x[::-1]).astype(dtype)
    return x.astype(dtype)


def dtypes():
    raw, typed = [], []
    for kind in KINDS:
        array = values(kind)
        raw.append(numpy_helper.from_array(array, kind))
        tensor = helper.make_tensor(kind, getattr(T, kind), array.shape, array)
        assert not tensor.HasField("raw_data"), kind
        typed.append(tensor)
    text = helper.make_tensor("text", T.STRING, [2], [b"one", b"two"])
    save("raw.onnx", model([], raw), {t.name: numpy_helper.to_array(t) for t in raw})
    save("typed.onnx", model([], [*typed, text]), {t.name: numpy_helper.to_array(t) for t in typed})


def external():
    for path in HERE.glob("external/*"):
        path.unlink()  # onnx appends to external data that is there
    arrays = {"a": normal(4, 8), "b": normal(64, seed=1).astype(np.float16), "c": values("INT4")}
    made = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    nodes = [helper.make_node("MatMul", ["x", "a"], ["y"])]
    save(
        "external/one.onnx",
        model(nodes, made),
        arrays,
        save_as_external_data=True,
        location="one.data",
        size_threshold=0,
    )
    made = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    save(
        "external/each.onnx",
        model(nodes, made),
        arrays,
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=100,
    )


def constants():
    w, inner, ran = normal(4, 4), normal(4, 4, seed=1), normal(4, seed=2)
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("sparse", T.FLOAT, [3], [1.5, -2.0, 3.0]),
        helper.make_tensor("i", T.INT64, [3], [1, 6, 11]),
        [3, 4],
    )
    pairs = helper.make_sparse_tensor(
        helper.make_tensor("pairs", T.FLOAT16, [2], np.float16([0.5, 2.0])),
        helper.make_tensor("j", T.INT64, [2, 2], [0, 3, 2, 1]),
        [3, 4],
    )
    branch = helper.make_graph(
        [
            helper.make_node("Constant", [], ["shift"], value=numpy_helper.from_array(ran, "")),
            helper.make_node("MatMul", ["x", "inner_w"], ["m"]),
            helper.make_node("Add", ["m", "shift"], ["out"]),
        ],
        "then",
        [],
        [value("out")],
        [numpy_helper.from_array(inner, "inner_w")],
    )
    other = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["out"])], "else", [], [value("out")]
    )
    body = helper.make_graph(
        [
            helper.make_node("Add", ["state", "step_w"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [value("i", T.INT64), value("go", T.BOOL), value("state")],
        [value("go_on", T.BOOL), value("next")],
        [numpy_helper.from_array(ran, "step_w")],
    )
    function = helper.make_function(
        "own",
        "Normed",
        ["a", "scale", "mean", "var"],
        ["b"],
        [
            helper.make_node("Constant", [], ["bias"], value_floats=[1.0, 2.0, 3.0, 4.0]),
            helper.make_node("BatchNormalization", ["a", "scale", "bias", "mean", "var"], ["b"]),
        ],
        [helper.make_opsetid("", 21)],
    )
    nodes = [
        helper.make_node("Constant", [], ["eps"], value_float=1e-5),
        helper.make_node("Constant", [], ["two"], value_int=2),
        helper.make_node("Constant", [], ["axes"], value_ints=[0, -1]),
        helper.make_node("Constant", [], ["said"], value_string="text"),
        helper.make_node("Constant", [], ["words"], value_strings=["a", "b"]),
        helper.make_node("Constant", [], ["vector"], value_floats=[0.5, -0.25]),
        helper.make_node("Constant", [], ["matrix"], value=numpy_helper.from_array(w, "hidden")),
        helper.make_node("Constant", [], ["thin"], sparse_value=sparse),
        helper.make_node("MatMul", ["x", "matrix"], ["x1"]),
        helper.make_node("Add", ["x1", "eps"], ["x2"]),
        helper.make_node("ReduceSum", ["x2", "axes"], ["x3"]),
        helper.make_node(
            "If", ["cond"], ["x4"], name="choose", then_branch=branch, else_branch=other
        ),
        helper.make_node("Loop", ["trips", "", "x4"], ["x5"], name="loop", body=body),
        helper.make_node("Normed", ["x5", "gamma", "mean", "var"], ["y"], domain="own"),
    ]
    initializers = [
        numpy_helper.from_array(w, "w"),
        numpy_helper.from_array(np.array(3), "trips"),
        *(numpy_helper.from_array(np.abs(ran), n) for n in ("gamma", "mean", "var")),
    ]
    dense = np.zeros((3, 4), np.float32)
    dense.flat[[1, 6, 11]] = [1.5, -2.0, 3.0]
    two = np.zeros((3, 4), np.float16)
    two[0, 3], two[2, 1] = 0.5, 2.0
    save(
        "constants.onnx",
        model(
            nodes,
            initializers,
            [value("x"), value("cond", T.BOOL)],
            [value("y")],
            functions=[function],
            sparse=[sparse, pairs],
        ),
        {
            "w": w,
            "trips": np.array(3),
            "gamma": np.abs(ran),
            "mean": np.abs(ran),
            "var": np.abs(ran),
            "eps": np.float32(1e-5),
            "two": np.array(2),
            "axes": np.array([0, -1]),
            "vector": np.float32([0.5, -0.25]),
            "matrix": w,
            "thin": dense,
            "sparse": dense,
            "pairs": two,
            "choose/then_branch/inner_w": inner,
            "choose/then_branch/shift": ran,
            "loop/body/step_w": ran,
            "Normed/bias": np.float32([1, 2, 3, 4]),
        },
    )


def computed(made, feeds=None, runtime=True):
    """The outputs of a model, by onnxruntime or by the reference evaluator."""
    if runtime:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(made.SerializeToString(), options)
        return dict(
            zip(
                [o.name for o in session.get_outputs()],
                session.run(None, feeds or {}),
                strict=False,
            )
        )
    evaluator = ReferenceEvaluator(made)
    return dict(zip(evaluator.output_names, evaluator.run(None, feeds or {}), strict=False))


def qdq():
    """DequantizeLinear of each type, per tensor, per axis and blocked."""
    cases = {  # name: (kind, axis, block, scale dtype, zero points)
        "int8_tensor": ("INT8", None, 0, np.float32, True),
        "uint8_axis0": ("UINT8", 0, 0, np.float32, True),
        "int8_axis1": ("INT8", 1, 0, np.float32, False),
        "int8_last": ("INT8", -1, 0, np.float16, True),
        "int16_axis": ("INT16", 1, 0, np.float32, True),
        "uint16": ("UINT16", None, 0, np.float32, True),
        "int32": ("INT32", 0, 0, np.float32, False),
        "int4_block": ("INT4", 0, 2, np.float32, True),
        "uint4_block": ("UINT4", 1, 3, np.float32, True),
        "uint4_axis": ("UINT4", 1, 0, np.float16, True),
        "fp8": ("FLOAT8E4M3FN", None, 0, np.float32, False),
        "fp8_axis": ("FLOAT8E5M2", 1, 0, np.float32, False),
        "fp4": ("FLOAT4E2M1", 1, 3, np.float32, False),
    }
    nodes, tensors, outputs, slow = [], [], [], []
    for seed, (name, (kind, axis, block, scale_dtype, zero)) in enumerate(cases.items()):
        dtype = helper.tensor_dtype_to_np_dtype(getattr(T, kind))
        shape = (4, 6)
        if kind.startswith("FLOAT"):
            codes = (normal(*shape, seed=seed) * 2).astype(dtype)
        else:
            bits = int("".join(filter(str.isdigit, kind)))
            low = 0 if kind[0] == "U" else -(1 << bits - 1)
            codes = rng(seed).integers(low, low + (1 << min(bits, 30)), shape).astype(dtype)
        sides = [] if axis is None else [shape[axis]]
        if block:
            sides = [-(-n // block) if i == axis else n for i, n in enumerate(shape)]
        scale = np.asarray(rng(seed).uniform(0.01, 0.1, sides)).astype(scale_dtype)
        inputs = [name, f"{name}.scale"]
        tensors += [numpy_helper.from_array(codes, name), numpy_helper.from_array(scale, inputs[1])]
        if zero:
            inputs.append(f"{name}.zero")
            zeros = rng(seed).integers(0, 5, sides).astype(dtype)
            tensors.append(numpy_helper.from_array(np.asarray(zeros), inputs[2]))
        how = {} if axis is None else {"axis": axis}
        nodes.append(
            helper.make_node(
                "DequantizeLinear",
                inputs,
                [f"{name}.out"],
                **how,
                **({"block_size": block} if block else {}),
            )
        )
        kind = T.FLOAT16 if scale_dtype is np.float16 else T.FLOAT
        outputs.append(value(f"{name}.out", kind))
        if name == "fp4":
            slow = [name]
    opsets = [helper.make_opsetid("", 23)]
    made = model(nodes, tensors, (), outputs, opsets)
    reference = computed(made, runtime=False)
    keep = [i for i, node in enumerate(nodes) if node.input[0] not in slow]
    fast = computed(
        model([nodes[i] for i in keep], tensors, (), [outputs[i] for i in keep], opsets)
    )
    for name, array in fast.items():
        assert np.array_equal(array, reference[name]), name
    save("qdq.onnx", made, {name.removesuffix(".out"): array for name, array in reference.items()})


def operators():
    """What onnxruntime's own quantizers write, of one small network."""
    import tempfile

    from onnxruntime import quantization as q

    def rank(*shape, seed):
        return numpy_helper.from_array(normal(*shape, seed=seed), f"w{seed}")

    nodes = [
        helper.make_node("Conv", ["x", "w1", "w2"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["m"], name="matmul"),
        helper.make_node("Gemm", ["m", "w4", "w5"], ["y"], transB=1, name="gemm"),
    ]
    tensors = [
        rank(5, 3, 3, 3, seed=1),
        rank(5, seed=2),
        rank(5, 6, seed=3),
        rank(4, 6, seed=4),
        rank(4, seed=5),
    ]
    made = model(nodes, tensors, [value("x", shape=[1, 3, 4, 4])], [value("y")], OPSETS[:1])
    arrays = {t.name: numpy_helper.to_array(t) for t in tensors}

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.data = iter([{"x": normal(1, 3, 4, 4, seed=9)}])

        def get_next(self):
            return next(self.data, None)

    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/model.onnx"
        onnx.save(made, source)
        for name, how in {
            "static-operators.onnx": {"quant_format": q.QuantFormat.QOperator, "per_channel": True},
            "static-qdq.onnx": {"quant_format": q.QuantFormat.QDQ, "per_channel": True},
        }.items():
            q.quantize_static(source, str(HERE / name), Reader(), **how)
        q.quantize_dynamic(source, str(HERE / "dynamic.onnx"), per_channel=False)
    TRUTH.update({f"original/{name}": array for name, array in arrays.items()})


def packed():
    """Operators of com.microsoft; what they compute of a unit matrix is the weights."""
    nodes, tensors, feeds, inputs, outputs, shapes = [], [], {}, [], [], {}
    for name, bits, size, rows, width, zero in [
        ("bits4", 4, 16, 5, 48, "packed"),
        ("bits4_odd", 4, 16, 6, 40, "packed"),
        ("bits4_plain", 4, 32, 4, 32, ""),
        ("bits8", 8, 16, 5, 40, "packed"),
        ("bits2", 2, 16, 8, 64, "packed"),
        ("bits4_float", 4, 16, 5, 48, "float"),
    ]:
        blocks, r = -(-width // size), rng(len(nodes))
        blob = r.integers(0, 256, (rows, blocks, size * bits // 8), dtype=np.uint8)
        scales = r.uniform(0.01, 0.1, (rows, blocks)).astype(np.float32)
        names = [f"{name}.x", name, f"{name}.scales"]
        tensors += [numpy_helper.from_array(blob, name), numpy_helper.from_array(scales, names[2])]
        if zero:
            row = -(-blocks * bits // 8)
            zeros = (
                r.integers(0, 256, (rows, row), dtype=np.uint8)
                if zero == "packed"
                else r.uniform(6, 9, (rows, blocks)).astype(np.float32)
            )
            names.append(f"{name}.zeros")
            tensors.append(numpy_helper.from_array(zeros, names[3]))
        nodes.append(
            helper.make_node(
                "MatMulNBits",
                names,
                [f"{name}.out"],
                domain=MS,
                K=width,
                N=rows,
                bits=bits,
                block_size=size,
            )
        )
        inputs.append(value(names[0], shape=[width, width]))
        outputs.append(value(f"{name}.out"))
        feeds[names[0]] = np.eye(width, dtype=np.float32)
        shapes[name] = "transposed"
    for kind in (0, 1):
        r, name = rng(kind), f"bnb{kind}"
        tensors += [
            numpy_helper.from_array(r.integers(0, 256, 5 * 32 // 2, dtype=np.uint8), name),
            numpy_helper.from_array(np.float32(r.uniform(0.1, 1, 10)), f"{name}.absmax"),
        ]
        nodes.append(
            helper.make_node(
                "MatMulBnb4",
                [f"{name}.x", name, f"{name}.absmax"],
                [f"{name}.out"],
                domain=MS,
                K=32,
                N=5,
                block_size=16,
                quant_type=kind,
            )
        )
        inputs.append(value(f"{name}.x", shape=[32, 32]))
        outputs.append(value(f"{name}.out"))
        feeds[f"{name}.x"] = np.eye(32, dtype=np.float32)
        shapes[name] = "transposed"
    for name, kind, bits, zero in [
        ("table4", np.uint8, 4, True),
        ("table8", np.uint8, 8, True),
        ("table_plain", np.uint8, 4, False),
        ("table2", np.uint8, 2, True),
        ("table_int4", ml_dtypes.int4, 4, True),
        ("table_uint4", ml_dtypes.uint4, 4, False),
    ]:
        r, rows, width, size = rng(len(name)), 6, 48, 16
        if kind is np.uint8:
            codes = r.integers(0, 256, (rows, width * bits // 8), dtype=np.uint8)
            zeros = r.integers(0, 256, (rows, -(-3 * bits // 8)), dtype=np.uint8)
        else:
            codes = r.integers(0, 8, (rows, width)).astype(kind)
            zeros = r.integers(0, 8, (rows, 3)).astype(kind)
        scales = r.uniform(0.01, 0.1, (rows, 3)).astype(np.float32)
        names = [name, "rows", f"{name}.scales"]
        tensors += [numpy_helper.from_array(codes, name), numpy_helper.from_array(scales, names[2])]
        if zero:
            names.append(f"{name}.zeros")
            tensors.append(numpy_helper.from_array(zeros, names[3]))
        how = {"bits": bits} if kind is np.uint8 else {}
        nodes.append(
            helper.make_node(
                "GatherBlockQuantized",
                names,
                [f"{name}.out"],
                domain=MS,
                gather_axis=0,
                quantize_axis=1,
                block_size=size,
                **how,
            )
        )
        outputs.append(value(f"{name}.out"))
        shapes[name] = "plain"
    tensors.append(numpy_helper.from_array(np.arange(6), "rows"))
    made = model(nodes, tensors, inputs, outputs)
    found = computed(made, feeds)
    truth = {
        name: found[f"{name}.out"].T if how == "transposed" else found[f"{name}.out"]
        for name, how in shapes.items()
    }
    save("packed.onnx", made, truth)


def roles():
    """A network whose graph tells what each constant is."""
    tensors = {
        "conv.weight": normal(4, 3, 3, 3),
        "bn.weight": normal(4),
        "bn.bias": normal(4),
        "bn.running_mean": normal(4),
        "bn.running_var": np.abs(normal(4)),
        "low": np.float32(0),
        "high": np.float32(6),
        "shape": np.array([1, -1]),
        "fc.weight": normal(64, 10),
        "fc.bias": normal(10),
        "half": np.float32(0.5),
        "embed.weight": normal(9, 10),
        "ids": np.arange(3),
        "slope": normal(10),
        "pads": np.array([0, 0, 0, 1]),
        "pad_value": np.float32(0),
        "lonely": normal(3),
        "roi": np.zeros(0, np.float32),
        "scales": np.float32([1, 1, 2, 2]),
        "deconv.weight": normal(4, 2, 2, 2),
        "cast_me": normal(10, 10).astype(np.float16),
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization",
            ["a", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"],
            ["b"],
        ),
        helper.make_node("Clip", ["b", "low", "high"], ["c"]),
        helper.make_node("Reshape", ["c", "shape"], ["d"]),
        helper.make_node("Gemm", ["d", "fc.weight", "fc.bias"], ["e"]),
        helper.make_node("Mul", ["e", "half"], ["f"]),
        helper.make_node("Gather", ["embed.weight", "ids"], ["g"]),
        helper.make_node("PRelu", ["g", "slope"], ["h"]),
        helper.make_node("Pad", ["h", "pads", "pad_value"], ["i"]),
        helper.make_node("Resize", ["c", "roi", "scales"], ["j"]),
        helper.make_node("ConvTranspose", ["c", "deconv.weight"], ["k"]),
        helper.make_node("Cast", ["cast_me"], ["l"], to=T.FLOAT),
        helper.make_node("Transpose", ["l"], ["m"]),
        helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]
    made = model(
        nodes,
        [numpy_helper.from_array(np.asarray(a), n) for n, a in tensors.items()],
        [value("x", shape=[1, 3, 4, 4])],
        [value(n) for n in ("y", "i", "j", "k")],
    )
    save("roles.onnx", made, tensors)


if __name__ == "__main__":
    for write in (dtypes, external, constants, qdq, operators, packed, roles):
        write()
    np.savez_compressed(HERE / "truth.npz", **TRUTH)
