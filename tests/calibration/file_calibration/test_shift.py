"""Calibrators on other data than their own: one row for each pair, and warnings where they do not belong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from calibration.commands.calibrate_file import CalibrateFileShift
from calibration.file_calibration.files import save_calibrator
from calibration.file_calibration.fitting import FileFit
from calibration.file_calibration.shift import judge_shift
from pose2d.errors import InputError
from tests.calibration.file_calibration.made_results import made_files


def test_each_calibrator_is_judged_on_each_file(
    pose_aware: FileFit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations, results = made_files(50, duplicates=1, seed=7)
    other = [entry | {"keypoints": list(entry["keypoints"])} for entry in results]
    for entry in other:
        entry["keypoints"][2::3] = [0.2 * value for value in entry["keypoints"][2::3]]
    for name, content in {"gt": annotations, "same": results, "other": other}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    save_calibrator(tmp_path / "cal.npz", pose_aware.calibrator)
    files = tmp_path / "same.json", tmp_path / "other.json"
    CalibrateFileShift(tmp_path / "gt.json", files, (tmp_path / "cal.npz",), tmp_path / "s.json", bootstrap=20).run()
    assert "another network" in capsys.readouterr().out
    same, unlike = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert (same["results"], unlike["results"]) == ("same", "other")
    assert same["won here"]["value"] > 0
    assert same["in radius, %"]["value"] == pytest.approx(0.9, abs=0.04)
    assert same["distance"] < 0.15 < 0.5 < unlike["distance"]
    assert same["r, kp."][1] > same["r, kp."][0]


def test_another_skeleton_is_refused(pose_aware: FileFit) -> None:
    annotations, results = made_files(10)
    five = replace(pose_aware.calibrator, keypoints=pose_aware.calibrator.keypoints[:5])
    with pytest.raises(InputError, match=r"17 keypoints.*with 5"):
        judge_shift(annotations, {"r": results}, {"five": five}, bootstrap=0)
