"""The persons to be found in a folder of images: from boxes in a file, or one whole image each."""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pose2d.crops import clip_boxes
from pose2d.errors import InputError
from pose2d.files.images import IMAGE_SUFFIXES, ImageFile, image_header
from pose2d.files.storage import is_file, read_json

_PERSON = 1
_LARGEST_ID = (1 << 63) - 1


@dataclass(frozen=True)
class PersonBoxes:
    """n persons; row i of every array is the same person.

    Attributes:
        images: the person's image, and the size that the boxes' file says it has.
        image_ids: its number.
        boxes_xywh: in image pixels; NaN where the file has no proper box.
        box_scores: of the detector; one for annotated boxes and whole images.
        annotation_ids: of annotated boxes, else -1.
        detected: whether the boxes are a detector's.
        faults: by row, why a person cannot be used; the others can be tried.
    """

    images: tuple[ImageFile, ...]
    image_ids: Int[np.ndarray, " n"]
    boxes_xywh: Float[np.ndarray, "n 4"]
    box_scores: Float[np.ndarray, " n"]
    annotation_ids: Int[np.ndarray, " n"]
    detected: bool
    faults: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)


def whole_images(files: list[Path]) -> PersonBoxes:
    """One person an image, whose box is the whole image, upright as viewers show it.

    An image that cannot be opened gets a box of NaN, and is reported where it is opened again. Its number is that in
    its name, or else its place in the list.
    """
    boxes = np.full((len(files), 4), np.nan)
    for row, file in enumerate(files):
        with contextlib.suppress(InputError):
            boxes[row] = (0.0, 0.0, *image_header(file).upright_size_wh)
    ids = [_number(file) for file in files]
    numbered = all(number is not None for number in ids) and len(set(ids)) == len(ids)
    return PersonBoxes(
        tuple(ImageFile(file) for file in files),
        np.array(ids if numbered else range(len(files)), dtype=np.int64),
        boxes,
        np.ones(len(files)),
        np.full(len(files), -1, dtype=np.int64),
        detected=False,
    )


def read_boxes(path: str | Path, images: str | Path, min_score: float = 0.0) -> PersonBoxes:
    """Person boxes from an annotation file (an object) or from a detector's results (a list), as COCO writes them.

    Annotated boxes are taken as the official readers take them: no crowds, an area, at least one labelled keypoint
    where keypoints are given, clipped to the image. Detected boxes are taken as they are, persons only. A person whose
    box or score cannot be used gets a fault, to be reported with the others.

    Args:
        path: the file.
        images: the folder of images, or the folder above it that `file_name` counts from.
        min_score: detected boxes below it are left out.

    Raises:
        InputError: the file is neither, lacks a field that names an image, names images that the folder lacks, or two
            images of the folder could be meant.
    """
    path, folder = Path(path), Path(images)
    if not folder.is_dir():
        folder = folder.parent
    content = read_json(path, nan=True)
    if isinstance(content, dict) and all(isinstance(content.get(name), list) for name in ("images", "annotations")):
        persons = _annotated(path, content, folder)
    elif isinstance(content, list):
        persons = _detected(path, content, folder, min_score)
    else:
        raise InputError(
            f"{path} holds no boxes: a list of results with image_id, bbox and score is needed, or an annotation file "
            "with images and annotations"
        )
    return _persons(path, folder, persons)


@dataclass(frozen=True)
class _Person:
    image: ImageFile
    image_id: int
    box: np.ndarray
    score: float
    annotation_id: int
    fault: str | None


@dataclass(frozen=True)
class _Found:
    """The persons of a file, and how many entries it has of each category that is not a person's."""

    persons: list[_Person]
    detected: bool
    others: Counter[Any]


def _annotated(path: Path, content: dict[str, Any], folder: Path) -> _Found:
    images: dict[int, ImageFile] = {}
    finder = _Finder(path, folder)
    for row, entry in enumerate(content["images"]):
        name = _text(path, f"images[{row}]", entry, "file_name")
        images[_whole(path, f"images[{row}]", entry, "id")] = ImageFile(finder.find(name), _size(entry))
    persons: list[_Person] = []
    others: Counter[Any] = Counter()
    for row, entry in enumerate(content["annotations"]):
        where = f"annotations[{row}]"
        image_id = _whole(path, where, entry, "image_id")
        category = entry.get("category_id", _PERSON)
        if category != _PERSON:
            others[str(category)] += 1
            continue
        keypoints, area = entry.get("keypoints"), entry.get("area")
        if entry.get("iscrowd") or (_is_number(area) and area <= 0) or (keypoints is not None and not _any(keypoints)):
            continue
        if image_id not in images:
            raise InputError(f"{path}: {where} is of image {image_id}, which images does not list")
        box, fault = _box(entry.get("bbox"))
        size_wh = images[image_id].size_wh
        if fault is None and size_wh is not None:
            box = clip_boxes(box[None], size_wh)[0]
        label = entry.get("id")
        number = label if isinstance(label, int) and 0 <= label <= _LARGEST_ID else -1
        persons.append(_Person(images[image_id], image_id, box, 1.0, number, fault))
    return _Found(persons, False, others)


