"""Quantization-aware training, datasets and the trainer."""

from __future__ import annotations

import dataclasses
import gzip
import json
import struct

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kolmo.checkpoints import array_tensor
from kolmo.errors import InputError, KolmoError
from kolmo.quantize import Symmetric
from momos.config import LearnedMosaic, SampledMosaic
from momos.lab import loop, training
from momos.lab.config import TrainConfig
from momos.lab.datasets import load_dataset
from momos.lab.datasets.idx import read_idx
from momos.lab.models import MLP
from momos.lab.qat import fake_quantize, quantize_in_training, quantized_state_dict
from momos.lab.training import train
from momos.mosaic.mosaic import Mosaic
from momos.sampled.projection import MoMos


def metadata_of(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["momos"])


SHORT = TrainConfig(epochs=3, hidden=16)
MOSAIC = dataclasses.replace(SHORT, mosaic=SampledMosaic(capacity=0.2, unit="epoch"))

# --- fake quantization ------------------------------------------------------------------------


@given(st.integers(2, 8), st.integers(0, 99))
def test_fake_quantization_lies_on_the_levels(bits, seed):
    weight = torch.randn(40, generator=torch.Generator().manual_seed(seed))
    half = 2 ** (bits - 1) - 1
    scale = weight.abs().max() / half
    levels = torch.arange(-half, half + 1).float() * scale
    quantized = fake_quantize(weight, bits)
    assert torch.isin(quantized, levels).all()
    assert ((quantized - weight).abs() <= scale * 0.5001).all()
    assert quantized.abs().max() == levels.abs().max()
    assert not torch.signbit(quantized[quantized == 0]).any()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_measuring_quantizer_sees_the_levels_of_the_training_one(bits):
    weight = torch.randn(999, generator=torch.Generator().manual_seed(0))
    quantized = fake_quantize(weight, bits).numpy()
    fitted = Symmetric(bits).fit(array_tensor("w", quantized))
    again = fitted.decode(fitted.encode(quantized)).astype(np.float32)
    assert np.allclose(again, quantized, rtol=1e-6, atol=0)
    assert np.unique(quantized).size == np.unique(fitted.encode(quantized)).size


def test_the_gradient_passes_straight_through():
    weight = torch.tensor([0.1, -3.0, 0.26, 2.0], requires_grad=True)
    wanted = torch.tensor([1.0, 2.0, 3.0, 4.0])
    (fake_quantize(weight, 3) * wanted).sum().backward()
    assert torch.equal(weight.grad, wanted)


def test_zeros_empty_tensors_and_bad_bits():
    assert fake_quantize(torch.zeros(3), 4).tolist() == [0, 0, 0]
    assert fake_quantize(torch.zeros(0), 4).shape == (0,)
    for bits in (1, 17):
        with pytest.raises(InputError, match="2 to 16"):
            fake_quantize(torch.ones(2), bits)


def test_norm_layers_stay_and_names_are_plain():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.LayerNorm(3), nn.Conv1d(1, 2, 3))
    names = list(model.state_dict())
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.9, 0.31, 0.2]))
    quantize_in_training(model, 2)
    state = quantized_state_dict(model)
    assert sorted(state) == sorted(names)
    assert torch.equal(state["1.weight"], torch.tensor([0.9, 0.31, 0.2]))
    for name in ("0.weight", "0.bias", "3.weight", "3.bias"):
        assert state[name].unique().numel() <= 3
    assert torch.equal(state["0.weight"], model[0].weight)


def test_a_projection_acts_on_latent_weights():
    model = MLP([8, 8, 4])
    quantize_in_training(model, 4)
    projector = MoMos(model, SampledMosaic(motifs=5))
    projector.project()
    latent = model.layers[0].parametrizations.weight.original
    assert torch.unique(latent.detach().reshape(-1, 4), dim=0).shape[0] <= 5
    assert "layers.0.weight" in projector.mosaic().names


# --- datasets ---------------------------------------------------------------------------------


