"""Thresholds with a guarantee: the bound is the textbook's, and the promise is kept on resampled splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from calibration.coco.accuracy import accuracy_of
from calibration.coco.files import read_detections, read_truth
from calibration.coco.matching import match
from calibration.coco.thresholds import guaranteed_threshold, lower_bound, precision_curve, thresholds_of


def test_bound_of_independent_samples_is_clopper_and_pearsons() -> None:
    """One sample an image: the effective size is near the number of samples."""
    right = np.arange(400) % 10 > 0
    found = lower_bound(np.random.default_rng(0).permutation(right), np.arange(400), 0.05)
    exact = binomtest(int(right.sum()), 400).proportion_ci(0.9, "exact").low
    assert found == pytest.approx(exact, abs=0.002)
    assert lower_bound(np.ones(100, bool), np.arange(100), 0.05) == pytest.approx(0.05 ** (1 / 100))
    assert lower_bound(np.zeros(10, bool), np.arange(10), 0.05) == 0


def test_samples_that_stand_and_fall_together_count_as_one() -> None:
    right = np.random.default_rng(0).random(50) < 0.9
    alone = lower_bound(right, np.arange(50))
    together = lower_bound(np.repeat(right, 17), np.repeat(np.arange(50), 17))
    assert together == pytest.approx(alone, abs=0.02)


def test_the_promise_is_kept_by_made_scores() -> None:
    """True precision is known here: at most delta of the fits may choose a threshold that has less."""
    rng = np.random.default_rng(0)
    violated = []
    for _ in range(300):
        score = rng.random(600)
        right = rng.random(600) < score  # precision above t is (1 + t) / 2
        threshold, kept, found, lower = guaranteed_threshold(score, right, np.arange(600), 0.8, delta=0.05)
        violated.append(not np.isnan(threshold) and (1 + threshold) / 2 < 0.8)
        if not np.isnan(threshold):
            assert kept == (score >= threshold).mean()
            assert found >= lower >= 0.8
    assert np.mean(violated) <= 0.05


def test_nothing_is_proven_of_bad_scores() -> None:
    rng = np.random.default_rng(0)
    assert np.isnan(guaranteed_threshold(rng.random(500), rng.random(500) < 0.5, np.arange(500), 0.9)[0])
    assert np.isnan(guaranteed_threshold(np.zeros(0), np.zeros(0, bool), np.zeros(0, int), 0.9)[0])
    assert len(precision_curve(np.ones(50), np.ones(50, bool), np.arange(50))) == 1, "equal scores have one threshold"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keypoints", "persons"])
def test_the_promise_is_kept_on_real_splits(shared_data: Path, kind: str) -> None:
    """Chosen on half of the images and measured on the other half, 200 times."""
    truth = read_truth(shared_data / "person_keypoints_val2017_rebuilt.json")
    results = shared_data.parent / "movenet" / "movenet_lightning_val2017_gtbox.json"
    detections = read_detections(results, truth)
    accuracy = accuracy_of(match(truth, detections))
    known = ~np.isnan(accuracy.keypoint_oks) if kind == "keypoints" else accuracy.judged
    score = (detections.raw_score if kind == "keypoints" else detections.score)[known]
    right = (accuracy.keypoint_oks if kind == "keypoints" else accuracy.oks)[known] >= 0.5
    image = (
        np.broadcast_to(detections.image[:, None], known.shape)[known] if known.ndim == 2 else detections.image[known]
    )
    violated = []
    for seed in range(200):
        chosen = np.random.default_rng(seed).permutation(len(truth.image_ids)) < len(truth.image_ids) // 2
        here = chosen[image]
        threshold, *_ = guaranteed_threshold(score[here], right[here], image[here], 0.9)
        assert not np.isnan(threshold)
        violated.append(right[~here & (score >= threshold)].mean() < 0.9)
    assert np.mean(violated) <= 0.05


def test_keypoints_and_persons_of_a_file(shared_data: Path) -> None:
    truth = read_truth(shared_data / "litehrnet_500_gt.json")
    detections = read_detections(shared_data / "litehrnet_500_results.json", truth)
    accuracy = accuracy_of(match(truth, detections))
    found = thresholds_of((detections.score, detections.raw_score), accuracy, detections.image, (0.8, 0.9))
    assert [(t.kind, t.right_oks, t.precision) for t in found[:3]] == [
        ("keypoints", 0.5, 0.8),
        ("keypoints", 0.5, 0.9),
        ("keypoints", 0.75, 0.8),
    ]
    lenient, strict = found[2:4]
    assert strict.threshold > lenient.threshold
    assert strict.kept < lenient.kept
    assert thresholds_of((detections.score, None), accuracy, detections.image, (0.9,))[0].kind == "persons"
