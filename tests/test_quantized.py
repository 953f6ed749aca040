"""Quantized checkpoints: the logical tensors of each scheme are those that its library gives."""

import json
import pathlib
import shutil

import ml_dtypes
import numpy as np
import pytest
import torch

import kolmo
from kolmo.checkpoints.base import Role
from kolmo.checkpoints.quantized import MARKS, leftovers, logical_tensors, torch_ao
from kolmo.checkpoints.quantized.base import group_size_of
from kolmo.checkpoints.writing import SafetensorsWriter

DATA = pathlib.Path(__file__).parent / "data" / "quantized"
WRITTEN = sorted(folder.name for folder in DATA.iterdir() if folder.is_dir())
"""By each scheme's own library (write.py)."""

FP4 = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(np.float32)


def random(seed=0):
    return np.random.default_rng(seed)


def opened(stored, config=None):
    """The logical tensors of arrays in memory."""
    found = kolmo.open_checkpoint(stored)
    return logical_tensors(found, {"quantization_config": config}) if config else found


def words(codes, bits):
    """Codes packed along the last axis, as one stream of bits, in words of 32."""
    binary = (codes[..., None] >> np.arange(bits)) & 1
    stream = binary.reshape(*codes.shape[:-1], -1, 32).astype(np.uint64)
    return (stream << np.arange(32, dtype=np.uint64)).sum(-1).astype(np.uint32).view(np.int32)


def roles(found):
    return {entry.name: entry.role for entry in found.skipped}


def check(tensor, values):
    """A tensor is these weights, whole and in pieces, and its codes are of its alphabet."""
    assert (tensor.shape, tensor.dtype) == (values.shape, np.float32)
    whole = tensor.read()
    assert np.array_equal(whole, values, equal_nan=True)
    for start, stop in ((0, 5), (3, 29), (tensor.numel - 7, tensor.numel), (4, 4)):
        piece = tensor.load(start, stop)
        assert piece.tobytes() == whole.reshape(-1)[start:stop].tobytes()
        codes = tensor.codes.load(start, stop)
        assert codes.dtype == tensor.codes.alphabet.container
        assert np.array_equal(codes, tensor.codes.load(0, tensor.numel)[start:stop])
    assert tensor.codes.load(0, tensor.numel).max() < tensor.codes.alphabet.size


# --- as the libraries write them ------------------------------------------------------------


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("alone", [False, True], ids=["with config.json", "alone"])
def test_weights_are_those_that_the_library_gives(tmp_path, name, alone):
    source = DATA / name
    if alone:
        shutil.copy(source / "model.safetensors", tmp_path)
        source = tmp_path
    found = kolmo.open_checkpoint(source / "model.safetensors")
    values = kolmo.open_checkpoint(DATA / name / "values.safetensors")
    assert sorted(found) == sorted(values)
    for key, tensor in found.items():
        if tensor.codes:
            check(tensor, values[key].read())
        else:
            assert np.array_equal(tensor.read(), values[key].read())
    assert any(tensor.codes for tensor in found.values())
    assert {entry.role for entry in found.skipped} == {Role.BOOKKEEPING}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_stored_bit_is_code_or_side_information(name):
    found = kolmo.open_checkpoint(DATA / name / "model.safetensors")
    stored = kolmo.checkpoints.safetensors.open_safetensors(
        kolmo.checkpoints.folders.File.local(DATA / name / "model.safetensors")
    )
    sizes = {key: t.numel * kolmo.dtypes.bits_of(t.dtype) for key, t in stored.items()}
    for tensor in (tensor for tensor in found.values() if tensor.codes):
        held = sum(sizes[array.name] for array in tensor.codes.stored)
        assert tensor.codes.side_bits <= sum(sizes.values()) - held
        assert held >= tensor.numel * tensor.codes.alphabet.bits