def test_digits_parts_are_disjoint_and_always_the_same():
    digits = load_dataset("digits")
    parts = [digits.train, digits.validation, digits.test]
    assert [len(part) for part in parts] == [1257, 180, 360]
    rows = np.concatenate([part.images for part in parts])
    assert np.unique(rows, axis=0).shape[0] == 1797  # every image is there, in one part
    assert all(np.unique(part.labels).size == 10 for part in parts)
    again = load_dataset("digits")
    assert np.array_equal(again.test.images, digits.test.images)
    assert digits.train.images.mean() == pytest.approx(0, abs=1e-5)
    assert digits.train.images.std() == pytest.approx(1, abs=1e-5)


def idx(shape, data, magic=b"\0\0\x08"):
    header = magic + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + bytes(data)


def fake_mnist(folder, train=120, test=30):
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        images = random.integers(0, 256, (count, 4, 4)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        packed = gzip.compress(idx(images.shape, images.tobytes()))
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(packed)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels.shape, labels.tobytes()))
    return folder


def test_mnist_is_read_and_validation_is_held_out_of_training(tmp_path):
    data = load_dataset("mnist", fake_mnist(tmp_path))
    assert (len(data.train), len(data.validation), len(data.test)) == (110, 10, 30)
    seen = {image.tobytes() for image in data.train.images}
    assert not seen & {image.tobytes() for image in data.validation.images}
    assert not seen & {image.tobytes() for image in data.test.images}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"\0\0\x0d\x01", "not an idx file"),
        (idx((2,), [1, 2], magic=b"PK\x08"), "not an idx file"),
        (b"\0\0\x08\x03\0\0", "within its header"),
        (idx((2, 3), [0] * 5), "claims 6 bytes, the file holds 5"),
        (idx((2, 3), [0] * 7), "holds more"),
        (idx((2**31, 2**31), []), "over the limit"),
        (gzip.compress(idx((9,), [0] * 9), mtime=0)[:-12], "damaged or truncated gzip"),
        (gzip.compress(idx((9,), [0] * 10), mtime=0), "holds more"),
        (b"\x1f\x8b" + b"x" * 30, "damaged or truncated gzip"),
    ],
)
def test_idx_files_that_lie(tmp_path, content, message):
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_idx(path)


def test_missing_data_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="--folder"):
        load_dataset("mnist")
    with pytest.raises(InputError, match="no train-images-idx3-ubyte"):
        load_dataset("fashion-mnist", tmp_path)
    with pytest.raises(InputError, match="unknown dataset 'digit'; did you mean digits"):
        load_dataset("digit")
    fake_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx((3,), [1, 2, 3]))
    with pytest.raises(InputError, match="do not belong together"):
        load_dataset("mnist", tmp_path)


# --- training ---------------------------------------------------------------------------------


def same_states(a, b):
    return all(torch.equal(a[name][key], b[name][key]) for name in a for key in a[name]) and list(
        a
    ) == list(b)


@pytest.mark.parametrize("config", [SHORT, MOSAIC, dataclasses.replace(SHORT, bits=4)])
def test_the_same_seed_gives_the_same_bits_whatever_the_threads(tmp_path, config):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = train(config, tmp_path / "a")
        torch.set_num_threads(2)
        torch.manual_seed(99)
        second = train(config, tmp_path / "b")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert same_states(first.states, second.states)
    for name, path in first.checkpoints.items():
        assert path.read_bytes() == second.checkpoints[name].read_bytes()
    other = train(dataclasses.replace(config, seed=1))
    assert not same_states(first.states, other.states)


