"""The open world laid out as MPII: what official readers and the official evaluation find there."""

import json

import numpy as np
import pytest
from scipy.io import loadmat

from eval3dpw.openworld.world.crop_files import CropConfig, write_crop_split
from pose2d.datasets.coco import read_coco
from pose2d.datasets.mpii import read_mpii
from pose2d.errors import InputError
from pose2d.skeletons import COCO17, MPII16, remap
from tools.export_mpii import export_mpii


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    write_crop_split(root, CropConfig(3, "test"), 6)
    return root


@pytest.fixture(scope="module")
def exported(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("mpii") / "mpii"
    assert export_mpii(world, out, ("test",)) == {"test": len(read_coco(world, "test"))}
    return out


def test_shared_joints_lie_where_coco_has_them(world, exported):
    coco, mpii = read_coco(world, "test"), read_mpii(exported, "test")
    rows = mpii.annotation_ids  # numbers of the entries, which are written in COCO's order
    shared = remap(COCO17, MPII16)
    ours, theirs = np.flatnonzero(shared >= 0), shared[shared >= 0]
    assert len(ours) == 12
    known = coco.labelled[rows][:, theirs]
    assert known.sum() > 30
    assert (mpii.labelled[:, ours] == known).all()
    distance = np.linalg.norm(mpii.xy_px[:, ours] - coco.xy_px[rows][:, theirs], axis=-1)
    assert distance[known].max() < 0.1


def test_crops_lie_about_the_persons_boxes(world, exported):
    coco, mpii = read_coco(world, "test"), read_mpii(exported, "test")
    boxes = coco.boxes_xywh[mpii.annotation_ids]
    middle = boxes[:, :2] + boxes[:, 2:] / 2
    np.testing.assert_allclose(mpii.boxes_xywh[:, :2] + mpii.boxes_xywh[:, 2:] / 2, middle, atol=0.02)
    np.testing.assert_allclose(mpii.boxes_xywh[:, 2], boxes[:, 2:].max(axis=1), rtol=1e-3)
    assert all(path.is_file() for path in mpii.image_paths)


def test_the_evaluations_file_agrees_with_the_readers(exported):
    truth, entries = loadmat(exported / "annot" / "gt_test.mat"), json.loads((exported / "annot/test.json").read_text())
    # lib/dataset/mpii.py of HRNet asks for these names and shapes.
    names = [str(name[0]) for name in truth["dataset_joints"][0]]
    assert names.index("head") == MPII16.index("head_top") and names.index("lsho") == MPII16.index("left_shoulder")
    positions = np.array([entry["joints"] for entry in entries])
    np.testing.assert_allclose(truth["pos_gt_src"].transpose(2, 0, 1), positions, atol=0.006)
    missing = np.array([entry["joints_vis"] for entry in entries]).T == 0
    np.testing.assert_array_equal(truth["jnt_missing"] > 0, missing)
    box = truth["headboxes_src"]
    head = 0.6 * np.hypot(*(box[1] - box[0]))
    np.testing.assert_allclose(read_mpii(exported, "test").head_sizes_px, head[: len(head)][_kept(entries)])
    top, neck = (positions[:, MPII16.index(name)] for name in ("head_top", "upper_neck"))
    # Seen from the front or the back, a head is about as long as the segment from neck to top.
    assert 0.7 < np.median(head / np.linalg.norm(top - neck, axis=-1)) < 1.8


def _kept(entries):
    return [row for row, entry in enumerate(entries) if any(entry["joints_vis"])]


def test_what_is_missing_is_named(world, exported, tmp_path):
    with pytest.raises(InputError, match="exists"):
        export_mpii(world, exported, ("test",))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "test").symlink_to(world / "images" / "test")
    (tmp_path / "annotations").mkdir()
    name = "person_keypoints_test.json"
    (tmp_path / "annotations" / name).write_text((world / "annotations" / name).read_text())
    (tmp_path / "annotations" / "person_smpl_test.json").write_text("{}")
    with pytest.raises(InputError, match="body and camera of every annotated person"):
        export_mpii(tmp_path, tmp_path / "out", ("test",))
