"""COCO's two files field by field, an array per field.

msgspec reads a file into typed records and leaves the lists of numbers in them as they are written; `entries` reads
those in bulk. What cannot be used is refused with the file's name, the entry's index and the field.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from msgspec import Raw

from calibration.coco.entries import Entries, is_missing
from calibration.coco.json_files import Source, decode
from calibration.coco.masks import mask_area
from pose2d.errors import InputError
from pose2d.skeletons import WHOLEBODY133, Skeleton

SCORED_PARTS = ("foot", "face", "lefthand", "righthand", "wholebody")
"""WholeBody's parts beside the body, each of which may have a score of its own."""

Number = int | float
Identity = int | float | str


class _Image(msgspec.Struct, gc=False):
    id: Identity


class _Category(msgspec.Struct, gc=False):
    id: Number


class _Annotation(msgspec.Struct, gc=False):
    id: Number
    image_id: Identity
    category_id: Number = 1
    keypoints: Raw = Raw()
    num_keypoints: Number | None = None
    bbox: Raw = Raw()
    area: float | None = None
    iscrowd: Number | bool = 0
    foot_kpts: Raw = Raw()
    face_kpts: Raw = Raw()
    lefthand_kpts: Raw = Raw()
    righthand_kpts: Raw = Raw()


class _AnnotationFile(msgspec.Struct, gc=False):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] | None = None


class _Result(msgspec.Struct, gc=False):
    image_id: Identity
    score: float | msgspec.UnsetType = msgspec.UNSET
    keypoints: Raw = Raw()
    category_id: Number = 1
    bbox: Raw = Raw()
    center: Raw = Raw()
    segmentation: Raw = Raw()


class _WholeBodyResult(_Result, kw_only=True, gc=False):
    foot_kpts: Raw = Raw()
    face_kpts: Raw = Raw()
    lefthand_kpts: Raw = Raw()
    righthand_kpts: Raw = Raw()
    foot_score: float | None = None
    face_score: float | None = None
    lefthand_score: float | None = None
    righthand_score: float | None = None
    wholebody_score: float | None = None


_ANNOTATION_FILE = msgspec.json.Decoder(_AnnotationFile)
_RESULTS, _WHOLEBODY_RESULTS = msgspec.json.Decoder(list[_Result]), msgspec.json.Decoder(list[_WholeBodyResult])


@dataclass(frozen=True)
class AnnotationColumns:
    """The persons of an annotation file: the annotations of the one category that has keypoints.

    Attributes:
        image_ids: of every image of the file.
        index: of each person among the file's annotations.
        ids, image_id: of each person; image ids are numbers, or text where the file has text.
        xy_px, visibility: of the keypoints.
        num_keypoints: labelled ones as the file counts them, else counted.
        boxes_xywh: image pixels.
        area: px^2, or None where it was not asked for.
        crowd: marks a group.
        category_id: of the persons.
        category_listed: whether the file's list of categories has it; True where the file has no such list.
    """

    image_ids: Shaped[np.ndarray, " i"]
    index: Int[np.ndarray, " m"]
    ids: Int[np.ndarray, " m"]
    image_id: Shaped[np.ndarray, " m"]
    xy_px: Float[np.ndarray, "m k 2"]
    visibility: Float[np.ndarray, "m k"]
    num_keypoints: Shaped[np.ndarray, " m"]
    boxes_xywh: Float[np.ndarray, "m 4"]
    area: Float[np.ndarray, " m"] | None
    crowd: Bool[np.ndarray, " m"]
    category_id: int
    category_listed: bool


@dataclass(frozen=True)
class ResultColumns:
    """The entries of a results file that belong to the evaluated category.

    Attributes:
        image_id: of every entry of the file, those of other categories too.
        entries: index of each of the n detections in the file.
        xy_px, third: of the keypoints, the third value as the file has it.
        score: ranks the detection.
        boxes_xywh: image pixels, or None where the first entry of the file has no box.
        mask_area: px^2, where the first entry has a mask and no box.
        centres: of the crop that a top-down network saw, or None where one lacks it.
        part_scores: of WholeBody's parts beside the body.
    """

    image_id: Shaped[np.ndarray, " e"]
    entries: Int[np.ndarray, " n"]
    xy_px: Float[np.ndarray, "n k 2"]
    third: Float[np.ndarray, "n k"]
    score: Float[np.ndarray, " n"]
    boxes_xywh: Float[np.ndarray, "n 4"] | None
    mask_area: Float[np.ndarray, " n"] | None
    centres: Float[np.ndarray, "n 2"] | None
    part_scores: dict[str, Float[np.ndarray, " n"]]