def test_global_state_is_as_before():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(dataclasses.replace(MOSAIC, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_training_learns():
    result = train(TrainConfig(epochs=8, hidden=64, learning_rate=3e-3))
    assert result.metrics["best_test_accuracy"] > 0.9
    assert result.metrics["init_test_accuracy"] < 0.35
    losses = [entry["loss"] for entry in result.history]
    assert losses[-1] < losses[0] / 4


def test_arms_of_one_seed_share_their_initial_weights_and_images():
    assert same_states({"": train(SHORT).states["init"]}, {"": train(MOSAIC).states["init"]})


def test_the_test_images_never_steer_the_training(monkeypatch):
    honest = train(SHORT)

    def poisoned(name, folder=None):
        data = load_dataset(name, folder)
        wrong = dataclasses.replace(data.test, labels=(data.test.labels + 1) % 10)
        return dataclasses.replace(data, test=wrong)

    monkeypatch.setattr(training, "load_dataset", poisoned)
    misled = train(SHORT)
    assert same_states(honest.states, misled.states)
    assert honest.history == misled.history
    assert honest.metrics["best_test_accuracy"] != misled.metrics["best_test_accuracy"]


def test_the_best_epoch_is_that_of_the_validation_part():
    result = train(dataclasses.replace(SHORT, epochs=6))
    accuracies = [entry["validation_accuracy"] for entry in result.history]
    best = max(e for e, a in enumerate(accuracies, 1) if a == max(accuracies))
    assert result.metrics["best_epoch"] == best


@pytest.mark.parametrize(
    ("every", "unit", "projected"),
    [
        (1, "epoch", [1, 2, 3, 4, 5]),
        (2, "epoch", [2, 4, 5]),
        (20, "step", [2, 4, 5]),
        (1, "step", [1, 2, 3, 4, 5]),
    ],
)
def test_projections_come_when_asked_and_after_the_last_step(every, unit, projected):
    projection = dataclasses.replace(MOSAIC.mosaic, every=every, unit=unit)
    result = train(dataclasses.replace(MOSAIC, epochs=5, mosaic=projection))
    assert [e["epoch"] for e in result.history if e["projected"]] == projected
    assert result.metrics["best_epoch"] in projected
    for name in ("best", "last"):
        found = Mosaic.from_model(result.states[name])
        assert len(found.motifs) <= result.metrics["motifs"]


def test_checkpoints_say_what_they_are(tmp_path):
    result = train(dataclasses.replace(MOSAIC, epochs=2), tmp_path / "run")
    assert sorted({*result.checkpoints} - {"packed"}) == ["best", "init", "last", "mosaic"]
    best = metadata_of(result.checkpoints["best"])
    assert best["projected"] is True
    assert best["epoch"] == result.metrics["best_epoch"]
    assert best["config"]["mosaic"]["capacity"] == 0.2
    assert metadata_of(result.checkpoints["init"])["projected"] is False
    stored = safetensors.torch.load_file(result.checkpoints["best"])
    expanded = Mosaic.load(result.checkpoints["mosaic"]).state_dict()
    for name, tensor in result.states["best"].items():
        assert torch.equal(stored[name], tensor)
        assert torch.equal(expanded[name], tensor)


def test_what_is_saved_of_quantization_aware_training_is_quantized(tmp_path):
    result = train(dataclasses.replace(SHORT, bits=3), tmp_path)
    for tensor in safetensors.torch.load_file(result.checkpoints["best"]).values():
        assert tensor.unique().numel() <= 7
    assert metadata_of(result.checkpoints["last"])["quantized_bits"] == 3
    assert result.metrics["nominal_bits_per_weight"] == 3


def test_progress_is_told_after_each_epoch():
    told = []
    train(SHORT, progress=lambda done, total, label: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"hidden": 0},
        {"layers": 0},
        {"batch_size": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"bits": 1},
        {"data": "cifar"},
        {"seed": -1},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(InputError):
        TrainConfig(**options)


def test_divergence_is_an_error():
    with pytest.raises(KolmoError, match="diverged"):
        train(dataclasses.replace(SHORT, learning_rate=1e30, epochs=5))


# --- learned mosaics, and going on ------------------------------------------------------------

RESUMABLE = {
    "dense": {"average": 0.9, "shift": 1},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.05},
    "sampled": {"mosaic": SampledMosaic(motifs=9, unit="epoch")},
    "quantized": {"bits": 4},
    "learned": {"mosaic": LearnedMosaic(rate=1.0, every=3)},
    "grid": {"average": 0.9, "mosaic": LearnedMosaic(bits=4, rate=0.1), "flip": True},
}


@pytest.mark.parametrize("options", RESUMABLE.values(), ids=RESUMABLE)
def test_a_run_killed_and_resumed_gives_the_same_bits(tmp_path, options):
    config = TrainConfig(epochs=4, hidden=16, layers=3, **options)
    whole = train(config, tmp_path / "whole")

    def stop(epoch, epochs, label):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", progress=stop)
    assert (tmp_path / "cut" / "resume.pt").exists()
    other = dataclasses.replace(config, seed=1)
    with pytest.raises(InputError, match="another configuration"):
        train(other, tmp_path / "cut", resume=True)
    seen = []
    resumed = train(
        config, tmp_path / "cut", resume=True, progress=lambda epoch, *_: seen.append(epoch)
    )
    assert seen == [3, 4]
    for name, path in whole.checkpoints.items():
        assert resumed.checkpoints[name].read_bytes() == path.read_bytes()
    assert not (tmp_path / "cut" / "resume.pt").exists()
    same = [{k: v for k, v in e.items() if k != "seconds"} for e in resumed.history]
    assert same == [{k: v for k, v in e.items() if k != "seconds"} for e in whole.history]


EARLIER = {  # a mosaic as runs described it when both kinds were one class
    "assignment": "entropy", "block_size": 1, "capacity": None, "every": 20, "exclude": [],
    "include": ["*.weight"], "motifs": 5, "policy": "all", "precision": "float16", "ramp": 0.5,
    "rate": 6.0, "scale": "tensor", "selection": "learned", "sparsity": None, "unit": "step",
    "zero_motif": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("mosaic", "earlier"),
    [
        (None, None),
        (LearnedMosaic(include=("*.weight",)), EARLIER),
        (
            SampledMosaic(selection="kmeans", motifs=9, every=2, unit="epoch"),
            EARLIER
            | {"assignment": "nearest", "block_size": 4, "every": 2, "include": [], "motifs": 9}
            | {"rate": 0.0, "scale": "none", "selection": "kmeans", "unit": "epoch"},
        ),
    ],
    ids=["dense", "learned", "kmeans"],
)
def test_a_run_that_an_earlier_version_began_goes_on(tmp_path, mosaic, earlier):
    config = TrainConfig(epochs=2, hidden=8, layers=2, mosaic=mosaic)

    def stop(epoch, epochs, label):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, progress=stop)
    stored = torch.load(tmp_path / "resume.pt", weights_only=True)
    described = json.loads(stored["config"])
    del described["mosaic"]
    stored["config"] = json.dumps(described | {"projection": earlier}, sort_keys=True)
    torch.save(stored, tmp_path / "resume.pt")
    seen = []
    train(config, tmp_path, resume=True, progress=lambda epoch, *_: seen.append(epoch))
    assert seen == [2]


