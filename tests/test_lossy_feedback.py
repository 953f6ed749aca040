"""Rounding with error feedback, beside oracles that are written out element by element."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo.errors import InputError
from kolmo.lossy.feedback import Feedback, round_with_feedback, unit_factor
from kolmo.lossy.rounding import code_lengths, round_matrix


def covariance(size, correlation, seed=0):
    """Of columns that are correlated, with spreads of their own."""
    spread = np.exp(0.5 * np.random.default_rng(seed).normal(size=size))
    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    return correlation**distance * np.outer(spread, spread)


def fed_by_hand(weights, feedback):
    """Nearest levels, each of its value less what all errors before it add."""
    rows, columns = weights.shape
    own = np.eye(rows) if feedback.rows is None else feedback.rows
    across = np.eye(columns) if feedback.columns is None else feedback.columns
    levels, errors = np.zeros(weights.shape), np.zeros(weights.shape)
    for j in range(columns):
        for i in range(rows):
            value = weights[i, j] - (own[i] @ errors @ across[j])
            levels[i, j] = np.rint(value)
            errors[i, j] = levels[i, j] - weights[i, j]
    return levels


def lengths_of(weights, price):
    return dataclasses.replace(code_lengths(weights), price=price)


@given(st.integers(1, 12), st.floats(-0.95, 0.95), st.integers(0, 99))
def test_factors_make_up_the_moments(size, correlation, seed):
    moments = covariance(size, correlation, seed)
    factor, weights = unit_factor(moments)
    assert np.allclose(factor.T * weights @ factor, moments)
    assert np.array_equal(np.triu(factor), np.eye(size))
    assert np.isclose(np.log(weights).sum(), np.linalg.slogdet(moments)[1])


def test_moments_that_cannot_be_factored():
    with pytest.raises(InputError, match="damp"):
        unit_factor(np.array([[1.0, 2.0], [2.0, 1.0]]))


@pytest.mark.parametrize("seed", range(3))
def test_scalar_levels_are_those_by_hand(seed):
    weights = 3 * np.random.default_rng(seed).normal(size=(7, 37))
    feedback = Feedback(
        unit_factor(covariance(7, 0.8, seed))[0], unit_factor(covariance(37, 0.7, seed))[0]
    )
    for kept in (feedback, Feedback(feedback.rows), Feedback(None, feedback.columns), Feedback()):
        levels = round_with_feedback(weights, kept, lengths_of(weights, 0.0))
        assert np.array_equal(levels, fed_by_hand(weights, kept))


def test_without_anything_to_make_up_for_nothing_is_fed():
    weights = 2 * np.random.default_rng(0).normal(size=(80, 9))
    plain = round_matrix(weights)
    alone = Feedback(np.eye(80), np.eye(9))
    for feedback in (Feedback(), alone):
        assert np.array_equal(round_with_feedback(weights, feedback, code_lengths(weights)), plain)


def test_empty_matrices():
    for shape in [(0, 3), (3, 0)]:
        lengths = code_lengths(np.zeros((1, 1)))
        assert round_with_feedback(np.zeros(shape), Feedback(), lengths).shape == shape


def test_units_are_those_of_the_scales():
    """The error of a weight is the scales' product times that of its level."""
    generator = np.random.default_rng(1)
    rows, columns = np.exp(generator.normal(size=6)), np.exp(generator.normal(size=5))
    plain = Feedback(unit_factor(covariance(6, 0.5))[0], unit_factor(covariance(5, 0.6))[0])
    scaled = plain.in_units(rows, columns)
    errors = generator.normal(size=(6, 5))
    expected = plain.rows @ (errors * np.outer(rows, columns)) @ plain.columns.T
    assert np.allclose(scaled.rows @ errors @ scaled.columns.T * np.outer(rows, columns), expected)


def entropy(levels):
    shares = np.unique(levels, return_counts=True)[1] / levels.size
    return -(shares * np.log2(shares)).sum()


@pytest.mark.parametrize("both", [False, True])
def test_it_beats_plain_rounding_at_equal_entropy(both):
    """Of correlated rows and columns the determinant of the moments is what is to be gained: in
    decibels, a quarter bit for each factor of √2 of its root."""
    rows, columns = covariance(128, 0.9, 1), covariance(48, 0.9, 2)
    (lower, own), (across, other) = unit_factor(rows), unit_factor(columns)
    if not both:
        rows, lower, own = np.diag(np.diag(rows)), None, np.diag(rows).copy()
    weights = np.random.default_rng(3).normal(size=(128, 48))

    def loss(error):
        return np.trace(rows @ error @ columns @ error.T)

    def rounded(r, c, feedback, step):
        sizes = step * np.outer(r, c)
        scaled = weights / sizes
        levels = round_with_feedback(scaled, feedback, code_lengths(scaled))
        return entropy(levels), loss(weights - sizes * levels)

    fed = Feedback(lower, across).in_units(own**-0.5, other**-0.5)
    bits, error = rounded(own**-0.5, other**-0.5, fed, 0.15)
    diagonals = np.diag(rows) ** -0.5, np.diag(columns) ** -0.5
    plain_bits, plain = rounded(*diagonals, Feedback(), 0.15)
    assert np.log2(plain / error) / 2 + plain_bits - bits > (1.0 if both else 0.5)
