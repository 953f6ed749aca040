"""Noise bits and the local learning coefficient, against what can be computed by hand."""

import json
import math

import numpy as np
import pytest

import kolmo
from kolmo.errors import InputError


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


# --- noise bits -------------------------------------------------------------------------------

WEIGHTS = {"a": normal(60, 50), "b": 7 * normal(200, seed=1), "steps": np.array(3)}


def relative_error(network):
    """The mean over tensors of the relative squared error: that of noise of c is c²."""
    errors = [
        np.square(network[n].astype(float) - WEIGHTS[n]).mean() / np.square(WEIGHTS[n]).mean()
        for n in ("a", "b")
    ]
    return 1 + float(np.mean(errors))


def test_scale_and_bits_are_those_of_the_formula():
    found = kolmo.noise_bits(WEIGHTS, relative_error, tolerance=0.04, draws=16)
    assert found.numel == 3200
    assert found.scale == pytest.approx(0.2, rel=0.04)
    assert found.bits == pytest.approx(3200 * 0.5 * math.log2(1 + found.scale**-2))
    assert found.value <= found.limit == 1.04
    assert found.original == 1
    assert json.loads(json.dumps(found.to_dict()))["kind"] == "estimate"
    assert "(estimate)" in str(found)


def test_less_tolerance_takes_more_bits_and_the_seed_fixes_them():
    bits = [kolmo.noise_bits(WEIGHTS, relative_error, tolerance=t).bits for t in (0.3, 0.03, 0.003)]
    assert bits == sorted(bits)
    again = kolmo.noise_bits(WEIGHTS, relative_error, tolerance=0.3)
    other = kolmo.noise_bits(WEIGHTS, relative_error, tolerance=0.3, seed=1)
    assert again.bits == bits[0]
    assert again.value != other.value


def test_a_function_that_computes_nothing_bears_all_noise():
    found = kolmo.noise_bits(WEIGHTS, lambda _: 2.3, draws=1)
    assert found.scale == 256
    assert found.bits < 1
    assert found.to_dict()["standard_error"] is None


def test_tied_weights_get_the_same_noise():
    torch = pytest.importorskip("torch")

    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(12, 10)
            self.head = torch.nn.Linear(10, 12, bias=False)
            self.head.weight = self.embed.weight

    model = Tied()
    before = model.embed.weight.detach().clone()

    def wrong(made):
        return float((made.head.weight.detach() - before).square().mean())

    found = kolmo.noise_bits(model, wrong, tolerance=0.25)
    assert found.numel == 120
    assert found.scale == pytest.approx(0.5 / float(before.square().mean().sqrt()), rel=0.15)


def test_what_noise_cannot_do_is_refused():
    values = iter(range(1000))
    with pytest.raises(InputError, match="no noise is borne"):
        kolmo.noise_bits(WEIGHTS, lambda _: next(values))
    with pytest.raises(InputError, match="no floating-point weights"):
        kolmo.noise_bits({"w": np.zeros(4, np.float32)}, lambda _: 1.0)
    with pytest.raises(InputError, match="draws"):
        kolmo.noise_bits(WEIGHTS, lambda _: 1.0, draws=0)


# --- the local learning coefficient -----------------------------------------------------------


def quadratic(model, batch):
    return 0.5 * (model.weight**2).sum()


def at_zero(inputs):
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(inputs, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    return model


def test_of_a_regular_model_it_is_half_the_parameters():
    """Langevin steps of ε about the minimum of a quadratic have a variance of 1 / (a (1 − εa/4)),
    with a = nβ + γ, and each of d parameters adds nβ/2 times it."""
    inputs, examples, step, pull = 60, 1000, 2e-3, 20.0
    settings = {"examples": examples, "step_size": step, "localization": pull, "steps": 400}
    found = kolmo.learning_coefficient(at_zero(inputs), quadratic, [None], **settings)
    strength = examples / math.log(examples)
    whole = strength + pull
    expected = inputs / 2 * strength / (whole * (1 - step * whole / 4))
    assert found.value == pytest.approx(expected, rel=0.1)
    assert abs(found.value - expected) < 4 * found.standard_error
    assert found.bits == found.value * math.log2(examples)
    assert "(estimate" in str(found)


def test_of_a_singular_model_it_is_less():
    """Where the loss depends on half the weights, it is half as large; and the seed fixes it."""
    settings = {"examples": 1000, "step_size": 2e-3, "localization": 20.0, "steps": 300}

    def half(model, batch):
        return 0.5 * (model.weight[0, :30] ** 2).sum()

    model = at_zero(60)
    whole = kolmo.learning_coefficient(model, quadratic, [None], **settings)
    found = kolmo.learning_coefficient(model, half, [None], **settings)
    assert found.value == pytest.approx(whole.value / 2, rel=0.15)
    assert kolmo.learning_coefficient(model, half, [None], **settings) == found
    assert not model.weight.any()  # which is left as it is


def test_chains_that_diverge_and_options_that_do_not_fit_are_named():
    with pytest.raises(InputError, match="lower step_size"):
        kolmo.learning_coefficient(at_zero(3), quadratic, [None], examples=1000, step_size=10.0)
    with pytest.raises(InputError, match="needs a batch"):
        kolmo.learning_coefficient(at_zero(3), quadratic, [], examples=1000)
    with pytest.raises(InputError, match="step_size"):
        kolmo.learning_coefficient(at_zero(3), quadratic, [None], examples=1000, step_size=0)
