"""Persons with keypoints in COCO's layout: `annotations/person_keypoints_<split>.json` beside a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from pose2d.crops import clip_boxes
from pose2d.errors import InputError
from pose2d.files.storage import is_file, read_json, require_directory
from pose2d.skeletons import COCO17, Skeleton

_IMAGE_FOLDERS = ("images/{split}", "{split}")


@dataclass(frozen=True)
class KeypointDataset:
    """n annotated persons; row i of every array is the same person.

    Attributes:
        skeleton: names the k keypoints.
        annotation_file: what was read; `pycocotools.coco.COCO` takes the same file.
        image_paths: the person's image.
        image_ids, annotation_ids: numbers in the annotation file.
        boxes_xywh: person boxes in image pixels, clipped to the image as the official readers clip annotations.
        areas: annotated body area in image px^2 (the OKS scale squared).
        xy_px: keypoints in image pixels; (0, 0) where unlabelled.
        visible: COCO's v: 0 unlabelled, 1 labelled but hidden, 2 seen.
        head_sizes_px: head segment lengths that PCKh measures errors in, NaN where unknown; None where the data set
            has none (MPII alone has).
    """

    skeleton: Skeleton
    annotation_file: Path
    image_paths: tuple[Path, ...]
    image_ids: Int[np.ndarray, " n"]
    annotation_ids: Int[np.ndarray, " n"]
    boxes_xywh: Float[np.ndarray, "n 4"]
    areas: Float[np.ndarray, " n"]
    xy_px: Float[np.ndarray, "n k 2"]
    visible: Int[np.ndarray, "n k"]
    head_sizes_px: Float[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def labelled(self) -> Bool[np.ndarray, "n k"]:
        """Keypoints that carry a label (v > 0): the v_k of the OKS."""
        return self.visible > 0

    def select(self, rows: Int[np.ndarray, " m"]) -> KeypointDataset:
        """The persons in `rows`, in that order."""
        return replace(
            self,
            image_paths=tuple(self.image_paths[int(row)] for row in rows),
            head_sizes_px=None if self.head_sizes_px is None else self.head_sizes_px[rows],
            **{
                name: getattr(self, name)[rows]
                for name in ("image_ids", "annotation_ids", "boxes_xywh", "areas", "xy_px", "visible")
            },
        )


def annotation_file(root: str | Path, split: str, stem: str = "person_keypoints") -> Path:
    """Where COCO's layout keeps a split's annotations.

    Raises:
        InputError: there is none.
    """
    root = require_directory(root)
    path = root / "annotations" / f"{stem}_{split}.json"
    if not path.is_file():
        found = sorted(file.name for file in (root / "annotations").glob("*.json"))
        raise InputError(
            f"no such file: {path}; a split is named by its annotation file, here there are "
            f"{', '.join(found) if found else 'none'}"
        )
    return path


def image_directory(root: str | Path, split: str) -> Path:
    """The split's folder of images: `images/<split>` or, as COCO's archives unpack, `<split>`.

    Raises:
        InputError: there is neither.
    """
    root = require_directory(root)
    candidates = [root / pattern.format(split=split) for pattern in _IMAGE_FOLDERS]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise InputError(f"no images of split {split}: neither {candidates[0]} nor {candidates[1]} is a directory")


def read_coco(
    root: str | Path,
    split: str,
    skeleton: Skeleton = COCO17,
    keypoint_fields: Sequence[str] = ("keypoints",),
    stem: str | Path = "person_keypoints",
) -> KeypointDataset:
    """Read the persons that the GT-box protocol keeps: no crowd, a box with an area, at least one labelled keypoint.

    Args:
        root: directory that holds `annotations/` and the images.
        split: name of the split (`val2017`, `train`, ...).
        skeleton: keypoints that the files hold.
        keypoint_fields: annotation fields that make up the keypoints, in order (several for COCO-WholeBody).
        stem: of the annotation file's name, before `_<split>.json`; or the path of the file itself.

    Raises:
        InputError: a file, image or field is missing or has the wrong shape, or no person is left.
    """
    path = stem if isinstance(stem, Path) else annotation_file(root, split, stem)
    folder = image_directory(root, split)
    content = read_json(path, nan=True)
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise InputError(f"{path} is not a COCO annotation file: it needs the fields images and annotations")
    images = _images(path, content["images"], folder)
    if not isinstance(content["annotations"], list):
        raise InputError(f"{path}: annotations is a {type(content['annotations']).__name__}, a list is needed")
    persons = [
        _person(path, entry, images, len(skeleton), keypoint_fields)
        for entry in content["annotations"]
        if not (isinstance(entry, dict) and entry.get("iscrowd", 0))
    ]
    kept = [person for person in persons if (person.visible > 0).any() and person.box[2] * person.box[3] > 0]
    if not kept:
        raise InputError(f"{path} holds no person with a box and a labelled keypoint ({len(persons)} annotations read)")
    missing = sorted({person.image.name for person in kept if not is_file(person.image)})
    if missing:
        raise InputError(
            f"{path}: {len(missing)} images are missing in {folder}, the first is {missing[0]}; "
            "unpack the images of this split there"
        )
    return KeypointDataset(
        skeleton=skeleton,
        annotation_file=path,
        image_paths=tuple(person.image for person in kept),
        image_ids=np.array([person.image_id for person in kept], dtype=np.int64),
        annotation_ids=np.array([person.annotation_id for person in kept], dtype=np.int64),
        boxes_xywh=np.stack([person.box for person in kept]),
        areas=np.array([person.area for person in kept]),
        xy_px=np.stack([person.xy for person in kept]),
        visible=np.stack([person.visible for person in kept]),
    )


@dataclass(frozen=True)
class _Image:
    path: Path
    size_wh: tuple[int, int]


@dataclass(frozen=True)
class _Person:
    image: Path
    image_id: int
    annotation_id: int
    box: np.ndarray
    area: float
    xy: np.ndarray
    visible: np.ndarray


_FAR_PX = 1e7


def _id(value: Any) -> int:
    """An id that fits the arrays of ids."""
    number = int(value)
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"id {number!r:.30} has more than 63 bits")
    return number


def _side(value: Any) -> int:
    side = int(value)
    if not 0 < side < 1 << 31:
        raise ValueError(f"a side of {side!r:.30} px")
    return side


def _images(path: Path, entries: Any, folder: Path) -> dict[int, _Image]:
    try:
        return {
            _id(entry["id"]): _Image(folder / entry["file_name"], (_side(entry["width"]), _side(entry["height"])))
            for entry in entries
        }
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{path}: every entry of images needs id, file_name, width and height ({error!r} is missing or wrong)"
        ) from None


def _person(path: Path, entry: Any, images: dict[int, _Image], num_keypoints: int, fields: Sequence[str]) -> _Person:
    try:
        label, image_id = _id(entry["id"]), _id(entry["image_id"])
        box = np.array(entry["bbox"], dtype=np.float64)
        area = float(entry["area"])
        keypoints = np.concatenate([np.array(entry[field], dtype=np.float64).reshape(-1) for field in fields])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        name = entry.get("id") if isinstance(entry, dict) else entry
        raise InputError(
            f"{path}: annotation {name!r} lacks a field or has a wrong one ({error}); "
            f"it needs id, image_id, bbox, area and {', '.join(fields)}"
        ) from None
    if image_id not in images:
        raise InputError(f"{path}: annotation {label} is of image {image_id}, which images does not list")
    if box.shape != (4,) or not (np.abs(box) < _FAR_PX).all():
        raise InputError(
            f"{path}: bbox of annotation {label} is {entry['bbox']!r:.80}; four finite numbers of pixels are needed"
        )
    if not 0 <= area < _FAR_PX**2:
        raise InputError(f"{path}: area of annotation {label} is {area}; a finite number of px^2 is needed")
    if keypoints.shape != (3 * num_keypoints,) or not (np.abs(keypoints) < _FAR_PX).all():
        raise InputError(
            f"{path}: {' + '.join(fields)} of annotation {label} holds {keypoints.size} numbers; "
            f"{3 * num_keypoints} finite ones ({num_keypoints} times x, y, v) are needed"
        )
    keypoints = keypoints.reshape(-1, 3)
    if (keypoints[:, 2] < 0).any():
        raise InputError(f"{path}: {' + '.join(fields)} of annotation {label} has a negative v; 0, 1 or 2 are needed")
    # COCO-WholeBody knows fractions: every v above 0 is a label.
    visible = np.ceil(keypoints[:, 2]).astype(np.int64)
    xy = np.where(visible[:, None] > 0, keypoints[:, :2], 0.0)
    image = images[image_id]
    return _Person(image.path, image_id, label, clip_boxes(box[None], image.size_wh)[0], area, xy, visible)
