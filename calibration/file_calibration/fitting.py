"""Fit a calibrator to a results file and its truth, and say what it will do on images that it has not seen.

Images are dealt into folds. What is said of a fold's detections comes from models, scales and rules that were made of
the other folds alone, as a user would get it who fits on one set and applies to another. The calibrator that is kept
joins the folds' models and takes its scales from all that was said in this way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from calibration.coco.accuracy import Accuracy
from calibration.coco.files import KeypointDetections
from calibration.coco.matching import KeypointMatches
from calibration.file_calibration.baselines import fit_isotonic, fit_temperature
from calibration.file_calibration.calibrator import (
    Calibrated,
    FileCalibrator,
    KeypointModel,
    Method,
    Scales,
    joined,
    predict_keypoints,
)
from calibration.file_calibration.conformal import radius_factors, sigma_px
from calibration.file_calibration.crops import Crops
from calibration.file_calibration.features import features_of
from calibration.file_calibration.instance import InstanceRule, choose_rules, fit_instance, pose_oks
from calibration.file_calibration.logistic import LogisticLine, log_odds
from calibration.file_calibration.pose_aware import Member, PoseAware, fit_member
from calibration.file_calibration.provenance import Provenance, score_quantiles
from pose2d.console.progress import track
from pose2d.errors import InputError

FOLDS = 3
MIN_PERSONS = 50


@dataclass(frozen=True)
class FileFit:
    """A calibrator, and what it is worth.

    Attributes:
        calibrator: fitted to all images.
        unseen: of every detection, by a calibrator that has not seen its image.
        error_px: distance of each keypoint to its truth, NaN where there is none.
    """

    calibrator: FileCalibrator
    unseen: Calibrated
    error_px: Float[np.ndarray, "n k"]


@dataclass(frozen=True)
class _Sample:
    """Detections with everything that is known of them."""

    matches: KeypointMatches
    accuracy: Accuracy
    crops: Crops
    error_px: Float[np.ndarray, "n k"]

    @property
    def detections(self) -> KeypointDetections:
        return self.matches.detections


def fit_calibrator(
    method: Method,
    matches: KeypointMatches,
    accuracy: Accuracy,
    crops: Crops,
    *,
    network: str = "",
    seed: int = 0,
) -> FileFit:
    """Fit a calibrator and cross-fit it.

    Args:
        method: isotonic, temperature or pose-aware.
        matches: from `calibration.coco.matching.match`.
        accuracy: of the same detections.
        crops: of the same detections.
        network: name of the pose network, kept with the calibrator.
        seed: of folds and training.

    Raises:
        InputError: too few detections stand for a person, or in too few images, or no score varies.
    """
    sample = _Sample(matches, accuracy, crops, error_px(matches, accuracy))
    _require_enough(sample, method)
    fold_of_image = _deal(sample, seed)
    fold = fold_of_image[sample.detections.image]
    parts = [np.flatnonzero(fold == number) for number in range(FOLDS)]
    models = [_fit_model(method, sample, fold != number, seed + number) for number in track(range(FOLDS), method)]
    said = [
        predict_keypoints(model, sample.detections.subset(part), crops.subset(part))
        for model, part in zip(models, parts)
    ]
    order = np.argsort(np.concatenate(parts))
    confidence = np.concatenate([c for c, _ in said])[order]
    visibility = None if said[0][1] is None else np.concatenate([v for _, v in said if v is not None])[order]
    seen_images = np.array([fold_of_image != number for number in range(FOLDS)] + [fold_of_image >= 0])
    finished = _finish(sample, confidence, visibility, seen_images)
    unseen = [
        scales.apply(
            line(log_odds(confidence[part])) if line else confidence[part],
            None if visibility is None else visibility[part],
            sample.detections.subset(part),
            crops.subset(part),
        )
        for (line, scales), part in zip(finished, parts)
    ]
    line, scales = finished[-1]
    skeleton = matches.truth.skeleton
    calibrator = FileCalibrator(
        method,
        skeleton.name,
        skeleton.keypoints,
        _join_models(method, sample, models, line, seed),
        scales,
        Provenance(
            network=network,
            results=sample.detections.name.rsplit("/", 1)[-1],
            crop_source=crops.source,
            num_persons=int(accuracy.speaks.sum()),
            num_images=len(np.unique(sample.detections.image)),
            score_quantiles=score_quantiles(sample.detections),
        ),
    )
    return FileFit(calibrator, joined(unseen, parts), sample.error_px)


def error_px(matches: KeypointMatches, accuracy: Accuracy) -> Float[np.ndarray, "n k"]:
    """Distance of each keypoint to its truth in image pixels, NaN where there is none."""
    offset = matches.detections.xy_px - matches.truth.xy_px[accuracy.person]
    return np.where(np.isnan(accuracy.keypoint_oks), np.nan, np.hypot(offset[:, :, 0], offset[:, :, 1]))


def _require_enough(sample: _Sample, method: Method) -> None:
    detections, accuracy = sample.detections, sample.accuracy
    persons = int(accuracy.speaks.sum())
    if persons < MIN_PERSONS:
        raise InputError(
            f"{detections.name}: {persons} detections stand for a person with labelled keypoints; "
            f"a calibrator needs {MIN_PERSONS} at least"
        )
    images = len(np.unique(detections.image[accuracy.speaks]))
    if images < 2 * FOLDS:
        raise InputError(
            f"{detections.name}: its persons stand in {images} images; a calibrator is cross-fitted over images and "
            f"needs {2 * FOLDS} at least"
        )
    if method != "pose-aware" and np.ptp(detections.raw_score) == 0:
        raise InputError(
            f"{detections.name}: every keypoint has the same score, so {method} has nothing to learn from; "
            "--method pose-aware learns from the poses"
        )


def _deal(sample: _Sample, seed: int) -> np.ndarray:
    """Fold of each image; those with persons are dealt evenly."""
    persons = np.bincount(
        sample.detections.image[sample.accuracy.speaks], minlength=len(sample.matches.truth.image_ids)
    )
    shuffled = np.random.default_rng(seed).permutation(len(persons))
    fold = np.empty(len(persons), dtype=np.int64)
    for chosen in (shuffled[persons[shuffled] > 0], shuffled[persons[shuffled] == 0]):
        fold[chosen] = np.arange(len(chosen)) % FOLDS
    return fold


def _fit_model(method: Method, sample: _Sample, seen: Bool[np.ndarray, " n"], seed: int) -> KeypointModel:
    chosen = np.flatnonzero(seen)
    if method == "isotonic":
        return fit_isotonic(sample.detections, sample.accuracy, chosen)
    if method == "temperature":
        return fit_temperature(sample.detections, sample.accuracy, chosen)
    flip = sample.matches.truth.skeleton.flip_permutation
    features = features_of(sample.detections, sample.crops)
    return PoseAware((fit_member(features, sample.accuracy, chosen, flip, seed),), flip, LogisticLine())


def _join_models(
    method: Method, sample: _Sample, models: list[KeypointModel], line: LogisticLine | None, seed: int
) -> KeypointModel:
    """The folds' networks together; curves are fitted again, to everything."""
    networks = [model for model in models if isinstance(model, PoseAware)]
    if not networks:
        return _fit_model(method, sample, np.ones(len(sample.detections), dtype=bool), seed)
    members: list[Member] = [member for model in networks for member in model.members]
    return PoseAware(tuple(members), networks[0].flip, line or LogisticLine())


