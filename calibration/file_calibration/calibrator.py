"""A calibrator of results files: from what a file says of its detections to what may be believed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from calibration.coco.files import KeypointDetections
from calibration.file_calibration.baselines import IsotonicCurves, Temperature
from calibration.file_calibration.conformal import sigma_px
from calibration.file_calibration.crops import Crops
from calibration.file_calibration.features import features_of
from calibration.file_calibration.instance import InstanceConfidence, pose_oks
from calibration.file_calibration.pose_aware import PoseAware
from calibration.file_calibration.provenance import Provenance

Method = Literal["isotonic", "temperature", "pose-aware"]
METHODS: tuple[Method, ...] = get_args(Method)
KeypointModel = IsotonicCurves | Temperature | PoseAware


@dataclass(frozen=True)
class Calibrated:
    """What a calibrator says of n detections.

    Attributes:
        instance: expected OKS of each, in [0, 1], where duplicates and false alarms have OKS 0: it ranks them.
        confidence: expected OKS of each keypoint, in [0, 1].
        visibility: probability that a keypoint is labelled; None of methods that do not say.
        sigma_px: spread of the true keypoint per axis in image pixels (equation 12 inverted).
        radius_px: the true keypoint lies within it with 90 %.
    """

    instance: Float[np.ndarray, " n"]
    confidence: Float[np.ndarray, "n k"]
    visibility: Float[np.ndarray, "n k"] | None
    sigma_px: Float[np.ndarray, "n k"]
    radius_px: Float[np.ndarray, "n k"]


@dataclass(frozen=True)
class Scales:
    """What turns the keypoints' expected OKS into the other outputs, fitted on images that the model had not seen.

    Attributes:
        instance: from poses to detections.
        area_share: area of a person over that of its crop.
        oks_sigmas: COCO's sigma of each keypoint.
        radius_factors: radius over sigma of each keypoint.
    """

    instance: InstanceConfidence
    area_share: float
    oks_sigmas: Float[np.ndarray, " k"]
    radius_factors: Float[np.ndarray, " k"]

    def apply(
        self,
        confidence: Float[np.ndarray, "n k"],
        visibility: Float[np.ndarray, "n k"] | None,
        detections: KeypointDetections,
        crops: Crops,
    ) -> Calibrated:
        """Everything from the keypoints' expected OKS and visibilities."""
        sigma = sigma_px(confidence, self.area_share * crops.size_px.prod(axis=1), self.oks_sigmas)
        instance = self.instance(pose_oks(confidence, visibility), detections)
        return Calibrated(instance, confidence, visibility, sigma, sigma * self.radius_factors)


@dataclass(frozen=True)
class FileCalibrator:
    """A fitted calibrator.

    Attributes:
        method: what it is.
        skeleton: name of the keypoint set.
        keypoints: names of its k keypoints.
        model: predicts expected OKS of each keypoint.
        scales: the rest.
        provenance: what it was fitted to.
    """

    method: Method
    skeleton: str
    keypoints: tuple[str, ...]
    model: KeypointModel
    scales: Scales
    provenance: Provenance

    def calibrate(self, detections: KeypointDetections, crops: Crops) -> Calibrated:
        """Calibrate detections of the same network, with crops from the fields that it was fitted with."""
        confidence, visibility = predict_keypoints(self.model, detections, crops)
        return self.scales.apply(confidence, visibility, detections, crops)


def predict_keypoints(
    model: KeypointModel, detections: KeypointDetections, crops: Crops
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"] | None]:
    """Expected OKS and, of models that know it, visibility of each keypoint."""
    if isinstance(model, PoseAware):
        return model.predict(features_of(detections, crops))
    return model.predict(detections), None


def joined(parts: Sequence[Calibrated], at: Sequence[np.ndarray]) -> Calibrated:
    """Put calibrated parts of a file together; `at` holds the numbers of each part's detections."""
    order = np.argsort(np.concatenate(at))

    def together(values: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(values)[order]

    visibilities = [part.visibility for part in parts if part.visibility is not None]
    return Calibrated(
        together([part.instance for part in parts]),
        together([part.confidence for part in parts]),
        together(visibilities) if visibilities else None,
        together([part.sigma_px for part in parts]),
        together([part.radius_px for part in parts]),
    )
