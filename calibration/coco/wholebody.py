"""COCO-WholeBody's six evaluations: body, feet, face, each hand and all of them, as xtcocotools cuts them.

What ranks a part is a choice of its own (section 6.2, table 3): the person's one score for all parts, the part's own
keypoints, or CCNet's confidences of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from calibration.coco.bootstrap import bootstrap_average_precision, resample_images
from calibration.coco.files import KeypointDetections, KeypointTruth
from calibration.coco.matching import match, rank, stats_of
from pose2d.files.storage import atomic_path
from pose2d.skeletons import WHOLEBODY_FIELDS, Skeleton

PART_COLUMNS = {
    "Body": ("body",),
    "Foot": ("foot",),
    "Face": ("face",),
    "Hand": ("lefthand", "righthand"),
    "Whole": ("wholebody",),
}
"""Columns of the paper's table 3 and the parts behind them; of the two hands the mean."""

PartScores = Mapping[str, Float[np.ndarray, " n"]]
"""What ranks each part of n detections, by the part's name."""


@dataclass(frozen=True)
class PartPrecision:
    """AP and AR of one column, in [0, 1].

    Attributes:
        ap, ar: means over the column's parts; NaN where no person has one of them labelled.
        samples: AP of every resample of the images.
    """

    ap: float
    ar: float
    samples: Float[np.ndarray, " r"]


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
        detections: of the whole body.
        truth: of the whole body, whose skeleton names the keypoints of each part.
        part: its name in the skeleton.

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


def scores_of_parts(
    keypoint: Float[np.ndarray, "n k"], skeleton: Skeleton, aggregate: Callable[[np.ndarray, slice], np.ndarray]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Every part's score from the confidences of its own keypoints.

    Args:
        keypoint: confidences of the whole body.
        skeleton: with parts.
        aggregate: an instance's confidence from those of its keypoints and the part that they are.
    """
    return {part: aggregate(keypoint[:, where], where) for part, where in skeleton.parts}


def precision_of_parts(
    truth: KeypointTruth, detections: KeypointDetections, scores: PartScores, replicates: int = 1000, seed: int = 0
) -> dict[str, PartPrecision]:
    """AP and AR of every column of table 3 with each part ranked by its own score.

    Args:
        truth: of the whole body.
        detections: of the whole body.
        scores: of every part of the skeleton, one per detection.
        replicates: resamples of the images; 0 for none.
        seed: of the resamples.
    """
    counts = resample_images(len(truth.image_ids), replicates, seed)
    detections = replace(detections, part_scores=dict(scores))
    found: dict[str, tuple[float, float, np.ndarray]] = {}
    for part, _ in truth.skeleton.parts:
        of_part, _ = part_of_detections(detections, truth, part)
        ranked = rank(match(part_of_truth(truth, part), of_part), of_part.score)
        stats = stats_of(ranked)
        undefined = stats.AP < 0
        samples = bootstrap_average_precision(ranked, counts).mean(axis=1)
        found[part] = (np.nan, np.nan, samples) if undefined else (stats.AP, stats.AR, samples)
    return {
        column: PartPrecision(
            float(np.mean([found[part][0] for part in parts])),
            float(np.mean([found[part][1] for part in parts])),
            np.mean([found[part][2] for part in parts], axis=0),
        )
        for column, parts in PART_COLUMNS.items()
    }


def write_wholebody_results(
    path: str | Path, truth: KeypointTruth, detections: KeypointDetections, scores: PartScores
) -> None:
    """Write detections as COCO-WholeBody's results with a score for every part.

    `score` ranks the body; `foot_score`, `face_score`, `lefthand_score`, `righthand_score` and `wholebody_score` the
    rest: the fields that xtcocotools and `coco-eval --dataset wholebody` read.
    """
    # Positions are rounded; scores are not, since one that became 0 would take a keypoint out of the evaluation.
    triples = np.concatenate([detections.xy_px.round(4), detections.raw_score[..., None]], axis=-1)
    entries = []
    for row in range(len(detections)):
        entry: dict[str, object] = {
            "image_id": truth.image_ids.item(detections.image[row]),
            "category_id": truth.category_id,
        }
        for part, where in truth.skeleton.parts:
            if part in WHOLEBODY_FIELDS:
                entry[WHOLEBODY_FIELDS[part]] = triples[row, where].ravel().tolist()
            entry["score" if part == "body" else f"{part}_score"] = float(scores[part][row])
        if detections.centres is not None:
            entry["center"] = detections.centres[row].tolist()
        entries.append(entry)
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(entries, separators=(",", ":"), allow_nan=False), encoding="utf-8")