def _finish(
    sample: _Sample,
    confidence: Float[np.ndarray, "n k"],
    visibility: Float[np.ndarray, "n k"] | None,
    images: Bool[np.ndarray, "s i"],
) -> list[tuple[LogisticLine | None, Scales]]:
    """Scales made of each set of images, from what was said of detections by models that had not seen them.

    Args:
        sample: what is known.
        confidence: as the models said.
        visibility: as the models said, where they do.
        images: the sets.
    """
    detections, accuracy, truth = sample.detections, sample.accuracy, sample.matches.truth
    area = sample.crops.size_px.prod(axis=1)
    results = []
    of_pose = pose_oks(confidence, visibility)
    rules: list[InstanceRule] = choose_rules(sample.matches, of_pose, images)
    for rule, chosen in zip(rules, images):
        used = chosen[detections.image]
        line, scaled = None, confidence
        if visibility is not None:
            known = used[:, None] & ~np.isnan(accuracy.keypoint_oks)
            line = LogisticLine.fit(log_odds(confidence[known]), accuracy.keypoint_oks[known])
            scaled = line(log_odds(confidence))
        number = np.flatnonzero(used)
        instance = fit_instance(
            rule, pose_oks(scaled, visibility)[number], detections.subset(number), accuracy.subset(number)
        )
        speaks = used & accuracy.speaks
        share = float(np.median(truth.area[accuracy.person[speaks]] / area[speaks]))
        sigma = sigma_px(scaled[speaks], share * area[speaks], truth.sigmas)
        factors = radius_factors(sample.error_px[speaks], sigma)
        results.append((line, Scales(instance, share, truth.sigmas, factors)))
    return results
