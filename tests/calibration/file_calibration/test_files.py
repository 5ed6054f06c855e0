"""Calibrator files: the same predictions after reading, and nothing damaged or strange is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.coco.accuracy import accuracy_of
from calibration.coco.files import read_truth
from calibration.coco.matching import match
from calibration.file_calibration.calibrator import METHODS, FileCalibrator, Method
from calibration.file_calibration.files import load_calibrator, save_calibrator
from calibration.file_calibration.fitting import FileFit, fit_calibrator
from calibration.file_calibration.judging import read_with_crops
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz
from tests.calibration.file_calibration.made_results import made_files


@pytest.fixture(scope="module")
def calibrators(pose_aware: FileFit) -> dict[Method, FileCalibrator]:
    annotations, results = made_files(30)
    truth = read_truth(annotations)
    detections, crops = read_with_crops(results, truth)
    matches = match(truth, detections)
    curves: dict[Method, FileCalibrator] = {
        method: fit_calibrator(method, matches, accuracy_of(matches), crops).calibrator
        for method in ("isotonic", "temperature")
    }
    return curves | {"pose-aware": pose_aware.calibrator}


@pytest.mark.parametrize("method", METHODS)
def test_what_is_read_predicts_the_same(
    calibrators: dict[Method, FileCalibrator], tmp_path: Path, method: Method
) -> None:
    before = replace(
        calibrators[method], provenance=replace(calibrators[method].provenance, ap_gain=(0.01, -0.01, 0.02))
    )
    save_calibrator(tmp_path / "c.npz", before)
    after = load_calibrator(tmp_path / "c.npz")
    annotations, results = made_files(10, seed=5)
    detections, crops = read_with_crops(results, read_truth(annotations))
    here, there = before.calibrate(detections, crops), after.calibrate(detections, crops)
    for name in ("instance", "confidence", "visibility", "sigma_px", "radius_px"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
    assert after.keypoints == before.keypoints
    assert after.provenance.ap_gain == (0.01, -0.01, 0.02)
    assert after.provenance.network == before.provenance.network
    np.testing.assert_array_equal(after.provenance.score_quantiles, before.provenance.score_quantiles)


def _record(**changed: Any) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        record = json.loads(str(arrays["record"])) | changed
        arrays["record"] = np.array(json.dumps({k: v for k, v in record.items() if v is not ...}))

    return change


def _array(name: str, edit: Callable[[np.ndarray], Any]) -> Callable[[dict[str, Any]], None]:
    def change(arrays: dict[str, Any]) -> None:
        arrays[name] = edit(arrays[name].copy())

    return change


def _first(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def edit(values: np.ndarray) -> np.ndarray:
        values.flat[0] = value
        return values

    return edit


DAMAGE: dict[str, tuple[Method, Callable[[dict[str, Any]], None]]] = {
    "weights that are no numbers": ("pose-aware", _array("member1.out.weight", _first(np.nan))),
    "weights of another shape": ("pose-aware", _array("member0.kind", lambda v: v[:5])),
    "a missing weight": ("pose-aware", lambda arrays: arrays.pop("member2.out.bias")),
    "a spread of 0": ("pose-aware", _array("member0.person_std", _first(0))),
    "no mirror image": ("pose-aware", _array("flip", _first(3))),
    "a mirror image outside": ("pose-aware", _array("flip", _first(99))),
    "10^9 members": ("pose-aware", _record(members=10**9)),
    "no members": ("pose-aware", _record(members=0)),
    "no line": ("temperature", _record(keypoint_line=None)),
    "a line that turns the order": ("temperature", _record(keypoint_line=[-1.0, 0.0])),
    "a magic method": ("temperature", _record(method="magic")),
    "another keypoint": ("temperature", _record(keypoints=["nose"])),
    "a field of its own": ("temperature", _record(run="rm")),
    "a missing field": ("temperature", _record(rule=...)),
    "a radius below 0": ("temperature", _array("radius_factors", _first(-1))),
    "quantiles that descend": ("temperature", _array("score_quantiles", lambda v: v[:, ::-1])),
    "a record that is a number": ("temperature", lambda arrays: arrays.update(record=np.array(3))),
    "another format": ("temperature", lambda arrays: arrays.pop("record")),
    "knots that descend": ("isotonic", _array("score", lambda v: v[::-1])),
    "expected OKS above 1": ("isotonic", _array("oks", lambda v: v + 1)),
    "knots outside": ("isotonic", _array("start", lambda v: v * 2)),
    "knots without a dimension": ("isotonic", _array("oks", lambda v: v[0])),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_refused(calibrators: dict[Method, FileCalibrator], tmp_path: Path, case: str) -> None:
    method, damage = DAMAGE[case]
    path = tmp_path / "cal.npz"
    save_calibrator(path, calibrators[method])
    arrays = read_npz(path)
    damage(arrays)
    write_npz(path, **arrays)
    with pytest.raises(InputError, match=r"cal\.npz"):
        load_calibrator(path)


def test_an_earlier_format_asks_for_a_new_fit(tmp_path: Path) -> None:
    write_npz(tmp_path / "old.npz", format=np.array("keypoint-file-calibrator-1"), method=np.array("isotonic"))
    with pytest.raises(InputError, match="fit it again"):
        load_calibrator(tmp_path / "old.npz")


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "cal.npz", record=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match=r"cal\.npz"):
        load_calibrator(tmp_path / "cal.npz")


def test_hostile_files_end_in_a_sentence(shared_data: Path) -> None:
    folder = shared_data.parent / "hostile" / "14_calibrator_checks"
    for path in sorted(folder.glob("*.npz")):
        with pytest.raises(InputError, match=path.name.split(".")[0]):
            load_calibrator(path)
