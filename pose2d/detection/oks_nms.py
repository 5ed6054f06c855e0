"""What the official evaluations do with a detected person's keypoints: a score for the instance, and OKS-NMS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

VISIBLE = 0.2
"""Keypoints with a larger score count in the score `mean_above_threshold` (the convention of equation 5)."""

OKS_THRESHOLD = 0.9
"""Of two poses more alike than this, the official evaluations keep the better scored."""


def mean_above_threshold(
    keypoint_scores: Float[np.ndarray, "n k"], box_scores: Float[np.ndarray, " n"], _detected: bool
) -> Float[np.ndarray, " n"]:
    """Box score times the mean of the keypoint scores above 0.2, zero where none is (SBL, HRNet, ViTPose)."""
    counted = keypoint_scores > VISIBLE
    total = np.where(counted, keypoint_scores, 0.0).sum(axis=1)
    scores: np.ndarray = box_scores * total / np.maximum(counted.sum(axis=1), 1)
    return scores


def mean_and_maximum(
    keypoint_scores: Float[np.ndarray, "n k"], box_scores: Float[np.ndarray, " n"], detected: bool
) -> Float[np.ndarray, " n"]:
    """Mean plus maximum of the keypoint scores, plus the box score of a detected box (RLE, Poseur)."""
    scores: np.ndarray = keypoint_scores.mean(axis=1) + keypoint_scores.max(axis=1)
    return scores + box_scores if detected else scores


def mean_of_all(
    keypoint_scores: Float[np.ndarray, "n k"], box_scores: Float[np.ndarray, " n"], _detected: bool
) -> Float[np.ndarray, " n"]:
    """Box score times the mean of all keypoint scores, without a threshold: for calibrated scores, which may be low."""
    scores: np.ndarray = box_scores * keypoint_scores.mean(axis=1)
    return scores


InstanceScore = Callable[[np.ndarray, np.ndarray, bool], np.ndarray]

INSTANCE_SCORES: dict[str, InstanceScore] = {
    "mean-above-0.2": mean_above_threshold,
    "mean-and-maximum": mean_and_maximum,
    "mean": mean_of_all,
}
"""From keypoint and box scores to the score that persons are ranked by."""


def pose_similarity(
    one: Float[np.ndarray, "k 2"],
    others: Float[np.ndarray, "n k 2"],
    one_area: float,
    other_areas: Float[np.ndarray, " n"],
    sigmas: Float[np.ndarray, " k"],
) -> Float[np.ndarray, " n"]:
    """OKS between predicted poses, all keypoints counted, with the mean of both areas (the official ``oks_iou``)."""
    squares = ((others - one) ** 2).sum(axis=2)
    area = 0.5 * (one_area + other_areas)[:, None] + np.spacing(1)
    similarity: np.ndarray = np.exp(-squares / (2.0 * sigmas) ** 2 / area / 2.0).mean(axis=1)
    return similarity


def oks_nms(
    xy_px: Float[np.ndarray, "n k 2"],
    scores: Float[np.ndarray, " n"],
    areas: Float[np.ndarray, " n"],
    sigmas: Float[np.ndarray, " k"],
    threshold: float = OKS_THRESHOLD,
) -> Int[np.ndarray, " m"]:
    """Rows of one image's poses that are kept, best first.

    Args:
        xy_px: keypoints in image pixels.
        scores: of the instances.
        areas: of the padded boxes in px^2, as officially.
        sigmas: COCO's per-keypoint sigmas.
        threshold: a pose is dropped where it is more similar than this to a better one that is kept.
    """
    left = np.argsort(scores)[::-1]
    kept: list[int] = []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        similar = pose_similarity(xy_px[best], xy_px[left], float(areas[best]), areas[left], sigmas)
        left = left[similar <= threshold]
    return np.array(kept, dtype=np.int64)
