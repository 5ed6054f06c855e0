"""Each metric against a named outside reference or a direct reading of its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from calibration.coco.metrics import (
    Binning,
    area_under_sparsification_error,
    brier_score,
    expected_calibration_error,
    pearson,
    reliability_bins,
    sparsification_curve,
)


@pytest.fixture
def samples() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    confidence = rng.beta(4, 2, 700)
    return confidence, np.clip(confidence**2 + rng.normal(0, 0.1, 700), 0, 1)


def test_pearson_is_scipys(samples: tuple[np.ndarray, np.ndarray]) -> None:
    assert pearson(*samples) == pytest.approx(pearsonr(*samples).statistic, abs=1e-12)
    assert np.isnan(pearson(np.ones(5), np.arange(5.0)))
    assert np.isnan(pearson(np.ones(0), np.ones(0)))


@pytest.mark.parametrize(("binning", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_bins_are_scikit_learns(samples: tuple[np.ndarray, np.ndarray], binning: Binning, strategy: str) -> None:
    confidence, accuracy = samples
    came_true = (accuracy > 0.5).astype(float)
    expected_accuracy, expected_confidence = calibration_curve(came_true, confidence, n_bins=10, strategy=strategy)
    bins = reliability_bins(confidence, came_true, 10, binning)
    np.testing.assert_allclose(bins.accuracy, expected_accuracy, atol=1e-12)
    np.testing.assert_allclose(bins.confidence, expected_confidence, atol=1e-12)
    assert bins.count.sum() == len(confidence)
    by_hand = sum(abs(a - c) * n for a, c, n in zip(expected_accuracy, expected_confidence, bins.count)) / 700
    assert expected_calibration_error(confidence, came_true, 10, binning) == pytest.approx(by_hand, abs=1e-12)


def test_equal_mass_is_equal(samples: tuple[np.ndarray, np.ndarray]) -> None:
    assert set(reliability_bins(*samples, 10, "mass").count) == {70}


def test_ece_of_a_constant_is_its_distance_to_the_mean(samples: tuple[np.ndarray, np.ndarray]) -> None:
    for binning in ("width", "mass"):
        assert expected_calibration_error(np.ones(700), samples[1], 10, binning) == pytest.approx(
            1 - samples[1].mean(), abs=1e-12
        )


def test_brier_is_scikit_learns(samples: tuple[np.ndarray, np.ndarray]) -> None:
    came_true = (samples[1] > 0.5).astype(float)
    assert brier_score(samples[0], came_true) == pytest.approx(brier_score_loss(came_true, samples[0]), abs=1e-12)


@pytest.mark.parametrize("metric", [expected_calibration_error, brier_score, reliability_bins])
def test_scores_that_are_no_probabilities_are_refused(metric) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        metric(np.array([0.5, 1.05]), np.array([0.5, 1.0]))


def _naive_ause(confidence: np.ndarray, error: np.ndarray) -> tuple[float, float]:
    """Ilg et al. (2018), section 4.2, word for word: remove by uncertainty, compare with removal by true error."""
    distance = 0.0
    for removed in range(len(error)):
        kept = np.argsort(confidence)[removed:]
        kept_by_oracle = np.argsort(-error)[removed:]
        distance += error[kept].mean() - error[kept_by_oracle].mean()
    return distance / len(error), distance / len(error) / error.mean()


def test_ause_is_the_definition(samples: tuple[np.ndarray, np.ndarray]) -> None:
    confidence, error = samples[0][:200], 1 - samples[1][:200] + 0.01
    raw, normalised = _naive_ause(confidence, error)
    assert area_under_sparsification_error(confidence, error, normalised=False) == pytest.approx(raw, abs=1e-12)
    assert area_under_sparsification_error(confidence, error) == pytest.approx(normalised, abs=1e-12)


def test_ties_are_averaged_over_all_orders() -> None:
    from itertools import permutations

    confidence, error = np.array([0.2, 0.5, 0.5, 0.5, 0.9]), np.array([1.0, 0.7, 0.1, 0.4, 0.2])
    curves = []
    for order in permutations(range(3)):
        broken = confidence.copy()
        broken[1:4] += 1e-6 * np.array(order)
        curves.append(sparsification_curve(broken, error))
    np.testing.assert_allclose(sparsification_curve(confidence, error), np.mean(curves, axis=0), atol=1e-12)
    np.testing.assert_allclose(sparsification_curve(np.ones(5), error), error.mean(), atol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_ause_is_between_the_oracle_and_the_worst(pairs: list[tuple[float, float]]) -> None:
    confidence, error = np.array(pairs).T
    area = area_under_sparsification_error(confidence, error, normalised=False)
    worst = area_under_sparsification_error(error, error, normalised=False)
    assert -1e-12 <= area <= worst + 1e-12
    assert area_under_sparsification_error(-error, error, normalised=False) == pytest.approx(0, abs=1e-12)
    rescaled = area_under_sparsification_error(np.argsort(np.argsort(confidence)) * 1.0, error, normalised=False)
    if len(set(confidence)) == len(confidence):
        assert area == pytest.approx(rescaled, abs=1e-12)
