"""The hand-over from calibration to fitting: rows, files, and the spread that a confidence implies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.calibrated_poses import CalibratedPoses2D
from pose2d.errors import InputError
from pose2d.poses import Poses2D
from pose2d.skeletons import COCO17, MPII16


def calibrated(persons: int = 5, presence: bool = True, sigma: bool = True) -> CalibratedPoses2D:
    rng = np.random.default_rng(persons)
    share = rng.uniform(size=(4, persons, 17))
    poses = Poses2D(
        COCO17,
        rng.uniform(0, 200, (persons, 17, 2)),
        share[0],
        rng.uniform(10, 90, (persons, 4)),
        rng.uniform(1, 9, (persons, 17)) if sigma else None,
    )
    return CalibratedPoses2D(poses, share[1], share[2], share[3] if presence else None)


def assert_same(one: CalibratedPoses2D, other: CalibratedPoses2D) -> None:
    assert one.skeleton is other.skeleton
    for name in ("xy_px", "raw_score", "boxes_xywh", "sigma_px"):
        np.testing.assert_array_equal(getattr(one.poses, name), getattr(other.poses, name))
    for name in ("confidence", "visibility", "presence"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize(("presence", "sigma"), [(True, True), (False, False)])
def test_files_hold_every_field(presence: bool, sigma: bool, tmp_path: Path) -> None:
    poses = calibrated(presence=presence, sigma=sigma)
    poses.save(tmp_path / "p.npz")
    assert_same(CalibratedPoses2D.load(tmp_path / "p.npz"), poses)


def test_a_file_without_or_with_foreign_confidences_is_refused(tmp_path: Path) -> None:
    poses = calibrated()
    poses.poses.save(tmp_path / "plain.npz")
    with pytest.raises(InputError, match="without calibrated"):
        CalibratedPoses2D.load(tmp_path / "plain.npz")
    arrays: dict[str, Any] = poses.poses.arrays() | {"confidence": np.ones((4, 17)), "visibility": np.ones((5, 17))}
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(InputError, match=r"other\.npz: confidence has shape \(4, 17\), the poses have \(5, 17\)"):
        CalibratedPoses2D.load(tmp_path / "other.npz")


def test_every_field_of_a_person_goes_where_the_person_goes() -> None:
    poses = calibrated()
    order = np.array([3, 0, 4, 1, 2])
    moved = poses.select(order)
    np.testing.assert_array_equal(moved.poses.sigma_px, poses.poses.sigma_px[order])
    np.testing.assert_array_equal(moved.presence, poses.presence[order])
    assert_same(moved.select(np.argsort(order)), poses)
    assert_same(CalibratedPoses2D.concatenate([poses.select(slice(0, 2)), poses.select(slice(2, None))]), poses)


def test_parts_that_do_not_belong_together_are_refused() -> None:
    whole = calibrated()
    for other, reason in (
        (calibrated(presence=False), "presence"),
        (calibrated(sigma=False), "sigma"),
        (replace(whole, poses=replace(whole.poses, skeleton=MPII16)), "one skeleton"),
    ):
        with pytest.raises(ValueError, match=reason):
            CalibratedPoses2D.concatenate([whole, other])
    with pytest.raises(ValueError, match="one skeleton"):
        CalibratedPoses2D.concatenate([])


def test_a_confidence_of_one_half_implies_a_spread_of_one_falloff_length() -> None:
    poses = calibrated()
    half = replace(poses, confidence=np.full((5, 17), 0.5))
    np.testing.assert_allclose(half.implied_sigma_px(np.full(5, 2500.0))[0], 2 * COCO17.sigmas * 50.0)
