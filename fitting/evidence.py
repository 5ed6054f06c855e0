"""What is known about the 2D keypoints of some persons: the hand-over from calibration, as weightings read it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from calibration.calibrated_poses import CalibratedPoses2D
from calibration.oks import BODY_SHARE_OF_LOOSE_BOX, area_of_boxes, falloff
from pose2d.errors import InputError
from pose2d.poses import Poses2D
from pose2d.skeletons import Skeleton

BOX_PX = 256.0
"""Errors, falloffs and sigmas are in pixels of a person box scaled to this size, so near and far persons count
alike."""


@dataclass(frozen=True)
class KeypointEvidence:
    """What is known about the keypoints of n persons; `of` makes it from calibrated poses.

    Fields that a weighting does not need may be None. Lengths are in pixels of the `BOX_PX` box.
    """

    raw_score: Float[np.ndarray, "n k"]
    """The 2D network's own score; 0 or less: not detected, weight 0 under every rule."""
    confidence: Float[np.ndarray, "n k"] | None = None
    """The calibrated confidence: expected OKS, given that the keypoint is labelled."""
    visibility: Float[np.ndarray, "n k"] | None = None
    """Calibrated probability that the keypoint is labelled."""
    presence: Float[np.ndarray, "n k"] | None = None
    """Calibrated probability that it lies in the picture at all; None counts as 1."""
    rescored: Float[np.ndarray, "n k"] | None = None
    """Expected OKS by the closed-form correction of the raw score (equation 12 with a predicted sigma)."""
    oracle: Float[np.ndarray, "n k"] | None = None
    """The OKS that the keypoint really has. Only an evaluation can know it; it bounds the other weightings."""
    falloff: Float[np.ndarray, "n k"] | None = None
    """OKS falloff l_k (`oks_falloff`); None where no OKS sigmas are published for the skeleton."""
    sigma: Float[np.ndarray, "n k"] | None = None
    """The network's own standard deviation per axis, not calibrated; None where it predicts none."""

    @classmethod
    def of(
        cls,
        poses: Poses2D | CalibratedPoses2D,
        rescored: Float[np.ndarray, "n k"] | None = None,
        oracle: Float[np.ndarray, "n k"] | None = None,
    ) -> KeypointEvidence:
        """The evidence that 2D poses carry, calibrated or not.

        Args:
            poses: of n persons; plain ones have no confidence, visibility and presence.
            rescored: closed-form correction of their raw scores.
            oracle: true OKS of their keypoints.
        """
        calibrated = poses if isinstance(poses, CalibratedPoses2D) else None
        plain = poses.poses if isinstance(poses, CalibratedPoses2D) else poses
        size_px = person_size_px(plain.boxes_xywh)
        known = plain.skeleton.oks_sigmas is not None
        return cls(
            raw_score=plain.raw_score,
            confidence=None if calibrated is None else calibrated.confidence,
            visibility=None if calibrated is None else calibrated.visibility,
            presence=None if calibrated is None else calibrated.presence,
            rescored=rescored,
            oracle=oracle,
            falloff=oks_falloff(plain.skeleton, plain.boxes_xywh, size_px) if known else None,
            sigma=None if plain.sigma_px is None else plain.sigma_px * _box_pixels_per_pixel(size_px)[:, None],
        )


def person_size_px(boxes_xywh: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """The size by which a person's errors are scaled: the longer side of its box, image pixels."""
    size: np.ndarray = boxes_xywh[:, 2:].max(axis=1)
    return size


def _box_pixels_per_pixel(size_px: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    factor = np.zeros_like(size_px)
    np.divide(BOX_PX, size_px, out=factor, where=size_px > 0)
    return factor


def oks_falloff(
    skeleton: Skeleton,
    boxes_xywh: Float[np.ndarray, "n 4"],
    size_px: Float[np.ndarray, " n"],
    body_share: float = BODY_SHARE_OF_LOOSE_BOX,
) -> Float[np.ndarray, "n k"]:
    """OKS falloff l_k = sqrt(area) kappa_k (equation 6) in pixels of the `BOX_PX` box.

    Args:
        skeleton: of the k keypoints.
        boxes_xywh: image pixels.
        size_px: the person size by which the objective scales its errors.
        body_share: body area over box area (`calibration.oks.area_of_boxes`).

    Raises:
        InputError: no OKS sigmas are published for the skeleton.
    """
    if skeleton.oks_sigmas is None:
        raise InputError(
            f"no OKS sigmas are published for skeleton {skeleton.name}, so a confidence cannot be turned into pixels; "
            "use another weighting than precision"
        )
    root_areas = np.sqrt(area_of_boxes(boxes_xywh, body_share)) * _box_pixels_per_pixel(size_px)
    return falloff(root_areas[:, None], skeleton.sigmas)