def _detected(path: Path, content: list[Any], folder: Path, min_score: float) -> _Found:
    files: dict[int, list[Path]] = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        number = _number(file) if file.suffix.lower() in IMAGE_SUFFIXES else None
        if number is not None:
            files.setdefault(number, []).append(file)
    persons: list[_Person] = []
    others: Counter[Any] = Counter()
    for row, entry in enumerate(content):
        image_id = _whole(path, f"[{row}]", entry, "image_id")
        category, score = entry.get("category_id", _PERSON), entry.get("score", 1.0)
        if category != _PERSON:
            others[str(category)] += 1
            continue
        if _is_number(score) and score < min_score:
            continue
        meant = files.get(image_id, [folder / f"{image_id:012d}.jpg"])
        if len(meant) > 1:
            raise InputError(
                f"{path}: image_id {image_id} of [{row}] could be {meant[0].name} or {meant[1].name} in {folder}: give "
                "an annotation file, whose images say which file has which id"
            )
        box, fault = _box(entry.get("bbox"))
        if not _is_number(score):
            score, fault = math.nan, fault or f"its score is {score!r:.40}, a number is needed"
        persons.append(_Person(ImageFile(meant[0]), image_id, box, float(score), -1, fault))
    return _Found(persons, True, others)


def _persons(path: Path, folder: Path, found: _Found) -> PersonBoxes:
    if not found.persons:
        told = ", ".join(f"{count} of category {name}"[:60] for name, count in found.others.most_common(3))
        only = f": only category_id {_PERSON} counts, and it has {told}" if told else ""
        raise InputError(f"{path} holds no person's box{only}")
    # Persons of one image together, so that it is opened once.
    persons = sorted(found.persons, key=lambda person: person.image_id)
    if not any(is_file(file) for file in dict.fromkeys(person.image.path for person in persons)):
        raise InputError(f"{folder} holds none of the images that {path} names, {persons[0].image.path.name} for one")
    return PersonBoxes(
        images=tuple(person.image for person in persons),
        image_ids=np.array([person.image_id for person in persons], dtype=np.int64),
        boxes_xywh=np.stack([person.box for person in persons]),
        box_scores=np.array([person.score for person in persons]),
        annotation_ids=np.array([person.annotation_id for person in persons], dtype=np.int64),
        detected=found.detected,
        faults={row: person.fault for row, person in enumerate(persons) if person.fault is not None},
    )


class _Finder:
    """Finds images by the names in a file, which may count from the folder above, or from the tool's own."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path, self._folder = path, folder
        self._by_base: dict[str, str] = {}

    def find(self, name: str) -> Path:
        """The image of that name in the folder, or else the one of the same last part, if only one name has it."""
        parts = PurePosixPath(name.replace("\\", "/")).parts
        inside = self._folder.joinpath(*parts) if parts and not {"..", "/"} & set(parts) else None
        if inside is not None and (len(parts) == 1 or is_file(inside)):
            return inside
        base = parts[-1] if parts else name
        other = self._by_base.setdefault(base, name)
        if other != name:
            raise InputError(
                f"{self._path}: {other!r:.80} and {name!r:.80} would both be {base} in {self._folder}: name the "
                "folder that file_name counts from as --images"
            )
        return self._folder / base


def _text(path: Path, where: str, entry: Any, name: str) -> str:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not value or "\0" in value:
        raise InputError(f"{path}: {where} has no field {name} with a file's name")
    return value


def _whole(path: Path, where: str, entry: Any, name: str) -> int:
    """A field as a whole number; 3.0 and "3" are 3."""
    if not isinstance(entry, dict) or name not in entry:
        raise InputError(f"{path}: {where} has no field {name}")
    value = entry[name]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_ID:
        raise InputError(f"{path}: {where}.{name} is {value!r:.60}; a whole number is needed (of at most 63 bits)")
    return value


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    width, height = entry.get("width"), entry.get("height")
    if width is None or height is None or not all(_is_number(side) and 1 <= side < 1 << 31 for side in (width, height)):
        return None
    return int(width), int(height)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(_float(value))


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _any(keypoints: Any) -> bool:
    return not isinstance(keypoints, list) or any(keypoints)


def _box(value: Any) -> tuple[np.ndarray, str | None]:
    """A box, and what is wrong with it."""
    if isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)):
        return np.array(value, dtype=np.float64), None
    return np.full(4, np.nan), f"its bbox is {value!r:.60}, four finite numbers are needed"


def _number(file: Path) -> int | None:
    """The number at the end of a file's name (000000000139.jpg, COCO_val2014_000000000139.jpg)."""
    found = re.search(r"(\d{1,18})$", file.stem)
    return int(found[1]) if found and not re.search(r"\d{19}$", file.stem) else None
