"""The hand-over from calibration: nothing that the poses carry is lost, and lengths are those of the 256-pixel box."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.calibrated_poses import CalibratedPoses2D
from fitting.evidence import KeypointEvidence, oks_falloff, person_size_px
from fitting.weightings import keypoint_weights
from pose2d.errors import InputError
from pose2d.poses import Poses2D
from pose2d.skeletons import COCO17, LSP14, Skeleton


def poses(skeleton: Skeleton = COCO17) -> Poses2D:
    """Two persons in boxes of 50 x 200 and 128 x 64 pixels, by a network that predicts its own sigma."""
    rng = np.random.default_rng(0)
    shape = 2, len(skeleton)
    boxes = np.array([[10.0, 20, 50, 200], [0, 0, 128, 64]])
    return Poses2D(skeleton, rng.random((*shape, 2)), rng.random(shape), boxes, rng.random(shape))


def test_calibrated_poses_arrive_whole() -> None:
    rng = np.random.default_rng(1)
    plain = poses()
    calibrated = CalibratedPoses2D(plain, rng.random((2, 17)), rng.random((2, 17)), rng.random((2, 17)))
    rescored, oracle = rng.random((2, 2, 17))
    found = KeypointEvidence.of(calibrated, rescored, oracle)
    for name in ("confidence", "visibility", "presence"):
        np.testing.assert_array_equal(getattr(found, name), getattr(calibrated, name))
    np.testing.assert_array_equal(found.raw_score, plain.raw_score)
    np.testing.assert_array_equal(found.rescored, rescored)
    np.testing.assert_array_equal(found.oracle, oracle)
    np.testing.assert_allclose(found.sigma, plain.sigma_px * np.array([[256 / 200], [256 / 128]]))
    body_px2 = 0.32 * np.array([50 * 200, 128 * 64])
    np.testing.assert_allclose(
        found.falloff, np.sqrt(body_px2)[:, None] * 2 * COCO17.sigmas * np.array([[256 / 200], [256 / 128]])
    )


def test_plain_poses_have_no_confidence() -> None:
    found = KeypointEvidence.of(poses())
    assert (found.confidence, found.visibility, found.presence, found.rescored, found.oracle) == (None,) * 5
    assert (keypoint_weights("raw", found) > 0).all()
    with pytest.raises(InputError, match="'ccnet' needs confidence: this run has not computed it"):
        keypoint_weights("ccnet", found)


def test_a_skeleton_without_sigmas_can_be_weighted_but_by_precision() -> None:
    plain = poses(LSP14)
    found = KeypointEvidence.of(CalibratedPoses2D(plain, plain.raw_score, plain.raw_score))
    assert found.falloff is None
    assert (keypoint_weights("ccnet", found) > 0).all()
    with pytest.raises(InputError, match="'precision' needs falloff: no OKS sigmas are published for this skeleton"):
        keypoint_weights("precision", found)


def test_falloff_is_that_of_the_oks() -> None:
    """sqrt(area) 2 sigma of pycocotools, in units of the 256-pixel box; a box without extent has none."""
    falloff = oks_falloff(COCO17, np.array([[0.0, 0.0, 50.0, 200.0]]), np.array([200.0]), body_share=0.5)
    assert falloff[0, COCO17.index("left_hip")] == pytest.approx(np.sqrt(5000) * 2 * 0.107 * 256 / 200)
    assert (oks_falloff(COCO17, np.zeros((1, 4)), np.zeros(1)) == 0).all()
    with pytest.raises(InputError, match="no OKS sigmas are published for skeleton lsp14"):
        oks_falloff(LSP14, np.ones((1, 4)), np.ones(1))


def test_size_is_the_boxs_longer_side() -> None:
    np.testing.assert_array_equal(person_size_px(poses().boxes_xywh), [200, 128])
