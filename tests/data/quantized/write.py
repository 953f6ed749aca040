"""Write the quantized checkpoints of this folder, each with its official library.

Run in an environment of its own, with bitsandbytes 0.50.2, compressed-tensors 0.20.1, mlx 0.32.4
(with mlx-cpu), hqq 0.2.8, transformers 5.24.0, torch 2.13.0, and the sources of AutoGPTQ 0.7.1 and
AutoAWQ 0.2.9 unpacked in a folder that is the first argument:

    python tests/data/quantized/write.py SOURCES

Each case is a folder with ``model.safetensors`` as the library writes it, perhaps ``config.json``,
and ``values.safetensors``: the weights as the library dequantizes them, in float32.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
SOURCES = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None


def write(name, stored, values, config=None):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    plain = {key: value.detach().contiguous().clone() for key, value in stored.items()}
    save_file(plain, folder / "model.safetensors")
    floats = {k: v.detach().float().contiguous().clone() for k, v in values.items()}
    save_file(floats, folder / "values.safetensors")
    if config:
        (folder / "config.json").write_text(json.dumps(config) + "\n")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.05


def module_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


# --- bitsandbytes ---------------------------------------------------------------------------


def bitsandbytes():
    import bitsandbytes.functional as bnb

    cases = {
        "bnb-nf4-nested": ((32, 48), "nf4", 64, True),
        "bnb-nf4": ((5, 13), "nf4", 64, False),
        "bnb-fp4-128": ((4, 6, 32), "fp4", 128, True),
    }
    for name, (shape, kind, block, nested) in cases.items():
        codes, state = bnb.quantize_4bit(
            normal(*shape), blocksize=block, quant_type=kind, compress_statistics=nested
        )
        stored = {"up.weight": codes}
        stored |= {f"up.weight.{k}": v for k, v in state.as_dict(packed=True).items()}
        write(name, stored, {"up.weight": bnb.dequantize_4bit(codes, state)})
    codes, stats, _ = bnb.int8_vectorwise_quant(normal(24, 32).half())
    stored = {"up.weight": codes, "up.SCB": stats, "up.weight_format": torch.tensor(0).byte()}
    write("bnb-int8", stored, {"up.weight": bnb.int8_vectorwise_dequant(codes, stats)})


# --- compressed-tensors ---------------------------------------------------------------------


def compressed_tensors():
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    group = {"strategy": "group", "type": "int"}
    mx = {"strategy": "group", "group_size": 32, "type": "float", "scale_dtype": torch.uint8}
    nv = {
        "strategy": "tensor_group",
        "group_size": 16,
        "num_bits": 4,
        "type": "float",
        "scale_dtype": torch.float8_e4m3fn,
    }
    cases = {
        "ct-int4": ("pack-quantized", {"num_bits": 4, "group_size": 32, **group}, (24, 96)),
        "ct-int3-zero": (
            "pack-quantized",
            {"num_bits": 3, "group_size": 32, "symmetric": False, **group},
            (20, 96),
        ),
        "ct-int8": (
            "pack-quantized",
            {"num_bits": 8, "strategy": "channel", "type": "int"},
            (9, 50),
        ),
        "ct-int5": ("pack-quantized", {"num_bits": 5, "group_size": 32, **group}, (16, 64)),
        "ct-w8a8": (
            "int-quantized",
            {"num_bits": 8, "strategy": "channel", "type": "int"},
            (12, 40),
        ),
        "ct-fp8": (
            "float-quantized",
            {"num_bits": 8, "strategy": "tensor", "type": "float"},
            (12, 40),
        ),
        "ct-fp8-block": (
            "float-quantized",
            {"num_bits": 8, "strategy": "block", "block_structure": [16, 16], "type": "float"},
            (40, 36),
        ),
        "ct-nvfp4": ("nvfp4-pack-quantized", nv, (12, 64)),
        "ct-mxfp4": ("mxfp4-pack-quantized", {"num_bits": 4, **mx}, (12, 64)),
        "ct-mxfp6": ("mxfp6-pack-quantized", {"num_bits": 6, **mx}, (12, 64)),
        "ct-mxfp8": ("mxfp8-quantized", {"num_bits": 8, **mx}, (12, 64)),
    }
    for name, (kind, words, shape) in cases.items():
        args = QuantizationArgs(**words)
        scheme = QuantizationScheme(targets=["Linear"], weights=args)
        weight = normal(*shape)
        state = {"weight": weight, **qparams(weight, args)}
        compressor = BaseCompressor.get_value_from_registry(kind)
        stored = compressor.compress(state, scheme)
        wide = {
            k: v.float() if v.dtype in (torch.float16, torch.bfloat16) else v
            for k, v in stored.items()
        }
        decode = fp4_values if name == "ct-nvfp4" else compressor.decompress
        values = decode(wide, scheme)["weight"]
        config = {
            "quant_method": "compressed-tensors",
            "format": kind,
            "config_groups": {
                "group_0": {"weights": json.loads(args.model_dump_json()), "targets": ["Linear"]}
            },
        }
        write(
            name,
            {f"up.{k}": v for k, v in stored.items()},
            {"up.weight": values},
            {"quantization_config": config},
        )


def fp4_values(stored, scheme):
    """As NVFP4PackedCompressor.decompress, whose own arithmetic is that of bfloat16."""
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    packed, scale = stored["weight_packed"], stored["weight_scale"].float()
    rows, columns = packed.shape
    numbers = unpack_fp4_from_uint8(packed, rows, 2 * columns, dtype=torch.float32)
    over = stored["weight_global_scale"]
    return {"weight": dequantize(numbers, scale, args=scheme.weights, global_scale=over)}


def qparams(weight, args):
    """Scales and zero points of groups of columns, blocks, rows or all."""
    from compressed_tensors.quantization.utils import calculate_qparams

    if args.strategy == "block":
        rows, columns = args.block_structure
        blocks = [row.split(columns, 1) for row in weight.split(rows, 0)]
        low = torch.tensor([[b.min() for b in row] for row in blocks])
        high = torch.tensor([[b.max() for b in row] for row in blocks])
    elif args.strategy == "tensor":
        low, high = weight.min().reshape(1), weight.max().reshape(1)
    else:
        size = args.group_size or weight.shape[-1]
        groups = weight.reshape(weight.shape[0], -1, size)
        low, high = groups.amin(-1), groups.amax(-1)
    more = {}
    if args.strategy == "tensor_group":
        more["weight_global_scale"] = (448 * 6 / weight.abs().max()).float().reshape(1)
        scale, zero = calculate_qparams(low, high, args, global_scale=more["weight_global_scale"])
    else:
        scale, zero = calculate_qparams(low, high, args)
    more["weight_scale"] = scale
    if not args.symmetric:
        more["weight_zero_point"] = zero
    return more


# --- MLX ------------------------------------------------------------------------------------


def mlx():
    import mlx.core as mx

    for bits, size, mode in [
        *((b, s, "affine") for b, s in ((2, 64), (3, 32), (4, 64), (5, 128), (6, 64), (8, 32))),
        (4, 32, "mxfp4"),
        (8, 32, "mxfp8"),
        (4, 16, "nvfp4"),
    ]:
        name = f"mlx-{bits}-{size}" if mode == "affine" else f"mlx-{mode}"
        weight = mx.array(normal(6, 256).numpy())
        parts = mx.quantize(weight, group_size=size, bits=bits, mode=mode)
        keys = ("weight", "scales", "biases")
        values = mx.dequantize(*parts, group_size=size, bits=bits, mode=mode)
        stored = {
            f"up.{k}": torch.from_numpy(np.array(v)) for k, v in zip(keys, parts, strict=False)
        }
        stored["norm.weight"] = torch.ones(256)
        expected = {
            "up.weight": torch.from_numpy(np.array(values.astype(mx.float32))),
            "norm.weight": torch.ones(256),
        }
        write(
            name,
            stored,
            expected,
            {"quantization": {"group_size": size, "bits": bits, "mode": mode}},
        )


# --- HQQ ------------------------------------------------------------------------------------


def hqq():
    from hqq.core.quantize import Quantizer
    from hqq.core.utils import encode_safetensor_type

    for bits, axis, size, shape in (
        (8, 1, 64, (16, 128)),
        (4, 1, 64, (16, 128)),
        (4, 0, 32, (16, 128)),
        (3, 1, 64, (12, 128)),
        (2, 1, 16, (16, 128)),
        (1, 0, 64, (16, 128)),
        (3, 0, 64, (16, 128)),
    ):
        name = f"hqq-{bits}-{axis}"
        codes, meta = Quantizer.quantize(
            normal(*shape),
            nbits=bits,
            axis=axis,
            group_size=size,
            optimize=False,
            device="cpu",
            compute_dtype=torch.float32,
        )
        meta["compute_dtype"] = torch.float32
        values = Quantizer.dequantize(codes, meta)
        stored = {"up.W_q": codes}
        stored |= {f"up.{k}": encode_safetensor_type(v) for k, v in meta.items()}
        write(name, stored, {"up.weight": values})


# --- GPTQ and AWQ ---------------------------------------------------------------------------


def gptq():
    layers = module_of(SOURCES / "auto_gptq/auto_gptq/nn_modules/qlinear/qlinear_cuda.py")
    for bits, size, ordered in ((2, 64, True), (3, 32, True), (4, 64, False), (8, 128, True)):
        inputs, outputs = 128, 64
        linear = torch.nn.Linear(inputs, outputs, bias=True)
        linear.weight.data = normal(outputs, inputs)
        groups = torch.arange(inputs) // size
        if not ordered:
            groups = groups[torch.randperm(inputs, generator=torch.Generator().manual_seed(1))]
        count = inputs // size
        scales = normal(outputs, count, seed=2).abs() + 0.01
        scales = scales.half().float()
        zeros = torch.randint(
            1, 1 << bits, (outputs, count), generator=torch.Generator().manual_seed(3)
        ).float()
        layer = layers.QuantLinear(bits, size, inputs, outputs, True, kernel_switch_threshold=128)
        layer.pack(linear, scales, zeros, g_idx=groups.int())
        stored = {f"up.{k}": v for k, v in layer.state_dict().items()}
        layer.scales, layer.bias = layer.scales.float(), None
        values = layer(torch.eye(inputs)).T
        values = {"up.weight": values, "up.bias": stored["up.bias"]}
        config = {"quant_method": "gptq", "bits": bits, "group_size": size, "desc_act": not ordered}
        write(f"gptq-{bits}", stored, values, {"quantization_config": config})


def awq():
    sys.modules["awq"] = type(sys)("awq")
    folder = SOURCES / "autoawq-0.2.9/awq"
    packing = module_of(folder / "utils/packing_utils.py")
    inputs, outputs, size = 128, 32, 64
    rng = torch.Generator().manual_seed(4)
    codes = torch.randint(0, 16, (inputs, outputs), generator=rng, dtype=torch.int32)
    zeros = torch.randint(0, 16, (inputs // size, outputs), generator=rng, dtype=torch.int32)
    scales = (normal(inputs // size, outputs).abs() + 0.01).half()
    order = [0, 2, 4, 6, 1, 3, 5, 7]  # as awq/modules/linear/gemm.py packs them

    def pack(values):
        words = torch.zeros(values.shape[0], values.shape[1] // 8, dtype=torch.int32)
        for place, column in enumerate(order):
            words |= values[:, column::8] << (4 * place)
        return words

    stored = {"up.qweight": pack(codes), "up.qzeros": pack(zeros), "up.scales": scales}
    values = packing.dequantize_gemm(
        stored["up.qweight"], stored["up.qzeros"], scales.float(), 4, size
    )
    config = {"quant_method": "awq", "bits": 4, "group_size": size, "version": "gemm"}
    write("awq-gemm", stored, {"up.weight": values.T}, {"quantization_config": config})


# --- gpt-oss --------------------------------------------------------------------------------


def gpt_oss():
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    rng = torch.Generator().manual_seed(5)
    blocks = torch.randint(0, 256, (3, 8, 2, 16), generator=rng, dtype=torch.uint8)
    scales = torch.randint(118, 130, (3, 8, 2), generator=rng, dtype=torch.uint8)
    values = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    write("gpt-oss", {f"{name}_blocks": blocks, f"{name}_scales": scales}, {name: values})


if __name__ == "__main__":
    for case in (bitsandbytes, compressed_tensors, mlx, hqq, gpt_oss, awq, gptq):
        case()
