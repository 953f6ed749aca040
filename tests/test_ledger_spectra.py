"""Singular values in short, against numpy's own, and what shuffles reach by chance."""

import numpy as np
import pytest

from kolmo.checkpoints import array_tensor
from kolmo.ledger import spectra
from kolmo.ledger.spectra import SHUFFLES, is_matrix, spectrum_of

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(size=(40, 60))


def spectrum(weights):
    return spectrum_of(array_tensor("w", np.asarray(weights)))


@pytest.mark.parametrize("weights", [NOISE, NOISE.T.copy(), NOISE.reshape(40, 6, 10)])
def test_ranks_are_those_of_the_singular_values(weights):
    sigma = np.linalg.svd(weights.reshape(len(weights), -1), compute_uv=False)
    shares, found = sigma / sigma.sum(), spectrum(weights)
    assert found.singular_values == sigma.size
    assert found.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), 1e-5)
    assert found.stable_rank == pytest.approx((sigma**2).sum() / sigma[0] ** 2, 1e-5)
    assert (found.shuffles, found.taken) == (SHUFFLES, 1.0)


def test_of_an_orthogonal_matrix_all_singular_values_are_equal():
    found = spectrum(np.linalg.qr(RANDOM.normal(size=(48, 48)))[0])
    assert (found.effective_rank, found.stable_rank) == (48, 48)
    assert found.above_shuffled == 0  # a shuffle of it has larger ones


def test_of_one_product_there_is_one():
    found = spectrum(np.outer(RANDOM.normal(size=50), RANDOM.normal(size=60)).astype(np.float32))
    assert found.effective_rank == pytest.approx(1, abs=1e-4)
    assert (found.stable_rank, found.above_shuffled) == (1, 1)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_directions_in_noise_are_counted(rank):
    factors = RANDOM.normal(size=(96, rank)), RANDOM.normal(size=(rank, 80))
    assert spectrum(factors[0] @ factors[1] + RANDOM.normal(size=(96, 80))).above_shuffled == rank


def test_one_matrix_in_twenty_passes_its_shuffles_by_chance():
    """Of 150 matrices with nothing to see 7.5 are expected; 16 or more have a chance of 1/250."""
    matrices = np.random.default_rng(1).standard_t(5, size=(150, 9, 12))
    assert sum(spectrum(weights).above_shuffled > 0 for weights in matrices) < 16


def test_longer_sides_are_drawn_and_that_is_told(monkeypatch):
    monkeypatch.setattr(spectra, "SIDE", 32)
    wide = RANDOM.normal(size=(20, 100))
    found = spectrum(wide)
    assert (found.singular_values, found.taken) == (20, 0.32)
    assert spectrum(wide) == found  # the draw is seeded
    assert spectrum(RANDOM.normal(size=(100, 100))).taken == pytest.approx(0.32**2)


def test_what_has_no_spectrum():
    assert spectrum(np.zeros((9, 9))) is None
    assert spectrum(np.where(np.eye(9), np.nan, 1.0)) is None
    shapes = [(9,), (7, 99), (99, 7), (8, 8), (8, 2, 4), ()]
    matrices = [is_matrix(array_tensor("w", np.zeros(shape))) for shape in shapes]
    assert matrices == [False, False, False, True, True, False]
