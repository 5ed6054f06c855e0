"""COCO-WholeBody's six evaluations: body, feet, face, each hand and all of them, as xtcocotools cuts them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int

from calibration.coco_files import KeypointDetections, KeypointTruth
from pose2d.skeletons import Skeleton


def part_of_truth(truth: KeypointTruth, part: str) -> KeypointTruth:
    """One of WholeBody's parts: its keypoints and sigmas; a person is ignored for a part with no labelled keypoint."""
    where = dict(truth.skeleton.parts)[part]
    visibility = np.ascontiguousarray(truth.visibility[:, where])
    sigmas = truth.skeleton.oks_sigmas
    return replace(
        truth,
        skeleton=Skeleton(part, truth.skeleton.keypoints[where], oks_sigmas=None if sigmas is None else sigmas[where]),
        xy_px=np.ascontiguousarray(truth.xy_px[:, where]),
        visibility=visibility,
        ignored=truth.crowd | ~(visibility > 0).any(axis=1),
    )


def part_of_detections(
    detections: KeypointDetections, truth: KeypointTruth, part: str
) -> tuple[KeypointDetections, Int[np.ndarray, " n"]]:
    """The same part of the detections, ranked by its own score; those whose part scores are all <= 0 are dropped.

    Args:
        truth: of the whole body, whose skeleton says which keypoints make the part.

    Returns:
        The part's detections, and their numbers among the whole ones.
    """
    where = dict(truth.skeleton.parts)[part]
    present = np.flatnonzero((detections.raw_score[:, where] > 0).any(axis=1))
    of_part = replace(
        detections.subset(present),
        xy_px=np.ascontiguousarray(detections.xy_px[present, where]),
        raw_score=np.ascontiguousarray(detections.raw_score[present, where]),
        score=detections.part_scores[part][present],
        part_scores={},
    )
    return of_part, present
