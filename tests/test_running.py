"""Layers of motifs and indices against dense products of the weights that these are."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import momos
from kolmo.errors import InputError
from momos import LearnedMosaic, Mosaic, MosaicConv2d, MosaicLinear, SampledMosaic
from momos.mosaic.blocks import Partition
from momos.running import kernels
from momos.running.compiling import _rows
from momos.running.fitting import fit_layer
from momos.running.threads import in_shares

WAYS = [kernels.multiply_plainly]
WAYS += [kernels.multiply_quickly] if kernels.is_quick() else []


def made(outputs, blocks, size, rows, seed=0):
    """Inputs, and a layer's arrays, as the kernels take them."""
    random = np.random.default_rng(seed)
    return (
        random.normal(size=(rows, blocks * size)).astype(np.float32),
        random.normal(size=(size, 256)).astype(np.float32),
        random.integers(0, 256, (blocks, outputs)).astype(np.uint8),
        random.uniform(0.5, 2, outputs).astype(np.float32),
        random.normal(size=outputs).astype(np.float32),
    )


def dense(inputs, motifs, indices, scales, bias):
    """The same in float64, weight by weight; and how far off sums of float32, or of products
    rounded to 24 bits of the largest that there can be, may be."""
    weights = (motifs.T[indices.T] * scales[:, None, None]).reshape(len(scales), -1)
    weights, inputs = weights.T.astype(np.float64), inputs.astype(np.float64)
    rounded = 1e-6 * (abs(inputs) @ abs(weights) + abs(bias))
    blocks = np.linalg.norm(inputs.reshape(len(inputs), len(indices), len(motifs)), axis=2)
    largest = blocks.max(axis=1, initial=0) * np.linalg.norm(motifs, axis=0).max()
    rounded += len(indices) * 2.0**-24 * 1.01 * largest[:, None] * scales
    return inputs @ weights + bias, rounded


def looked_up(way, *arrays, parts=None):
    inputs, _, indices = arrays[:3]
    outputs = np.full((len(inputs), indices.shape[1]), np.nan, np.float32)
    for first, last in parts or [(0, indices.shape[1])]:
        way(*arrays, outputs, first, last)
    return outputs