@pytest.mark.parametrize("meta", [False, True], ids=["beside", "in meta"])
@pytest.mark.parametrize("name", [name for name in WRITTEN if name.startswith("hqq")])
def test_hqq_as_it_is_pickled(tmp_path, name, meta):
    source = kolmo.checkpoints.safetensors.open_safetensors(
        kolmo.checkpoints.folders.File.local(DATA / name / "model.safetensors")
    )
    layer = {key.removeprefix("up."): tensor.read() for key, tensor in source.items()}
    codes, shape = (
        torch.from_numpy(layer.pop("W_q").copy()),
        torch.Size(layer.pop("shape").tolist()),
    )
    floats = {k: torch.from_numpy(layer[k].copy()) for k in ("scale", "zero")}
    numbers = {k: int(layer[k].item()) for k in ("nbits", "axis", "group_size")}
    rest = {**floats, **numbers, "shape": shape, "packing": "4bit_u8", "view_as_float": False}
    contents = {"up": {"W_q": codes, **({"meta": rest} if meta else rest)}}
    torch.save(contents, tmp_path / "qmodel.pt")
    found = kolmo.open_checkpoint(tmp_path / "qmodel.pt")
    values = kolmo.open_checkpoint(DATA / name / "values.safetensors")["up.weight"].read()
    assert list(found) == ["up.weight"]
    check(found["up.weight"], values)


# --- by the formulas ------------------------------------------------------------------------


