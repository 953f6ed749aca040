"""Writes the files of this folder with the schema of LiteRT, and what its interpreter decodes.

python write.py        # needs ai-edge-litert, flatbuffers, numpy
"""

import pathlib

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as s
from ai_edge_litert.interpreter import Interpreter, OpResolverType

PLAIN = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
HERE = pathlib.Path(__file__).parent
TRUTH = {}
TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "int8": 9, "int16": 7}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Model:
    """A model of one subgraph that is put together tensor by tensor."""

    def __init__(self, outside=False):
        self.outside, self.tail = outside, []
        self.buffers, self.tensors, self.operators, self.codes = [s.BufferT()], [], [], []
        self.inputs, self.outputs = [], []

    def tensor(self, name, shape, kind, data=None, **more):
        tensor = s.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), kind
        for key, value in more.items():
            setattr(tensor, key, value)
        if data is not None:
            buffer = s.BufferT()
            if self.outside:
                buffer.offset, buffer.size = 2**40 + len(self.tail), len(data)
                self.tail.append(data)
            else:
                buffer.data = np.frombuffer(data, np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def array(self, name, array, **more):
        return self.tensor(name, array.shape, TYPES[array.dtype.name], array.tobytes(), **more)

    def operator(self, code, inputs, outputs, options_type=0, options=None):
        told = s.OperatorCodeT()
        told.builtinCode, told.deprecatedBuiltinCode, told.version = (
            code,
            min(code, 127),
            1 if code == 124 else 3,
        )
        self.codes.append(told)
        operator = s.OperatorT()
        operator.opcodeIndex = len(self.codes) - 1
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self.operators.append(operator)

    def packed(self):
        graph, model = s.SubGraphT(), s.ModelT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs, graph.name = self.inputs, self.outputs, "main"
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        model.operatorCodes = self.codes
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def bytes(self):
        data = self.packed()
        if not self.outside:
            return data
        start = -(-len(data) // 16) * 16
        at = start
        for buffer, piece in zip(self.buffers[1:], self.tail, strict=True):
            buffer.offset, at = at, at + len(piece)
        return self.packed().ljust(start, b"\0") + b"".join(self.tail)


def quantization(scale, zero, axis=0):
    told = s.QuantizationParametersT()
    told.scale, told.zeroPoint = np.float32(scale).tolist(), np.int64(zero).tolist()
    told.quantizedDimension = axis
    return told


def save(name, model, truth):
    data = model.bytes()
    (HERE / name).write_bytes(data)
    TRUTH.update({f"{name}/{key}": array for key, array in truth.items()})
    return data


def network(name, outside):
    """A small float network; one tensor is shared under two names."""
    model = Model(outside)
    arrays = {
        "conv/w": normal(4, 3, 3, 2),
        "conv/b": normal(4, seed=1),
        "shape": np.int32([1, 64]),
        "fc/w": normal(5, 64, seed=2),
        "fc/b": normal(5, seed=3),
        "half": np.float32([0.5]).reshape(()),
        "slope": normal(5, seed=4).astype(np.float16),
    }
    x = model.tensor("x", [1, 4, 4, 2], 0)
    ids = {key: model.array(key, array) for key, array in arrays.items()}
    a, b, c, d, e, f = (model.tensor(n, [1, 5], 0) for n in "abcdef")
    model.tensors.append(s.TensorT())
    again = model.tensors[-1]
    again.name, again.shape, again.type = "fc/w/again", [5, 64], 0
    again.buffer = model.tensors[ids["fc/w"]].buffer
    model.inputs, model.outputs = [x], [e]
    model.operator(3, [x, ids["conv/w"], ids["conv/b"]], [a])
    model.operator(22, [a, ids["shape"]], [b])
    model.operator(9, [b, ids["fc/w"], ids["fc/b"]], [c])
    model.operator(18, [c, ids["half"]], [d])
    model.operator(6, [ids["slope"]], [f])
    model.operator(54, [d, f], [e])
    save(name, model, {**arrays, "fc/w/again": arrays["fc/w"]})


def quantized():
    """Codes of 4 to 32 bits; what DEQUANTIZE makes of those of 8 bits."""
    model, truth, outputs = Model(), {}, []
    r = np.random.default_rng(5)
    for name, dtype, scale, zero, axis in [
        ("tensor8", np.int8, [0.05], [3], 0),
        ("unsigned8", np.uint8, [0.02], [128], 0),
        ("channels0", np.int8, r.uniform(0.01, 0.1, 4), [0] * 4, 0),
        ("channels1", np.int8, r.uniform(0.01, 0.1, 6), [0] * 6, 1),
        ("int16", np.int16, [0.001], [0], 0),
    ]:
        codes = r.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (4, 6), dtype, endpoint=True)
        number = model.array(name, codes, quantization=quantization(scale, zero, axis))
        out = model.tensor(f"{name}/out", [4, 6], 0)
        model.operator(6, [number], [out])
        outputs.append((name, out))
    codes = r.integers(-8, 8, (3, 5)).astype(np.int8)
    packed = np.append(codes.ravel() & 15, 0).astype(np.uint8)
    scales = np.float32([0.1, 0.2, 0.3])
    model.tensor(
        "int4",
        [3, 5],
        17,
        (packed[::2] | packed[1::2] << 4).tobytes(),
        quantization=quantization(scales, [0, 0, 0]),
    )
    truth["int4"] = codes * scales[:, None]
    bias = r.integers(-(2**30), 2**30, 4, np.int32)
    model.array("bias", bias, quantization=quantization([1e-6, 2e-6, 3e-6, 4e-6], [0] * 4))
    truth["bias"] = (bias * np.float64(np.float32([1e-6, 2e-6, 3e-6, 4e-6]))).astype(np.float32)
    codes = r.integers(-8, 8, (2, 64)).astype(np.int8)
    half = r.uniform(0.01, 0.1, (2, 2)).astype(np.float16)
    told = s.QuantizationParametersT()
    told.detailsType, told.details = 2, s.BlockwiseQuantizationT()
    told.details.scales = model.array("blocks/scales", half)
    told.details.zeroPoints, told.details.blockSize = -1, 32
    packed = (codes.ravel() & 15).astype(np.uint8)
    model.tensor(
        "blocks", [2, 64], 17, (packed[::2] | packed[1::2] << 4).tobytes(), quantization=told
    )
    truth["blocks"] = codes * half.astype(np.float32).repeat(32, axis=1)
    model.outputs = [out for _, out in outputs]
    data = save("quantized.tflite", model, truth)
    del data
    run = Model()
    run.buffers, run.tensors, run.operators, run.codes = (
        model.buffers,
        model.tensors,
        model.operators,
        model.codes,
    )
    run.outputs = model.outputs
    keep = len(outputs) * 2
    run.tensors = model.tensors[:keep]
    interpreter = Interpreter(model_content=run.bytes(), experimental_op_resolver_type=PLAIN)
    interpreter.allocate_tensors()
    interpreter.invoke()
    for name, out in outputs:
        TRUTH[f"quantized.tflite/{name}"] = interpreter.get_tensor(out).copy()


def dimension(size=0, segments=None, indices=None):
    told = s.DimensionMetadataT()
    told.format, told.denseSize = (0, size) if segments is None else (1, 0)
    if segments is not None:
        for kind, values in (("Segments", segments), ("Indices", indices)):
            vector = s.Uint8VectorT() if kind == "Segments" else s.Int32VectorT()
            vector.values = values
            setattr(told, f"array{kind}Type", 3 if kind == "Segments" else 1)
            setattr(told, f"array{kind}", vector)
    return told


def sparse():
    """Rows that are compressed, and blocks of 2 x 2; DENSIFY makes them dense."""
    model = Model()
    rows = s.SparsityParametersT()
    rows.traversalOrder, rows.blockMap = [0, 1], None
    rows.dimMetadata = [dimension(3), dimension(0, [0, 2, 2, 3], [1, 3, 0])]
    blocks = s.SparsityParametersT()
    blocks.traversalOrder, blocks.blockMap = [0, 1, 2, 3], [0, 1]
    blocks.dimMetadata = [dimension(2), dimension(0, [0, 1, 2], [1, 0]), dimension(2), dimension(2)]
    a = model.tensor("rows", [3, 4], 0, np.float32([1, 2, 3]).tobytes(), sparsity=rows)
    b = model.tensor("blocks", [4, 4], 0, np.float32(range(1, 9)).tobytes(), sparsity=blocks)
    model.outputs = [model.tensor("out", [3, 4], 0), model.tensor("out2", [4, 4], 0)]
    model.operator(124, [a], [2])
    model.operator(124, [b], [3])
    data = save("sparse.tflite", model, {})
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=PLAIN)
    interpreter.allocate_tensors()
    interpreter.invoke()
    TRUTH["sparse.tflite/rows"] = interpreter.get_tensor(2).copy()
    TRUTH["sparse.tflite/blocks"] = interpreter.get_tensor(3).copy()


if __name__ == "__main__":
    network("network.tflite", outside=False)
    network("outside.tflite", outside=True)
    quantized()
    sparse()
    np.savez_compressed(HERE / "truth.npz", **TRUTH)
