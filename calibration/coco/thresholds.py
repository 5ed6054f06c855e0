"""Above which score is a keypoint, or a person, right? Thresholds whose precision is guaranteed.

Right means OKS >= t. Thresholds are tried from the highest scores downwards, and the first that fails ends the search
(fixed-sequence testing, as in Learn then Test, Angelopoulos et al., 2021): the chosen one has the wanted precision with
probability 1 - delta, however many were tried. Each is tested by the exact lower bound of Clopper and Pearson (1934).
Keypoints of an image are not independent, so the bound is taken at the effective sample size of Korn and Graubard
(1998): the number of samples over the design effect, which compares the spread of precision between images with that of
as many independent samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from calibration.coco.accuracy import Accuracy

RIGHT_OKS = (0.5, 0.75)
DELTA = 0.01
"""So that the precision measured on another sample as large, which has a spread of its own, falls short in 5 %."""
SHARES = np.linspace(0.05, 1.0, 20)
"""Shares of the samples that the tried thresholds keep."""


@dataclass(frozen=True)
class Threshold:
    """One answer.

    Attributes:
        kind: "keypoints" or "persons".
        right_oks: OKS from which one is right.
        precision: wanted.
        threshold: the lowest score that has it; NaN where none is proven to.
        kept: share of the samples at or above it.
        found: share of the right ones among these.
        lower: bound below which the precision is not, with probability 1 - delta.
        count: samples.
    """

    kind: str
    right_oks: float
    precision: float
    threshold: float
    kept: float
    found: float
    lower: float
    count: int

    def as_dict(self) -> dict[str, str | float | int | None]:
        """For JSON, null where no threshold is proven."""
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in vars(self).items()}


def guaranteed_threshold(
    score: Float[np.ndarray, " n"],
    right: Bool[np.ndarray, " n"],
    image: Int[np.ndarray, " n"],
    precision: float,
    delta: float = DELTA,
) -> tuple[float, float, float, float]:
    """The lowest threshold whose precision is at least `precision` with probability 1 - `delta`.

    Args:
        score: of each sample.
        right: whether it is right.
        image: that it stands in; images are independent, their samples need not be.
        precision: wanted share of right ones among those kept.
        delta: probability that the threshold has less.

    Returns:
        Threshold, share kept, share of right ones among these, and the bound; NaN where no threshold is proven.
    """
    nothing = (float("nan"), 0.0, float("nan"), float("nan"))
    chosen = nothing
    for threshold, kept, found, lower in precision_curve(score, right, image, delta):
        if lower < precision:
            if np.log(delta) < kept * len(score) * np.log(precision):
                continue  # so few that even no error proves nothing: not a test, and the same for any labels
            break
        chosen = (threshold, kept, found, lower)
    return chosen


def precision_curve(
    score: Float[np.ndarray, " n"], right: Bool[np.ndarray, " n"], image: Int[np.ndarray, " n"], delta: float = DELTA
) -> list[tuple[float, float, float, float]]:
    """Threshold, share kept, precision and its lower bound, from the highest threshold to the lowest."""
    if len(score) == 0:
        return []
    descending = np.sort(score)[::-1]
    places = np.unique(np.maximum(np.ceil(SHARES * len(score)).astype(int), 1)) - 1
    curve = []
    for threshold in np.unique(descending[places])[::-1]:
        kept = score >= threshold
        found = right[kept]
        lower = lower_bound(found, image[kept], delta)
        curve.append((float(threshold), float(kept.mean()), float(found.mean()), lower))
    return curve


def lower_bound(right: Bool[np.ndarray, " n"], image: Int[np.ndarray, " n"], delta: float = DELTA) -> float:
    """Clopper and Pearson's lower bound of a share at the effective sample size (Korn and Graubard, 1998)."""
    from scipy.stats import beta, t

    count, share = len(right), float(right.mean())
    images = int(np.count_nonzero(np.bincount(image)))
    effective = float(count)
    if images > 1 and 0 < share < 1:
        excess = np.bincount(image, right - share)
        variance = images / (images - 1) * float(excess @ excess) / count**2
        effective = min(count, share * (1 - share) / variance)
        # Few images tell the variance badly.
        effective *= float((t.ppf(delta, count - 1) / t.ppf(delta, images - 1)) ** 2)
    elif share == 1:
        effective = float(images)  # without an error the spread between images cannot be seen
    hits = share * effective
    return 0.0 if hits <= 0 else float(beta.ppf(delta, hits, effective - hits + 1))


def thresholds_of(
    confidence: tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n k"] | None],
    accuracy: Accuracy,
    image: Int[np.ndarray, " n"],
    precisions: tuple[float, ...],
) -> list[Threshold]:
    """Guaranteed thresholds of keypoints and of persons.

    Args:
        confidence: of the instances and, where there are such, of the keypoints.
        accuracy: of the same detections; duplicates and false alarms are wrong persons.
        image: of each detection.
        precisions: wanted.
    """
    instance, keypoint = confidence
    judged, known = accuracy.judged, ~np.isnan(accuracy.keypoint_oks)
    samples = {"persons": (instance[judged], accuracy.oks[judged], image[judged])}
    if keypoint is not None:
        of_keypoint = np.broadcast_to(image[:, None], known.shape)[known]
        samples = {"keypoints": (keypoint[known], accuracy.keypoint_oks[known], of_keypoint)} | samples
    return [
        Threshold(kind, oks, wanted, *guaranteed_threshold(score, came_true >= oks, where, wanted), len(score))
        for kind, (score, came_true, where) in samples.items()
        for oks in RIGHT_OKS
        for wanted in precisions
    ]
