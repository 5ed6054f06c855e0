"""The persons to be found in a folder of images: from boxes in a file, or one whole image each."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pose2d.crops import clip_boxes
from pose2d.errors import InputError
from pose2d.files.images import image_files, image_size_wh
from pose2d.files.storage import read_json

_PERSON = 1


@dataclass(frozen=True)
class PersonBoxes:
    """n persons; row i of every array is the same person.

    Attributes:
        image_paths: the person's image.
        image_ids: its number.
        boxes_xywh: in image pixels; NaN where the file has no proper box.
        box_scores: of the detector; one for annotated boxes and whole images.
        annotation_ids: of annotated boxes, else -1.
        detected: whether the boxes are a detector's.
    """

    image_paths: tuple[Path, ...]
    image_ids: Int[np.ndarray, " n"]
    boxes_xywh: Float[np.ndarray, "n 4"]
    box_scores: Float[np.ndarray, " n"]
    annotation_ids: Int[np.ndarray, " n"]
    detected: bool

    def __len__(self) -> int:
        return len(self.image_paths)


def whole_images(files: list[Path]) -> PersonBoxes:
    """One person an image, whose box is the whole image.

    An image that cannot be opened gets a box of NaN, and is reported where it is opened again. Its number is that in
    its name, or else its place in the list.
    """
    boxes = np.full((len(files), 4), np.nan)
    for row, file in enumerate(files):
        with contextlib.suppress(InputError):
            boxes[row] = (0.0, 0.0, *image_size_wh(file))
    ids = [_number(file) for file in files]
    numbered = all(number is not None for number in ids) and len(set(ids)) == len(ids)
    return PersonBoxes(
        tuple(files),
        np.array(ids if numbered else range(len(files)), dtype=np.int64),
        boxes,
        np.ones(len(files)),
        np.full(len(files), -1, dtype=np.int64),
        detected=False,
    )


def read_boxes(path: str | Path, images: str | Path, min_score: float = 0.0) -> PersonBoxes:
    """Person boxes from an annotation file (an object) or from a detector's results (a list), as COCO writes them.

    Annotated boxes are taken as the official readers take them: no crowds, an area, at least one labelled keypoint
    where keypoints are given, clipped to the image. Detected boxes are taken as they are, persons only. A box that
    does not consist of four numbers becomes NaN, to be skipped and reported with the others.

    Args:
        path: the file.
        images: the folder of images.
        min_score: detected boxes below it are left out.

    Raises:
        InputError: the file is neither, lacks a field, or names an image that the folder lacks.
    """
    content = read_json(path)
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        return _annotated(Path(path), content, Path(images))
    if isinstance(content, list):
        return _detected(Path(path), content, Path(images), min_score)
    raise InputError(
        f"{path} holds no boxes: a list of results with image_id, bbox and score is needed, or an annotation file with "
        "images and annotations"
    )


def _annotated(path: Path, content: dict[str, Any], folder: Path) -> PersonBoxes:
    images = {_field(path, "images", row, entry, "id"): entry for row, entry in enumerate(content["images"])}
    paths, ids, boxes, annotation_ids = [], [], [], []
    for row, entry in enumerate(content["annotations"]):
        image_id = _field(path, "annotations", row, entry, "image_id")
        box = _box(_field(path, "annotations", row, entry, "bbox"))
        other = entry.get("category_id", _PERSON) != _PERSON or entry.get("iscrowd", 0)
        if other or entry.get("area", 1.0) <= 0 or ("keypoints" in entry and not any(entry["keypoints"])):
            continue
        if image_id not in images:
            raise InputError(f"{path}: annotations[{row}] is of image {image_id}, which images does not list")
        image = images[image_id]
        if "width" in image and "height" in image and np.isfinite(box).all():
            box = clip_boxes(box[None], (image["width"], image["height"]))[0]
        paths.append(folder / str(_field(path, "images", image_id, image, "file_name")))
        ids.append(image_id)
        boxes.append(box)
        annotation_ids.append(entry.get("id", -1))
    return _persons(path, folder, paths, ids, boxes, [1.0] * len(ids), annotation_ids, detected=False)


def _detected(path: Path, content: list[Any], folder: Path, min_score: float) -> PersonBoxes:
    files = {_number(file): file for file in image_files(folder)}
    paths, ids, boxes, scores = [], [], [], []
    for row, entry in enumerate(content):
        image_id = _field(path, "", row, entry, "image_id")
        box = _box(_field(path, "", row, entry, "bbox"))
        score = float(entry.get("score", 1.0))
        if entry.get("category_id", _PERSON) != _PERSON or score < min_score:
            continue
        paths.append(files.get(image_id, folder / f"{image_id:012d}.jpg"))
        ids.append(image_id)
        boxes.append(box)
        scores.append(score)
    return _persons(path, folder, paths, ids, boxes, scores, [-1] * len(ids), detected=True)


def _persons(
    path: Path,
    folder: Path,
    paths: list[Path],
    ids: list[int],
    boxes: list[np.ndarray],
    scores: list[float],
    annotation_ids: list[int],
    detected: bool,
) -> PersonBoxes:
    if not paths:
        raise InputError(f"{path} holds no person's box")
    if not any(file.is_file() for file in dict.fromkeys(paths)):
        raise InputError(f"{folder} holds none of the images that {path} names, {paths[0].name} for one")
    order = np.argsort(np.array(ids), kind="stable")  # persons of one image together, so that it is opened once
    return PersonBoxes(
        tuple(paths[row] for row in order),
        np.array(ids, dtype=np.int64)[order],
        np.stack(boxes)[order],
        np.array(scores)[order],
        np.array(annotation_ids, dtype=np.int64)[order],
        detected,
    )


def _field(path: Path, table: str, row: int, entry: Any, name: str) -> Any:
    if not isinstance(entry, dict) or name not in entry:
        raise InputError(f"{path}: {table}[{row}] has no field {name}")
    value = entry[name]
    if name in ("id", "image_id") and (isinstance(value, bool) or not isinstance(value, int)):
        raise InputError(f"{path}: {table}[{row}].{name} is {value!r}; a whole number is needed")
    return value


def _box(value: Any) -> np.ndarray:
    numbers = isinstance(value, list) and len(value) == 4 and all(isinstance(side, int | float) for side in value)
    return np.array(value, dtype=np.float64) if numbers else np.full(4, np.nan)


def _number(file: Path) -> int | None:
    """The number at the end of a file's name (000000000139.jpg, COCO_val2014_000000000139.jpg)."""
    found = re.search(r"(\d+)$", file.stem)
    return int(found[1]) if found else None
