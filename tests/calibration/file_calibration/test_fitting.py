"""Calibrators learn what they can, from persons and not from duplicates, and are judged on unseen images alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from calibration.coco.accuracy import Accuracy, accuracy_of
from calibration.coco.files import KeypointDetections, KeypointTruth, read_truth
from calibration.coco.matching import KeypointMatches, average_precision, match
from calibration.coco.metrics import expected_calibration_error, pearson
from calibration.file_calibration.calibrator import METHODS, Method
from calibration.file_calibration.conformal import covered
from calibration.file_calibration.crops import Crops
from calibration.file_calibration.fitting import FileFit, fit_calibrator
from calibration.file_calibration.judging import read_with_crops
from pose2d.errors import InputError
from pose2d.skeletons import Skeleton
from tests.calibration.file_calibration.made_results import HAND, made_files

Files = tuple[dict[str, Any], list[dict[str, Any]]]
Read = tuple[KeypointTruth, KeypointDetections, Crops, KeypointMatches, Accuracy]


def _read(annotations: Any, results: Any, skeleton: Skeleton | None = None) -> Read:
    truth = read_truth(annotations) if skeleton is None else read_truth(annotations, skeleton)
    detections, crops = read_with_crops(results, truth)
    matches = match(truth, detections)
    return truth, detections, crops, matches, accuracy_of(matches)


def _fit(read: Read, method: Method = "pose-aware", **options: Any) -> FileFit:
    return fit_calibrator(method, read[3], read[4], read[2], **options)


@pytest.mark.parametrize("method", METHODS)
def test_gain_on_images_that_no_part_of_the_fit_has_seen(files: Files, pose_aware: FileFit, method: Method) -> None:
    """The pose in its crop tells what the scores do not; the curves mend the scale of the scores alone."""
    _, detections, crops, matches, accuracy = _read(*made_files(100, duplicates=1, seed=9))
    fit = pose_aware if method == "pose-aware" else _fit(_read(*files), method)
    found = fit.calibrator.calibrate(detections, crops)
    known = ~np.isnan(accuracy.keypoint_oks)
    given, oks = detections.raw_score[known], accuracy.keypoint_oks[known]
    assert expected_calibration_error(found.confidence[known], oks) < 0.04
    gain = average_precision(matches, found.instance).AP - average_precision(matches).AP
    if method == "pose-aware":
        assert pearson(found.confidence[known], oks) > pearson(given, oks) + 0.05
        assert gain > 0.01
        assert found.visibility is not None
        assert found.visibility.mean() == pytest.approx(0.8, abs=0.05)
    assert gain > -0.02
    judged = accuracy.judged
    assert expected_calibration_error(found.instance[judged], accuracy.oks[judged]) < 0.1
    assert (found.instance >= 0).all() and (found.instance <= 1).all()
    share, per_keypoint = covered(
        np.where(
            known, np.hypot(*(detections.xy_px - matches.truth.xy_px[accuracy.person]).transpose(2, 0, 1)), np.nan
        ),
        found.radius_px,
    )
    assert share == pytest.approx(0.9, abs=0.03)
    assert (per_keypoint > 0.78).all()


def test_duplicates_teach_nothing_of_keypoints_and_rank_below(pose_aware: FileFit, files: Files) -> None:
    *_, accuracy = _read(*files)
    assert pose_aware.calibrator.provenance.num_persons == accuracy.speaks.sum() == 240
    assert pose_aware.calibrator.scales.instance.rule.startswith("score")
    unseen = pose_aware.unseen.instance
    assert unseen[accuracy.speaks].mean() > 1.5 * unseen[~accuracy.speaks].mean()


def test_a_score_that_repeats_its_keypoints_ranks_by_the_pose_alone() -> None:
    annotations, results = made_files(60)
    for entry in results:
        entry["score"] = 0.99 * float(np.mean(entry["keypoints"][2::3]))
    read = _read(annotations, results)
    fit = _fit(read)
    assert fit.calibrator.scales.instance.rule == "score / mean x pose"
    again = fit.calibrator.calibrate(replace(read[1], score=read[1].score / 2), read[2])
    np.testing.assert_allclose(again.instance, fit.calibrator.calibrate(read[1], read[2]).instance / 2)


def test_nothing_is_predicted_that_was_seen() -> None:
    """A calibrator that knew its answers would copy random targets."""
    *_, crops, matches, accuracy = _read(*made_files(100, persons=1))
    rng = np.random.default_rng(0)
    noise = replace(accuracy, oks=rng.random(100), keypoint_oks=rng.random((100, 17)))
    fit = fit_calibrator("pose-aware", matches, noise, crops)
    assert abs(pearson(fit.unseen.confidence.ravel(), noise.keypoint_oks.ravel())) < 0.1


def test_a_skeleton_of_no_catalogue(files: Files) -> None:
    read = _read(*made_files(150, skeleton=HAND), HAND)
    fit = _fit(read)
    assert fit.calibrator.keypoints == HAND.keypoints
    assert fit.unseen.confidence.shape == (300, 5)
    known = ~np.isnan(read[4].keypoint_oks)
    oks = read[4].keypoint_oks[known]
    assert pearson(fit.unseen.confidence[known], oks) > pearson(read[1].raw_score[known], oks)


def test_a_pose_and_its_mirror_image_are_alike(pose_aware: FileFit) -> None:
    """Networks are shown either; each member knows both from training."""
    truth, detections, crops, *_ = _read(*made_files(40, seed=3))
    flip = truth.skeleton.flip_permutation
    mirrored = replace(detections, xy_px=detections.xy_px[:, flip] * [-1, 1], raw_score=detections.raw_score[:, flip])
    there = pose_aware.calibrator.calibrate(mirrored, replace(crops, centre_px=crops.centre_px * [-1, 1]))
    here = pose_aware.calibrator.calibrate(detections, crops)
    assert np.abs(here.confidence[:, flip] - there.confidence).mean() < 0.05
    assert pearson(here.instance, there.instance) > 0.95


def test_isotonic_is_scikit_learns_clipped() -> None:
    _, detections, crops, matches, accuracy = _read(*made_files(60))
    calibrator = fit_calibrator("isotonic", matches, accuracy, crops).calibrator
    beyond = replace(detections, raw_score=detections.raw_score * 1.5 - 0.2)
    found = calibrator.calibrate(beyond, crops).confidence
    for k in (0, 9, 16):
        known = ~np.isnan(accuracy.keypoint_oks[:, k])
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        curve.fit(detections.raw_score[known, k], accuracy.keypoint_oks[known, k])
        np.testing.assert_allclose(found[:, k], curve.predict(beyond.raw_score[:, k]), atol=1e-9)


def test_what_cannot_be_fitted_is_said_in_a_sentence() -> None:
    annotations, results = made_files(60)
    few = [entry for entry in results if entry["image_id"] <= 10]
    with pytest.raises(InputError, match=r"20 detections stand for a person.*needs 50 at least"):
        _fit(_read(annotations, few))
    with pytest.raises(InputError, match=r"stand in 4 images.*needs 6 at least"):
        _fit(_read(*made_files(4, persons=20)))
    unlabelled = [p | {"keypoints": [0] * 51} for p in annotations["annotations"]]
    with pytest.raises(InputError, match="0 detections stand for a person with labelled keypoints"):
        _fit(_read(annotations | {"annotations": unlabelled}, results))
    for entry in results:
        entry["keypoints"][2::3] = [1.0] * 17
    with pytest.raises(InputError, match="every keypoint has the same score"):
        _fit(_read(annotations, results), "isotonic")
    assert _fit(_read(annotations, results)).calibrator.method == "pose-aware"
