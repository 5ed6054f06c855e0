"""Persons of MPII Human Pose, from the JSON files that the official code bases read (`annot/`, `images/`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pose2d.datasets.coco import KeypointDataset
from pose2d.errors import InputError
from pose2d.files.matlab import read_mat_array
from pose2d.files.storage import is_file, read_json, require_directory
from pose2d.skeletons import MPII16

SCALE_PX = 200.0
"""MPII's scale is the person's height over 200 px."""
HEAD_SHARE = 0.6
"""Head segment length over the head box's diagonal (the SC_BIAS of the official evaluation)."""
_FAR_PX = 1e6
CENTER_SHIFT_PX = 15.0
"""How far the official readers move the centre down at scale 1, not to cut legs off."""


def read_mpii(root: str | Path, split: str) -> KeypointDataset:
    """Read the persons of a split as the official readers do (`lib/dataset/mpii.py` of SBL and HRNet).

    Centres are moved down by 15 scales, positions count from 0 (the files count from 1), and boxes are the squares
    around the centres; `box_to_crop` with its padding of 1.25 then cuts the official crop. The area of OKS is that of
    the tight box around the labelled joints, since MPII annotates none.

    Head sizes come from the head boxes in `annot/gt_<split>.mat` (`headboxes_src`, 2 x 2 x entries: the official
    evaluation's file). Without that file a person's head size is the distance of its labelled upper_neck and head_top,
    which is what 0.6 of the box's diagonal stands for, and NaN where either is unlabelled.

    Args:
        root: folder of `annot/` and `images/`.
        split: "train", "valid" or any other file in `annot/`.

    Raises:
        InputError: a file, image or field is missing or has the wrong shape, or no person is left.
    """
    root = require_directory(root)
    path = root / "annot" / f"{split}.json"
    content = read_json(path, nan=True)
    if not isinstance(content, list):
        raise InputError(f"{path} is no MPII annotation file: a list of persons is needed")
    persons = [_person(path, row, entry) for row, entry in enumerate(content)]
    rows = [row for row, person in enumerate(persons) if person[0][0] >= 0 and person[3].any()]
    if not rows:
        raise InputError(f"{path} holds no person with a centre and a labelled joint ({len(persons)} entries read)")
    names = [str(content[row]["image"]) for row in rows]
    missing = sorted({name for name in names if not is_file(root / "images" / name)})
    if missing:
        raise InputError(f"{path}: {len(missing)} images are missing in {root / 'images'}, the first is {missing[0]}")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    centers = np.stack([persons[row][0] for row in rows])
    sides = np.array([persons[row][1] for row in rows])[:, None] * SCALE_PX
    xy = np.stack([persons[row][2] for row in rows])
    visible = np.stack([persons[row][3] for row in rows])
    return KeypointDataset(
        skeleton=MPII16,
        annotation_file=path,
        image_paths=tuple(root / "images" / name for name in names),
        image_ids=np.array([numbers[name] for name in names], dtype=np.int64),
        annotation_ids=np.array(rows, dtype=np.int64),
        boxes_xywh=np.concatenate([centers - 0.5 * sides, sides, sides], axis=1),
        areas=_tight_areas(xy, visible),
        xy_px=np.where(visible[..., None], xy, 0.0),
        visible=np.where(visible, 2, 0),
        head_sizes_px=_head_sizes(root / "annot" / f"gt_{split}.mat", rows, len(content), xy, visible),
    )


def _person(path: Path, row: int, entry: Any) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Centre (-1 where unknown), scale, joints and labels."""
    try:
        center = np.array(entry["center"], dtype=np.float64)
        scale = float(entry["scale"])
        joints = np.array(entry["joints"], dtype=np.float64)[:, :2]
        labelled = np.array(entry["joints_vis"], dtype=np.float64) > 0
        str(entry["image"])
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise InputError(
            f"{path}: entry {row} lacks a field or has a wrong one ({error}); it needs image, center, scale, joints "
            "and joints_vis"
        ) from None
    shapes = (center.shape, joints.shape, labelled.shape)
    near = all((np.abs(values) < _FAR_PX).all() for values in (center, joints, scale))
    if shapes != ((2,), (len(MPII16), 2), (len(MPII16),)) or not near or not scale > 0:
        raise InputError(
            f"{path}: entry {row} needs a center of 2 numbers, a scale above 0, 16 joints of 2 numbers, in pixels"
        )
    if center[0] >= 0:
        center = center + (0.0, CENTER_SHIFT_PX * scale) - 1.0
    return center, scale, joints - 1.0, labelled


def _head_sizes(path: Path, rows: list[int], entries: int, xy: np.ndarray, visible: np.ndarray) -> np.ndarray:
    if not path.is_file():
        neck, top = MPII16.indices(("upper_neck", "head_top"))
        both = visible[:, neck] & visible[:, top]
        return np.where(both, np.linalg.norm(xy[:, top] - xy[:, neck], axis=-1), np.nan)
    corners = read_mat_array(path, "headboxes_src")
    if corners.shape != (2, 2, entries):
        raise InputError(
            f"{path}: headboxes_src has shape {corners.shape}; (2, 2, {entries}) is needed, two corners for each entry "
            "of the JSON file beside it"
        )
    if not (np.abs(corners[..., rows]) < _FAR_PX).all():
        raise InputError(f"{path}: headboxes_src holds NaN, infinite or huge corners")
    sizes = HEAD_SHARE * np.linalg.norm(corners[1] - corners[0], axis=0)[rows]
    return np.where(sizes > 0, sizes, np.nan)


def _tight_areas(xy: np.ndarray, visible: np.ndarray) -> np.ndarray:
    near = np.where(visible[..., None], xy, np.inf).min(axis=1)
    far = np.where(visible[..., None], xy, -np.inf).max(axis=1)
    areas: np.ndarray = (far - near).prod(axis=1)
    return areas
