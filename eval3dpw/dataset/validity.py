"""Rules by which the frames of a track count in an evaluation, by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool

from eval3dpw.dataset.sequences import DetectedKeypoints, Track
from pose2d.errors import InputError
from pose2d.skeletons import LSP14, OPENPOSE18


def valid_campose(track: Track) -> Bool[np.ndarray, " n"]:
    """The camera's pose is known."""
    return track.require_truth().camera_known


def valid_spin(track: Track) -> Bool[np.ndarray, " n"]:
    """The camera's pose is known and a joint was detected, hence a box (SPIN, datasets/preprocess/pw3d.py)."""
    return valid_campose(track) & (_detected(track, "spin").score > 0).any(axis=1)


def valid_official(track: Track) -> Bool[np.ndarray, " n"]:
    """The camera's pose is known and poses2d is not all zero (3dpw-eval, `check_valid_inds`)."""
    detected = _detected(track, "official")
    return np.asarray(
        valid_campose(track) & ((detected.xy_px != 0).any(axis=(1, 2)) | (detected.score != 0).any(axis=1))
    )


def valid_vibe(track: Track) -> Bool[np.ndarray, " n"]:
    """More than 6 of the 12 limb joints score above 0.3 (VIBE, lib/data_utils/threedpw_utils.py).

    VIBE does not ask whether the camera's pose is known, although it turns the ground truth with it.
    """
    limbs = [name for name in LSP14.keypoints if name in OPENPOSE18 and name != "neck"]
    detected = _detected(track, "vibe")
    seen = detected.score[:, detected.skeleton.indices(limbs)] > 0.3
    return np.asarray(seen.sum(axis=1) > 6)


VALIDITY: dict[str, Callable[[Track], Bool[np.ndarray, " n"]]] = {
    "campose": valid_campose,
    "spin": valid_spin,
    "official": valid_official,
    "vibe": valid_vibe,
}


def _detected(track: Track, rule: str) -> DetectedKeypoints:
    """OpenPose's keypoints, by which these rules are defined.

    Raises:
        InputError: the dataset has none.
    """
    if track.detected is None or track.detected.skeleton is not OPENPOSE18:
        raise InputError(
            f"{track.path}: rule {rule!r} asks for OpenPose's 18 keypoints, which are not there: take a protocol with "
            "rule 'campose'"
        )
    return track.detected
