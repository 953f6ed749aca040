"""Writes the files of this folder with coremltools, and what it decodes of compressed weights.

python write.py        # needs coremltools, numpy
"""

import pathlib
import shutil

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder, quantization_utils

HERE = pathlib.Path(__file__).parent
TRUTH = {}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layers():
    """A network of layers in floats, halves, and codes of 8, 4 and 3 bits."""
    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(3, 8, 8))], [("y", None)], disable_rank5_shape_mapping=True
    )
    conv, fc = normal(5, 3, 3, 3), normal(4, 180, seed=1)
    builder.add_convolution(
        "conv",
        3,
        5,
        3,
        3,
        1,
        1,
        "valid",
        1,
        conv.transpose(2, 3, 1, 0),
        normal(5, seed=2),
        True,
        input_name="x",
        output_name="a",
    )
    builder.add_activation("relu", "RELU", "a", "r")  # batch norms behind convolutions are fused
    builder.add_batchnorm(
        "bn",
        5,
        normal(5, seed=3),
        normal(5, seed=4),
        normal(5, seed=5),
        np.abs(normal(5, seed=6)),
        input_name="r",
        output_name="b",
    )
    builder.add_inner_product("fc", fc, normal(4, seed=7), 180, 4, True, "b", "c")
    builder.add_activation("act", "PRELU", "c", "y", params=normal(4, seed=8))
    made = ct.models.MLModel(builder.spec)
    truth = {
        "conv.weights": conv,
        "conv.bias": normal(5, seed=2),
        "bn.gamma": normal(5, seed=3),
        "bn.beta": normal(5, seed=4),
        "bn.mean": normal(5, seed=5),
        "bn.variance": np.abs(normal(5, seed=6)),
        "fc.weights": fc,
        "fc.bias": normal(4, seed=7),
        "act.alpha": normal(4, seed=8),
    }
    keep("layers.mlmodel", made.get_spec(), truth)
    half = quantization_utils.quantize_weights(made, 16)
    spec = half if not hasattr(half, "get_spec") else half.get_spec()
    keep(
        "layers-16.mlmodel",
        spec,
        {k: v.astype(np.float16) for k, v in truth.items() if "weights" in k},
    )
    for bits, mode in [(8, "linear"), (4, "linear"), (3, "linear_lut"), (6, "linear_lut")]:
        small = quantization_utils.quantize_weights(made, bits, mode)
        spec = small if not hasattr(small, "get_spec") else small.get_spec()
        net = spec.neuralNetwork
        keep(
            f"layers-{bits}.mlmodel",
            spec,
            {
                f"{layer.name}.weights": decoded(
                    getattr(layer, layer.WhichOneof("layer")).weights, shape
                )
                for layer, shape in ((net.layers[0], conv.shape), (net.layers[3], fc.shape))
            },
        )


def decoded(weights, shape):
    """Codes of a field as coremltools turns them back."""
    told = weights.quantization
    codes = (
        quantization_utils._decode_nbits(weights, shape)
        if hasattr(quantization_utils, "_decode_nbits")
        else None
    )
    bits = np.unpackbits(np.frombuffer(weights.rawValue, np.uint8))
    numel, width = int(np.prod(shape)), told.numberOfBits
    codes = bits[: numel * width].reshape(numel, width) @ (1 << np.arange(width)[::-1])
    codes = codes.reshape(shape)
    if told.HasField("lookupTableQuantization"):
        return np.float32(told.lookupTableQuantization.floatValue)[codes]
    scale = np.float32(told.linearQuantization.scale).reshape(-1, *[1] * (len(shape) - 1))
    bias = np.float32(told.linearQuantization.bias).reshape(scale.shape)
    return codes.astype(np.float32) * scale + bias


def keep(name, spec, truth):
    (HERE / name).write_bytes(spec.SerializeToString())
    TRUTH.update({f"{name}/{key}": array for key, array in truth.items()})


