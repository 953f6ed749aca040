"""Permutation p-values and Holm's correction: exact statements, checked exactly."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kolmo.pvalues import (
    ALPHA,
    draws_needed,
    holm,
    is_significant,
    permutation_p,
)

FIGURES = st.lists(st.integers(0, 8), min_size=2, max_size=60)


@given(FIGURES)
def test_p_is_valid_for_whatever_is_exchangeable(figures):
    """Each of the N + 1 figures is the actual one equally often: the share of those with p ≤ α
    is the chance of a false alarm, given the figures, and is at most α for every α."""
    p = np.array([permutation_p(x, figures[:i] + figures[i + 1 :]) for i, x in enumerate(figures)])
    for alpha in p:
        assert (p <= alpha).mean() <= alpha + 1e-12


@given(FIGURES.filter(lambda f: len(set(f)) == len(f)))
def test_without_ties_p_is_the_doubled_rank(figures):
    actual, draws = figures[0], figures[1:]
    rank = sorted(figures).index(actual) + 1
    wanted = min(1, 2 * min(rank, len(figures) + 1 - rank) / len(figures))
    assert permutation_p(actual, draws) == pytest.approx(wanted)
    mirrored = permutation_p(-actual, [-x for x in draws])
    assert mirrored == permutation_p(actual, draws)


def test_figures_that_are_all_alike_are_no_evidence():
    assert permutation_p(5.0, [5.0] * 99) == 1


@pytest.mark.parametrize("tests", [1, 2, 3, 7, 40, 131])
@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.1, 1 / 3])
def test_so_many_draws_are_needed_and_no_fewer(tests, alpha):
    def reached(draws):
        least = permutation_p(0.0, np.ones(draws))
        return is_significant(holm([least] + [1.0] * (tests - 1))[0], alpha)

    needed = draws_needed(tests, alpha)
    assert reached(needed)
    assert not reached(needed - 1)


def closed_testing(p, alpha):
    """Reject what every intersection with it rejects by Bonferroni: Holm is its shortcut."""
    numbers = range(len(p))
    subsets = [s for k in range(1, len(p) + 1) for s in itertools.combinations(numbers, k)]
    rejected = {s: min(p[i] for i in s) <= alpha / len(s) for s in subsets}
    return [all(rejected[s] for s in subsets if i in s) for i in numbers]


@given(st.lists(st.integers(1, 64), min_size=1, max_size=6), st.sampled_from([0.0625, 0.25, 0.5]))
def test_holm_rejects_what_closed_testing_rejects(numbers, alpha):
    p = [number / 256 for number in numbers]
    assert (holm(p) <= alpha).tolist() == closed_testing(p, alpha)


def test_holm_of_a_known_example():
    """Of the reference implementation: R's p.adjust(c(.01, .02, .03, .04, .05), "holm")."""
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([]).size == 0
    assert holm([0.6, 0.7]).tolist() == [1, 1]


def test_false_alarms_keep_to_the_level():
    """Over seven tensors of noise, all tests together raise a false alarm at most 5 % of runs."""
    random = np.random.default_rng(0)
    runs, tensors, draws = 1000, 7, draws_needed(7)
    alarms = 0
    for _ in range(runs):
        figures = random.integers(0, 10_000, (tensors, draws + 1))
        p = [permutation_p(row[0], row[1:]) for row in figures]
        alarms += any(is_significant(adjusted) for adjusted in holm(p))
    assert alarms <= ALPHA * runs + 3 * np.sqrt(ALPHA * (1 - ALPHA) * runs)
    assert alarms > 0
