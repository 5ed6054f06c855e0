"""Boxes of a track's persons, from the boxes that just hold their joints.

A reader leaves the tight box (`Track.joint_boxes_xyxy`); each user grows it about its centre by the margin that its own
crops were trained with.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from eval3dpw.dataset.sequences import Track
from pose2d.errors import InputError

PERSON_SCALE = 1.2
"""From the box around a person's joints to the person's: hands, feet and the top of the head lie outside the former."""


def joint_boxes(keypoints: Float[np.ndarray, "n k 3"]) -> Float[np.ndarray, "n 4"]:
    """The tight boxes around keypoints (x and y in px, score) that score above 0.

    Returns:
        Left, top, right and bottom, px; NaN where no keypoint was found.
    """
    seen = keypoints[..., 2] > 0
    low = np.where(seen[..., None], keypoints[..., :2], math.inf).min(axis=1)
    high = np.where(seen[..., None], keypoints[..., :2], -math.inf).max(axis=1)
    found = seen.any(axis=1)
    low[~found] = high[~found] = math.nan
    return np.concatenate([low, high], axis=1)


def joint_boxes_of_persons(boxes_xywh: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """The joints' boxes (left, top, right, bottom) that `PERSON_SCALE` grows to some given boxes of whole persons."""
    center, half = boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2, boxes_xywh[:, 2:] / (2 * PERSON_SCALE)
    return np.concatenate([center - half, center + half], axis=1)


def grown(joint_boxes_xyxy: Float[np.ndarray, "n 4"], scale: float) -> Float[np.ndarray, "n 4"]:
    """Boxes (x, y, width, height) with both sides grown by `scale` about the centre.

    The square crop of SPIN's evaluation (datasets/preprocess/pw3d.py) has the longer side of the box grown by 1.2.
    """
    low, high = joint_boxes_xyxy[:, :2], joint_boxes_xyxy[:, 2:]
    size = (high - low) * scale
    return np.concatenate([(low + high - size) / 2, size], axis=1)


def track_boxes(track: Track, scale: float = PERSON_SCALE) -> Float[np.ndarray, "n 4"]:
    """`grown` boxes (x, y, width, height; px) of a track whose every frame has one, checked against the image.

    Raises:
        InputError: a frame without a box, a box of zero area, or a person wholly outside the image.
    """
    if not track.has_box.all():
        frame = track.frame_ids[np.flatnonzero(~track.has_box)[0]]
        raise InputError(f"{track.path}: {track.boxes_field} has no joint at frame {frame}: no box can be made")
    boxes_xywh = grown(track.joint_boxes_xyxy, scale)
    empty = (boxes_xywh[:, 2:] <= 0).any(axis=1)
    if empty.any():
        frame = track.frame_ids[np.flatnonzero(empty)[0]]
        raise InputError(
            f"{track.path}: the box of {track.boxes_field} has zero area at frame {frame}: repair it, or leave it out "
            "there (3DPW: set all 2D joints to zero), which marks the frame as invalid"
        )
    if track.image_size_wh is not None:
        outside = (boxes_xywh[:, :2] >= track.image_size_wh) | (boxes_xywh[:, :2] + boxes_xywh[:, 2:] <= 0)
        if outside.any():
            at = np.flatnonzero(outside.any(axis=1))[0]
            width, height = track.image_size_wh
            raise InputError(
                f"{track.path}: {track.boxes_field} lies outside the {width}x{height} image at frame "
                f"{track.frame_ids[at]} (box x, y, w, h = {np.round(boxes_xywh[at], 1).tolist()}): do the images "
                "belong to this sequence?"
            )
    return boxes_xywh
