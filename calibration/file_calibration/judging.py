"""What calibrators are worth on images that they have not seen, beside the file's own confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from calibration.coco.accuracy import accuracy_of
from calibration.coco.evaluation import Confidence, KeypointEvaluation, evaluate_keypoints
from calibration.coco.files import KeypointDetections, KeypointTruth, read_detections, read_truth
from calibration.coco.json_files import Source
from calibration.coco.matching import match
from calibration.file_calibration.calibrator import Calibrated, Method
from calibration.file_calibration.conformal import covered
from calibration.file_calibration.crops import Crops, crops_of
from calibration.file_calibration.fitting import FileFit, fit_calibrator


@dataclass(frozen=True)
class CalibratorEvaluation:
    """Calibrators of one results file.

    Attributes:
        evaluation: with a row "METHOD (cross-fitted)" for each.
        fits: by method; their provenance knows the gain.
        notes: what a user must know of them.
    """

    evaluation: KeypointEvaluation
    fits: dict[Method, FileFit]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the evaluation's numbers, and of each method its rule for instances and what its radius covers."""
        methods = {}
        for method, fit in self.fits.items():
            share, per_keypoint = covered(fit.error_px, fit.unseen.radius_px)
            methods[method] = {
                "instance_rule": fit.calibrator.scales.instance.rule,
                "crop_source": fit.calibrator.provenance.crop_source,
                "num_persons": fit.calibrator.provenance.num_persons,
                "radius_coverage": share,
                "radius_coverage_by_keypoint": {
                    name: None if np.isnan(value) else float(value)
                    for name, value in zip(fit.calibrator.keypoints, per_keypoint)
                },
            }
        return self.evaluation.as_dict() | {"calibrators": methods, "calibrator_notes": list(self.notes)}


def evaluate_calibrators(
    annotations: Source,
    results: Source,
    methods: Sequence[Method] = ("isotonic", "temperature", "pose-aware"),
    *,
    network: str = "",
    bootstrap: int = 1000,
    seed: int = 0,
) -> CalibratorEvaluation:
    """Fit calibrators to a file and judge each on images that it has not seen.

    Args:
        annotations: COCO annotations.
        results: COCO results of the same images.
        methods: what to fit.
        network: name of the pose network, kept with the calibrators.
        bootstrap: resamples of the images for intervals; 0 for none.
        seed: of folds, training and resamples.

    Raises:
        InputError: naming file, entry and field of what cannot be used, or too few persons.
    """
    truth = read_truth(annotations)
    detections, crops = read_with_crops(results, truth)
    matches = match(truth, detections)
    accuracy = accuracy_of(matches)
    fits = {method: fit_calibrator(method, matches, accuracy, crops, network=network, seed=seed) for method in methods}
    confidences = {row_name(method): in_file_order(fit.unseen, detections) for method, fit in fits.items()}
    evaluation = evaluate_keypoints(annotations, results, confidences, bootstrap=bootstrap, seed=seed)
    notes: list[str] = []
    for method, fit in fits.items():
        gain, paired = evaluation[row_name(method)].ap_difference or (0.0, None)
        low, high = (gain, gain) if paired is None else (paired.low, paired.high)
        provenance = replace(fit.calibrator.provenance, ap_gain=(gain, low, high))
        fits[method] = replace(fit, calibrator=replace(fit.calibrator, provenance=provenance))
        notes += _notes(method, fits[method])
    return CalibratorEvaluation(evaluation, fits, tuple(dict.fromkeys(notes)))


def read_with_crops(results: Source, truth: KeypointTruth) -> tuple[KeypointDetections, Crops]:
    """Detections and their crops; the crops' centres tell which person a detection is of."""
    detections = read_detections(results, truth)
    crops = crops_of(results, detections)
    if crops.source != "keypoints":
        detections = replace(detections, centres=crops.centre_px)
    return detections, crops


def row_name(method: Method) -> str:
    """Of a method's row among the confidences."""
    return f"{method} (cross-fitted)"


def in_file_order(calibrated: Calibrated, detections: KeypointDetections) -> Confidence:
    """Confidences of every entry of the file, 0 for those that were left out."""
    instance = np.zeros(detections.entries.max() + 1)
    keypoint = np.zeros((len(instance), calibrated.confidence.shape[1]))
    instance[detections.entries], keypoint[detections.entries] = calibrated.instance, calibrated.confidence
    return Confidence(instance, keypoint)


def _notes(method: Method, fit: FileFit) -> list[str]:
    notes = []
    provenance = fit.calibrator.provenance
    gain, low, high = (100 * value for value in provenance.ap_gain)
    if method == "pose-aware" and provenance.crop_source == "keypoints":
        notes.append(
            "the results say neither bbox nor center and scale: most of what a calibrator can win needs the box that "
            "the network looked at"
        )
    if gain < 0:
        why = ""
        if method != "pose-aware":
            why = "; the plain mean of calibrated keypoints counts those that are not in the picture"
        notes.append(
            f"{method} lowers AP on unseen images: {gain:+.1f} [{low:+.1f}, {high:+.1f}]{why}. "
            "Use its keypoint confidences, or another method"
        )
    share, per_keypoint = covered(fit.error_px, fit.unseen.radius_px)
    known = per_keypoint[~np.isnan(per_keypoint)]
    notes.append(
        f"{method}: the 90 % radius covers {100 * share:.1f} % of the keypoints of unseen images "
        f"({100 * known.min():.1f} to {100 * known.max():.1f} % by keypoint)"
    )
    return notes
