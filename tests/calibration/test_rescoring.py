"""Closed-form rescoring against simulation of what a perfect network would say."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.rescoring import (
    AreaRegressor,
    heatmap_width,
    rescore,
    sigma_px_from_heatmaps,
    sigma_px_from_maximum,
    sigma_px_from_regression,
)
from pose2d.skeletons import COCO17


def _mean_heatmap(sigma: float, target: float, mean: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """What minimises equation 2 in the mean: the average of target heatmaps rendered at noisy annotations."""
    annotations = np.array(mean) + rng.normal(0, sigma, (40_000, 2))
    x = np.exp(-((np.arange(40)[None] - annotations[:, :1]) ** 2) / (2 * target**2))
    y = np.exp(-((np.arange(48)[None] - annotations[:, 1:]) ** 2) / (2 * target**2))
    return y.T @ x / len(annotations)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 2.5])
def test_both_heatmap_readings_recover_the_spread(sigma: float) -> None:
    rng, target, mean, cell_px = np.random.default_rng(0), 2.0, (19.3, 24.6), np.array([3.5])
    heatmaps = _mean_heatmap(sigma, target, mean, rng)[None, None]
    xy = np.array(mean)[None, None]
    # equation 17 speaks of the maximum at the mean itself, between cells here: the nearest cell is a little lower
    off_centre = np.exp(-((0.3**2 + 0.4**2) / (2 * (target**2 + sigma**2))))
    from_maximum = sigma_px_from_maximum(heatmaps.max(axis=(2, 3)) / off_centre, target, cell_px)
    from_width = sigma_px_from_heatmaps(heatmaps, xy, target, cell_px)
    assert from_maximum[0, 0] == pytest.approx(sigma * 3.5, rel=0.03, abs=0.35)
    assert from_width[0, 0] == pytest.approx(sigma * 3.5, rel=0.03, abs=0.35)


def test_width_is_exact_on_a_gaussian_and_huge_on_a_flat_map() -> None:
    rows, columns = np.mgrid[:30, :30]
    bump = 0.4 * np.exp(-((columns - 12.2) ** 2 + (rows - 15.7) ** 2) / (2 * 3.1**2))
    maps = np.stack([bump, np.full((30, 30), 0.1)])
    width = heatmap_width(maps[None], np.array([[[12.2, 15.7], [12.2, 15.7]]]), 6.0)
    assert width[0, 0] == pytest.approx(3.1, rel=1e-9)
    assert width[0, 1] > 1e4


def test_rescored_confidence_is_the_mean_oks_of_simulated_annotations() -> None:
    rng = np.random.default_rng(1)
    area, sigma_px = np.array([1500.0, 40000.0]), np.array([[2.0] * 17, [9.0] * 17])
    offsets = rng.normal(size=(200_000, 2))
    confidence = rescore(sigma_px, area, COCO17.sigmas)
    for person in range(2):
        for k, name in ((0, "nose"), (11, "left_hip")):
            assert COCO17.keypoints[k] == name
            length = 2 * COCO17.sigmas[k] * np.sqrt(area[person])
            squared = (offsets**2).sum(axis=1) * sigma_px[person, k] ** 2
            assert confidence[person, k] == pytest.approx(np.exp(-squared / (2 * length**2)).mean(), abs=3e-3)
    assert (rescore(np.full((1, 17), np.inf), np.array([1.0]), COCO17.sigmas) == 0).all()


def test_regression_sigma_is_the_root_mean_variance_in_pixels() -> None:
    sigma = np.array([[[0.01, 0.02]]])
    found = sigma_px_from_regression(sigma, np.array([[192.0, 256.0]]))
    assert found[0, 0] == pytest.approx(np.sqrt((1.92**2 + 5.12**2) / 2))


def test_the_same_spread_on_a_larger_person_is_the_surer() -> None:
    confidence = rescore(np.full((3, 17), 4.0), np.array([900.0, 5000.0, 90000.0]), COCO17.sigmas)
    assert (np.diff(confidence, axis=0) > 0).all()


def test_area_regressor_recovers_a_log_linear_law() -> None:
    rng = np.random.default_rng(2)
    feature, crop = rng.normal(size=(400, 5)) * [1, 10, 0.1, 1, 1] + 3, rng.uniform(1e3, 1e5, 400)
    area = crop * np.exp(feature @ [0.2, -0.03, 1.0, 0.0, 0.1] - 2 + rng.normal(0, 0.01, 400))
    regressor = AreaRegressor.fit(feature[:300], area[:300], crop[:300])
    np.testing.assert_allclose(regressor.predict(feature[300:], crop[300:]), area[300:], rtol=0.05)