def program(target):
    w, k = normal(32, 64, seed=11), normal(8, 4, 3, 3, seed=12)

    @mb.program([mb.TensorSpec((1, 64)), mb.TensorSpec((1, 4, 8, 8))], opset_version=target)
    def made(x, z):
        y = mb.linear(x=x, weight=w, bias=normal(32, seed=13), name="fc")
        c = mb.conv(x=z, weight=k, pad_type="same", name="conv")
        c = mb.batch_norm(
            x=c,
            mean=normal(8, seed=14),
            variance=np.abs(normal(8, seed=15)),
            gamma=normal(8, seed=16),
            beta=normal(8, seed=17),
            name="bn",
        )
        return mb.mul(x=y, y=np.float32(2)), mb.relu(x=c)

    return ct.convert(
        made,
        convert_to="mlprogram",
        minimum_deployment_target=target,
        compute_precision=ct.precision.FLOAT32,
    )


def package(name, model):
    shutil.rmtree(HERE / name, ignore_errors=True)
    model.save(str(HERE / name))


def constants(model):
    """Values of weights in a program of coremltools, by the names of outputs, decompressed."""
    found = {}
    for op in model._mil_program.functions["main"].operations:
        if op.op_type == "const" or op.op_type.startswith("constexpr_"):
            value = op.outputs[0].val
            if value is None and op.op_type.startswith("constexpr_"):
                value = op.materialized_val_inference()
            found[op.outputs[0].name] = np.asarray(value)
    return found


def programs():
    plain = program(ct.target.iOS18)
    package("plain.mlpackage", plain)
    truth = constants(plain)
    TRUTH.update(
        {f"plain.mlpackage/{k}": v for k, v in truth.items() if v.size > 1 and v.dtype.kind == "f"}
    )
    wide = {"weight_threshold": 10}
    for name, target, act in [
        (
            "affine",
            ct.target.iOS16,
            lambda m: cto.linear_quantize_weights(
                m, cto.OptimizationConfig(cto.OpLinearQuantizerConfig(mode="linear", **wide))
            ),
        ),
        (
            "palette",
            ct.target.iOS16,
            lambda m: cto.palettize_weights(
                m, cto.OptimizationConfig(cto.OpPalettizerConfig(nbits=4, mode="uniform", **wide))
            ),
        ),
        (
            "sparse",
            ct.target.iOS16,
            lambda m: cto.prune_weights(
                m, cto.OptimizationConfig(cto.OpMagnitudePrunerConfig(target_sparsity=0.6, **wide))
            ),
        ),
        (
            "blocks",
            ct.target.iOS18,
            lambda m: cto.linear_quantize_weights(
                m,
                cto.OptimizationConfig(
                    cto.OpLinearQuantizerConfig(
                        mode="linear_symmetric",
                        dtype="int4",
                        granularity="per_block",
                        block_size=16,
                        **wide,
                    )
                ),
            ),
        ),
        (
            "groups",
            ct.target.iOS18,
            lambda m: cto.palettize_weights(
                m,
                cto.OptimizationConfig(
                    cto.OpPalettizerConfig(
                        nbits=3,
                        mode="uniform",
                        granularity="per_grouped_channel",
                        group_size=4,
                        **wide,
                    )
                ),
            ),
        ),
        (
            "mask",
            ct.target.iOS18,
            lambda m: cto.prune_weights(
                m, cto.OptimizationConfig(cto.OpMagnitudePrunerConfig(target_sparsity=0.6, **wide))
            ),
        ),
    ]:
        small = act(program(target))
        package(f"{name}.mlpackage", small)
        for key, array in constants(small).items():
            parts = key.endswith(("scale_0", "data_0"))
            if array.size > 99 and array.dtype.kind == "f" and not parts:
                TRUTH[f"{name}.mlpackage/{key}"] = array


if __name__ == "__main__":
    layers()
    programs()
    np.savez_compressed(HERE / "truth.npz", **TRUTH)
    del types
