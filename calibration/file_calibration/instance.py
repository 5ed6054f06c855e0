"""From calibrated keypoints to the confidence that ranks a detection.

How good a pose is, if it is a person's, is one question; whether the detection is a person's own, and no duplicate or
false alarm, is another. Calibrated keypoints answer the first. The file's score answers the second, except for what it
repeats of the keypoints' scores: mmpose and HRNet, for example, rank by the box's score times the keypoints' mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from calibration.aggregation import above_threshold, mean, visibility_weighted
from calibration.coco.accuracy import Accuracy
from calibration.coco.bootstrap import bootstrap_average_precision
from calibration.coco.files import KeypointDetections
from calibration.coco.matching import KeypointMatches, rank
from calibration.file_calibration.logistic import LogisticLine

InstanceRule = Literal["score / mean x pose", "score / mean above 0.2 x pose", "pose", "score x pose", "score"]
"""What is made of the file's score: freed of the keypoints' mean, left out, multiplied as it is, or kept alone."""
INSTANCE_RULES: tuple[InstanceRule, ...] = get_args(InstanceRule)
_CONSTANT = 1e-3
"""Relative spread below which a score says nothing that the keypoints' scores do not say."""
_MARGIN = 0.001
"""AP by which a later rule must beat an earlier one."""
_SMALLEST = 1e-9


@dataclass(frozen=True)
class InstanceConfidence:
    """The rule, and the line that makes a probability of it.

    Attributes:
        rule: what is made of the file's score.
        line: of the logarithm; None where the product is an expected OKS already.
    """

    rule: InstanceRule
    line: LogisticLine | None = None

    def __call__(self, pose: Float[np.ndarray, " n"], detections: KeypointDetections) -> Float[np.ndarray, " n"]:
        """Confidence of each detection in [0, 1]: its expected OKS, where a duplicate or false alarm has OKS 0.

        Args:
            pose: expected OKS of each pose, if the detection is a person's own.
            detections: with the file's scores.
        """
        ranking = ranking_of(self.rule, pose, detections)
        if self.line is None:
            return np.asarray(np.clip(ranking, 0, 1))
        return self.line(np.log(np.maximum(ranking, _SMALLEST)))


def pose_oks(
    confidence: Float[np.ndarray, "n k"], visibility: Float[np.ndarray, "n k"] | None
) -> Float[np.ndarray, " n"]:
    """Expected OKS of each pose: sum v c / sum v, the shape of the OKS itself, or the plain mean without visibility."""
    if visibility is None:
        return mean(confidence)
    return visibility_weighted(confidence, visibility)


def ranking_of(
    rule: InstanceRule, pose: Float[np.ndarray, " n"], detections: KeypointDetections
) -> Float[np.ndarray, " n"]:
    """What a rule ranks by; scores below 0 count as 0."""
    score = np.maximum(detections.score, 0)
    if rule == "pose":
        return pose
    if rule == "score":
        return np.asarray(score)
    if rule == "score x pose":
        return np.asarray(score * pose)
    return np.asarray(_beyond_keypoints(rule, detections) * pose)


def _beyond_keypoints(rule: InstanceRule, detections: KeypointDetections) -> np.ndarray:
    """The file's score over a mean of the keypoints' scores; 1 where that is 0, and so is the score."""
    raw = detections.raw_score
    repeated = mean(raw) if rule == "score / mean x pose" else above_threshold(raw)
    score = np.maximum(detections.score, 0)
    return np.asarray(np.divide(score, repeated, out=np.ones_like(score), where=repeated > _SMALLEST))


def repeats_keypoints(detections: KeypointDetections) -> InstanceRule | None:
    """The rule whose factor is the same for every detection: then the score is its aggregate and says no more."""
    for rule in INSTANCE_RULES[:2]:
        factor = _beyond_keypoints(rule, detections)
        # A few persons without a keypoint above the threshold have factors of their own.
        low, middle, high = np.quantile(factor, [0.02, 0.5, 0.98])
        if high - low <= _CONSTANT * middle:
            return rule
    return None


def choose_rules(
    matches: KeypointMatches, pose: Float[np.ndarray, " n"], images: Bool[np.ndarray, "s i"]
) -> list[InstanceRule]:
    """The rule of highest AP on each of several sets of images; an earlier one unless a later one is clearly better.

    Args:
        matches: of all images.
        pose: expected OKS of poses whose images were not seen.
        images: which images belong to each set.
    """
    detections = matches.detections
    repeated = repeats_keypoints(detections)
    if repeated is not None:
        return [repeated] * len(images)
    ap = np.stack(
        [
            bootstrap_average_precision(rank(matches, ranking_of(rule, pose, detections)), images.astype(int)).mean(1)
            for rule in INSTANCE_RULES
        ]
    )
    good_enough = ap >= ap.max(axis=0) - _MARGIN
    return [INSTANCE_RULES[number] for number in good_enough.argmax(axis=0)]


def fit_instance(
    rule: InstanceRule, pose: Float[np.ndarray, " n"], detections: KeypointDetections, accuracy: Accuracy
) -> InstanceConfidence:
    """Fit the line of a rule to what came true; none where every detection is a person's and the score says no more.

    Args:
        rule: what ranks.
        pose: expected OKS of unseen poses.
        detections: with the file's scores.
        accuracy: of the same detections.
    """
    judged = accuracy.judged
    if rule == "pose" or (rule == repeats_keypoints(detections) and accuracy.speaks[judged].all()):
        return InstanceConfidence(rule)
    ranking = ranking_of(rule, pose, detections)[judged]
    return InstanceConfidence(rule, LogisticLine.fit(np.log(np.maximum(ranking, _SMALLEST)), accuracy.oks[judged]))