def test_a_damaged_resume_file_is_named(tmp_path):
    (tmp_path / "resume.pt").write_bytes(b"\x80\x04x")
    with pytest.raises(InputError, match=r"resume\.pt: damaged"):
        train(TrainConfig(epochs=1, hidden=8), tmp_path, resume=True)
    with pytest.raises(InputError, match="name the folder"):
        train(TrainConfig(epochs=1, hidden=8), resume=True)


def test_a_learned_mosaic_is_what_is_saved_and_tested(tmp_path):
    learn = LearnedMosaic(rate=0.3)
    config = TrainConfig(epochs=12, hidden=64, learning_rate=2e-3, mosaic=learn)
    result = train(config, tmp_path)
    mosaic = Mosaic.load(result.checkpoints["mosaic"])
    for name, tensor in mosaic.state_dict().items():
        assert torch.equal(tensor, result.states["best"][name])
        assert torch.equal(tensor, result.states["last"][name])
    content = result.checkpoints["mosaic"].stat().st_size
    assert result.metrics["file_bits"] == 8 * content
    assert result.metrics["file_bytes"] <= content
    assert result.metrics["file_rac"] > result.metrics["rac"] > 5
    assert result.metrics["best_test_accuracy"] > 0.8
    assert result.metrics["best_epoch"] == 12
    assert result.metrics["notes"] == ""


def test_a_network_that_fell_silent_is_said():
    state = {"a": torch.zeros(3, 2), "bias": torch.zeros(3), "b": torch.eye(2)}
    (note,) = loop._zero_matrices(state)
    assert "'a' is all zero" in note
