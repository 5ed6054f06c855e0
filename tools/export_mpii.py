"""Lay the open world's crops out as MPII does, so that MPII's readers, PCKh and table 4 have something to run on.

    python tools/export_mpii.py --coco world/coco --out world/mpii

writes `annot/<split>.json` (what the official readers take), `annot/gt_<split>.mat` (what the official evaluation
takes) and `images/<split>_<name>` (hard links where the file system allows). The world says of each person where its
body is (`person_smpl_<split>.json`), so all 16 joints are known. COCO's labels tell which of the shared joints are
annotated; the others follow their neighbours: pelvis and thorax are annotated with a hip or a shoulder, neck and head
with any of the five points of the head. Joints outside the image are not.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import roma
import torch
import tyro
from scipy.io import savemat

from fitting.bodies.body import Body, Gender, load_body
from pose2d.datasets.coco import KeypointDataset, read_coco
from pose2d.datasets.mpii import CENTER_SHIFT_PX, SCALE_PX
from pose2d.errors import InputError
from pose2d.files.storage import atomic_path, read_json, require_file, write_json
from pose2d.skeletons import COCO17, MPII16, SMPL24, remap

_NEIGHBOURS = {
    "pelvis": ("left_hip", "right_hip"),
    "thorax": ("left_shoulder", "right_shoulder"),
    "upper_neck": ("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    "head_top": ("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
}
_OFFICIAL_NAMES = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head"),
    *("rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
_HEAD_WEIGHT = 0.5
_BATCH = 256


@dataclass(frozen=True)
class Export:
    """What to write."""

    coco: Path
    """The open world's directory in COCO's layout, with person_smpl_<split>.json."""
    out: Path
    """Directory to write."""
    splits: tuple[str, ...] = ("train", "calibration", "validation", "test")
    """Splits to write."""


def export_mpii(coco: Path, out: Path, splits: tuple[str, ...]) -> dict[str, int]:
    """Write the splits; the persons of each.

    Raises:
        InputError: a file of the world is missing or does not fit, or `out` exists.
    """
    if out.exists():
        raise InputError(f"{out} exists: choose another --out")
    counts = {}
    (out / "images").mkdir(parents=True)
    for split in splits:
        dataset = read_coco(coco, split)
        counts[split] = _export_split(dataset, coco, out, split)
    return counts


def _export_split(dataset: KeypointDataset, coco: Path, out: Path, split: str) -> int:
    path = require_file(coco / "annotations" / f"person_smpl_{split}.json")
    smpl = read_json(path)
    try:
        people = [smpl[str(number)] for number in dataset.annotation_ids]
        joints, corners = _project(people)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not hold the body and camera of every annotated person ({error!r})") from None
    labelled = _labelled(dataset, joints)
    names = {}
    for source in dict.fromkeys(dataset.image_paths):
        names[source] = f"{split}_{source.name}"
        _link(source, out / "images" / names[source])
    entries = []
    for row in range(len(dataset)):
        x, y, width, height = dataset.boxes_xywh[row]
        scale = max(width, height) / SCALE_PX
        # The official readers move the centre down again, and count from 1.
        center = np.array([x + width / 2, y + height / 2 - CENTER_SHIFT_PX * scale]) + 1.0
        entries.append(
            {
                "image": names[dataset.image_paths[row]],
                "center": center.round(2).tolist(),
                "scale": round(float(scale), 5),
                "joints": (joints[row] + 1.0).round(2).tolist(),
                "joints_vis": labelled[row].astype(int).tolist(),
            }
        )
    write_json(out / "annot" / f"{split}.json", entries)
    with atomic_path(out / "annot" / f"gt_{split}.mat") as partial, open(partial, "wb") as file:
        savemat(
            file,
            {
                "dataset_joints": np.array([_OFFICIAL_NAMES], dtype=object),
                "jnt_missing": (~labelled).T.astype(np.uint8),
                "pos_gt_src": joints.transpose(1, 2, 0) + 1.0,
                "headboxes_src": corners.transpose(1, 2, 0) + 1.0,
            },
        )
    return len(entries)


def _project(people: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """MPII's joints (n, 16, 2) and two corners of the head's box (n, 2, 2), image pixels from 0."""
    joints, corners = np.empty((len(people), len(MPII16), 2)), np.empty((len(people), 2, 2))
    for gender in sorted({person["smpl_param"]["gender"] for person in people}):
        of_gender = np.array([row for row, one in enumerate(people) if one["smpl_param"]["gender"] == gender])
        body = load_body(gender=gender)
        head = _head_vertices(gender)
        for rows in np.array_split(of_gender, -(-len(of_gender) // _BATCH)):
            keypoints, vertices = _posed(body, [people[row]["smpl_param"] for row in rows])
            cameras = [people[row]["cam_param"] for row in rows]
            focal, centre = (np.array([camera[name] for camera in cameras])[:, None] for name in ("focal", "princpt"))
            joints[rows] = keypoints[..., :2] / keypoints[..., 2:] * focal + centre
            outline = vertices[:, head, :2] / vertices[:, head, 2:] * focal + centre
            corners[rows] = np.stack([outline.min(axis=1), outline.max(axis=1)], axis=1)
    return joints, corners


def _posed(body: Body, parameters: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints and vertices in the camera's frame, metres."""
    pose, shape, translation = (
        torch.tensor(np.array([one[name] for one in parameters]), dtype=torch.float32)
        for name in ("pose", "shape", "trans")
    )
    with torch.no_grad():
        output = body(roma.rotvec_to_rotmat(pose.reshape(-1, len(SMPL24), 3)), shape, translation)
        return body.keypoints(output, MPII16).double().numpy(), output.vertices.double().numpy()


@cache
def _head_vertices(gender: Gender) -> np.ndarray:
    return (load_body(gender=gender).skinning_weights[:, SMPL24.index("head")] > _HEAD_WEIGHT).numpy()


def _labelled(dataset: KeypointDataset, joints: np.ndarray) -> np.ndarray:
    """Which joints are annotated, bool (n, 16)."""
    shared = remap(COCO17, MPII16)
    labelled = dataset.labelled[:, np.maximum(shared, 0)] & (shared >= 0)
    for name, neighbours in _NEIGHBOURS.items():
        labelled[:, MPII16.index(name)] = dataset.labelled[:, COCO17.indices(neighbours)].any(axis=1)
    images = read_json(dataset.annotation_file)["images"]
    sizes = {image["id"]: (image["width"], image["height"]) for image in images}
    size = np.array([sizes[int(number)] for number in dataset.image_ids])[:, None]
    return labelled & ((joints > -0.5) & (joints < size - 0.5)).all(axis=-1)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def main(options: Export) -> None:
    """Write, and say what was written."""
    for split, persons in export_mpii(options.coco, options.out, options.splits).items():
        print(f"{options.out / 'annot' / split}.json: {persons} persons")


if __name__ == "__main__":
    main(tyro.cli(Export))
