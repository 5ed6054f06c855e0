"""Bootstrap intervals of AP and of AUSE over images.

A resample of the images draws each of them 0, 1, 2, ... times. The ranking stays, so AP of a resample needs no new
matching and no new sort: the precision-recall curve is a pair of weighted cumulative sums. Rows that share the images
share the resamples, so differences are paired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from calibration.coco.matching import AREA_RANGES, OKS_THRESHOLDS, RECALL_THRESHOLDS, RankedMatches


@dataclass(frozen=True)
class Interval:
    """A 95 % percentile interval."""

    low: float
    high: float


def resample_images(num_images: int, replicates: int, seed: int = 0) -> Int[np.ndarray, "r i"]:
    """How often each of the images is drawn in each resample (rows sum to `num_images`)."""
    rng = np.random.default_rng(seed)
    counts = np.empty((replicates, num_images), dtype=np.int16)
    for counted in counts:
        counted[:] = np.bincount(rng.integers(num_images, size=num_images), minlength=num_images)
    return counts


def bootstrap_average_precision(
    ranked: RankedMatches, counts: Int[np.ndarray, "r i"], area: str = "all"
) -> Float[np.ndarray, "r t"]:
    """AP at each OKS threshold of every resample; NaN for a resample without persons of that size.

    Equal to pycocotools on a file in which each image stands as often as it was drawn, copies side by side. (Detections
    of one image with equal scores are the exception: their copies would interleave.)

    Args:
        ranked: one ranking, from `calibration.coco.matching.rank`.
        counts: from `resample_images`.
        area: the area range, "all", "medium" or "large".
    """
    from calibration.coco.bootstrap_kernel import weighted_average_precision

    a = list(AREA_RANGES).index(area)
    positives = _drawn(counts, ranked.positives[a])
    counted = ranked.true_positive[a] | ranked.false_positive[a]
    judged = np.flatnonzero(counted.any(axis=0))
    marks = (np.ascontiguousarray(m[:, judged]).view(np.uint8) for m in (ranked.true_positive[a], counted))
    kernel: Any = weighted_average_precision
    result: np.ndarray = kernel(counts, ranked.image[judged], *marks, positives, RECALL_THRESHOLDS)
    result[positives == 0] = np.nan
    return result


def _drawn(counts: np.ndarray, number: np.ndarray) -> np.ndarray:
    """How many things each resample draws of which an image has so many; by einsum, which copies no counts."""
    return np.asarray(np.einsum("ri,i->r", counts, number, dtype=np.int64))


def bootstrap_average_recall(ranked: RankedMatches, counts: Int[np.ndarray, "r i"]) -> Float[np.ndarray, " r"]:
    """AR (all sizes) of every resample; NaN for one without persons."""
    positives = counts.astype(float) @ ranked.positives[0].astype(float)
    images = counts.shape[1]
    found = sum(np.bincount(ranked.image[hit], minlength=images) for hit in ranked.true_positive[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(counts.astype(float) @ (np.asarray(found, dtype=float) / len(OKS_THRESHOLDS)) / positives)


def interval(samples: Float[np.ndarray, " r"]) -> Interval:
    """The middle 95 % of a statistic's resamples; NaN ones are left out."""
    samples = samples[~np.isnan(samples)]
    if len(samples) == 0:
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(samples, [0.025, 0.975])
    return Interval(float(low), float(high))


def bootstrap_sparsification_error(
    confidence: Float[np.ndarray, " n"],
    error: Float[np.ndarray, " n"],
    image: Int[np.ndarray, " n"],
    counts: Int[np.ndarray, "r i"],
) -> Float[np.ndarray, " r"]:
    """AUSE (not normalised) of every resample; NaN for one without samples.

    Equal to `metrics.area_under_sparsification_error` of samples that stand as often as their image was drawn. The
    orders are those of all samples, so that no resample is sorted.

    Args:
        confidence: of each sample.
        error: of each sample.
        image: of each sample, as `counts` numbers them.
        counts: from `resample_images`.
    """
    ascending = np.argsort(confidence, kind="stable")
    _, tie = np.unique(confidence[ascending], return_inverse=True)
    worst_first = np.argsort(-error, kind="stable")
    result = np.full(len(counts), np.nan)
    for r, drawn in enumerate(counts):
        times = drawn[image]
        kept = np.repeat(np.arange(len(ascending)), times[ascending])
        if len(kept) == 0:
            continue
        group, value = tie[kept], error[ascending[kept]]
        size = np.bincount(group)
        expected = np.divide(np.bincount(group, value), size, where=size > 0, out=np.zeros(len(size)))[group]
        oracle = np.repeat(error[worst_first], times[worst_first])
        remaining = np.arange(1, len(kept) + 1)
        result[r] = ((np.cumsum(expected[::-1]) - np.cumsum(oracle[::-1])) / remaining).mean()
    return result
