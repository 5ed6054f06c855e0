"""Confidences of the same keypoints side by side: how they rank (AP) and how well they predict accuracy.

Every method judges the same prediction, one per person at its annotated box, so the poses are the same for all; what
differs is AP. (AR moves in its second decimal: in an image of several persons the confidence decides which detection
chooses its person first.) Differences of AP have paired bootstrap intervals over images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from calibration.ccnet.features import CachedFeatures
from calibration.coco.bootstrap import Interval, bootstrap_average_precision, interval, resample_images
from calibration.coco.evaluation import Confidence
from calibration.coco.files import KeypointDetections, KeypointTruth
from calibration.coco.matching import KeypointMatches, match, rank, stats_of
from calibration.coco.metrics import Calibration, calibration_of
from calibration.oks import falloff_px
from pose2d.tables import Cell, Number, ResultTable, Section


@dataclass(frozen=True)
class ComparedConfidence:
    """One method's figures.

    Attributes:
        name: of the method.
        ap, ar: in [0, 1]; AR hardly depends on the confidence, which decides who chooses first.
        ap_interval: 95 %, over images.
        gains: AP less that of other methods, with paired intervals, by the other's name.
        keypoint, instance: how well confidences predict OKS; None for a method without keypoint confidences.
        visibility_auc: area under the ROC curve of predicted visibility against the label; NaN where there is none.
    """

    name: str
    ap: float
    ar: float
    ap_interval: Interval
    gains: Mapping[str, tuple[float, Interval]]
    keypoint: Calibration | None
    instance: Calibration
    visibility_auc: float


def truth_of(cache: CachedFeatures) -> KeypointTruth:
    """The cached persons as the evaluation's truth, one row each."""
    dataset = cache.dataset
    image_ids, image = np.unique(dataset.image_ids, return_inverse=True)
    return KeypointTruth(
        name=str(dataset.annotation_file),
        skeleton=dataset.skeleton,
        image_ids=image_ids,
        ids=dataset.annotation_ids,
        image=image,
        xy_px=dataset.xy_px,
        visibility=dataset.visible.astype(float),
        boxes_xywh=dataset.boxes_xywh,
        area=dataset.areas,
        crowd=np.zeros(len(dataset), dtype=bool),
        ignored=np.zeros(len(dataset), dtype=bool),
        category_id=1,
    )


def detections_of(cache: CachedFeatures, truth: KeypointTruth) -> KeypointDetections:
    """The cached predictions as the evaluation's detections, in the same rows."""
    low, high = cache.poses.xy_px.min(axis=1), cache.poses.xy_px.max(axis=1)
    boxes = cache.poses.boxes_xywh
    return KeypointDetections(
        name="predictions",
        image=truth.image,
        xy_px=cache.poses.xy_px,
        raw_score=cache.poses.raw_score,
        score=cache.poses.raw_score.mean(axis=1),
        area=(high - low).prod(axis=1),
        centres=boxes[:, :2] + boxes[:, 2:] / 2,
        part_scores={},
        entries=np.arange(len(cache)),
    )


def compare_confidences(
    cache: CachedFeatures,
    confidences: Mapping[str, Confidence],
    references: Sequence[str] = ("raw",),
    visibilities: Mapping[str, Float[np.ndarray, "n k"]] | None = None,
    replicates: int = 1000,
    seed: int = 0,
) -> list[ComparedConfidence]:
    """Judge every confidence on the cached persons.

    Args:
        cache: persons with truth.
        confidences: by name.
        references: names that every method's AP is compared with.
        visibilities: predicted visibilities by name, where a method has them.
        replicates: bootstrap resamples of the images; 0 for none.
        seed: of the resamples.
    """
    truth = truth_of(cache)
    matches: KeypointMatches = match(truth, detections_of(cache, truth))
    counts = resample_images(len(truth.image_ids), replicates, seed)
    ranked = {name: rank(matches, confidence.instance) for name, confidence in confidences.items()}
    stats = {name: stats_of(one) for name, one in ranked.items()}
    samples = {name: bootstrap_average_precision(one, counts).mean(axis=1) for name, one in ranked.items()}
    labelled, keypoint_oks, instance_oks = cache.labelled, cache.keypoint_oks(), cache.instance_oks()
    error = _normalised_error(cache)
    rows = []
    for name, confidence in confidences.items():
        keypoint = None
        if confidence.keypoint is not None:
            keypoint = calibration_of(confidence.keypoint[labelled], keypoint_oks[labelled], error[labelled])
        mean_error = (error * labelled).sum(axis=1) / np.maximum(labelled.sum(axis=1), 1)
        visibility = (visibilities or {}).get(name)
        rows.append(
            ComparedConfidence(
                name,
                stats[name].AP,
                stats[name].AR,
                interval(samples[name]),
                {
                    other: (stats[name].AP - stats[other].AP, interval(samples[name] - samples[other]))
                    for other in references
                    if other != name and other in stats
                },
                keypoint,
                calibration_of(confidence.instance, instance_oks, mean_error),
                float("nan") if visibility is None else roc_auc(visibility, labelled),
            )
        )
    return rows


def roc_auc(score: Float[np.ndarray, "n k"], label: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a labelled keypoint scores above an unlabelled."""
    from scipy.stats import rankdata

    flat, positive = np.asarray(score).ravel(), np.asarray(label).ravel().astype(bool)
    count = int(positive.sum())
    if count in (0, len(flat)):
        return float("nan")
    ranks = rankdata(flat)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * (len(flat) - count)))


def _normalised_error(cache: CachedFeatures) -> np.ndarray:
    distance = np.linalg.norm(cache.poses.xy_px - cache.dataset.xy_px, axis=-1)
    return np.asarray(
        distance / falloff_px(np.maximum(cache.dataset.areas, 1.0)[:, None], cache.dataset.skeleton.sigmas)
    )


def comparison_table(rows: Sequence[ComparedConfidence], references: Sequence[str], title: str) -> ResultTable:
    """Methods side by side: AP and gains in per cent, calibration of keypoints and of instances ("i")."""
    columns = ("confidence", "AP", *(f"AP - {name}" for name in references), "kp r", "inst r")
    return ResultTable(
        title,
        (*columns, "ECE", "AUSE", "iECE", "iAUSE", "AUC"),
        (Section(None, [_cells(row, references) for row in rows]),),
        (
            f"AR {100 * rows[0].ar:.1f} with the first; others differ by who chooses first alone. "
            "Gains in points, with paired 95 % intervals over images.",
        ),
    )


def _cells(row: ComparedConfidence, references: Sequence[str]) -> list[Cell]:
    gains: list[Cell] = []
    for name in references:
        gain, span = row.gains.get(name, (float("nan"), None))
        gains.append(None if span is None else percent(gain, span, digits=2, signed=True))
    key = row.keypoint
    numbers = (
        *(key.pearson if key else None, row.instance.pearson),
        *(key.ece if key else None, key.ause if key else None),
        *(row.instance.ece, row.instance.ause, row.visibility_auc),
    )
    return [
        row.name,
        percent(row.ap, row.ap_interval),
        *gains,
        *(Number(float("nan") if value is None else value) for value in numbers),
    ]


def percent(value: float, span: Interval, digits: int = 1, signed: bool = False) -> Number:
    """A share with its interval, shown in per cent."""
    return Number(value, span.low, span.high, digits, factor=100.0, signed=signed)
