"""OKS geometry: areas, falloffs, the OKS of a keypoint, its expectation, and the inverses (equations 6 and 10 to 12).

The object keypoint similarity of one keypoint is a Gaussian of its distance to the truth, whose width, the *falloff*
l_k = 2 sigma_k sqrt(area), grows with the person and differs between keypoints ("On the Calibration of Human Pose
Estimation", arXiv 2311.17105, equation 6). Lengths of a call share one unit, which the caller chooses: image pixels,
crop pixels or heatmap cells. Arguments broadcast: give (n, 1) areas and (k,) sigmas for an (n, k) result.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

from pose2d.skeletons import BODY_SHARE_OF_BOX

__all__ = [
    "BODY_SHARE_OF_BOX",
    "BODY_SHARE_OF_LOOSE_BOX",
    "Lengths",
    "area_of_boxes",
    "expected_oks",
    "falloff",
    "falloff_px",
    "keypoint_oks",
    "oks_from_area",
    "precision_from_expected_oks",
    "sigma_from_expected_oks",
]

Lengths = Shaped[np.ndarray, "..."] | float
"""Broadcastable numbers of one unit."""

BODY_SHARE_OF_LOOSE_BOX = 0.32
"""The same share that the fits take, whose boxes leave room: the tight box of the 2D joints, 1.2 times as large.

A constant of the first prototype, not a measurement. In 240 frames of the open world's validation tracks silhouettes
cover .49 of such boxes (median; quartiles .40 and .60; parts beyond the image's border count).
"""


def _array(values: Lengths) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def area_of_boxes(boxes_xywh: Float[np.ndarray, "n 4"], body_share: float) -> Float[np.ndarray, " n"]:
    """Body areas in px^2 where only boxes are known; OKS measures area by the segmentation.

    Args:
        boxes_xywh: person boxes in pixels; one without extent has area 0.
        body_share: body area over box area: `BODY_SHARE_OF_BOX` for annotators' and detectors' boxes,
            `BODY_SHARE_OF_LOOSE_BOX` for boxes around joints.
    """
    return np.asarray(np.maximum(body_share * boxes_xywh[:, 2] * boxes_xywh[:, 3], 0))


def falloff(root_areas: Lengths, sigmas: Lengths) -> np.ndarray:
    """l_k = 2 sigma_k sqrt(area), the distance at which a keypoint's OKS has fallen to exp(-1/2) (equation 6).

    Args:
        root_areas: square roots of body areas, in the unit of the result.
        sigmas: per-keypoint OKS sigmas.
    """
    return _array(_array(root_areas) * 2.0 * _array(sigmas))


def falloff_px(areas_px2: Lengths, sigmas: Lengths) -> np.ndarray:
    """`falloff` from areas, in pixels where they are in px^2."""
    return falloff(np.sqrt(_array(areas_px2)), sigmas)


def keypoint_oks(distance: Lengths, falloff: Lengths) -> np.ndarray:
    """OKS_k = exp(-d^2 / (2 l^2)) (equation 6)."""
    return np.asarray(np.exp(-(_array(distance) ** 2) / (2.0 * _array(falloff) ** 2)))


def oks_from_area(squared_distance: Lengths, areas: Lengths, sigmas: Lengths) -> np.ndarray:
    """`keypoint_oks` from squared distances and areas of the same unit, without a root; NaN stays NaN."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(-_array(squared_distance) / (2.0 * (_array(areas) * (2.0 * _array(sigmas)) ** 2))))


def expected_oks(sigma: Lengths, falloff: Lengths, offset: Lengths = 0.0) -> np.ndarray:
    """E[OKS] of a prediction: l^2 / (l^2 + s^2) exp(-|p^ - mu|^2 / (2 (l^2 + s^2))) (equations 10 to 12).

    Without an offset this is the ideal keypoint confidence (equation 12).

    Args:
        sigma: spread of the true keypoint per axis.
        falloff: l_k.
        offset: distance of the prediction from the mean of the true keypoint.
    """
    spread = _array(falloff) ** 2
    total = spread + _array(sigma) ** 2
    return _array(spread / total * np.exp(-(_array(offset) ** 2) / (2.0 * total)))


def sigma_from_expected_oks(confidence: Lengths, falloff: Lengths) -> np.ndarray:
    """Invert equation 12: sigma = l sqrt(1 / c - 1). Infinite for a confidence of 0, 0 for one of 1 and more."""
    c = _array(confidence)
    with np.errstate(divide="ignore"):
        return _array(_array(falloff) * np.sqrt(np.maximum(1.0 / c - 1.0, 0.0)))


def precision_from_expected_oks(confidence: Lengths, falloff: Lengths, noise_floor: float) -> np.ndarray:
    """1 / (sigma^2 + s0^2) with the sigma that equation 12 implies, sigma^2 = l^2 (1/c - 1); 0 at confidence 0.

    Args:
        confidence: expected OKS; clipped to [0, 1].
        falloff: l_k.
        noise_floor: s0, in the falloff's unit.
    """
    c = np.clip(_array(confidence), 0.0, 1.0)
    # c / (l^2 (1 - c) + s0^2 c): the same fraction without dividing by c.
    return _array(c / np.maximum(_array(falloff) ** 2 * (1 - c) + noise_floor**2 * c, 1e-12))
