"""How well a confidence tells accuracy: correlation, calibration error, sparsification. Pure functions of flat arrays.

`confidence` is a method's prediction per sample, `accuracy` what came true (OKS, in [0, 1]), `error` what should be
removed first (1 - OKS, or the end-point error over the falloff length). Samples are keypoints or instances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Binning = Literal["width", "mass"]


@dataclass(frozen=True)
class ReliabilityBins:
    """A reliability diagram's bars; empty bins are left out.

    Attributes:
        edges: of all bins, one more than there are bins.
        count: samples in each bin that has any.
        confidence: their mean confidence.
        accuracy: their mean accuracy.
    """

    edges: Float[np.ndarray, " e"]
    count: Int[np.ndarray, " b"]
    confidence: Float[np.ndarray, " b"]
    accuracy: Float[np.ndarray, " b"]


@dataclass(frozen=True)
class Calibration:
    """How well one set of confidences tells OKS. NaN where a number is not defined.

    Attributes:
        count: samples.
        outside: how many confidences lie outside [0, 1]; ECE and Brier are defined where none does.
        pearson: correlation with OKS.
        ece, ece_mass: expected calibration error, 10 bins of equal width and of equal mass.
        brier: mean squared difference to OKS.
        ause, ause_raw: area under the sparsification error of 1 - OKS, over the mean error and as it is.
        ause_epe, ause_epe_raw: the same of the end-point error over the falloff length.
    """

    count: int
    outside: int
    pearson: float
    ece: float
    ece_mass: float
    brier: float
    ause: float
    ause_raw: float
    ause_epe: float
    ause_epe_raw: float


def pearson(confidence: Float[np.ndarray, " n"], accuracy: Float[np.ndarray, " n"]) -> float:
    """Pearson's correlation; NaN where either is constant or there are fewer than two samples."""
    if len(confidence) < 2 or np.ptp(confidence) == 0 or np.ptp(accuracy) == 0:
        return float("nan")
    a, b = confidence - confidence.mean(), accuracy - accuracy.mean()
    return float(np.clip(a @ b / np.sqrt((a @ a) * (b @ b)), -1, 1))


def is_probability(confidence: Float[np.ndarray, " n"]) -> bool:
    """Whether every value lies in [0, 1], as calibration error presumes."""
    return bool(np.all((confidence >= 0) & (confidence <= 1)))


def reliability_bins(
    confidence: Float[np.ndarray, " n"],
    accuracy: Float[np.ndarray, " n"],
    num_bins: int = 10,
    binning: Binning = "width",
) -> ReliabilityBins:
    """Bin samples by confidence, in bins of equal width on [0, 1] or of equal mass (quantiles).

    A value on an edge belongs to the lower bin, as in scikit-learn's `calibration_curve`.

    Raises:
        ValueError: a confidence lies outside [0, 1].
    """
    if not is_probability(confidence):
        raise ValueError("calibration error is defined for confidences in [0, 1] only")
    share = np.linspace(0, 1, num_bins + 1)
    edges = share if binning == "width" or len(confidence) == 0 else np.quantile(confidence, share)
    place = np.searchsorted(edges[1:-1], confidence)
    count = np.bincount(place, minlength=num_bins)
    filled = count > 0
    mean_confidence = np.bincount(place, confidence, num_bins)[filled] / count[filled]
    mean_accuracy = np.bincount(place, accuracy, num_bins)[filled] / count[filled]
    return ReliabilityBins(edges, count[filled], mean_confidence, mean_accuracy)


def expected_calibration_error(
    confidence: Float[np.ndarray, " n"],
    accuracy: Float[np.ndarray, " n"],
    num_bins: int = 10,
    binning: Binning = "width",
) -> float:
    """ECE = sum_b n_b / n |mean confidence - mean accuracy| (Guo et al., 2017), of expected OKS; NaN without samples.

    Raises:
        ValueError: a confidence lies outside [0, 1].
    """
    bins = reliability_bins(confidence, accuracy, num_bins, binning)
    if len(bins.count) == 0:
        return float("nan")
    return float(bins.count @ np.abs(bins.confidence - bins.accuracy) / bins.count.sum())


def brier_score(confidence: Float[np.ndarray, " n"], accuracy: Float[np.ndarray, " n"]) -> float:
    """Mean squared difference of confidence and accuracy: equation 20's loss. NaN without samples.

    Raises:
        ValueError: a confidence lies outside [0, 1].
    """
    if not is_probability(confidence):
        raise ValueError("the Brier score is defined for confidences in [0, 1] only")
    return float(np.mean((confidence - accuracy) ** 2)) if len(confidence) else float("nan")


def sparsification_curve(
    confidence: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Mean error of what remains after the 0, 1, ..., n - 1 least confident samples are removed (Ilg et al., 2018).

    Samples of equal confidence are removed in no particular order: the curve is its expectation over all of them, so a
    constant confidence gives a flat line and not whatever order the samples came in.
    """
    if len(confidence) == 0:
        return np.zeros(0)
    _, tie, count = np.unique(confidence, return_inverse=True, return_counts=True)
    expected = (np.bincount(tie, error) / count)[np.sort(tie)]
    return np.cumsum(expected[::-1])[::-1] / np.arange(len(error), 0, -1)


def area_under_sparsification_error(
    confidence: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"], normalised: bool = True
) -> float:
    """AUSE: mean distance, over the fraction removed, of the sparsification curve to the oracle's (Ilg et al., 2018).

    The oracle removes the largest errors first. 0 is a perfect order; normalised, both curves are divided by the mean
    error of all samples. NaN without samples, and normalised where there is no error at all.
    """
    if len(error) == 0:
        return float("nan")
    area = float(np.mean(sparsification_curve(confidence, error) - sparsification_curve(-error, error)))
    if not normalised:
        return area
    mean_error = float(error.mean())
    return area / mean_error if mean_error > 0 else float("nan")


def calibration_of(
    confidence: Float[np.ndarray, " n"], oks: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"]
) -> Calibration:
    """Every calibration number of one set of samples.

    Args:
        confidence: any finite numbers; ECE and Brier are NaN where one lies outside [0, 1].
        oks: what came true.
        error: end-point error over the falloff length.
    """
    outside = int(np.count_nonzero((confidence < 0) | (confidence > 1)))
    probable = outside == 0 and len(confidence) > 0
    nan = float("nan")
    return Calibration(
        count=len(confidence),
        outside=outside,
        pearson=pearson(confidence, oks),
        ece=expected_calibration_error(confidence, oks) if probable else nan,
        ece_mass=expected_calibration_error(confidence, oks, binning="mass") if probable else nan,
        brier=brier_score(confidence, oks) if probable else nan,
        ause=area_under_sparsification_error(confidence, 1 - oks),
        ause_raw=area_under_sparsification_error(confidence, 1 - oks, normalised=False),
        ause_epe=area_under_sparsification_error(confidence, error),
        ause_epe_raw=area_under_sparsification_error(confidence, error, normalised=False),
    )
