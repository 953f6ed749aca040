"""Grids of learned mosaics: levels, code lengths and gradients, each against its definition."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kolmo.errors import InputError
from momos import LearnedMosaic, Mosaic, freeze, wrap
from momos.checkpoint import project_checkpoint
from momos.lab.config import TrainConfig
from momos.lab.models import MLP
from momos.lab.sizes import packed, shortest_file
from momos.lab.training import train
from momos.learned.fitting import Fitting
from momos.learned.grid import Pull, grid_levels
from momos.learned.rates import level_bits
from momos.tensors import same_bits
from tests.formats import kmo as another_kmo
from tests.formats import mosaic as another_mosaic
from tests.test_momos_learning import data


def wrapped(bits=4, rate=0.0, scale="tensor", steps=40, seed=0):
    model = MLP([12, 24, 4], torch.Generator().manual_seed(seed))
    return model, wrap(model, LearnedMosaic(bits=bits, rate=rate, scale=scale), steps=steps)


def fit(model, steps, x, y):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_the_levels_are_whole_numbers_around_zero(bits):
    levels = grid_levels(bits)[:, 0]
    most = 2 ** (bits - 1) - 1
    assert sorted(levels) == list(range(-most, most + 1))
    assert levels[0] == 0


@pytest.mark.parametrize("scale", ["tensor", "channel"])
def test_each_weight_gets_the_nearest_level(scale):
    _, learner = wrapped(bits=3, scale=scale)
    for slot, steps in learner._scales():
        rows = slot.latent.detach().double().reshape(len(steps), -1).numpy()
        step = steps.double().numpy()[:, None]
        seen = slot.projected.double().reshape(rows.shape).numpy() / step
        assert np.abs(seen - np.clip(np.round(rows / step), -3, 3)).max() < 1e-5
        levels = learner.motifs[slot.indices.long(), 0].numpy()
        assert np.array_equal(levels, np.round(seen).ravel())


def test_all_levels_are_in_use_at_the_start():
    for bits, rate in [(2, 0.0), (3, 0.0), (4, 0.0), (3, 1.0)]:
        weights = {"w": torch.randn(100, 100, generator=torch.Generator().manual_seed(0))}
        fitting = Fitting(weights, LearnedMosaic(bits=bits, rate=rate), 0)
        assert len(np.unique(fitting.slots[0].indices)) == 2**bits - 1


@given(st.lists(st.integers(0, 10_000), min_size=3, max_size=3), st.integers(0, 100_000))
def test_code_lengths_of_levels_are_those_of_a_code(sizes, zeros):
    used = np.array([zeros, *np.repeat(sizes, 2)])
    lengths = level_bits(used)
    assert lengths[0] == 0
    assert np.array_equal(lengths[1::2], lengths[2::2])
    assert 2.0 ** -lengths[1:].astype(float) @ np.ones(6) < 1 + 3 * 2.0**-9
    if min(sizes) > 1000:  # then near the entropy
        chances = np.repeat(sizes, 2) / (2 * sum(sizes))
        entropy = -(chances * np.log2(chances)).sum()
        assert chances @ lengths[1:] == pytest.approx(entropy, abs=0.01)


@pytest.mark.parametrize("scale", ["tensor", "channel"])
def test_the_slope_is_that_of_the_code_lengths_between_levels(scale):
    x, y = data()
    model, learner = wrapped(bits=3, rate=0.1, scale=scale)
    fit(model, 21, x, y)
    for slot, steps in learner._scales():
        found = Pull(slot, steps, 1.0, steps).pull.reshape(-1).double().numpy()
        step = steps.double().repeat_interleave(len(found) // len(steps)).numpy()
        lengths = slot.motif_bits.double().numpy()
        size = np.abs(slot.latent.detach().double().reshape(-1).numpy()) / step
        for i in range(len(found)):
            zero, other = slot.zero_bits[i].item(), slot.other_bits[i].item()
            points = [zero, *(other + lengths[1::2])]
            rise = np.interp([size[i] - 1e-4, size[i] + 1e-4], range(4), points)
            if abs(size[i] - round(size[i])) > 1e-3:  # at a level the slope changes
                expected = (rise[1] - rise[0]) / 2e-4 / step[i]
                sign = np.sign(slot.latent.detach().reshape(-1)[i].item())
                assert found[i] == pytest.approx(sign * expected, rel=1e-2, abs=1e-2)


@pytest.mark.parametrize(("scale", "rate"), [("tensor", 0.0), ("channel", 0.0), ("tensor", 2.0)])
def test_gradients_are_those_of_straight_through_rounding_and_of_the_bits(scale, rate):
    x, y = data()
    model, learner = wrapped(bits=2, rate=rate, scale=scale)
    fit(model, 25, x, y)
    learner.zero_grad()
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    price = learner.rate / 1000
    latents = [slot.latent.detach().clone().requires_grad_() for slot in learner.slots]
    logs = [steps.log().requires_grad_() for _, steps in learner._scales()]
    plain, bits = {}, 0.0
    for slot, latent, log in zip(learner.slots, latents, logs, strict=True):
        rows = latent.reshape(len(log), -1)
        scaled = rows / log.exp()[:, None]
        clamped = scaled.clamp(-1, 1)
        level = clamped + (clamped.round() - clamped).detach()
        plain[slot.name] = (level * log.exp()[:, None]).reshape(latent.shape)
        size = scaled.abs().reshape(-1)
        rising = slot.zero_bits + size * (slot.other_bits + slot.motif_bits[1] - slot.zero_bits)
        bits = bits + torch.where(size < 1, rising, slot.other_bits + slot.motif_bits[1]).sum()
    reference = MLP([12, 24, 4])
    expected = nn.functional.cross_entropy(torch.func.functional_call(reference, plain, (x,)), y)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    (expected + price * bits).backward()
    learner.step_gradients.zero_()
    loss.backward()
    for slot, latent in zip(learner.slots, latents, strict=True):
        assert torch.allclose(slot.latent.grad, latent.grad, rtol=1e-3, atol=1e-6)
    gathered = torch.cat([log.grad for log in logs])
    assert torch.allclose(learner.step_gradients, gathered, rtol=1e-3, atol=1e-6)


def test_freezing_keeps_what_the_forward_pass_saw(tmp_path):
    x, y = data()
    model, _ = wrapped(bits=3, rate=0.5)
    fit(model, 40, x, y)
    model.eval()
    with torch.no_grad():
        seen = model(x)
    copied = copy.deepcopy(model)
    freeze(copied)
    mosaic = freeze(model)
    assert torch.equal(model(x), seen)
    assert torch.equal(copied(x), seen)
    state = Mosaic.load(mosaic.save(tmp_path / "m.mosaic")).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor)
        assert not (tensor[tensor == 0].signbit()).any()
    parameter = model.layers[0].weight  # its gradients are its own again
    model.zero_grad()
    (0 * model(x)).sum().backward()
    assert not parameter.grad.any()


def test_a_price_makes_a_smaller_file():
    x, y = data(count=200)
    sizes = []
    for rate in (0.0, 3.0):
        model = MLP([12, 64, 4])
        wrap(model, LearnedMosaic(bits=4, rate=rate), steps=120)
        fit(model, 120, x, y)
        sizes.append(freeze(model).code_length())
    assert sizes[0] > 1.3 * sizes[1]


def test_a_resumed_run_has_the_same_bits():
    x, y = data()
    whole, learner = wrapped(rate=0.2)
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.1)

    def go_on(model, optimizer, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    go_on(whole, optimizer, 13)
    stored = copy.deepcopy(whole.state_dict())
    again, _ = wrapped(rate=0.2, seed=1)
    again.load_state_dict(stored)
    go_on(whole, optimizer, 20)
    go_on(again, torch.optim.SGD(again.parameters(), lr=0.1), 20)
    go_on(whole, optimizer, 7)
    go_on(again, torch.optim.SGD(again.parameters(), lr=0.1), 7)
    assert learner.step == 40
    for a, b in zip(freeze(whole).arrays().values(), freeze(again).arrays().values(), strict=True):
        assert same_bits(a, b)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 1}, "2 to 8 bits"),
        ({"bits": 9}, "2 to 8 bits"),
        ({"bits": 3, "motifs": 5}, "no motifs"),
        ({"bits": 3, "capacity": 0.1}, "no motifs"),
        ({"bits": 3, "block_size": 2}, "single weights"),
        ({"bits": 3, "sparsity": 0.5}, "no sparsity"),
        ({"bits": 3, "scale": "none"}, "tensor or channel"),
    ],
)
def test_what_a_grid_cannot_have_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LearnedMosaic(**settings)


def test_the_settings_of_a_grid_make_it_again():
    config = LearnedMosaic(bits=3, rate=0.5)
    assert LearnedMosaic(**config.settings()) == config
    assert LearnedMosaic(bits=3).price == 0


def test_a_finished_checkpoint_has_no_grid():
    weights = {"w": np.ones((30, 40), np.float32)}
    with pytest.raises(InputError, match="learns in training"):
        project_checkpoint(weights, LearnedMosaic(bits=4))


def test_the_file_of_a_run_decodes_to_the_weights_that_were_tested(tmp_path):
    config = TrainConfig(
        model="convnet", plan="c4s2 c8s2", epochs=3, batch_size=256, flip=True, shift=1,
        learning_rate=1e-2, mosaic=LearnedMosaic(bits=3, rate=0.5),
    )  # fmt: skip
    result = train(config, tmp_path)
    suffix, content = result.file
    path = tmp_path / f"weights{suffix}"
    assert path.read_bytes() == content
    assert result.metrics["file_bytes"] == len(content)
    read = {".kmo": another_kmo.read_weights, ".mosaic": another_mosaic.read_weights}[suffix]
    for name, (_, patterns) in read(content).items():
        assert np.array_equal(patterns, result.states["best"][name].numpy().view(np.uint32))


def test_the_shorter_file_counts():
    weights = {"w": torch.zeros(20, 20)}
    mosaic = Mosaic.from_model(weights, 1)
    suffix, content = shortest_file(weights, mosaic)
    assert len(content) == min(len(packed(weights)), len(mosaic.encode()))
    assert suffix in (".kmo", ".mosaic")
    config = dataclasses.replace(TrainConfig(epochs=1, hidden=4))
    assert train(config).file is None  # of dense floats