# --- kernels --------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, deadline=None)
@given(
    outputs=st.integers(1, 400), blocks=st.integers(1, 40), size=st.integers(1, 9),
    rows=st.integers(0, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_products_that_are_looked_up_are_those_of_the_weights(
    way, outputs, blocks, size, rows, seed
):
    arrays = made(outputs, blocks, size, rows, seed)
    expected, error = dense(*arrays)
    assert (np.abs(looked_up(way, *arrays) - expected) <= error).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("blocks", [255, 256, 257, 600])
@pytest.mark.parametrize("outputs", [1, 127, 128, 130])
def test_many_blocks(way, blocks, outputs):
    arrays = made(outputs, blocks, 2, 1)
    expected, error = dense(*arrays)
    assert (np.abs(looked_up(way, *arrays) - expected) <= error).all()


@pytest.mark.parametrize("way", WAYS)
def test_parts_of_the_outputs_have_the_same_bits(way):
    arrays = made(300, 20, 8, 2)
    whole = looked_up(way, *arrays)
    for parts in ([(0, 128), (128, 300)], [(0, 1), (1, 299), (299, 300)]):
        assert np.array_equal(looked_up(way, *arrays, parts=parts), whole)


@pytest.mark.parametrize("way", WAYS)
def test_extreme_inputs(way):
    inputs, *layer = made(130, 6, 4, 5)
    inputs[0] = 0
    inputs[1] *= 1e-30
    inputs[2, 3] = 1e12
    inputs[3, 5] = np.nan
    inputs[4, 0] = np.inf
    found, (expected, error) = looked_up(way, inputs, *layer), dense(inputs, *layer)
    assert np.array_equal(found[0], layer[-1])
    for row in (1, 2):
        assert (np.abs(found[row] - expected[row]) <= error[row]).all()
    assert np.isnan(found[3]).all()
    assert not np.isfinite(found[4]).any()


def test_motifs_of_the_largest_products_do_not_overflow():
    inputs, motifs, indices, scales, bias = made(128, 257, 8, 1)
    inputs[:], motifs[:] = 1, 0
    motifs[:, 7], motifs[:, 9] = 1, -1  # all of the largest norm, along the inputs
    for motif, sign in ((7, 1), (9, -1)):
        indices[:] = motif
        arrays = inputs, motifs, indices, np.ones_like(scales), np.zeros_like(bias)
        for way in WAYS:
            assert looked_up(way, *arrays) == pytest.approx(sign * 8.0 * 257, rel=1e-5)


def test_expanded_weights_are_motifs_times_scales():
    _, motifs, indices, scales, _ = made(37, 11, 5, 1)
    weights = np.empty((20, 55), np.float32)
    kernels.expand(indices, motifs, scales, 10, weights)
    expected = motifs.T[indices.T[10:30]] * scales[10:30, None, None]
    assert np.array_equal(weights, expected.reshape(20, 55))


@pytest.mark.parametrize("count", [0, 1, 127, 128, 1000])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_shares_cover_everything_once(count, threads):
    seen = np.zeros(count, int)

    def share(first, last):
        assert first % 128 == 0
        seen[first:last] += 1

    in_shares(share, count, 128, threads)
    assert (seen == 1).all()


def test_an_error_in_another_threads_share_is_raised():
    def share(first, last):
        if last == 512:
            raise ValueError("there")

    with pytest.raises(ValueError, match="there"):
        in_shares(share, 512, 128, 1)


# --- layers ---------------------------------------------------------------------------------


def filled(layer, seed=0):
    random = torch.Generator().manual_seed(seed)
    blocks, rows = layer.indices.shape
    layer.take(
        torch.randint(256, (blocks, rows), generator=random),
        torch.randn(layer.block_size, 256, generator=random),
        torch.rand(rows, generator=random) + 0.5,
        torch.randn(rows, generator=random),
    )
    return layer


def close(found, expected):
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=2e-5 * float(expected.detach().abs().max()), rtol=0)


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("shape", [(64,), (1, 64), (3, 64), (2, 5, 64), (0, 64), (500, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer(size, shape, bias):
    layer, x = filled(MosaicLinear(64, 300, bias, block_size=size)), torch.randn(shape)
    expected = functional.linear(x, layer.weight, layer.bias)
    if x.numel():
        close(layer(x), expected)
        close(layer.look_up(x), expected)
    else:
        assert layer(x).shape == expected.shape


def test_inputs_that_blocks_do_not_divide_and_that_are_not_contiguous():
    layer = filled(MosaicLinear(61, 200))
    assert layer.weight.shape == (200, 61)
    assert layer.indices.shape == (8, 200)
    x = torch.randn(61, 3).T
    close(layer(x), x @ layer.weight.T + layer.bias)


def test_gradients_pass_to_the_inputs():
    layer = filled(MosaicLinear(64, 300))
    x = torch.randn(2, 64, requires_grad=True)
    layer(x).square().sum().backward()
    again = x.detach().clone().requires_grad_()
    functional.linear(again, layer.weight, layer.bias).square().sum().backward()
    close(x.grad, again.grad)
    assert not list(layer.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_expanded(dtype):
    layer, x = filled(MosaicLinear(64, 300)), torch.randn(2, 64).to(dtype)
    expected = functional.linear(x, layer.weight.to(dtype), layer.bias.to(dtype))
    assert torch.equal(layer(x), expected)
    cast = copy.deepcopy(layer).to(dtype)
    assert cast.indices.dtype == torch.uint8
    assert cast(x).dtype == dtype


@pytest.mark.parametrize("rows", [1, 3])
def test_threads_do_not_change_a_bit(rows):
    layer, x = filled(MosaicLinear(2048, 4096)), torch.randn(rows, 2048)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(layer(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_a_compiled_model_and_an_exported_one():
    torch._dynamo.reset()
    model, x = nn.Sequential(filled(MosaicLinear(64, 300)), nn.ReLU()), torch.randn(2, 64)
    close(torch.compile(model, backend="eager")(x), model(x))
    with torch.inference_mode():
        close(model(x), torch.relu(x @ model[0].weight.T + model[0].bias))


def test_states_copies_and_pickles():
    layer, x = filled(MosaicLinear(64, 300)), torch.randn(2, 64)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    fresh = MosaicLinear(64, 300)
    fresh.load_state_dict(torch.load(file))
    layer(x)
    fresh.motifs.mul_(2)  # in place, as loading does
    close(fresh(x) - fresh.bias, 2 * (layer(x) - layer.bias))
    fresh.load_state_dict(layer.state_dict(), assign=True)
    assert sorted(layer.state_dict()) == ["bias", "indices", "motifs", "scales"]
    for other in (fresh, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), layer(x))


def test_one_bit_a_weight_in_memory():
    layer = MosaicLinear(1024, 1024)
    assert layer.resident_bytes <= 4 * 1024 * 1024 / 25
    assert MosaicLinear(2048, 2048, block_size=4).resident_bytes <= 4 * 2048 * 2048 / 12


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"groups": 4}, {"padding": "same", "dilation": 2},
     {"bias": False, "padding": (1, 0)}],
)  # fmt: skip
def test_a_convolution(options):
    layer, x = filled(MosaicConv2d(8, 12, 3, **options)), torch.randn(2, 8, 9, 7)
    plain = nn.Conv2d(8, 12, 3, **options)
    assert plain.weight.shape == layer.weight.shape
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
        if layer.bias is not None:
            plain.bias.copy_(layer.bias)
    assert torch.equal(layer(x), plain(x))


# --- from mosaics ---------------------------------------------------------------------------


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3, padding=1)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        return self.head(functional.adaptive_avg_pool2d(torch.relu(self.conv(x)), 2).flatten(1))


@pytest.mark.filterwarnings("ignore:.*the model saw")
@pytest.mark.parametrize(
    "config",
    [LearnedMosaic(block_size=4, motifs=16, rate=0.1, scale="channel", policy="matrices"),
     LearnedMosaic(block_size=2, motifs=9, rate=0.1), SampledMosaic(block_size=4, motifs=20)],
)  # fmt: skip
def test_a_trained_mosaic_runs_as_it_is(config):
    model, x = Small(), torch.randn(3, 4, 6, 6)
    momos.wrap(model, config, steps=4)
    model(x).sum().backward()
    mosaic = momos.freeze(model)
    conv = MosaicConv2d.from_mosaic(mosaic, "conv.weight", bias="conv.bias", padding=1)
    head = MosaicLinear.from_mosaic(mosaic, "head.weight", bias="head.bias")
    assert torch.equal(conv.weight, model.conv.weight)
    assert torch.equal(head.weight, model.head.weight)
    assert torch.equal(head.bias, model.head.bias)
    assert torch.equal(conv(x), model.conv(x))
    running = copy.deepcopy(model)
    running.conv, running.head = conv, head
    close(running(x), model(x))


def test_mosaics_that_cannot_run_are_refused():
    random = np.random.default_rng(0)
    weights = {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in (("w", (40, 8)), ("odd", (4, 6)), ("v", (8,)))
    }
    mosaic = Mosaic.from_model({**weights, "n": np.arange(3)}, 4)
    for name, message in (
        ("w", None), ("odd", "cross its rows"), ("v", "cross its rows"), ("n", "keeps it dense"),
        ("x", "has no such tensor"),
    ):  # fmt: skip
        if message is None:
            layer = MosaicLinear.from_mosaic(mosaic, name)
            assert np.array_equal(layer.weight.numpy(), weights[name])
        else:
            with pytest.raises(InputError, match=message):
                MosaicLinear.from_mosaic(mosaic, name)
    with pytest.raises(InputError, match="four dimensions"):
        MosaicConv2d.from_mosaic(mosaic, "w")
    many = Mosaic(
        Partition({"w": (300, 4)}, 4), np.zeros((300, 4), np.float32),
        np.arange(300, dtype=np.uint16), {}, ("w",),
    )  # fmt: skip
    with pytest.raises(InputError, match="300 motifs; a layer runs at most 256"):
        MosaicLinear.from_mosaic(many, "w")
    with pytest.raises(InputError, match="block size"):
        MosaicLinear(8, 8, block_size=0)


# --- models ---------------------------------------------------------------------------------


def correlated(rows, columns, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 8, generator=random) @ torch.randn(8, columns, generator=random)


def test_the_errors_of_the_outputs_are_made_good():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 128))
    x = correlated(256, 128)
    lost = []
    for inputs in (None, x):
        made = momos.compile(model, inputs=inputs)
        assert isinstance(made[0], MosaicLinear)
        with torch.no_grad():
            lost.append(float((made(x) - model(x)).square().sum() / model(x).square().sum()))
    assert lost[1] < 0.2 * lost[0]
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize(("size", "most"), [(4, 0.105), (8, 0.33)])
def test_motifs_are_as_good_as_the_theory_of_random_weights_lets_expect(size, most):
    """Gaussian weights at R bits cannot lose less than 4^−R: .0625 at 2, .25 at 1."""
    weights = torch.randn(256, 512, generator=torch.Generator().manual_seed(0))
    found = fit_layer(weights, size, 256, None, 15, torch.Generator().manual_seed(0))
    made = found.motifs.T[found.indices.T.long()].reshape(256, 512) * found.scales[:, None]
    assert 4.0 ** (-8 / size) < float((made - weights).square().mean()) < most


