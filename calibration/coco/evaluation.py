"""Judge the confidences of any detector: AP as pycocotools has it, what a perfect confidence would win, calibration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from calibration.aggregation import above_threshold, mean
from calibration.coco.accuracy import Accuracy, accuracy_of
from calibration.coco.bootstrap import (
    Interval,
    bootstrap_average_precision,
    bootstrap_average_recall,
    interval,
    resample_images,
)
from calibration.coco.files import (
    KeypointDetections,
    KeypointTruth,
    read_detections,
    read_truth,
)
from calibration.coco.json_files import Source
from calibration.coco.matching import (
    OKS_THRESHOLDS,
    KeypointMatches,
    KeypointStats,
    RankedMatches,
    match,
    precision_and_recall,
    rank,
    stats_of,
)
from calibration.coco.metrics import Calibration, calibration_of
from calibration.coco.wholebody import part_of_detections, part_of_truth
from pose2d.console.progress import track
from pose2d.errors import InputError
from pose2d.skeletons import COCO17, WHOLEBODY133

Dataset = Literal["coco", "wholebody"]
COCO_PART = "person"
"""What COCO's one evaluation is called beside WholeBody's six parts."""
USUAL_THRESHOLD = 0.2
"""Below it a keypoint's confidence is left out of the instance's, by the convention of equation 5."""


@dataclass(frozen=True)
class Confidence:
    """One set of confidences over a file's detections, in the file's order.

    Attributes:
        instance: ranks the detections.
        keypoint: of each keypoint, or None where there is none.
    """

    instance: Float[np.ndarray, " n"]
    keypoint: Float[np.ndarray, "n k"] | None = None


@dataclass(frozen=True)
class EvaluationRow:
    """One confidence of one results file.

    Attributes:
        source: short name of the results file.
        file: its path.
        confidence_name: which confidence.
        part: of the body, "person" for COCO.
        stats: pycocotools' ten numbers.
        precision: interpolated, at each OKS threshold and recall.
        keypoint, instance: calibration; keypoint is None where the row has no keypoint confidences.
        intervals: of AP, AP50, AP75, APM, APL, AR and AR - AP; empty without bootstrap.
        ap_difference: to the first row of the same part, with its paired interval; None in that row.
        confidence, accuracy: what was judged, for figures and thresholds.
        image: number of each detection's image.
    """

    source: str
    file: str
    confidence_name: str
    part: str
    stats: KeypointStats
    precision: Float[np.ndarray, "t 101"]
    keypoint: Calibration | None
    instance: Calibration
    intervals: dict[str, Interval]
    ap_difference: tuple[float, Interval | None] | None
    confidence: Confidence
    accuracy: Accuracy
    image: Int[np.ndarray, " n"]
    keypoint_names: tuple[str, ...]

    @property
    def name(self) -> str:
        """Results file, part (where it is not COCO's one) and confidence."""
        return f"{self.source}: {self.label}"

    @property
    def label(self) -> str:
        """Part and confidence."""
        return self.confidence_name if self.part == COCO_PART else f"{self.part}, {self.confidence_name}"

    @property
    def winnable(self) -> float:
        """AR - AP: what a better confidence can still win on these very poses."""
        return self.stats.AR - self.stats.AP


@dataclass(frozen=True)
class KeypointEvaluation:
    """What `coco-eval` prints.

    Attributes:
        rows: one a results file, part and confidence.
        num_images, num_persons: of the annotation file.
        num_detections: of all results files together.
        notes: what a reader must know beside the numbers, a sentence each.
    """

    rows: tuple[EvaluationRow, ...]
    num_images: int
    num_persons: int
    num_detections: int
    notes: tuple[str, ...]

    def __getitem__(self, name: str) -> EvaluationRow:
        for row in self.rows:
            if name in (row.name, row.confidence_name):
                return row
        raise KeyError(f"no row {name!r}; there are {', '.join(row.name for row in self.rows)}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON: numbers in [0, 1], null where one is not defined."""
        return {
            "rows": [_row_as_dict(row) for row in self.rows],
            "num_images": self.num_images,
            "num_persons": self.num_persons,
            "num_detections": self.num_detections,
            "notes": list(self.notes),
        }


def evaluate_keypoints(
    annotations: Source,
    results: Source | Mapping[str, Source],
    confidences: Mapping[str, Confidence] | None = None,
    *,
    dataset: Dataset = "coco",
    bootstrap: int = 1000,
    seed: int = 0,
    use_area: bool = True,
) -> KeypointEvaluation:
    """Evaluate results files against an annotation file, each with every confidence that can be made of it.

    Args:
        annotations: a COCO annotation file, or what `json.load` made of it.
        results: a COCO results file (or its list), or several by name.
        confidences: further ones by name, for the entries of a single results file in its order; COCO only.
        dataset: "coco" (17 keypoints) or "wholebody" (COCO-WholeBody's six evaluations).
        bootstrap: resamples of the images for intervals; 0 for none.
        seed: of the random confidence and the resamples.
        use_area: judge by the annotations' `area`; False takes 0.53 of the box.

    Raises:
        InputError: naming file, entry and field of what cannot be used.
    """
    if bootstrap < 0:
        raise InputError(f"bootstrap must be 0 or a number of resamples, not {bootstrap}")
    skeleton = WHOLEBODY133 if dataset == "wholebody" else COCO17
    truth = read_truth(annotations, skeleton, use_area)
    named = results if isinstance(results, Mapping) else {_stem(results): results}
    if confidences and (len(named) != 1 or dataset != "coco"):
        raise InputError("further confidences go with a single COCO results file")
    counts = resample_images(len(truth.image_ids), bootstrap, seed) if bootstrap else None
    rows: list[EvaluationRow] = []
    first: dict[str, tuple[float, np.ndarray | None]] = {}
    notes, num_detections = _truth_notes(truth), 0
    for name, source in named.items():
        detections = read_detections(source, truth)
        num_detections += len(detections)
        for part, matches, accuracy in _parts(truth, detections):
            choices = dict(standard_confidences(matches, accuracy, seed))
            choices |= {title: _checked(title, c, matches) for title, c in (confidences or {}).items()}
            for title, confidence in track(choices.items(), f"judging {name}, confidences"):
                row, ap_samples = _judge((name, title, part), matches, accuracy, confidence, counts)
                if part in first:
                    ap, samples = first[part]
                    paired = None if samples is None or ap_samples is None else interval(ap_samples - samples)
                    row = replace(row, ap_difference=(row.stats.AP - ap, paired))
                else:
                    first[part] = row.stats.AP, ap_samples
                rows.append(row)
                notes += _row_notes(row)
    return KeypointEvaluation(tuple(rows), len(truth.image_ids), len(truth), num_detections, tuple(notes))


def _parts(truth: KeypointTruth, detections: KeypointDetections) -> Iterator[tuple[str, KeypointMatches, Accuracy]]:
    """What is evaluated: the body, or each of WholeBody's parts, which belong to the person of the whole."""
    matches = match(truth, detections)
    accuracy = accuracy_of(matches)
    if not truth.skeleton.parts:
        yield COCO_PART, matches, accuracy
    for part, _ in truth.skeleton.parts:
        of_part, kept = part_of_detections(detections, truth, part)
        if len(of_part):
            matches = match(part_of_truth(truth, part), of_part)
            yield part, matches, accuracy_of(matches, accuracy.person[kept])


def standard_confidences(
    matches: KeypointMatches, accuracy: Accuracy, seed: int = 0
) -> Iterator[tuple[str, Confidence]]:
    """The confidences every results file has: as given, constant, random, oracle, and means of its keypoints'."""
    detections = matches.detections
    shape = detections.raw_score.shape
    given = None if _are_flags(detections.raw_score) else detections.raw_score
    rng = np.random.default_rng(seed)
    yield "as given", Confidence(detections.score, given)
    yield "constant", Confidence(np.ones(shape[0]), np.ones(shape))
    yield "random", Confidence(rng.random(shape[:1]), rng.random(shape))
    yield "oracle", Confidence(accuracy.oks, np.nan_to_num(accuracy.keypoint_oks))
    if given is not None:
        usual = above_threshold(given, USUAL_THRESHOLD)
        yield f"mean of keypoints > {USUAL_THRESHOLD}", Confidence(usual, given)
        yield "mean of all keypoints", Confidence(mean(given), given)


def _are_flags(raw_score: np.ndarray) -> bool:
    """Whether third values are COCO's 0, 1, 2 and say nothing of confidence."""
    return bool(np.isin(raw_score, (0.0, 1.0, 2.0)).all())


def _checked(title: str, confidence: Confidence, matches: KeypointMatches) -> Confidence:
    entries, shape = matches.detections.entries, matches.detections.raw_score.shape
    instance = np.asarray(confidence.instance, dtype=float)
    keypoint = None if confidence.keypoint is None else np.asarray(confidence.keypoint, dtype=float)
    for values, expected in ((instance, (shape[0],)), (keypoint, shape)):
        if values is None:
            continue
        if values.shape != expected and len(values) <= entries.max():
            raise InputError(f"confidence {title!r} has shape {values.shape} where {expected} is needed")
        if not np.isfinite(values).all():
            raise InputError(f"confidence {title!r} holds values that are not finite")
    return Confidence(instance[entries], None if keypoint is None else keypoint[entries])


def _judge(
    names: tuple[str, str, str],
    matches: KeypointMatches,
    accuracy: Accuracy,
    confidence: Confidence,
    counts: np.ndarray | None,
) -> tuple[EvaluationRow, np.ndarray | None]:
    """A row of the evaluation, by its source, confidence and part, and the resamples of its AP."""
    source, title, part = names
    ranked = rank(matches, confidence.instance)
    intervals, ap_samples = ({}, None) if counts is None else _intervals(ranked, counts)
    judged = accuracy.judged
    row = EvaluationRow(
        source=source,
        file=matches.detections.name,
        confidence_name=title,
        part=part,
        stats=stats_of(ranked),
        precision=precision_and_recall(ranked)[0][0],
        keypoint=_keypoint_calibration(confidence, accuracy),
        instance=calibration_of(confidence.instance[judged], accuracy.oks[judged], accuracy.instance_error[judged]),
        intervals=intervals,
        ap_difference=None,
        confidence=confidence,
        accuracy=accuracy,
        image=matches.detections.image,
        keypoint_names=matches.truth.skeleton.keypoints,
    )
    return row, ap_samples


def _keypoint_calibration(confidence: Confidence, accuracy: Accuracy) -> Calibration | None:
    if confidence.keypoint is None:
        return None
    known = ~np.isnan(accuracy.keypoint_oks)
    return calibration_of(confidence.keypoint[known], accuracy.keypoint_oks[known], accuracy.keypoint_error[known])


def _intervals(ranked: RankedMatches, counts: np.ndarray) -> tuple[dict[str, Interval], np.ndarray]:
    by_threshold = bootstrap_average_precision(ranked, counts)
    ap, ar = by_threshold.mean(axis=1), bootstrap_average_recall(ranked, counts)
    at_50, at_75 = (int(np.argmin(abs(OKS_THRESHOLDS - t))) for t in (0.5, 0.75))
    samples = {
        "AP": ap,
        "AP50": by_threshold[:, at_50],
        "AP75": by_threshold[:, at_75],
        "APM": bootstrap_average_precision(ranked, counts, "medium").mean(axis=1),
        "APL": bootstrap_average_precision(ranked, counts, "large").mean(axis=1),
        "AR": ar,
        "AR - AP": ar - ap,
    }
    return {name: interval(values) for name, values in samples.items()}, ap


def _truth_notes(truth: KeypointTruth) -> list[str]:
    notes = list(truth.notes)
    if (truth.ids == 0).any():
        notes.append(f"{truth.name}: annotation id 0 is never counted as found, as in pycocotools; number from 1")
    return notes


def _row_notes(row: EvaluationRow) -> list[str]:
    notes = []
    of_keypoints = row.keypoint if not row.confidence_name.startswith("mean of") else None  # the same as those given
    if row.keypoint is None:
        notes.append(f"{row.name}: the keypoints' third values are flags, not confidences")
    for kind, calibration, values in (
        ("keypoint", of_keypoints, row.confidence.keypoint),
        ("instance", row.instance, row.confidence.instance),
    ):
        if calibration is not None and calibration.outside and values is not None:
            span = f" (from {values.min():.4g} to {values.max():.4g})"
            share = f"{calibration.outside} of {calibration.count} {kind} confidences"
            notes.append(f"{row.name}: {share} lie outside [0, 1]{span}; they rank, but have no ECE and no Brier score")
    return notes


def _row_as_dict(row: EvaluationRow) -> dict[str, Any]:
    def defined(value: float | None) -> float | None:
        return None if value is None or math.isnan(value) else float(value)

    def bounds(found: Interval | None) -> list[float | None] | None:
        return None if found is None else [defined(found.low), defined(found.high)]

    keypoint, instance = row.keypoint, row.instance
    result: dict[str, Any] = {"name": row.name, "file": row.file, "confidence": row.confidence_name, "part": row.part}
    for name, value in vars(row.stats).items():
        result[name] = None if value < 0 else value
    result["AR_minus_AP"] = defined(row.winnable)
    for name in ("pearson", "ece", "ece_mass", "ause", "ause_raw", "ause_epe", "ause_epe_raw", "brier"):
        result[f"{name}_keypoint"] = None if keypoint is None else defined(getattr(keypoint, name))
        result[f"{name}_instance"] = defined(getattr(instance, name))
    result["num_keypoint_samples"] = 0 if keypoint is None else keypoint.count
    result["num_instance_samples"] = instance.count
    result["intervals"] = {name: bounds(found) for name, found in row.intervals.items()}
    difference, paired = row.ap_difference or (None, None)
    result["AP_difference"] = defined(difference)
    result["AP_difference_interval"] = bounds(paired)
    return result


def _stem(source: Any) -> str:
    return Path(source).stem if isinstance(source, str | Path) else "results"
