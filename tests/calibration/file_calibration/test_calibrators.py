"""File-level calibrators: scikit-learn's own predictions, honest gains, files that are safe to open."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.isotonic import IsotonicRegression

from calibration.coco.accuracy import Accuracy, accuracy_of
from calibration.coco.files import KeypointDetections, KeypointTruth, read_detections, read_truth
from calibration.coco.matching import average_precision, match
from calibration.coco.metrics import pearson
from calibration.commands.coco_commands import CalibrateFileApply, CalibrateFileFit
from calibration.file_calibration.calibrators import (
    METHODS,
    FileCalibrator,
    Method,
    apply_to_file,
    cross_fit,
    fit,
    load_calibrator,
    save_calibrator,
)
from calibration.file_calibration.forests import Forest, grow_forest
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz
from pose2d.skeletons import COCO17

Files = tuple[KeypointTruth, KeypointDetections, Accuracy]


@pytest.fixture(scope="module")
def litehrnet(shared_data: Path) -> Files:
    truth = read_truth(shared_data / "litehrnet_500_gt.json")
    detections = read_detections(shared_data / "litehrnet_500_results.json", truth)
    return truth, detections, accuracy_of(match(truth, detections))


@pytest.fixture(scope="module")
def pose_aware(litehrnet: Files) -> FileCalibrator:
    """Fitted on every fourth person."""
    _, detections, accuracy = litehrnet
    return METHODS["pose-aware"](detections, accuracy, np.arange(0, 500, 4))


def test_forest_predicts_what_scikit_learn_predicts() -> None:
    rng = np.random.default_rng(0)
    features, target = rng.normal(size=(400, 6)), rng.random(400)
    unseen = rng.normal(size=(300, 6))
    expected = ExtraTreesRegressor(n_estimators=7, min_samples_leaf=5, max_features=1 / 4, random_state=3)
    expected.fit(features, target)
    forest = grow_forest(features, target, trees=7, seed=3)
    np.testing.assert_allclose(forest.predict(unseen), expected.predict(unseen), rtol=1e-12)
    again = Forest.from_arrays(forest.arrays("x"), "x", 6, "here")
    np.testing.assert_array_equal(again.predict(unseen), forest.predict(unseen))


def test_isotonic_is_scikit_learns_clipped(litehrnet: Files) -> None:
    _, detections, accuracy = litehrnet
    calibrator = fit("isotonic", detections, accuracy)
    beyond = replace(detections, raw_score=detections.raw_score * 1.5 - 0.2)
    found = calibrator.calibrate(beyond).keypoint
    assert found is not None
    for k in (0, 9, 16):
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        curve.fit(detections.raw_score[:, k], accuracy.keypoint_oks[:, k])
        np.testing.assert_allclose(found[:, k], curve.predict(beyond.raw_score[:, k]), atol=1e-9)


def test_gain_on_images_of_the_other_half(litehrnet: Files) -> None:
    """Fitted on one half of the images and applied to the other, both ways."""
    truth, detections, accuracy = litehrnet
    matches = match(truth, detections)
    first = np.random.default_rng(0).permutation(500) < 250
    assert len(np.unique(detections.image)) == 500, "one detection an image: a split of either is a split of both"
    ap_gains, pearson_gains = [], []
    for fitted_on in (first, ~first):
        unseen = np.flatnonzero(~fitted_on)
        confidence = METHODS["pose-aware"](detections, accuracy, np.flatnonzero(fitted_on)).calibrate(
            detections.subset(unseen)
        )
        assert confidence.keypoint is not None
        persons = np.isin(truth.image, detections.image[unseen])
        names = ("ids", "image", "xy_px", "visibility", "boxes_xywh", "area", "crowd", "ignored")
        half = replace(truth, **{name: getattr(truth, name)[persons] for name in names})
        of_half = match(half, detections.subset(unseen))
        given, calibrated = average_precision(of_half), average_precision(of_half, confidence.instance)
        assert calibrated.AR == given.AR
        ap_gains.append(100 * (calibrated.AP - given.AP))
        oks = accuracy.keypoint_oks[unseen].ravel()
        raw = detections.raw_score[unseen].ravel()
        pearson_gains.append(pearson(confidence.keypoint.ravel(), oks) - pearson(raw, oks))
    assert np.mean(ap_gains) >= 0.4
    assert np.mean(pearson_gains) >= 0.05
    assert pytest.approx(0.8642) == average_precision(matches).AR


def test_mirrored_people_get_mirrored_confidences(litehrnet: Files, pose_aware: FileCalibrator) -> None:
    _, detections, _ = litehrnet
    flip = COCO17.flip_permutation
    mirrored = replace(
        detections,
        xy_px=np.ascontiguousarray(detections.xy_px[:, flip] * [-1, 1]),
        raw_score=detections.raw_score[:, flip],
    )
    here, there = pose_aware.calibrate(detections), pose_aware.calibrate(mirrored)
    assert here.keypoint is not None and there.keypoint is not None
    np.testing.assert_allclose(here.instance, there.instance, atol=1e-9)
    np.testing.assert_allclose(here.keypoint[:, flip], there.keypoint, atol=1e-9)
    assert (here.keypoint >= 0).all() and (here.keypoint <= 1).all()


def test_cross_fitting_never_predicts_what_it_has_seen(litehrnet: Files) -> None:
    """A calibrator that knew its answers would copy random targets; one that has not seen them cannot."""
    _, detections, accuracy = litehrnet
    rng = np.random.default_rng(0)
    few = np.arange(150)
    noise = Accuracy(
        accuracy.person[few],
        True,
        accuracy.speaks[few],
        rng.random(150),
        rng.random((150, 17)),
        rng.random((150, 17)),
        rng.random(150),
    )
    unseen = cross_fit("pose-aware", detections.subset(few), noise, folds=3)
    assert abs(pearson(unseen.instance, noise.oks)) < 0.25
    seen = fit("pose-aware", detections.subset(few), noise).calibrate(detections.subset(few))
    assert pearson(seen.instance, noise.oks) > 0.6


@pytest.mark.parametrize("method", ["isotonic", "pose-aware"])
def test_applying_changes_scores_only(
    litehrnet: Files,
    pose_aware: FileCalibrator,
    shared_data: Path,
    tmp_path: Path,
    method: Method,
    capsys: pytest.CaptureFixture[str],
) -> None:
    truth, detections, accuracy = litehrnet
    results = shared_data / "litehrnet_500_results.json"
    calibrator = pose_aware if method == "pose-aware" else fit("isotonic", detections, accuracy)
    save_calibrator(tmp_path / "cal.npz", method, calibrator)
    CalibrateFileApply(results, tmp_path / "cal.npz", tmp_path / "new.json").run()
    assert "500 detections" in capsys.readouterr().out
    before, after = (json.loads(path.read_text()) for path in (results, tmp_path / "new.json"))
    for old, new in zip(before, after, strict=True):
        assert list(old) == list(new)
        assert {k: v for k, v in old.items() if k not in ("score", "keypoints")} == {
            k: v for k, v in new.items() if k not in ("score", "keypoints")
        }
        assert [v for i, v in enumerate(old["keypoints"]) if i % 3 < 2] == [
            v for i, v in enumerate(new["keypoints"]) if i % 3 < 2
        ]
        assert 0 <= new["score"] <= 1
        assert all(0 <= v <= 1 for v in new["keypoints"][2::3])
    given = average_precision(match(truth, detections))
    calibrated = average_precision(match(truth, read_detections(tmp_path / "new.json", truth)))
    assert calibrated.AR == given.AR
    assert calibrated.AP != given.AP


def test_fit_prints_what_is_won_on_unseen_images(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = shared_data / "litehrnet_500_gt.json", shared_data / "litehrnet_500_results.json"
    CalibrateFileFit(*files, tmp_path / "cal.npz", "isotonic", tmp_path / "cal.json", bootstrap=20).run()
    assert "isotonic (cross-fitted)" in capsys.readouterr().out
    rows = json.loads((tmp_path / "cal.json").read_text())["rows"]
    assert rows[-1]["ece_keypoint"] < 0.03
    assert rows[-1]["AR"] == rows[0]["AR"]
    applied = apply_to_file(load_calibrator(tmp_path / "cal.npz"), files[1])
    assert len(applied) == 500


def test_too_few_detections_are_refused(litehrnet: Files) -> None:
    _, detections, accuracy = litehrnet
    few = replace(accuracy, person=np.where(np.arange(500) < 10, accuracy.person, -1))
    for fitting in (fit, cross_fit):
        with pytest.raises(InputError, match="10 detections"):
            fitting("isotonic", detections, few)


def _damage(arrays: dict[str, Any], case: str) -> dict[str, Any]:
    inner = int(np.flatnonzero(arrays["keypoint_feature"] >= 0)[0])
    if case == "a walk that never ends":
        arrays["keypoint_left"][inner] = inner
    elif case == "a node outside":
        arrays["keypoint_right"][inner] = 10**8
    elif case == "a feature that is not there":
        arrays["keypoint_feature"][inner] = 500
    elif case == "values that are no numbers":
        arrays["person_value"] = arrays["person_value"] * np.nan
    elif case == "a missing forest":
        del arrays["person_value"]
    elif case == "another format":
        arrays["format"] = np.array("something else")
    elif case == "another method":
        arrays["method"] = np.array("magic")
    return arrays


@pytest.mark.parametrize(
    "case",
    [
        *("a walk that never ends", "a node outside", "a feature that is not there", "values that are no numbers"),
        *("a missing forest", "another format", "another method"),
    ],
)
def test_damaged_calibrators_are_refused(pose_aware: FileCalibrator, tmp_path: Path, case: str) -> None:
    path = tmp_path / "cal.npz"
    save_calibrator(path, "pose-aware", pose_aware)
    load_calibrator(path)
    write_npz(path, **_damage(read_npz(path), case))
    with pytest.raises(InputError, match=r"cal\.npz"):
        load_calibrator(path)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "cal.npz"
    np.savez(path, format=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"cal\.npz"):
        load_calibrator(path)
