"""Reading MPII's annotations as the official code reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from pose2d.crops import apply_affine, box_to_crop
from pose2d.datasets.mpii import read_mpii
from pose2d.errors import InputError


def person(**changes: Any) -> dict[str, Any]:
    joints = np.random.default_rng(0).uniform(100, 300, (16, 2)).round(1)
    entry = {
        "image": "a.jpg",
        "center": [201.0, 181.0],
        "scale": 1.5,
        "joints": joints.tolist(),
        "joints_vis": [1] * 16,
    }
    return entry | changes


def write(root: Path, entries: Any) -> Path:
    (root / "annot").mkdir()
    (root / "images").mkdir()
    (root / "images" / "a.jpg").write_bytes(b"x")
    (root / "annot" / "valid.json").write_text(json.dumps(entries))
    return root


def test_crops_are_the_official_ones(tmp_path: Path) -> None:
    hidden = [1] * 15 + [0]
    unknown = person(center=[-1.0, -1.0])
    dataset = read_mpii(write(tmp_path, [person(joints_vis=hidden), unknown, person(joints_vis=[0] * 16)]), "valid")
    assert len(dataset) == 1 and dataset.visible[0].tolist() == [2] * 15 + [0]
    assert np.allclose(dataset.xy_px[0, 0], np.array(person()["joints"][0]) - 1.0)
    labelled = np.array(person()["joints"])[:15]
    assert dataset.areas[0] == pytest.approx(np.prod(labelled.max(0) - labelled.min(0)))
    # lib/dataset/mpii.py: c[1] += 15 s, s *= 1.25, c -= 1; the crop then shows 200 s pixels around c.
    center, side = np.array([200.0, 181.0 + 15 * 1.5 - 1.0]), 1.5 * 1.25 * 200.0
    affine = box_to_crop(dataset.boxes_xywh, (256, 256))
    corners = np.stack([center - 0.5 * side, center, center + 0.5 * side])[None]
    assert np.allclose(apply_affine(affine, corners)[0], [[0.0, 0.0], [128.0, 128.0], [256.0, 256.0]])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "a list of persons is needed"),
        ([], "holds no person"),
        ([{"image": "a.jpg"}], "entry 0 lacks a field"),
        ([person(joints=[[1, 2]] * 4)], "entry 0 needs a center"),
        ([person(image="b.jpg")], "1 images are missing"),
    ],
)
def test_bad_files_are_refused(entries: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_mpii(write(tmp_path, entries), "valid")


def test_head_sizes_come_from_the_evaluations_file(tmp_path: Path) -> None:
    root = write(tmp_path, [person(), person(center=[-1.0, -1.0]), person(joints_vis=[1] * 9 + [0] * 7)])
    joints = np.array(person()["joints"])
    measured = read_mpii(root, "valid").head_sizes_px
    assert measured[0] == pytest.approx(np.linalg.norm(joints[9] - joints[8])) and np.isnan(measured[1])
    # lib/dataset/mpii.py: headsizes = norm(headboxes_src[1] - headboxes_src[0], axis=0) * 0.6
    boxes = np.random.default_rng(1).uniform(0, 100, (2, 2, 3))
    boxes[:, :, 2] = 0.0
    savemat(root / "annot" / "gt_valid.mat", {"headboxes_src": boxes})
    dataset = read_mpii(root, "valid")
    assert dataset.head_sizes_px[0] == pytest.approx(0.6 * np.linalg.norm(boxes[1, :, 0] - boxes[0, :, 0]))
    assert np.isnan(dataset.select(np.array([1])).head_sizes_px[0])
    savemat(root / "annot" / "gt_valid.mat", {"headboxes_src": boxes[:, :, :2]})
    with pytest.raises(InputError, match=r"\(2, 2, 3\) is needed"):
        read_mpii(root, "valid")
    (root / "annot" / "gt_valid.mat").write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        read_mpii(root, "valid")
