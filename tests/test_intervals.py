"""Student's t against scipy, and what intervals hold, by trial."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kolmo.intervals import (
    FEWEST,
    draw_widths,
    half_widths,
    student_quantile,
    student_share,
    sum_degrees,
)


@given(st.floats(1, 5e6), st.floats(0.01, 0.999))
def test_quantiles_are_those_of_scipy(degrees, level):
    expected = stats.t.ppf((1 + level) / 2, degrees)
    assert student_quantile(degrees, level) == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("degrees", [1, 1.5, 2, 3, 4, 7, 15, 38, 100, 1e4, 9e5])
def test_shares_are_those_of_scipy(degrees):
    for t in (0, 0.1, 1, 2, 4, 12, 100):
        expected = 1 - 2 * stats.t.sf(t, degrees)
        assert student_share(t, degrees) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("degrees", [math.nan, math.inf])
def test_unknown_degrees_are_taken_for_many(degrees):
    assert student_quantile(degrees) == pytest.approx(stats.norm.ppf(0.975), rel=1e-12)


@pytest.mark.parametrize("draws", [2, 3, 5, 8, 39])
def test_intervals_hold_what_they_say(draws):
    """The mean of a sample, and the next draw, of 20,000 samples of a normal law."""
    samples = np.random.default_rng(0).normal(3, 2, (20_000, draws + 1))
    mean, sd = samples[:, :draws].mean(axis=1), samples[:, :draws].std(axis=1, ddof=1)
    errors = half_widths(sd / math.sqrt(draws), np.full(len(sd), draws - 1))
    assert (abs(mean - 3) <= errors).mean() == pytest.approx(0.95, abs=0.006)
    widths = draw_widths(sd, np.full(len(sd), draws))
    assert (abs(samples[:, -1] - mean) <= widths).mean() == pytest.approx(0.95, abs=0.006)
    two = abs(samples[:, -1] - mean) <= 2 * sd
    assert draws > FEWEST or two.mean() < 0.93  # two standard deviations hold less


@given(st.lists(st.tuples(st.floats(0.1, 10), st.integers(1, 50)), min_size=1, max_size=6))
def test_degrees_of_a_sum_are_between_the_least_and_all(parts):
    errors, degrees = zip(*parts, strict=True)
    found = sum_degrees(errors, degrees)
    assert min(degrees) <= found * (1 + 1e-12)
    assert found <= sum(degrees) * (1 + 1e-12)


def test_degrees_of_nothing_are_unknown():
    assert math.isnan(sum_degrees([], []))
    assert math.isnan(sum_degrees([1.0], [math.nan]))
    assert half_widths([], []).size == 0
