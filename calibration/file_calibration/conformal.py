"""Radii that cover: the true keypoint lies within r pixels with 90 %, by split-conformal prediction.

The normalised score of a keypoint is its error over the sigma that its confidence implies; its 90 % quantile over
persons that the calibrator had not seen, taken per keypoint, scales sigma to a radius (Papadopoulos et al., 2002; Lei
et al., 2018). The guarantee needs persons like those of the fit, and holds on average over them, not for each alone.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from calibration.oks import falloff_px, sigma_from_expected_oks

COVERAGE = 0.9
_LEAST, _MOST = 0.02, 0.98
"""Confidences are kept inside before they are turned into a spread: 0 and 1 would mean an infinite one and none."""
_FEWEST = 60
"""Samples of a keypoint below which all keypoints' are used."""


def sigma_px(
    confidence: Float[np.ndarray, "n k"], area_px2: Float[np.ndarray, " n"], oks_sigmas: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "n k"]:
    """Spread per axis in image pixels, sigma^2 = l^2 (1 / c - 1) (equation 12 inverted).

    Args:
        confidence: expected OKS.
        area_px2: what the person's area is taken to be.
        oks_sigmas: COCO's per-keypoint sigmas.
    """
    falloff = falloff_px(area_px2[:, None], oks_sigmas)
    return sigma_from_expected_oks(np.clip(confidence, _LEAST, _MOST), falloff)


def radius_factors(
    error_px: Float[np.ndarray, "n k"], sigma: Float[np.ndarray, "n k"], coverage: float = COVERAGE
) -> Float[np.ndarray, " k"]:
    """Radius over sigma of each keypoint: the conformal quantile of error over sigma.

    Args:
        error_px: distance to the true keypoint, NaN where there is none; of persons not seen in fitting.
        sigma: spread in pixels, of the same keypoints.
        coverage: share of true keypoints to lie within the radius.
    """
    score = error_px / sigma
    pooled = _conformal_quantile(score[~np.isnan(score)], coverage)
    factors = np.full(score.shape[1], pooled)
    for k, column in enumerate(score.T):
        known = column[~np.isnan(column)]
        if len(known) >= _FEWEST:
            factors[k] = _conformal_quantile(known, coverage)
    return factors


def _conformal_quantile(scores: np.ndarray, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest of n scores (the largest where that is beyond)."""
    place = int(np.ceil((len(scores) + 1) * coverage)) - 1
    return float(np.sort(scores)[min(place, len(scores) - 1)])


def covered(
    error_px: Float[np.ndarray, "n k"], radius_px: Float[np.ndarray, "n k"]
) -> tuple[float, Float[np.ndarray, " k"]]:
    """Share of the true keypoints within their radius: of all, and of each keypoint (NaN without any)."""
    known = ~np.isnan(error_px)
    within = known & (error_px <= radius_px)
    with np.errstate(invalid="ignore"):
        return float(within.sum() / known.sum()), within.sum(axis=0) / known.sum(axis=0)
