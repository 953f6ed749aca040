"""Networks of planned layers, and images moved and mirrored: against definitions in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kolmo.errors import InputError
from momos.lab.augmentation import Augmentation
from momos.lab.config import TrainConfig
from momos.lab.convnets import ConvNet
from momos.lab.models import MLP
from momos.lab.settings import train_config
from tests.plainnets import logits


@pytest.mark.parametrize(
    ("plan", "weights"),
    [
        ("c8s2 c16s2 c32s2", 11_018),
        ("c8m c16m c32m", 8_778),
        ("c16s2 d c24k1 ds2 c32k1 a", 144 + 16 + 144 + 384 + 24 + 216 + 768 + 32 + 330),
        ("c8 c16g4s2 a", 72 + 8 + 16 * 2 * 9 + 16 + 170),
        ("c4k5s4m", 100 + 4 + 370 - 0),
    ],
)
def test_a_plan_has_the_weights_that_it_says(plan, weights):
    model = ConvNet((1, 28, 28), 10, plan)
    assert model(torch.randn(3, 784)).shape == (3, 10)
    assert sum(p.numel() for p in model.parameters()) == weights


def test_the_layers_are_what_their_names_say():
    model = ConvNet((2, 6, 6), 3, "c4m d a")
    x = torch.randn(5, 72, generator=torch.Generator().manual_seed(0))
    first, depth = (c.weight.detach() for c in model.convolutions)
    y = torch.conv2d(x.reshape(5, 2, 6, 6), first, padding=1)
    y = y.reshape(5, 4, 3, 2, 3, 2).amax(dim=(3, 5))
    y = y / (y.square().mean(dim=(1, 2, 3), keepdim=True) + 1e-5).sqrt()
    y = (y + model.convolutions[0].bias[:, None, None]).relu()
    y = torch.conv2d(y, depth, padding=1, groups=4).mean(dim=(2, 3))
    assert torch.allclose(model(x), model.head(y), atol=1e-5)


def test_the_size_of_a_kernel_does_not_matter():
    model = ConvNet((1, 8, 8), 10, "c4 c8s2")
    x = torch.randn(4, 64)
    before = model(x)
    with torch.no_grad():
        model.convolutions[1].weight *= 8
    assert torch.allclose(model(x), before, atol=1e-3)


@pytest.mark.parametrize(
    "plan", ["", "x8", "c", "c0", "d8", "c8 a c8", "c8k0", "c8s0", "c8g3", "dg2", "c8m c8m c8m c8m"]
)
def test_plans_that_cannot_be(plan):
    with pytest.raises(InputError):
        ConvNet((1, 8, 8), 10, plan)


def test_images_are_moved_and_mirrored_as_numpy_does():
    random = np.random.default_rng(0)
    images = random.normal(size=(200, 2, 5, 4)).astype(np.float32)
    moved = Augmentation((2, 5, 4), shift=1, flip=True, seed=3)(
        torch.from_numpy(images.reshape(200, -1))
    )
    found = moved.numpy().reshape(images.shape)
    wide = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    kinds = set()
    for image, padded in zip(found, wide, strict=True):
        places = [
            (down, right, mirrored)
            for down in range(3)
            for right in range(3)
            for mirrored in (False, True)
            if np.array_equal(
                image,
                (padded[:, :, ::-1] if mirrored else padded)[:, down : down + 5, right : right + 4],
            )
        ]
        assert len(places) == 1
        kinds.update(places)
    assert len(kinds) == 18


def test_without_a_shift_and_a_flip_nothing_is_drawn_or_copied():
    images = torch.randn(3, 4)
    still = Augmentation((4,), shift=0, flip=False, seed=0)
    before = still.random_state
    assert still(images) is images
    assert still.random_state == before


def test_signals_are_not_moved():
    with pytest.raises(InputError, match="only images"):
        Augmentation((40,), shift=1, flip=False, seed=0)
    with pytest.raises(InputError, match="not negative"):
        TrainConfig(shift=-1)


def test_bits_beside_a_rate_are_those_of_the_grid():
    config = train_config(None, {"bits": 4, "rate": 0.03})
    assert config.bits is None
    assert config.mosaic.bits == 4
    assert train_config(None, {"bits": 4}).bits == 4


@pytest.mark.parametrize("plan", ["c4m c8s2", "c4s2 d c6k1 ds2k5 c8g2 a", "c3k5s2"])
def test_numpy_computes_the_same(plan):
    model = ConvNet((1, 12, 12), 10, plan)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1
        x = torch.randn(6, 144)
        expected = model(x).numpy()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert np.allclose(logits(weights, x.numpy(), plan), expected, atol=1e-3)


def test_numpy_computes_the_same_of_a_perceptron():
    model = MLP([20, 8, 6, 3])
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    x = torch.randn(5, 20)
    with torch.no_grad():
        assert np.allclose(logits(weights, x.numpy(), None), model(x).numpy(), atol=1e-5)
