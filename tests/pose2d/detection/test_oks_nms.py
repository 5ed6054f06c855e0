"""Instance scores and OKS-NMS against the words of the official evaluations."""

import numpy as np
import pytest

from pose2d.detection.oks_nms import INSTANCE_SCORES, oks_nms
from pose2d.skeletons import COCO17


def _reference_official_oks_nms(xy: np.ndarray, scores: np.ndarray, areas: np.ndarray, threshold: float) -> list[int]:
    """Greedy suppression pair by pair, from the words of the official one."""
    order = sorted(range(len(xy)), key=lambda row: -scores[row])
    kept: list[int] = []
    for row in order:
        similarities = []
        for other in kept:
            terms = []
            for k, sigma in enumerate(COCO17.sigmas):
                square = float(((xy[row, k] - xy[other, k]) ** 2).sum())
                terms.append(np.exp(-square / (2 * sigma) ** 2 / ((areas[row] + areas[other]) / 2) / 2))
            similarities.append(np.mean(terms))
        if all(similarity <= threshold for similarity in similarities):
            kept.append(row)
    return kept


def test_oks_nms() -> None:
    rng = np.random.default_rng(3)
    centres = rng.uniform(0, 200, (4, 17, 2))
    xy = (centres[:, None] + rng.normal(0, 1.5, (4, 5, 17, 2))).reshape(20, 17, 2)
    scores, areas = rng.permutation(20) / 20.0, rng.uniform(2000, 9000, 20)
    kept = oks_nms(xy, scores, areas, COCO17.sigmas, 0.8)
    assert kept.tolist() == _reference_official_oks_nms(xy, scores, areas, 0.8)
    assert 4 <= len(kept) < 20
    assert oks_nms(xy[:0], scores[:0], areas[:0], COCO17.sigmas).tolist() == []


def test_instance_scores() -> None:
    keypoints, box = np.array([[0.9, 0.1, 0.5], [0.1, 0.1, 0.2]]), np.array([0.5, 0.8])
    assert INSTANCE_SCORES["mean-above-0.2"](keypoints, box, True) == pytest.approx([0.5 * 0.7, 0.0])
    assert INSTANCE_SCORES["mean-and-maximum"](keypoints, box, True) == pytest.approx(
        [0.5 + 0.5 + 0.9, 0.8 + 0.4 / 3 + 0.2]
    )
    assert INSTANCE_SCORES["mean-and-maximum"](keypoints, box, False)[0] == pytest.approx(0.5 + 0.9)
    assert INSTANCE_SCORES["mean"](keypoints, box, True) == pytest.approx([0.25, 0.8 * 0.4 / 3])