def gptq(bits, size, shape=(96, 64), offset=1, stack=()):
    inputs, outputs = shape
    rng = random(bits)
    codes = rng.integers(0, 1 << bits, (*stack, inputs, outputs))
    zeros = rng.integers(0, 1 << bits, (*stack, inputs // size, outputs))
    scales = rng.uniform(0.001, 0.01, zeros.shape).astype(np.float16)
    stored = {
        "a.qweight": np.swapaxes(words(np.swapaxes(codes, -1, -2), bits), -1, -2).copy(),
        "a.qzeros": words((zeros - offset) % (1 << bits), bits),
        "a.scales": scales,
    }
    return stored, codes, zeros, scales.astype(np.float32)


def dequantized(codes, zeros, scales, groups):
    values = (codes - zeros[..., groups, :]) * scales[..., groups, :]
    return np.swapaxes(values, -1, -2).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("stack", [(), (3,)], ids=["layer", "experts"])
def test_gptq_without_group_indices_has_groups_in_order(bits, stack):
    stored, codes, zeros, scales = gptq(bits, 32, stack=stack)
    found = opened(stored)
    groups = np.arange(96) // 32
    check(found["a.weight"], dequantized(codes, zeros, scales, groups))
    assert found["a.weight"].form == f"{bits}-bit GPTQ"
    assert roles(found) == dict.fromkeys(["a.qzeros", "a.scales"], Role.BOOKKEEPING)
    assert found.numel == codes.size


def test_gptq_of_the_second_version_stores_zero_points_as_they_are():
    stored, codes, zeros, scales = gptq(4, 32, offset=0)
    config = {"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2"}
    found = logical_tensors(raw(stored), {"quantization_config": config})
    check(found["a.weight"], dequantized(codes, zeros, scales, np.arange(96) // 32))


def raw(stored):
    """The stored arrays as a checkpoint in which nothing was recognized."""
    tensors = [kolmo.checkpoints.array_tensor(name, array) for name, array in stored.items()]
    return kolmo.checkpoints.Checkpoint(tensors, source="memory", format="arrays")


def test_gptq_in_the_order_of_activations_needs_its_group_indices():
    stored, codes, zeros, scales = gptq(4, 32)
    groups = random(1).permutation(np.arange(96) // 32).astype(np.int32)
    found = opened({**stored, "a.g_idx": groups})
    check(found["a.weight"], dequantized(codes, zeros, scales, groups))
    config = {"quantization_config": {"bits": 4, "group_size": 32, "desc_act": True}}
    left = logical_tensors(raw(stored), config)
    assert not left
    assert "in an order that is not there" in left.skipped[0].reason


def test_a_group_that_is_not_there_is_refused_when_it_is_read():
    stored, *_ = gptq(4, 32)
    found = opened({**stored, "a.g_idx": np.full(96, 3, np.int32)})
    with pytest.raises(kolmo.InputError, match=r"'a.g_idx' names a group that is not among the 3"):
        found["a.weight"].read()


@pytest.mark.parametrize(("size", "padded"), [(128, 8), (64, 16), (32, 32)])
def test_awq_for_the_gemv_kernel(size, padded):
    inputs, outputs, rng = 256, 24, random(7)
    count = inputs // size
    codes, zeros = rng.integers(0, 16, (outputs, inputs)), rng.integers(0, 16, (outputs, padded))
    scales = rng.uniform(0.001, 0.01, (outputs, padded)).astype(np.float16)
    stored = {"a.qweight": words(codes, 4), "a.qzeros": words(zeros, 4), "a.scales": scales}
    found = logical_tensors(raw(stored), {"quantization_config": {"quant_method": "awq"}})
    groups = np.arange(inputs) // size
    assert count <= padded
    values = (codes - zeros[:, groups]).astype(np.float32) * scales.astype(np.float32)[:, groups]
    check(found["a.weight"], values)
    assert found["a.weight"].form == "4-bit AWQ"


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"])
@pytest.mark.parametrize("name", ["weight_scale_inv", "weight_scale", "scale", "scale_weight"])
def test_floats_with_scales_of_blocks(dtype, name):
    rng = random(3)
    weight = rng.normal(size=(200, 300)).astype(dtype)
    scales = rng.uniform(0.5, 2, (2, 3)).astype(np.float32)
    stored = {"a.weight": weight, f"a.{name}": scales, "a.input_scale": np.float32([1])}
    rows, columns = np.arange(200)[:, None] // 128, np.arange(300) // 128
    found = opened(stored)
    check(found["a.weight"], weight.astype(np.float32) * scales[rows, columns])
    assert found["a.weight"].codes.alphabet == kolmo.symbols.Alphabet(256, dtype)
    assert found["a.weight"].codes.side_bits == 6 * 32  # not the scale of the inputs


@pytest.mark.parametrize(
    ("shape", "scales"),
    [((5, 8), ()), ((5, 8), (1,)), ((5, 8), (5,)), ((5, 8), (5, 1)), ((5, 8), (1, 8)),
     ((3, 5, 8), (3,)), ((3, 5, 8), (3, 1, 1)), ((3, 5, 8), (3, 5, 1)), ((3, 5, 8), (3, 1, 8)),
     ((2, 3, 4, 6), (2, 3, 1, 1)), ((2, 3, 4, 6), (2, 1, 2, 3))],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "int8"])
def test_scales_of_any_shape(shape, scales, dtype):
    rng = random(4)
    weight = rng.normal(0, 20, shape).astype(dtype)
    factors = rng.uniform(0.5, 2, scales).astype(np.float32)
    whole = (
        factors.reshape(*scales, *[1] * (len(shape) - len(scales))) if scales != (1,) else factors
    )
    for axis, length in enumerate(shape if whole.ndim == len(shape) else ()):
        if whole.shape[axis] not in (1, length):
            whole = np.repeat(whole, length // whole.shape[axis], axis)
    found = opened({"up_proj": weight, "up_proj_scale": factors})
    check(found["up_proj"], weight.astype(np.float32) * whole)


def test_integers_with_zero_points():
    rng = random(5)
    weight = rng.integers(-128, 128, (6, 10)).astype(np.int8)
    scales = rng.uniform(0.01, 0.1, (6, 1)).astype(np.float32)
    zeros = rng.integers(-9, 9, (6, 1)).astype(np.int8)
    found = opened({"a.weight": weight, "a.weight_scale": scales, "a.weight_zero_point": zeros})
    check(found["a.weight"], (weight.astype(np.float32) - zeros) * scales)


def test_padded_words_of_old_compressed_tensors():
    rng = random(6)
    codes = rng.integers(0, 8, (5, 64))
    padded = np.pad(codes, [(0, 0), (0, 6)])
    each = padded.reshape(5, 7, 10).astype(np.uint32) << np.arange(0, 30, 3, dtype=np.uint32)
    stored = {
        "a.weight_packed": each.sum(-1).astype(np.uint32).view(np.int32),
        "a.weight_scale": rng.uniform(0.01, 0.1, (5, 1)).astype(np.float32),
        "a.weight_shape": np.array([5, 64]),
    }
    config = {"config_groups": {"group_0": {"weights": {"num_bits": 3}}}}
    found = logical_tensors(raw(stored), {"quantization_config": config})
    check(found["a.weight"], ((codes - 4) * stored["a.weight_scale"]).astype(np.float32))


def test_group_indices_of_compressed_tensors():
    rng = random(8)
    codes, groups = rng.integers(0, 16, (4, 64)), rng.permutation(np.arange(64) // 32)
    scales = rng.uniform(0.01, 0.1, (4, 2)).astype(np.float16)
    stored = {
        "a.weight_packed": words(codes, 4),
        "a.weight_scale": scales,
        "a.weight_shape": np.array([4, 64]),
        "a.weight_g_idx": groups.astype(np.int32),
    }
    found = opened(stored)
    check(found["a.weight"], (codes - 8).astype(np.float32) * scales.astype(np.float32)[:, groups])


@pytest.mark.parametrize("stack", [(), (3,)])
def test_nvfp4_of_modelopt(stack):
    rng = random(9)
    codes = rng.integers(0, 16, (*stack, 6, 64))
    scales = rng.uniform(0.5, 300, (*stack, 6, 4)).astype(ml_dtypes.float8_e4m3fn)
    stored = {
        "a.weight": (codes[..., ::2] | codes[..., 1::2] << 4).astype(np.uint8),
        "a.weight_scale": scales,
        "a.weight_scale_2": np.float32(0.001),
        "a.input_scale": np.float32(0.5),
    }
    found = opened(stored)
    factors = scales.astype(np.float32) * np.float32(0.001)
    check(found["a.weight"], FP4[codes] * np.repeat(factors, 16, -1))
    assert found["a.weight"].form == "4-bit NVFP4"
    assert found["a.weight"].codes.alphabet == kolmo.symbols.Alphabet(16, "float4_e2m1fn")
    assert found["a.weight"].codes.side_bits == scales.size * 8 + 32
    assert roles(found).keys() == stored.keys() - {"a.weight"}


def test_openai_keeps_the_order_that_transformers_transposes():
    rng = random(10)
    codes = rng.integers(0, 16, (2, 5, 64))
    blocks = (codes[..., ::2] | codes[..., 1::2] << 4).astype(np.uint8).reshape(2, 5, 2, 16)
    scales = rng.integers(120, 130, (2, 5, 2)).astype(np.uint8)
    values = FP4[codes] * np.repeat(2.0 ** (scales.astype(int) - 127), 32, -1)
    values = values.astype(np.float32)
    plain = opened({"mlp1_weight.blocks": blocks, "mlp1_weight.scales": scales})
    check(plain["mlp1_weight"], values)
    transposed = opened({"gate_up_proj_blocks": blocks, "gate_up_proj_scales": scales})
    check(transposed["gate_up_proj"], np.ascontiguousarray(values.swapaxes(1, 2)))


def test_mlx_without_configuration_goes_by_the_widths_of_other_arrays():
    rng = random(11)
    codes = rng.integers(0, 256, (6, 128))
    scales = rng.uniform(0.01, 0.1, (6, 4)).astype(np.float16)  # bits · size = 256, 3 ways
    stored = {
        "a.weight": words(codes, 8).view(np.uint32),
        "a.scales": scales,
        "a.biases": -scales,
    }
    values = codes.astype(np.float32) * np.repeat(scales.astype(np.float32), 32, -1)
    values -= np.repeat(scales.astype(np.float32), 32, -1)
    known = opened({**stored, "norm.weight": np.ones(128, np.float32)})
    check(known["a.weight"], values)
    assert opened(stored)["a.weight"].shape == (6, 256)  # MLX's own: groups of 64
    wider = {"b.weight": stored["a.weight"][:, :24].copy(), "b.scales": scales[:, :3].copy(),
             "b.biases": -scales[:, :3]}  # fmt: skip
    both = opened({**stored, **wider, "norm.weight": np.ones(128, np.float32)})
    assert both["b.weight"].shape == (6, 96)  # as its neighbours
    config = {"quantization": {"bits": 4, "group_size": 64, "a": {"bits": 8, "group_size": 32}}}
    check(logical_tensors(raw(stored), config)["a.weight"], values)


def test_gpt2_style_names_without_a_module():
    stored, codes, zeros, scales = gptq(4, 32)
    found = opened({name.removeprefix("a."): array for name, array in stored.items()})
    check(found["weight"], dequantized(codes, zeros, scales, np.arange(96) // 32))


# --- torch ----------------------------------------------------------------------------------


def quantized_torch():
    w = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    scales = (
        torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 0.1 + 0.01
    )
    per_channel = torch.quantize_per_channel
    return {
        "qint8": torch.quantize_per_tensor(w, 0.03, -7, torch.qint8),
        "quint8": torch.quantize_per_tensor(w, 0.03, 121, torch.quint8),
        "qint32": torch.quantize_per_tensor(w, 0.0003, 70001, torch.qint32),
        "rows": per_channel(w, scales, torch.arange(6), 0, torch.qint8),
        "columns": per_channel(w.T.contiguous(), scales, torch.arange(6) + 90, 1, torch.quint8),
        "halves": per_channel(w, scales.float(), torch.rand(6) * 9, 0, torch.quint4x2),
        "transposed": torch.quantize_per_tensor(w, 0.03, -7, torch.qint8).T,
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("saved", [False, True], ids=["live", "saved"])
def test_quantized_tensors_of_torch_are_what_they_dequantize_to(tmp_path, saved):
    tensors = quantized_torch()
    source = tensors
    if saved:
        source = tmp_path / "x.pt"
        torch.save(tensors, source)
    found = kolmo.open_checkpoint(source)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        check(found[name], tensor.dequantize().numpy())
    bits = {name: (t.codes.alphabet.bits, t.codes.side_bits) for name, t in found.items()}
    assert bits["qint8"] == (8, 128)
    assert bits["rows"] == (8, 6 * 128)
    assert bits["halves"] == (4, 6 * 64)


@pytest.mark.filterwarnings("ignore")
def test_dynamic_quantization_has_the_names_of_the_layers_that_were_quantized(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(16, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    names = list(model.state_dict())
    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)
    torch.save(quantized.state_dict(), tmp_path / "x.pt")
    found = kolmo.open_checkpoint(tmp_path / "x.pt")
    assert list(found) == names
    check(found["0.weight"], quantized[0].weight().dequantize().numpy())
    assert np.array_equal(found["2.bias"].read(), quantized[2].bias().detach().numpy())
    kept = {name for name, role in roles(found).items() if role is Role.BOOKKEEPING}
    assert kept == {"0.scale", "0.zero_point", "2.scale", "2.zero_point"}


# --- what they cost -------------------------------------------------------------------------


def test_raw_bits_are_those_of_the_codes_and_side_information_is_added():
    stored, codes, _, scales = gptq(4, 32)
    report = kolmo.analyze(stored, quantizers=["native"], estimators=["kt"])
    row = report.table[report.table.tensor == "a.weight"].iloc[0]
    assert row.raw_bits == 4 * codes.size
    side = 32 * stored["a.qzeros"].size + 16 * scales.size
    alone = kolmo.get_estimator("kt").start(codes.shape, 16)
    alone.update(np.ascontiguousarray(codes.T).reshape(-1).astype(np.uint8))
    assert row.bits == alone.finish().bits + side
    assert row.bits_per_weight == row.bits / codes.size
    model = report.table[report.table.tensor.isna()].iloc[0]
    assert (model.numel, model.raw_bits, model.bits) == (codes.size, 4 * codes.size, row.bits)


def test_other_quantizers_work_on_the_weights():
    stored, codes, zeros, scales = gptq(4, 32)
    tensor = opened(stored)["a.weight"]
    values = dequantized(codes, zeros, scales, np.arange(96) // 32)
    coder = kolmo.get_quantizer("symmetric:4").fit(tensor)
    plain = kolmo.get_quantizer("symmetric:4").fit(kolmo.checkpoints.array_tensor("w", values))
    assert np.array_equal(coder.encode(tensor.read()), plain.encode(values))


# --- whole models ---------------------------------------------------------------------------


def test_codes_and_scales_may_lie_in_different_shards(tmp_path):
    stored, codes, zeros, scales = gptq(4, 32)
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    shards = {name: names[name != "a.qweight"] for name in stored}
    for file in names:
        write(tmp_path / file, {n: a for n, a in stored.items() if shards[n] == file})
    index = tmp_path / "model.safetensors.index.json"
    values = dequantized(codes, zeros, scales, np.arange(96) // 32)
    check(kolmo.open_checkpoint(tmp_path)["a.weight"], values)
    index.write_text(json.dumps({"weight_map": shards}))
    for source in (tmp_path, index):
        check(kolmo.open_checkpoint(source)["a.weight"], values)


def test_scales_of_activations_and_caches_are_no_weights():
    scale = np.float32(0.5)
    stored = {
        "a.weight": np.ones((4, 8), np.int8),
        "a.weight_scale": np.ones((4, 1), np.float32),
        "attn.k_scale": scale,
        "attn.v_scale": scale.copy(),
        "head.weight": np.ones((4, 4), np.float32),
        "head.input_scale": scale.copy(),
    }
    found = logical_tensors(raw(stored), None)
    assert list(found) == ["a.weight", "head.weight"]
    assert roles(found) == dict.fromkeys(
        stored.keys() - {"a.weight", "head.weight"}, "book-keeping"
    )
    plain = {name: array for name, array in stored.items() if not name.startswith("a.")}
    assert list(logical_tensors(raw(plain), None)) == list(plain)


@pytest.mark.parametrize("stack", [(), (3,)], ids=["layer", "experts"])
def test_stacks_of_experts(stack):
    rng = random(13)
    codes, scales = rng.integers(0, 16, (*stack, 8, 64)), rng.uniform(0.01, 0.1, (*stack, 8, 2))
    scales = scales.astype(np.float16)
    wide = np.repeat(scales.astype(np.float32), 32, -1)
    packed = opened({"a.weight_packed": words(codes, 4), "a.weight_scale": scales,
                     "a.weight_shape": np.array([*stack, 8, 64])})  # fmt: skip
    check(packed["a.weight"], (codes - 8).astype(np.float32) * wide)
    config = {"quantization": {"bits": 4, "group_size": 32}}
    stored = {"a.weight": words(codes, 4).view(np.uint32), "a.scales": scales,
              "a.biases": scales.copy()}  # fmt: skip
    check(logical_tensors(raw(stored), config)["a.weight"], codes.astype(np.float32) * wide + wide)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    shuffled = codes.reshape(*stack, 8, 8, 8)[..., order].reshape(codes.shape)
    zeros = np.zeros((*stack, 2, 64), int)
    factors = rng.uniform(0.01, 0.1, (*stack, 2, 64)).astype(np.float16)
    awq = opened(
        {"a.qweight": words(shuffled, 4), "a.qzeros": words(zeros, 4), "a.scales": factors}
    )
    values = codes * np.repeat(factors.astype(np.float32), 4, -2)
    check(awq["a.weight"], np.ascontiguousarray(np.swapaxes(values, -1, -2).astype(np.float32)))


def test_opening_reads_no_codes_and_no_scales():
    def refuse(start, stop):
        raise AssertionError("values were read")

    shapes = {
        "a.qweight": (1 << 20, 1 << 16),
        "a.qzeros": (1 << 16, 1 << 13),
        "a.scales": (1 << 16, 1 << 16),
        "b.weight": (1 << 16, 1 << 20),
        "b.weight_scale_inv": (1 << 9, 1 << 13),
    }
    kinds = {"a.scales": np.float16, "b.weight": ml_dtypes.float8_e4m3fn,
             "b.weight_scale_inv": np.float32}  # fmt: skip
    tensors = [
        kolmo.checkpoints.WeightTensor(n, shape, np.dtype(kinds.get(n, np.int32)), refuse)
        for n, shape in shapes.items()
    ]
    source = kolmo.checkpoints.Checkpoint(tensors, source="memory", format="arrays")
    found = logical_tensors(source, None)
    assert {name: tensor.shape for name, tensor in found.items()} == {
        "a.weight": (1 << 16, 1 << 23),
        "b.weight": (1 << 16, 1 << 20),
    }


# --- what is not understood -----------------------------------------------------------------

W = np.zeros((8, 16), np.int32)
S = np.ones((2, 64), np.float16)
UNKNOWN = {
    "words without scales": ({"a.qweight": W}, "there are no scales beside them"),
    "other scales": ({"a.qweight": W, "a.scales": S, "a.qzeros": W}, "do not go with scales"),
    "Marlin": (
        {"a.B": W, "a.s": S, "a.workspace": np.zeros(4, np.int32)},
        "codes of Marlin, which are not supported",
    ),
    "AQLM": ({"a.codes": W, "a.codebooks": S, "a.scales": S}, "codes of AQLM"),
    "EXL2": ({"a.q_weight": W, "a.q_scale": W}, "codes of EXL2"),
    "packed without a shape": (
        {"a.weight_packed": W, "a.weight_scale": np.ones((8, 1), np.float32)},
        "nothing says what shape they have",
    ),
    "bitsandbytes without a state": (
        {"a.weight": np.zeros((64, 1), np.uint8), "a.weight.absmax": np.ones(2, np.float32),
         "a.weight.quant_map": np.ones(16, np.float32)},
        "nothing says what shape they have",
    ),
    "an integer weight": ({"a.weight": W}, "int32 codes that no scales or tables go with"),
    "HQQ without scales": ({"a.W_q": np.zeros((8, 16), np.uint8)}, "there is no 'a.scale'"),
    "scales of something else": (
        {"a.weight": np.zeros((9, 9), np.int8), "a.weight_scale": np.ones((2, 7), np.float32)},
        "scales do not cover",
    ),
    "tiles of a kernel": (
        {"a.weight": np.zeros((8, 32), np.int8), "a.SCB": np.ones(8, np.float32),
         "a.weight_format": np.array(2, np.uint8)},
        "in the tiles of a kernel",
    ),
    "bytes of BitNet": (
        {"a.weight": np.zeros((8, 32), np.uint8), "a.weight_scale": np.ones(1, np.float32)},
        "each of which may hold several codes",
    ),
    "zero points alone": ({"a.qzeros": W}, "belongs to codes of GPTQ or AWQ"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_looks_packed_and_is_not_understood_is_no_weight(name):
    stored, reason = UNKNOWN[name]
    copies = {key: array.copy() for key, array in stored.items()}
    found = opened({**copies, "norm.weight": np.ones(16, np.float32)})
    assert list(found) == ["norm.weight"]
    assert reason in found.skipped[0].reason
    assert {entry.role for entry in found.skipped} == {Role.OTHER}
    assert all(entry.tensor is not None for entry in found.skipped)


def test_ordinary_arrays_are_left_as_they_are():
    stored = {
        "conv.weight": np.ones((3, 4), np.float32),
        "norm.scale": np.ones(4, np.float32),
        "norm.scales": np.ones(4, np.float32),
        "position_ids": np.arange(16),
        "codes": np.zeros((2, 2), np.int64),
        "blocks.0.codes": np.ones((3, 3), np.float32),
        "fp8.weight": np.ones((4, 4), ml_dtypes.float8_e4m3fn),
    }
    found = raw(stored)
    assert logical_tensors(found, None) is found


@pytest.mark.parametrize("end", [*leftovers._ALONE, *leftovers._SCHEMES, *torch_ao._NAMES])
def test_every_name_that_a_scheme_looks_for_lets_it_look(end):
    assert end.endswith(MARKS)


def test_floats_called_codes_are_left_out():
    """Codes have narrow dtypes; these names say enough without."""
    for name in ("a.qweight", "a.weight_packed", "a.W_q"):
        found = logical_tensors(raw({name: np.ones((4, 4), np.float32)}), None)
        assert not list(found), name
        assert "looks like codes of" in found.skipped[0].reason


def test_a_logical_name_that_is_taken_leaves_the_codes_out():
    stored, *_ = gptq(4, 32)
    found = opened({**stored, "a.weight": np.ones((64, 96), np.float32)})
    assert list(found) == ["a.weight"]
    assert found["a.weight"].codes is None
    assert "qweight" in found.skipped[0].name


@pytest.mark.parametrize(
    "config",
    [None, {}, {"quantization_config": 3}, {"quantization_config": {"bits": "4", "group_size": []}},
     {"quantization_config": {"bits": 1 << 70, "group_size": -5, "config_groups": [1]}},
     {"quantization_config": {"weight_block_size": [0, "x"], "quant_method": {}}},
     {"text_config": {"quantization_config": {"bits": 4}}}],
)  # fmt: skip
def test_a_configuration_is_not_trusted(config):
    stored, codes, zeros, scales = gptq(4, 32)
    found = logical_tensors(raw(stored), config)
    check(found["a.weight"], dequantized(codes, zeros, scales, np.arange(96) // 32))


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"quantization_config": null}', ""])
def test_a_broken_configuration_says_nothing(tmp_path, text):
    shutil.copy(DATA / "gptq-4" / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text(text)
    assert kolmo.open_checkpoint(tmp_path)["up.weight"].codes


def test_the_configuration_of_other_tools_is_found(tmp_path):
    stored, codes, zeros, scales = gptq(4, 32, offset=0)
    write(tmp_path / "model.safetensors", stored)
    settings = {"bits": 4, "group_size": 32, "checkpoint_format": "gptq_v2"}
    (tmp_path / "quantize_config.json").write_text(json.dumps(settings))
    found = kolmo.open_checkpoint(tmp_path)
    check(found["a.weight"], dequantized(codes, zeros, scales, np.arange(96) // 32))


def write(path, stored):
    with open(path, "wb") as file:
        writer = SafetensorsWriter(file, {n: (a.dtype, a.shape) for n, a in stored.items()})
        for name, array in stored.items():
            writer.write(name, 0, array)


@pytest.mark.parametrize("name", WRITTEN)
def test_mutated_shapes_and_values_are_refused_or_read(name):
    """Arrays that were cut, reshaped, or filled with other numbers: never another error."""
    source = kolmo.checkpoints.safetensors.open_safetensors(
        kolmo.checkpoints.folders.File.local(DATA / name / "model.safetensors")
    )
    arrays = {key: tensor.read() for key, tensor in source.items()}
    rng = random(12)
    for _ in range(40):
        stored = {key: mutated(rng, array) for key, array in arrays.items()}
        stored = {key: array for key, array in stored.items() if array is not None}
        try:
            found = logical_tensors(raw(stored), {"quantization_config": {"bits": 4}})
            for tensor in found.values():
                assert tensor.numel <= 8 * sum(array.size for array in stored.values()) * 8
                with np.errstate(all="ignore"):
                    tensor.read()
                if tensor.codes:
                    tensor.codes.load(0, tensor.numel)
        except kolmo.InputError:
            continue


def mutated(rng, array):
    kind = rng.integers(0, 14)
    flat = array.reshape(-1)
    if kind == 0:
        return None
    if kind == 1:
        return flat
    if kind == 2 and flat.size:
        return flat[: rng.integers(0, flat.size)]
    if kind == 3:
        return array[None]
    if kind == 4:
        return np.concatenate([array, array]) if array.ndim else array
    if kind == 5:
        bits = array.copy().reshape(-1).view(np.uint8)
        bits[:] = rng.integers(0, 256, bits.size)
        return bits.view(array.dtype).reshape(array.shape)
    if kind == 6:
        return array.T
    if kind == 7:
        return np.zeros((0, *array.shape[1:]), array.dtype)
    return array


@pytest.mark.parametrize(
    ("inputs", "groups", "said", "size"),
    [(128, 2, None, 64), (100, 4, 32, 32), (100, 4, None, 25), (128, 2, 50, 64)],
)
def test_sizes_of_groups(inputs, groups, said, size):
    assert group_size_of(inputs, groups, said) == size


@pytest.mark.parametrize(
    "name", ["gptq-3", "bnb-nf4-nested", "ct-int3-zero", "mlx-3-32", "hqq-3-1", "ct-nvfp4"]
)
def test_mutated_files_are_refused_or_read(tmp_path, name):
    """Bytes flipped, cut, inserted or moved: the file opens and reads, or is refused."""
    data = (DATA / name / "model.safetensors").read_bytes()
    config = DATA / name / "config.json"
    text = config.read_bytes() if config.exists() else b"{}"
    rng, path = random(14), tmp_path / "model.safetensors"
    for _ in range(200):
        path.write_bytes(damaged(rng, data))
        (tmp_path / "config.json").write_bytes(damaged(rng, text))
        try:
            found = kolmo.open_checkpoint(path)
            for tensor in found.values():
                assert tensor.numel <= 64 * len(data)
                with np.errstate(all="ignore"):
                    tensor.read()
        except kolmo.KolmoError:
            continue


def damaged(rng, data):
    """Bytes with a few of them changed; most often in the header, where sizes are."""
    changed = bytearray(data)
    for _ in range(rng.integers(0, 4)):
        most = 700 if rng.random() < 0.8 else len(changed)
        at = int(rng.integers(0, max(1, min(len(changed), most))))
        kind = rng.integers(0, 5)
        if kind == 0:
            changed[at : at + 1] = b"%c" % rng.integers(0, 256)
        elif kind == 1:
            changed[at : at + 1] = b"%d" % rng.integers(0, 10)
        elif kind == 2:
            changed[at:at] = changed[at : at + int(rng.integers(1, 9))]
        elif kind == 3:
            del changed[at : at + int(rng.integers(1, 4))]
        elif changed[at : at + 1].isdigit():
            changed[at : at + 1] = rng.choice([b"0", b"99999999999", b"9223372036854775807", b"-1"])
    return bytes(changed)
