"""The bundled models: sizes, seeds, and training each of them as every kind of arm."""

from __future__ import annotations

import dataclasses
import json
import tomllib

import numpy as np
import pandas as pd
import pytest
import torch

from kolmo.errors import InputError
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab import training
from momos.lab.config import TrainConfig
from momos.lab.models import ViT, build_model
from momos.lab.settings import train_config
from momos.lab.training import train
from momos.mosaic.mosaic import Mosaic

IMAGES = ("cnn", "resnet20", "vit-tiny")


@pytest.mark.parametrize("name", ["mlp", *IMAGES])
def test_weights_are_of_the_seed_and_the_global_generator_stays(name):
    before = torch.random.get_rng_state()
    first, same, other = (build_model(name, (1, 8, 8), 10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    pairs = zip(first.parameters(), same.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)
    assert first.eval()(torch.zeros(3, 64)).shape == (3, 10)


def test_sizes_are_the_published_ones():
    # He et al. (CVPR 2016), table 6: 0.27 million; Touvron et al. (ICML 2021): 5.5 million blocks.
    residual = sum(p.numel() for p in build_model("resnet20", (3, 32, 32), 10).parameters())
    assert residual == 269_722
    blocks = sum(p.numel() for p in ViT((3, 32, 32), 10).blocks.parameters())
    assert blocks == 12 * 444_864


def test_attention_mixes_all_patches():
    model = ViT((1, 8, 8), 4, width=24, depth=2, heads=3).eval()
    image = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    image.requires_grad_()
    model(image).sum().backward()
    assert (image.grad != 0).all()


def test_models_of_images_refuse_signals_and_unknown_names():
    with pytest.raises(InputError, match="'cnn' is for images"):
        train(TrainConfig(data="mnist1d", model="cnn"))
    with pytest.raises(InputError, match="resnet20"):
        build_model("resnet", (1, 8, 8), 10)
    with pytest.raises(InputError, match="resnet20"):
        TrainConfig(model="resnet")


@pytest.fixture
def few_images(monkeypatch):
    """The digits, but 64 to train on: the models of images are slow."""
    whole = training.load_dataset("digits")
    few = dataclasses.replace(
        whole,
        **{name: getattr(whole, name)[np.arange(64)] for name in ("train", "validation", "test")},
    )
    monkeypatch.setattr(training, "load_dataset", lambda *arguments: few)


@pytest.mark.parametrize("model", ["cnn", "resnet20"])
@pytest.mark.parametrize(
    ("bits", "projection"),
    [
        (None, None),
        (4, None),
        (4, SampledMosaic(motifs=40)),
        (None, LearnedMosaic(rate=0.1)),
    ],
)
def test_every_model_trains_as_every_arm(tmp_path, few_images, model, bits, projection):
    config = TrainConfig(model=model, epochs=2, batch_size=32, bits=bits, mosaic=projection)
    result = train(config, tmp_path)
    best = build_model(model, (1, 8, 8), 10)
    best.load_state_dict(result.states["best"])  # strictly: names, shapes and buffers
    assert result.metrics["weights"] == sum(p.numel() for p in best.parameters())
    if config.is_learned:
        plain = build_model(model, (1, 8, 8), 10)
        plain.load_state_dict(Mosaic.load(tmp_path / "weights.mosaic").state_dict(), strict=False)
        pairs = zip(plain.parameters(), best.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.slow
def test_a_vision_transformer_learns_the_digits():
    config = TrainConfig(model="vit-tiny", epochs=8, batch_size=64)
    assert train(config).metrics["best_test_accuracy"] > 0.6


def test_a_resumed_residual_network_is_the_uninterrupted_one(tmp_path, few_images):
    config = TrainConfig(
        model="resnet20", epochs=3, batch_size=32, optimizer="sgd", schedule="cosine-epochs"
    )

    class StoppedError(Exception):
        pass

    def stop(epoch, epochs, label):
        if epoch == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(config, tmp_path / "a", progress=stop)
    resumed, whole = train(config, tmp_path / "a", resume=True), train(config)
    assert resumed.states["last"].keys() == whole.states["last"].keys()
    for name, tensor in whole.states["last"].items():
        assert torch.equal(resumed.states["last"][name], tensor), name


def test_patience_stops_when_validation_rises_no_more(tmp_path):
    config = TrainConfig(epochs=60, layers=2, hidden=32, patience=3, learning_rate=1e-2)
    result = train(config, tmp_path)
    accuracies = [entry["validation_accuracy"] for entry in result.history]
    stopped = len(accuracies)
    assert stopped < 60
    assert result.metrics["epochs"] == stopped
    assert max(accuracies[-3:]) <= max(accuracies[:-3])
    for earlier in range(4, stopped):
        assert max(accuracies[earlier - 3 : earlier]) > max(accuracies[: earlier - 3])
    with pytest.raises(InputError, match="patience"):
        TrainConfig(patience=0)
    with pytest.raises(InputError, match="patience"):
        TrainConfig(patience=3, mosaic=LearnedMosaic())


@pytest.mark.parametrize("schedule", ["cosine", "cosine-epochs", "constant"])
def test_schedules_are_what_their_names_say(monkeypatch, schedule):
    rates = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW,
        "step",
        lambda self: (rates.append(self.param_groups[0]["lr"]), step(self))[1],
    )
    train(TrainConfig(epochs=4, layers=2, hidden=4, learning_rate=0.1, schedule=schedule))
    steps = len(rates) // 4
    place = np.arange(4 * steps) / steps
    place = {"cosine": place, "cosine-epochs": np.floor(place), "constant": 0 * place}[schedule]
    assert rates == pytest.approx(0.05 * (1 + np.cos(np.pi * place / 4)))


def test_a_run_leaves_its_settings_history_and_figures(tmp_path):
    config = TrainConfig(
        epochs=2,
        layers=2,
        hidden=8,
        mosaic=SampledMosaic(motifs=9, every=2, unit="epoch"),
    )
    result = train(config, tmp_path)
    written = tomllib.loads((tmp_path / "config.toml").read_text())
    assert written["mosaic"]["motifs"] == 9
    assert train_config(tmp_path / "config.toml", {}) == config
    history = pd.read_parquet(tmp_path / "history.parquet")
    assert history["epoch"].tolist() == [1, 2]
    assert history["projected"].tolist() == [False, True]
    assert json.loads((tmp_path / "metrics.json").read_text()) == result.metrics
