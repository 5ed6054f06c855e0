"""Each closed form against a million draws, and each optimum against minimising the loss it is said to minimise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from calibration import theory
from calibration.oks import expected_oks

DRAWS = 1_000_000
SIGMA, FALLOFF, TARGET = 3.0, 5.0, 2.0


def _draws(sigma, seed=0):
    return np.random.default_rng(seed).normal(0.0, sigma, (DRAWS, 2))


def _agree(samples, value):
    error = samples.std() / np.sqrt(len(samples))
    assert abs(samples.mean() - value) < 3 * error, (samples.mean(), value, error)


@pytest.mark.parametrize("distance", [0.0, 1.5, 6.0])
def test_optimal_heatmap_is_the_mean_of_targets(distance):
    targets = np.exp(-((_draws(SIGMA, 1) - [distance, 0.0]) ** 2).sum(axis=1) / (2 * TARGET**2))
    _agree(targets, float(theory.optimal_heatmap(distance, SIGMA, TARGET)))


def test_optimal_heatmap_minimises_the_squared_error_to_targets():
    targets = np.exp(-((_draws(SIGMA, 2)[:20_000] - [2.0, 0.0]) ** 2).sum(axis=1) / (2 * TARGET**2))
    found = minimize(lambda h: ((targets - h) ** 2).mean(), [0.5], tol=1e-12)
    assert found.x[0] == pytest.approx(float(theory.optimal_heatmap(2.0, SIGMA, TARGET)), abs=0.008)


def test_inversions():
    sigma = np.array([0.0, 0.3, 2.0, 30.0])
    np.testing.assert_allclose(
        theory.sigma_from_heatmap_confidence(theory.heatmap_confidence(sigma, TARGET), TARGET), sigma, atol=1e-6
    )
    width = np.sqrt(TARGET**2 + sigma**2)
    np.testing.assert_allclose(theory.sigma_from_heatmap_width(width, TARGET), sigma, atol=1e-6)
    assert theory.sigma_from_heatmap_width(0.5 * TARGET, TARGET) == 0


@pytest.mark.parametrize("offset", [0.0, 1.0, 5.0])
def test_regression_sigma_minimises_the_likelihood_loss(offset):
    """Equation 4 over draws, as a function of sigma^ at a fixed prediction."""
    square = ((_draws(SIGMA, 3)[:200_000] - [offset, 0.0]) ** 2).sum(axis=1).mean()
    found = minimize(lambda s: 2 * np.log(s[0]) + square / (2 * s[0] ** 2), [2.0], bounds=[(0.1, 50)], tol=1e-12)
    assert found.x[0] == pytest.approx(float(theory.regression_sigma(SIGMA, offset)), rel=0.006)


def test_likelihood_optimum_is_the_mean():
    draws = _draws(SIGMA, 4)[:20_000] + [1.0, -2.0]

    def loss(p):
        square = ((draws - p[:2]) ** 2).sum(axis=1).mean()
        return 2 * p[2] + square / (2 * np.exp(2 * p[2]))

    found = minimize(loss, [0.0, 0.0, 0.0], tol=1e-12)
    np.testing.assert_allclose(found.x[:2], [1.0, -2.0], atol=0.07)
    assert np.exp(found.x[2]) == pytest.approx(SIGMA, rel=0.01)


def test_laplace_scale_is_the_mean_absolute_deviation_and_minimises_its_loss():
    error = np.abs(_draws(SIGMA, 5)[:, 0])
    _agree(error, float(theory.laplace_scale(SIGMA)))
    found = minimize(lambda b: np.log(2 * b[0]) + error.mean() / b[0], [1.0], bounds=[(0.1, 50)], tol=1e-12)
    assert found.x[0] == pytest.approx(float(theory.laplace_scale(SIGMA)), rel=0.005)


def test_misspecified_score_differs_from_both():
    laplace = 1.0 - theory.laplace_scale(SIGMA) / 100.0
    assert laplace > theory.regression_confidence(SIGMA, 100.0)
    assert abs(laplace - expected_oks(SIGMA, FALLOFF)) > 0.1


@pytest.mark.parametrize("offset", [0.0, 1.0, 4.0])
def test_displaced_heatmap_minimises_the_loss_on_a_grid(offset):
    """Amplitude and width by brute force: squared error to the mean of sampled targets, on a fine grid."""
    step = 0.5
    axis = np.arange(-30, 30 + step, step)
    x, y = np.meshgrid(axis, axis)
    draws = np.random.default_rng(6).normal(0.0, SIGMA, (4000, 2))
    across = np.exp(-((axis[:, None] - draws[:, 0]) ** 2) / (2 * TARGET**2))
    down = np.exp(-((axis[:, None] - draws[:, 1]) ** 2) / (2 * TARGET**2))
    mean_target = down @ across.T / len(draws)

    def loss(p):
        return ((p[0] * np.exp(-((x - offset) ** 2 + y**2) / (2 * p[1] ** 2)) - mean_target) ** 2).sum() * step**2

    found = minimize(loss, [0.3, 3.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10})
    best = theory.displaced_heatmap(SIGMA, TARGET, offset)
    assert best.amplitude == pytest.approx(found.x[0], abs=0.01)
    assert best.width == pytest.approx(found.x[1], rel=0.04)
    assert best.loss == pytest.approx(found.fun, abs=0.05)


def test_displaced_heatmap_without_offset_is_the_optimal_one_and_falls_with_it():
    best = theory.displaced_heatmap(SIGMA, TARGET, 0.0)
    assert best.amplitude == pytest.approx(float(theory.heatmap_confidence(SIGMA, TARGET)), rel=1e-6)
    assert best.width == pytest.approx(np.hypot(SIGMA, TARGET), rel=1e-4)
    assert best.loss == pytest.approx(0.0, abs=1e-8)
    amplitudes = [theory.displaced_heatmap(SIGMA, TARGET, offset).amplitude for offset in (0.0, 1.0, 2.0, 4.0, 8.0)]
    assert (np.diff(amplitudes) < 0).all()
    with pytest.raises(ValueError, match="positive"):
        theory.displaced_heatmap(SIGMA, 0.0, 1.0)


def test_gaps():
    sigma = np.array([0.0, 2.0, 5.0])
    np.testing.assert_allclose(theory.scaling_gap(sigma, np.full(3, TARGET), TARGET), 0.0, atol=1e-12)
    # A large person's OKS forgives what the heatmap's constant scale does not.
    assert (theory.scaling_gap(sigma[1:], np.full(2, 20.0), TARGET) < 0).all()
    assert theory.form_gap(np.array([0.0]), np.array([5.0]), 100.0)[0] == 0.0