def read_annotation_columns(source: Source, name: str, skeleton: Skeleton, use_area: bool) -> AnnotationColumns:
    """The columns of an annotation file.

    Args:
        source: the file, or its parsed JSON.
        name: of the file, for messages.
        skeleton: names the keypoints.
        use_area: whether `area` is needed.

    Raises:
        InputError: naming the file, the annotation's index and the field.
    """
    file: _AnnotationFile = decode(
        source, _ANNOTATION_FILE, name, "annotation file (an object with images and annotations)"
    )
    category_id = _category(file, name)
    persons = Entries(f"{name}: annotation", file.annotations, [a.category_id == category_id for a in file.annotations])
    xy_px, visibility = persons.keypoints(skeleton, may_be_empty=True)
    counted = np.count_nonzero(visibility > 0, axis=1)
    if skeleton is not WHOLEBODY133:
        given = persons.field("num_keypoints")
        counted = np.array([n if g is None else g for g, n in zip(given, counted)] if None in given else given)
    return AnnotationColumns(
        image_ids=Entries(f"{name}: image", file.images).identities("id"),
        index=persons.index,
        ids=persons.integers("id"),
        image_id=persons.identities("image_id"),
        xy_px=xy_px,
        visibility=visibility,
        num_keypoints=counted,
        boxes_xywh=persons.numbers("bbox", 4, "x, y, w, h"),
        area=_areas(persons) if use_area else None,
        crowd=np.array(persons.field("iscrowd"), dtype=bool),
        category_id=int(category_id),
        category_listed=file.categories is None or category_id in {c.id for c in file.categories},
    )


def _category(file: _AnnotationFile, name: str) -> Number:
    """The one category whose annotations carry keypoints."""
    if not file.images:
        raise InputError(f"{name}, field images: the list is empty")
    if not file.annotations:
        raise InputError(f"{name}, field annotations: the list is empty")
    found = {a.category_id for a in file.annotations}
    if len(found) > 1 or all(is_missing(a.keypoints) for a in file.annotations):
        found = {a.category_id for a in file.annotations if not is_missing(a.keypoints)}
    if not found:
        raise InputError(
            f"{name}: annotation 0, field keypoints: it is missing, as in every annotation; "
            "is this COCO's instances or captions file? person_keypoints_*.json is needed"
        )
    if len(found) > 1:
        raise InputError(f"{name}, field category_id: keypoints of {len(found)} categories; one alone can be evaluated")
    (category_id,) = found
    if category_id != int(category_id):
        raise InputError(f"{name}, field category_id: {category_id} is not a whole number")
    return category_id


def _areas(persons: Entries) -> np.ndarray:
    given = persons.field("area")
    if None in given:
        persons.refuse(given.index(None), "area", "it is missing; --no-use-area takes 0.53 times the box for all")
    area = np.array(given, dtype=float)
    if (area < 0).any():
        place = int(np.argmax(area < 0))
        persons.refuse(place, "area", f"{given[place]} is not an area in px^2")
    return area


def read_result_columns(source: Source, name: str, skeleton: Skeleton, category_id: int | None) -> ResultColumns:
    """The columns of a results file.

    Args:
        source: the file, or its parsed JSON.
        name: of the file, for messages.
        skeleton: names the keypoints.
        category_id: entries of others are left out and need no keypoints, as in pycocotools; None takes all.

    Raises:
        InputError: naming the file, the entry's index and the field.
    """
    decoder = _WHOLEBODY_RESULTS if skeleton is WHOLEBODY133 else _RESULTS
    results: list[Any] = decode(source, decoder, name, "results file (a list of detections)")
    if not results:
        raise InputError(f"{name} holds no detections: the list is empty")
    where = f"{name}: entry"
    own = Entries(where, results, [category_id is None or r.category_id == category_id for r in results])
    xy_px, third = own.keypoints(skeleton)
    scores = own.field("score")
    if msgspec.UNSET in scores:
        own.refuse(scores.index(msgspec.UNSET), "score", "it is missing")
    part_scores = {}
    for part in SCORED_PARTS if skeleton is WHOLEBODY133 else ():
        given = own.field(f"{part}_score")
        part_scores[part] = np.array([s if g is None else g for g, s in zip(given, scores)], dtype=float)
    # pycocotools' loadRes: the first entry decides what gives the areas of all.
    by_box = not is_missing(results[0].bbox, empty=True)
    by_mask = not by_box and not is_missing(results[0].segmentation, empty=True)
    return ResultColumns(
        image_id=Entries(where, results).identities("image_id"),
        entries=own.index,
        xy_px=xy_px,
        third=third,
        score=np.array(scores, dtype=float),
        boxes_xywh=own.numbers("bbox", 4, "x, y, w, h") if by_box else None,
        mask_area=_mask_areas(own) if by_mask else None,
        centres=None if any(map(is_missing, own.field("center"))) else own.centres(),
        part_scores=part_scores,
    )


def _mask_areas(own: Entries) -> np.ndarray:
    masks = [None if is_missing(raw) else msgspec.json.decode(raw) for raw in own.field("segmentation")]
    return np.array([mask_area(mask, f"{own.where} {i}") for i, mask in zip(own.index, masks)], dtype=float)
