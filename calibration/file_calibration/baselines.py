"""What costs nothing and mends the scale of the scores, not their order: isotonic curves and temperature scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from calibration.coco.accuracy import Accuracy
from calibration.coco.files import KeypointDetections
from calibration.file_calibration.logistic import LogisticLine, log_odds


@dataclass(frozen=True)
class IsotonicCurves:
    """A monotone piecewise linear curve per keypoint from its score to expected OKS (Zadrozny and Elkan, 2002).

    Attributes:
        start: where each keypoint's knots begin in the two lists, one more than there are keypoints.
        score, oks: the knots, each keypoint's in ascending order.
    """

    start: Int[np.ndarray, " k_plus_1"]
    score: Float[np.ndarray, " s"]
    oks: Float[np.ndarray, " s"]

    def predict(self, detections: KeypointDetections) -> Float[np.ndarray, "n k"]:
        """Expected OKS; beyond the scores seen in fitting the curves stay flat."""
        knots = [slice(a, b) for a, b in zip(self.start[:-1], self.start[1:])]
        columns = [np.interp(raw, self.score[at], self.oks[at]) for raw, at in zip(detections.raw_score.T, knots)]
        return np.stack(columns, axis=1)


def fit_isotonic(detections: KeypointDetections, accuracy: Accuracy, chosen: Int[np.ndarray, " c"]) -> IsotonicCurves:
    """Fit one isotonic regression per keypoint on the chosen detections' labelled keypoints (scikit-learn, clipped)."""
    from sklearn.isotonic import IsotonicRegression

    knots = []
    for raw, oks in zip(detections.raw_score[chosen].T, accuracy.keypoint_oks[chosen].T):
        known = ~np.isnan(oks)
        if not known.any():
            knots.append((np.zeros(1), np.zeros(1)))
            continue
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(raw[known], oks[known])
        knots.append((curve.X_thresholds_, curve.y_thresholds_))
    start = np.cumsum([0, *(len(score) for score, _ in knots)])
    score, oks = (np.concatenate(values).astype(float) for values in zip(*knots))
    return IsotonicCurves(start, score, oks)


@dataclass(frozen=True)
class Temperature:
    """One temperature and one shift of the log odds for all keypoints (Guo et al., 2017)."""

    line: LogisticLine

    def predict(self, detections: KeypointDetections) -> Float[np.ndarray, "n k"]:
        """Expected OKS; scores beyond [0, 1] count as its ends."""
        return self.line(log_odds(detections.raw_score))


def fit_temperature(detections: KeypointDetections, accuracy: Accuracy, chosen: Int[np.ndarray, " c"]) -> Temperature:
    """Fit on the chosen detections' labelled keypoints."""
    raw, oks = detections.raw_score[chosen], accuracy.keypoint_oks[chosen]
    known = ~np.isnan(oks)
    return Temperature(LogisticLine.fit(log_odds(raw[known]), oks[known]))