def test_the_same_seed_gives_the_same_bits():
    model = nn.Linear(64, 256)
    states = [momos.compile(model, seed=seed).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["motifs"], states[2]["motifs"])


def test_a_state_is_loaded_into_layers_made_quickly():
    model, x = nn.Sequential(nn.Linear(64, 256), nn.Linear(256, 64)), torch.randn(2, 64)
    small, again = momos.compile(model), momos.compile(model, rounds=0)
    again.load_state_dict(small.state_dict())
    assert torch.equal(again(x), small(x))


class Mixed(nn.Module):
    """Layers that are used twice, looked into by others, too small, or of other kinds."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(16, 64, 3, padding=1)
        self.mirrored = nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular")
        self.twice = nn.Linear(64, 256, bias=False)
        self.same = self.twice
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.normed = nn.utils.parametrizations.spectral_norm(nn.Linear(64, 256))
        self.tiny = nn.Linear(256, 2)

    def forward(self, x):
        x = self.mirrored(torch.relu(self.conv(x))).flatten(2).mT
        x = self.attention(x, x, x, need_weights=False)[0].mean(dim=1)
        return self.tiny(self.twice(x) + self.same(x) + self.normed(x))


def test_only_layers_that_can_change_do():
    model, x = Mixed().eval(), torch.randn(2, 16, 5, 5)
    small = momos.compile(model, inputs=[x, x])
    changed = {n for n, m in small.named_modules() if isinstance(m, MosaicLinear | MosaicConv2d)}
    assert changed == {"conv", "twice"}
    assert small.same is small.twice
    assert small(x).shape == model(x).shape
    assert small.training == model.training
    assert momos.compile(model, include="conv").twice.weight is not model.twice.weight
    assert type(momos.compile(model, exclude=["tw*"]).twice) is nn.Linear


def test_a_transformer_whose_layers_torch_looks_into():
    layer = nn.TransformerEncoderLayer(64, 4, 256, dropout=0.0, batch_first=True)
    model, x = nn.TransformerEncoder(layer, 2).eval(), torch.randn(2, 7, 64)
    made = momos.compile(model, block_size=4, inputs=[x])
    assert sum(isinstance(one, MosaicLinear) for one in made.modules()) == 4
    with torch.inference_mode():
        found = made(x)  # torch's own kernel for inference, with expanded weights
    close(found, made.train()(x).detach())


@pytest.mark.parametrize("batches", ["tensor", "tuple", "mapping", "list"])
def test_inputs_may_come_in_several_forms(batches):
    model, x = nn.Linear(64, 256), torch.randn(4, 64)
    given = {"tensor": x, "tuple": (x,), "mapping": {"input": x}, "list": [x[:2], (x[2:],)]}
    made = [momos.compile(model, inputs=inputs) for inputs in (given[batches], x)]
    assert torch.allclose(made[0].scales, made[1].scales, rtol=1e-3)


@pytest.mark.parametrize(
    "options",
    [{}, {"stride": 2, "padding": 1}, {"padding": "same"}, {"padding": "same", "dilation": (2, 1)},
     {"padding": "valid"}, {"padding": (1, 2)}],
)  # fmt: skip
def test_rows_of_inputs_are_what_a_convolution_multiplies(options):
    layer, x = nn.Conv2d(3, 5, (3, 5), bias=False, **options), torch.randn(2, 3, 8, 7)
    found = _rows(layer, x) @ layer.weight.flatten(1).T
    expected = layer(x).flatten(2).mT.flatten(0, 1)
    assert torch.allclose(found, expected, atol=1e-5)


def test_rows_of_inputs_of_groups():
    layer, x = nn.Conv2d(4, 6, 3, groups=2, bias=False), torch.randn(2, 4, 5, 5)
    rows = _rows(layer, x).reshape(2, 2, 9, 18)  # image, group, place, input
    expected = layer(x).flatten(2)
    for group in range(2):
        weight = layer.weight[3 * group :][:3].flatten(1)
        found = (rows[:, group] @ weight.T).mT
        assert torch.allclose(found, expected[:, 3 * group :][:, :3], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (dict, {}, "takes a torch.nn.Module, not dict"),
        (lambda: nn.Linear(64, 256), {"motifs": 257}, "2 to 256 motifs"),
        (lambda: nn.Linear(64, 256), {"block_size": 0}, "block size"),
        (lambda: nn.Linear(64, 256), {"rounds": -1}, "not negative"),
        (lambda: nn.Linear(64, 256), {"include": "other"}, "no linear layer"),
        (lambda: nn.Linear(4, 2), {}, "no linear layer"),
    ],
)
def test_what_cannot_be_compiled_is_refused(make, options, message):
    with pytest.raises(InputError, match=message):
        momos.compile(make(), **options)


def test_a_model_that_learns_a_mosaic_is_frozen_first():
    model = nn.Linear(64, 256)
    momos.wrap(model, steps=1)
    with pytest.raises(InputError, match=r"freeze\(\) it first"):
        momos.compile(model)
