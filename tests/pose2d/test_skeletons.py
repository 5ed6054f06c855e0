"""Named keypoint sets against the numbers that the field's code uses."""

import numpy as np
import pytest
from pycocotools.cocoeval import Params

from pose2d.skeletons import COCO17, H36M17, LSP14, MPII16, OPENPOSE18, SKELETONS, SMPL24, WHOLEBODY133, remap


def test_coco_sigmas_are_pycocotools():
    np.testing.assert_allclose(COCO17.sigmas, Params("keypoints").kpt_oks_sigmas, rtol=1e-15)


def test_remap_gives_spins_j14():
    # nkolot/SPIN constants.py, H36M_TO_J14
    assert remap(H36M17, LSP14).tolist() == [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]


def test_flip_pairs_are_the_published_ones():
    assert COCO17.flip_pairs == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
    # microsoft/human-pose-estimation.pytorch lib/dataset/mpii.py
    assert set(MPII16.flip_pairs) == {(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)}


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_a_mirror_is_its_own_inverse(skeleton):
    permutation = skeleton.flip_permutation
    np.testing.assert_array_equal(permutation[permutation], np.arange(len(skeleton)))
    assert len(set(skeleton.keypoints)) == len(skeleton)
    assert all(name in skeleton for edge in skeleton.edges for name in edge)


def test_sizes_and_order():
    assert [len(s) for s in (COCO17, MPII16, OPENPOSE18, SMPL24, H36M17, WHOLEBODY133)] == [17, 16, 18, 24, 17, 133]
    assert SMPL24.keypoints[16:22:2] == ("left_shoulder", "left_elbow", "left_wrist")
    assert OPENPOSE18.keypoints[2:5] == ("right_shoulder", "right_elbow", "right_wrist")
    assert len(WHOLEBODY133.sigmas) == 133


def test_unknown_keypoint_names_the_skeleton():
    with pytest.raises(KeyError, match="coco17"):
        COCO17.index("tail")
    assert remap(COCO17, SMPL24)[SMPL24.index("spine1")] == -1
