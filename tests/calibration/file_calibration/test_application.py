"""`calibrate-file fit` and `apply`: what is written, what is kept, what is warned of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.coco.files import read_detections, read_truth
from calibration.coco.matching import average_precision, match
from calibration.commands.calibrate_file import CalibrateFileApply, CalibrateFileFit
from calibration.file_calibration.application import apply_to_file, notes_on, require_match
from calibration.file_calibration.files import save_calibrator
from calibration.file_calibration.fitting import FileFit
from pose2d.errors import InputError
from tests.calibration.file_calibration.made_results import HAND, made_files

CHANGED = {"score", "keypoints"}
ADDED = {"keypoint_visibility", "keypoint_sigma_px", "keypoint_radius_px"}


def _write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_applying_changes_scores_and_adds_fields_only(pose_aware: FileFit, tmp_path: Path) -> None:
    annotations, before = made_files(40, duplicates=1, seed=2)
    results = _write(tmp_path / "r.json", before)
    save_calibrator(tmp_path / "cal.npz", pose_aware.calibrator)
    CalibrateFileApply(results, tmp_path / "cal.npz", tmp_path / "new.json", "made").run()
    after = json.loads((tmp_path / "new.json").read_text())
    for old, new in zip(before, after, strict=True):
        assert set(new) == set(old) | ADDED
        assert all(old[name] == new[name] for name in set(old) - CHANGED)
        kept = [i for i in range(51) if i % 3 < 2]
        assert [old["keypoints"][i] for i in kept] == [new["keypoints"][i] for i in kept]
        assert 0 <= new["score"] <= 1
        assert all(0 <= v <= 1 for v in new["keypoints"][2::3] + new["keypoint_visibility"])
        radius, sigma = np.array(new["keypoint_radius_px"]), np.array(new["keypoint_sigma_px"])
        assert (radius > sigma).all() and (sigma > 0).all()
    truth = read_truth(annotations)
    ap = [average_precision(match(truth, read_detections(entries, truth))).AP for entries in (before, after)]
    assert ap[1] > ap[0] + 0.01


def test_fit_prints_and_writes_what_is_won_on_unseen_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations, results = made_files(60)
    files = _write(tmp_path / "gt.json", annotations), _write(tmp_path / "r.json", results)
    out = tmp_path / "cal.npz"
    CalibrateFileFit(*files, out, "isotonic", json=tmp_path / "cal.json", bootstrap=20).run()
    printed = capsys.readouterr().out
    assert "isotonic (cross-fitted)" in printed
    assert "radius covers" in printed
    found = json.loads((tmp_path / "cal.json").read_text())
    assert found["rows"][-1]["ece_keypoint"] < 0.06
    assert found["calibrators"]["isotonic"]["radius_coverage"] == pytest.approx(0.9, abs=0.03)
    assert len(apply_to_file(*_loaded(out), files[1])[0]) == 120


def _loaded(path: Path) -> tuple[Any]:
    from calibration.file_calibration.files import load_calibrator

    return (load_calibrator(path),)


def test_another_network_or_skeleton_is_refused_and_both_are_named(pose_aware: FileFit) -> None:
    detections = read_detections(made_files(3)[1], None)
    with pytest.raises(InputError, match=r"network other.*of made"):
        require_match(pose_aware.calibrator, detections, "other")
    require_match(pose_aware.calibrator, detections, "made")
    five = replace(detections, xy_px=detections.xy_px[:, :5], raw_score=detections.raw_score[:, :5])
    with pytest.raises(InputError, match=r"5 keypoints.*coco17 with 17"):
        require_match(pose_aware.calibrator, five)
    assert len(HAND) == 5


def test_scores_unlike_those_of_the_fit_and_losses_are_warned_of(pose_aware: FileFit) -> None:
    results = made_files(40, duplicates=1, seed=4)[1]
    detections = read_detections(results, None)
    assert notes_on(pose_aware.calibrator, detections) == []
    unlike = replace(detections, raw_score=detections.raw_score / 3)
    assert "another network" in notes_on(pose_aware.calibrator, unlike)[0]
    worse = replace(pose_aware.calibrator.provenance, ap_gain=(-0.02, -0.03, -0.01))
    (note,) = notes_on(replace(pose_aware.calibrator, provenance=worse), detections)
    assert "-2.0 [-3.0, -1.0]" in note


def test_results_without_the_fields_of_the_fit_are_refused(pose_aware: FileFit, tmp_path: Path) -> None:
    results = [{k: v for k, v in entry.items() if k != "bbox"} for entry in made_files(3)[1]]
    with pytest.raises(InputError, match=r"r\.json: not every entry has bbox"):
        apply_to_file(pose_aware.calibrator, _write(tmp_path / "r.json", results))
