"""The exponential moving average of weights: what it is, and that training does not see it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from kolmo.errors import InputError
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab import loop
from momos.lab.averaging import Average
from momos.lab.config import TrainConfig
from momos.lab.training import train
from momos.mosaic.mosaic import Mosaic

SHORT = TrainConfig(epochs=2, hidden=12, layers=3, learning_rate=3e-3, average=0.8)
GRID = dataclasses.replace(SHORT, mosaic=LearnedMosaic(bits=4, rate=0.1))


def averaged(values, decay):
    """By its definition, in float64: the mean until 1 / (1 − decay) steps, then exponential."""
    mean = np.zeros_like(values[0], dtype=np.float64)
    for number, value in enumerate(values, 1):
        share = max(1 - decay, 1 / number)
        mean = (1 - share) * mean + share * value.astype(np.float64)
    return mean


def test_until_its_memory_is_full_it_is_the_mean_and_then_old_steps_fade():
    weight = torch.zeros(1)
    average = Average([weight], decay=0.75)
    found = []
    for value in (4.0, 8.0, 0.0, 4.0, 8.0):
        weight.fill_(value)
        average.follow()
        with average.in_place():
            found.append(weight.item())
    assert found == pytest.approx([4, 6, 4, 4, 0.75 * 4 + 0.25 * 8])


@given(st.integers(0, 99), st.floats(0, 0.999), st.integers(1, 30))
def test_it_lies_within_what_it_averages_and_leaves_it_as_it_was(seed, decay, steps):
    values = np.random.default_rng(seed).normal(size=(steps, 5)).astype(np.float32)
    weight = torch.zeros(5)
    average = Average([weight], decay)
    for value in values:
        weight.copy_(torch.from_numpy(value))
        average.follow()
    with average.in_place():
        assert np.allclose(weight.numpy(), averaged(values, decay), atol=1e-5)
    assert np.array_equal(weight.numpy(), values[-1])


def test_what_is_saved_is_the_average_of_the_weights_after_each_step(tmp_path):
    plain = dataclasses.replace(SHORT, average=0.0)
    train(plain, tmp_path / "plain", save_every=1, save_unit="step")
    paths = sorted((tmp_path / "plain" / "steps").iterdir())[1:]  # but for the initialization
    steps = [safetensors.torch.load_file(path) for path in paths]
    for name, found in train(SHORT).states["last"].items():
        expected = averaged([step[name].numpy() for step in steps], SHORT.average)
        assert np.allclose(found.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"bits": 3}, {"mosaic": GRID.mosaic}, {"mosaic": LearnedMosaic(rate=1.0)}]
)
def test_training_goes_on_as_without_it(options):
    config = dataclasses.replace(SHORT, epochs=1, **options)
    with_average, without = train(config), train(dataclasses.replace(config, average=0.0))
    losses = [[entry["loss"] for entry in run.history] for run in (with_average, without)]
    assert losses[0] == losses[1]
    saved = [torch.cat([t.ravel() for t in run.states["last"].values()]) for run in (
        with_average, without)]  # fmt: skip
    assert not torch.equal(*saved)
    if config.bits:
        assert all(t.unique().numel() <= 7 for t in with_average.states["best"].values())


def test_of_a_grid_levels_and_steps_are_saved_and_not_a_mean_of_levels(tmp_path):
    result = train(dataclasses.replace(GRID, epochs=1), tmp_path)
    mosaic = Mosaic.load(result.checkpoints["mosaic"])
    for name, tensor in result.states["best"].items():
        levels = np.rint(tensor.numpy() / mosaic.scales[name])
        assert np.array_equal(levels * mosaic.scales[name], tensor.numpy())
        assert np.abs(levels).max() <= 7
        assert torch.equal(mosaic.state_dict()[name], tensor)


def test_what_norms_counted_is_averaged_too():
    model = torch.nn.BatchNorm1d(2, momentum=1.0)
    average = loop._average(model, None, SHORT)
    for size in (1.0, 3.0):
        model(size * torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        average.follow()
    with average.in_place():
        assert model.running_mean.tolist() == [4.0, 6.0]
    assert model.running_mean.tolist() == [6.0, 9.0]
    assert model.num_batches_tracked == 2


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decays_out_of_range_are_refused(decay):
    with pytest.raises(InputError, match=r"in \[0, 1\)"):
        TrainConfig(average=decay)


def test_a_sampled_mosaic_has_no_average():
    with pytest.raises(InputError, match="sampled mosaics"):
        TrainConfig(average=0.9, mosaic=SampledMosaic(motifs=9))


def test_a_run_begun_before_there_were_averages_goes_on(tmp_path):
    config = dataclasses.replace(GRID, average=0.0)

    def stop(epoch, epochs, label):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, progress=stop)
    stored = torch.load(tmp_path / "resume.pt", weights_only=True)
    described = json.loads(stored["config"])
    del described["average"], stored["average"]
    torch.save(stored | {"config": json.dumps(described, sort_keys=True)}, tmp_path / "resume.pt")
    seen = []
    train(config, tmp_path, resume=True, progress=lambda epoch, *_: seen.append(epoch))
    assert seen == [2]
