"""What a calibrator remembers of the results that it was fitted to, so that it can tell when others are unlike them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from calibration.coco.files import KeypointDetections
from calibration.file_calibration.crops import CropSource

QUANTILES = np.linspace(0.0, 1.0, 41)
UNLIKE = 0.3
"""Distance between two distributions of scores beyond which they are not taken for one network's."""


@dataclass(frozen=True)
class Provenance:
    """Where a calibrator comes from.

    Attributes:
        network: name of the pose network, "" where none was given.
        results: name of the results file.
        crop_source: fields that told where the network looked.
        num_persons, num_images: that it was fitted to.
        score_quantiles: of each keypoint's scores over all persons, at `QUANTILES`.
        ap_gain: cross-fitted, with the ends of its 95 % interval (its own value thrice where none was computed).
    """

    network: str
    results: str
    crop_source: CropSource
    num_persons: int
    num_images: int
    score_quantiles: Float[np.ndarray, "k q"]
    ap_gain: tuple[float, float, float] = (0.0, 0.0, 0.0)


def score_quantiles(detections: KeypointDetections) -> Float[np.ndarray, "k q"]:
    """Of each keypoint's scores."""
    return np.asarray(np.quantile(detections.raw_score, QUANTILES, axis=0).T)


def distance_of_scores(quantiles: Float[np.ndarray, "k q"], detections: KeypointDetections) -> float:
    """Kolmogorov and Smirnov's distance of each keypoint's scores to those of the fit, the median over keypoints."""
    distances = []
    for known, scores in zip(quantiles, np.sort(detections.raw_score, axis=0).T):
        below = np.searchsorted(scores, known, side="left") / len(scores)
        upto = np.searchsorted(scores, known, side="right") / len(scores)
        distances.append(np.maximum(QUANTILES - upto, below - QUANTILES).max())
    return float(np.median(distances))
