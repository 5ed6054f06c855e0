"""Persons of COCO-WholeBody: COCO's images, with feet, faces and hands in fields beside COCO's keypoints."""

from __future__ import annotations

from pathlib import Path

from pose2d.datasets.coco import KeypointDataset, read_coco
from pose2d.errors import InputError
from pose2d.files.storage import require_directory
from pose2d.skeletons import WHOLEBODY133, WHOLEBODY_FIELDS


def read_wholebody(root: str | Path, split: str) -> KeypointDataset:
    """Read the persons of a split as `read_coco` does; a person stays with one labelled keypoint of the 133.

    The annotation file is `annotations/coco_wholebody_<split>.json`, or as released `coco_wholebody_<split>_v1.0.json`,
    with the year of the image folder left out (`val2017` -> `coco_wholebody_val_v1.0.json`).

    Args:
        root: directory of `annotations/` and the images.
        split: "train2017", "val2017", or any other.

    Raises:
        InputError: a file, image or field is missing or has the wrong shape, or no person is left.
    """
    folder = require_directory(root) / "annotations"
    bare = split.removesuffix("2017")
    names = [
        f"coco_wholebody_{split}.json",
        *(f"coco_wholebody_{name}_v1.0.json" for name in dict.fromkeys((split, bare))),
    ]
    for name in names:
        if (folder / name).is_file():
            return read_coco(root, split, WHOLEBODY133, tuple(WHOLEBODY_FIELDS.values()), folder / name)
    found = sorted(file.name for file in folder.glob("*.json"))
    raise InputError(
        f"no annotations of split {split} in {folder}: none of {', '.join(names)}; there are "
        f"{', '.join(found) if found else 'none'}"
    )
