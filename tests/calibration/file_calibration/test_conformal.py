"""Radii that cover, and spreads that follow equation 12."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.file_calibration.conformal import covered, radius_factors, sigma_px


def test_sigma_makes_the_confidence_again() -> None:
    """c = l^2 / (l^2 + sigma^2) with l = 2 sigma_k sqrt(area)."""
    confidence = np.array([[0.1, 0.5, 0.9]])
    sigma = sigma_px(confidence, np.array([2500.0]), np.array([0.05, 0.05, 0.1]))
    falloff = 2 * np.array([0.05, 0.05, 0.1]) * 50
    np.testing.assert_allclose(falloff**2 / (falloff**2 + sigma[0] ** 2), confidence[0])
    assert np.isfinite(sigma_px(np.array([[0.0, 1.0, 0.5]]), np.array([1.0]), np.full(3, 0.1))).all()


@pytest.mark.parametrize("count", [100, 1000])
def test_fresh_samples_are_covered_as_promised(count: int) -> None:
    """Mean coverage over many fits is at least 90 % and at most 1 / (n + 1) more, whatever the errors look like."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(400):
        sigma = rng.uniform(1, 20, (2, count, 1))
        error = sigma * rng.standard_cauchy((2, count, 1)) ** 2
        factors = radius_factors(error[0], sigma[0])
        shares.append(covered(error[1], factors * sigma[1])[0])
    assert np.mean(shares) == pytest.approx(0.9, abs=0.005 + 1 / count)


def test_keypoints_of_few_samples_share_a_quantile() -> None:
    rng = np.random.default_rng(0)
    error = np.abs(rng.normal(size=(500, 3))) * [1, 10, 1]
    error[20:, 2] = np.nan
    factors = radius_factors(error, np.ones((500, 3)))
    assert factors[1] == pytest.approx(10 * factors[0], rel=0.3)
    assert factors[0] < factors[2] < factors[1]
    share, per_keypoint = covered(error, np.broadcast_to(factors, error.shape))
    assert share == pytest.approx(0.9, abs=0.02)
    assert per_keypoint[:2] == pytest.approx([0.9, 0.9], abs=0.01)
