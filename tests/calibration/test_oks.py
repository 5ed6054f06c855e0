"""OKS geometry against a million draws, pycocotools' formula and its own inverses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from calibration.oks import (
    area_of_boxes,
    expected_oks,
    falloff,
    falloff_px,
    keypoint_oks,
    oks_from_area,
    precision_from_expected_oks,
    sigma_from_expected_oks,
)

SIGMA, FALLOFF = 3.0, 5.0


def _draws(sigma: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, sigma, (1_000_000, 2))


def _agree(samples: np.ndarray, value: float) -> None:
    error = samples.std() / np.sqrt(len(samples))
    assert abs(samples.mean() - value) < 3 * error, (samples.mean(), value, error)


@pytest.mark.parametrize("offset", [0.0, 2.0, 9.0])
@pytest.mark.parametrize("sigma", [0.5, 3.0, 12.0])
def test_expected_oks_is_the_mean_of_draws(sigma: float, offset: float) -> None:
    distance = np.linalg.norm(_draws(sigma, 7) - np.array([offset, 0.0]), axis=1)
    _agree(keypoint_oks(distance, FALLOFF), float(expected_oks(sigma, FALLOFF, offset)))


def test_mean_is_the_prediction_of_largest_expected_oks() -> None:
    offsets = np.linspace(0, 10, 101)
    assert expected_oks(SIGMA, FALLOFF, offsets).argmax() == 0


def test_inverse_of_equation_12() -> None:
    sigma = np.array([0.0, 0.3, 2.0, 30.0])
    np.testing.assert_allclose(sigma_from_expected_oks(expected_oks(sigma, FALLOFF), FALLOFF), sigma, atol=1e-6)
    assert np.isinf(sigma_from_expected_oks(0.0, FALLOFF))
    assert sigma_from_expected_oks(1.2, FALLOFF) == 0


@given(
    arrays(float, (1, 17), elements=st.floats(0.1, 200)),
    arrays(float, (1, 17), elements=st.floats(1, 60)),
    st.floats(0.5, 8),
)
def test_precision_inverts_equation_12(sigma: np.ndarray, length: np.ndarray, floor: float) -> None:
    confidence = length**2 / (length**2 + sigma**2)
    np.testing.assert_allclose(
        precision_from_expected_oks(confidence, length, floor), 1 / (sigma**2 + floor**2), rtol=1e-6
    )


def test_precision_at_the_ends() -> None:
    length = np.full((1, 3), 10.0)
    weights = precision_from_expected_oks(np.array([[0.0, 1.0, 1.7]]), length, 4.0)
    np.testing.assert_allclose(weights, [[0, 1 / 16, 1 / 16]])


def test_falloff_is_pycocotools_variance() -> None:
    """COCO's evaluation divides by vars = (2 sigmas)^2 and by the area, and by two."""
    area, sigma, d = 5000.0, 0.079, 12.0
    expected = np.exp(-(d**2) / (2 * sigma) ** 2 / area / 2)
    assert keypoint_oks(d, falloff_px(area, sigma)) == pytest.approx(expected)
    assert oks_from_area(d**2, area, sigma) == pytest.approx(expected)
    assert falloff(np.sqrt(area), sigma) == falloff_px(area, sigma)
    # COCO's AP counts a keypoint at one falloff length as exp(-1/2).
    assert keypoint_oks(FALLOFF, FALLOFF) == pytest.approx(np.exp(-0.5))


def test_oks_of_nothing_known_is_nan_without_a_warning() -> None:
    assert np.isnan(oks_from_area(np.array([np.nan, 0.0]), 0.0, 0.1)).all()
    assert oks_from_area(4.0, 0.0, 0.1) == 0


def test_area_of_boxes() -> None:
    boxes = np.array([[5.0, 6.0, 10.0, 20.0], [0.0, 0.0, -1.0, 20.0]])
    np.testing.assert_allclose(area_of_boxes(boxes, 0.53), [106.0, 0.0])
