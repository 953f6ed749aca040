"""The sample that the test of structure looks at, and when its draws are enough."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kolmo
from kolmo.pvalues import ALPHA
from kolmo.structure.sample import WINDOWS, draw_sample
from kolmo.structure.sequential import EXCEEDING, MOST, settled


def numbered(shapes):
    """Tensors whose weights tell where they lie: from 0 on, and a fraction of each tensor's own."""
    return {
        name: (np.arange(np.prod(shape)) + number / 1000).reshape(shape)
        for number, (name, shape) in enumerate(shapes.items())
    }


# --- the sequential test ----------------------------------------------------------------------


@given(st.integers(0, 10**6))
def test_p_is_what_all_draws_would_say_or_larger(seed):
    """Whoever stops early claims no more than who goes on to the end."""
    draws = np.random.default_rng(seed).normal(size=MOST)
    whole = (1 + np.sum(draws <= -1.0)) / (MOST + 1)
    found = settled(-1.0, draws.tolist())
    assert found is not None
    assert found.draws <= MOST
    if np.sum(draws <= -1.0) < EXCEEDING:
        assert (found.p, found.draws) == (pytest.approx(min(1.0, 2 * whole)), MOST)
    else:
        assert np.sum(draws[: found.draws] <= -1.0) == EXCEEDING
        assert found.p > 2 * ALPHA


def test_false_alarms_are_as_many_as_the_level_and_no_more():
    draw = np.random.default_rng(1)
    figures = draw.normal(size=(20_000, MOST + 1))
    p = np.array([settled(row[0], row[1:].tolist()).p for row in figures])
    for alpha in (0.05, 0.1, 0.25, 0.5):
        share = np.mean(p <= alpha)
        assert share <= alpha / 2 + 4 * np.sqrt(alpha / p.size)  # one of two sides
    assert np.mean(p <= ALPHA) > 0.015  # 1 of 40 figures is the least


def test_ties_are_no_evidence():
    found = settled(7.0, [7.0] * MOST)
    assert (found.p, found.draws) == (1.0, EXCEEDING)


# --- the sample -------------------------------------------------------------------------------


def test_a_small_checkpoint_is_looked_at_whole():
    weights = numbered({"a": (30, 7), "b": (5,), "empty": (0, 3)})
    sample = draw_sample(kolmo.open_checkpoint(weights), 1000)
    assert [piece.tensor.name for piece in sample.pieces] == ["a", "b"]
    assert sample.share == 1
    assert all(p.stands_for == p.tensor.numel for p in sample.pieces)


def test_many_small_tensors_are_drawn_from():
    shapes = {f"{number}": (8, 5 + number % 7) for number in range(600)}
    sample = draw_sample(kolmo.open_checkpoint(numbered(shapes)))
    assert len(sample.pieces) <= WINDOWS
    assert sum(p.stands_for for p in sample.pieces) == pytest.approx(sample.of)


SHAPES = {
    "few large": {"a": (400, 96), "b": (96, 400), "bias": (96,)},
    "many": {f"layer.{number}": (40 + number % 7, 50) for number in range(150)},
    "convolutions": {"a": (64, 32, 3, 3), "wide": (4, 3000, 3, 3)},
    "vectors": {"a": (50_000,), "b": (3000,)},
    "long rows": {"a": (3, 40_000), "b": (2000, 2)},
}


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_windows_are_stretches_of_rows_that_stand_for_everything(kind, seed):
    checkpoint = kolmo.open_checkpoint(numbered(SHAPES[kind]))
    weights = 1 << 13
    sample = draw_sample(checkpoint, weights, seed)
    large = sum(t.numel for t in checkpoint.values() if 4 * t.numel >= weights // WINDOWS)
    assert sum(p.stands_for for p in sample.pieces) == pytest.approx(large)
    assert sum(p.windows for p in sample.pieces) >= WINDOWS - len(sample.pieces)
    assert weights / 4 <= sample.weights <= 2 * weights
    for piece in sample.pieces:
        values = piece.tensor.read().reshape(-1).astype(np.int64)
        assert np.unique(values).size == values.size  # no weight twice
        original = checkpoint[piece.tensor.name]
        assert values.max() < original.numel
        last = original.shape[-1] if len(original.shape) > 2 else 1
        taps = last * last if len(original.shape) == 4 else 1
        steps = np.diff(values.reshape(-1, taps), axis=1)
        assert (steps == 1).all()  # kernels stay whole
        breaks = np.sum(np.diff(values) != 1)
        assert breaks < 8 * piece.windows


def test_the_sample_is_the_same_for_a_seed_and_another_for_another():
    checkpoint = kolmo.open_checkpoint(numbered(SHAPES["few large"]))
    one, two, other = (draw_sample(checkpoint, 1 << 13, seed) for seed in (0, 0, 1))
    read = [[p.tensor.read().tolist() for p in s.pieces] for s in (one, two, other)]
    assert read[0] == read[1] != read[2]


def test_tensors_are_drawn_in_proportion_to_their_sizes():
    shapes = {f"{number}": (100, 60 if number % 2 else 20) for number in range(200)}
    checkpoint = kolmo.open_checkpoint(numbered(shapes))
    wide = [
        np.mean([p.tensor.shape[1] == 60 for p in draw_sample(checkpoint, 1 << 13, seed).pieces])
        for seed in range(20)
    ]
    assert np.mean(wide) == pytest.approx(0.75, abs=0.05)
