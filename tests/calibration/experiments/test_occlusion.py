"""The growing patch covers what it should and is averaged over those whose keypoint is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calibration.ccnet.model import BranchSpec, CCNet
from calibration.experiments.occlusion import _covered, draw_growing_patch, growing_patch
from pose2d.datasets.coco import read_coco
from pose2d.errors import InputError
from pose2d.networks.catalogue import build_network
from tests.stick_figures import write_stick_figures


def test_patch_covers_a_square_about_the_keypoint():
    picture = np.zeros((40, 60, 3), np.uint8)
    covered = _covered(picture, np.array([20.0, 10.0]), 8.0)
    rows, columns = np.nonzero(covered[..., 0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (6, 13, 16, 23)
    np.testing.assert_array_equal(_covered(picture, np.array([20.0, 10.0]), 0.0), picture)
    assert _covered(picture, np.array([-30.0, -30.0]), 8.0).max() == 0


def test_curves_and_figure(tmp_path):
    write_stick_figures(tmp_path, "test", 5)
    dataset = read_coco(tmp_path, "test")
    torch.manual_seed(0)
    network = build_network("sbl-small").eval()
    branch = CCNet(BranchSpec("local", "coco17", 64, True, "sbl-small", network.identity)).eval()
    curves = growing_patch(network, branch, dataset, "left_shoulder", (0.0, 0.5), persons=3)
    assert curves.persons == 3
    assert curves.keypoint_oks.shape == (2,)
    assert ((curves.keypoint_confidence > 0) & (curves.keypoint_confidence < 1)).all()
    draw_growing_patch([curves, curves], tmp_path / "patch.png")
    assert (tmp_path / "patch.png").read_bytes().startswith(b"\x89PNG")
    other = CCNet(BranchSpec("local", "coco17", 64, True, "sbl-small", "0" * 64)).eval()
    with pytest.raises(InputError, match="calibrate a CCNet"):
        growing_patch(network, other, dataset, "left_shoulder")
