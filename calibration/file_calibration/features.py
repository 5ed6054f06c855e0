"""What the pose-aware calibrator sees of a detection: its keypoints in the frame of the crop, scores and size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from calibration.coco.files import KeypointDetections
from calibration.file_calibration.crops import Crops, is_found, pose_boxes

KEYPOINT_INPUTS = 3
"""Place in the crop (x, y) and score."""
PERSON_INPUTS = 4
"""Size and shape of the crop, how much of it the pose fills, level of the scores."""
_FARTHEST = 2.0
"""Keypoints lie within so many sides of the crop's centre; those beyond are as far."""
_MOST_DEVIATIONS = 4.0


@dataclass(frozen=True)
class Features:
    """Inputs of the network, in natural units; it standardises them itself.

    Attributes:
        keypoint: x and y from the crop's centre in its longer sides (0 where the network found nothing), and the score.
        person: log side in px, log width over height, log share of the side that the pose fills, log mean score.
    """

    keypoint: Float[np.ndarray, "n k 3"]
    person: Float[np.ndarray, "n 4"]

    def __len__(self) -> int:
        return len(self.person)

    def subset(self, chosen: Int[np.ndarray, " c"]) -> Features:
        """Some of them, by number."""
        return Features(self.keypoint[chosen], self.person[chosen])


def features_of(detections: KeypointDetections, crops: Crops) -> Features:
    """Inputs in the frame of each detection's crop."""
    side = crops.size_px.max(axis=1)
    place = (detections.xy_px - crops.centre_px[:, None]) / side[:, None, None]
    place = np.where(is_found(detections)[:, :, None], np.clip(place, -_FARTHEST, _FARTHEST), 0.0)
    fill = pose_boxes(detections)[1].max(axis=1) / side
    level = np.log(np.maximum(detections.raw_score.mean(axis=1), 1e-3))
    person = [np.log(side), np.log(crops.size_px[:, 0] / crops.size_px[:, 1]), np.log(fill), level]
    return Features(np.concatenate([place, detections.raw_score[:, :, None]], axis=2), np.stack(person, axis=1))


@dataclass(frozen=True)
class Standardisation:
    """Mean and spread of each input over the persons of a fit.

    Attributes:
        keypoint_mean, keypoint_std: of x, y and score; x keeps its mean at 0, so that mirroring is a change of sign.
        person_mean, person_std: of the inputs of the whole person.
    """

    keypoint_mean: Float[np.ndarray, "3"]
    keypoint_std: Float[np.ndarray, "3"]
    person_mean: Float[np.ndarray, "4"]
    person_std: Float[np.ndarray, "4"]

    @staticmethod
    def sizes() -> dict[str, int]:
        """Length of each array."""
        return {
            "keypoint_mean": KEYPOINT_INPUTS,
            "keypoint_std": KEYPOINT_INPUTS,
            "person_mean": PERSON_INPUTS,
            "person_std": PERSON_INPUTS,
        }

    @classmethod
    def of(cls, features: Features) -> Standardisation:
        """An input that hardly varies keeps a spread that lets small changes pass for small."""
        mean, std = features.keypoint.mean(axis=(0, 1)), features.keypoint.std(axis=(0, 1))
        mean[:2], std[:2] = 0.0, std[:2].max()
        floor = np.array([1e-3, 1e-3, 1e-6])
        return cls(
            mean, np.maximum(std, floor), features.person.mean(axis=0), np.maximum(features.person.std(axis=0), 1e-2)
        )

    def apply(self, features: Features) -> tuple[Float[np.ndarray, "n k 3"], Float[np.ndarray, "n 4"]]:
        """Standardised inputs, cut where nothing like them was seen in fitting."""
        keypoint = (features.keypoint - self.keypoint_mean) / self.keypoint_std
        person = (features.person - self.person_mean) / self.person_std
        clipped = [np.clip(v, -_MOST_DEVIATIONS, _MOST_DEVIATIONS).astype(np.float32) for v in (keypoint, person)]
        return clipped[0], clipped[1]
