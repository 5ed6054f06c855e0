"""COCO's two files as arrays: the annotation file (truth) and the results file (detections).

Only the fields that keypoint evaluation needs are decoded, straight from the mapped file: segmentations are skipped
without ever becoming Python objects. What cannot be used is refused with the file's name, the entry's index and the
field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Int

from calibration.coco.json_files import Source, decode, source_name
from pose2d.errors import InputError
from pose2d.skeletons import BODY_SHARE_OF_BOX, COCO17, WHOLEBODY133, WHOLEBODY_FIELDS, Skeleton


class _Image(msgspec.Struct, gc=False):
    id: int


class _Category(msgspec.Struct):
    id: int
    name: str | None = None
    keypoints: list[Any] | None = None


class _Annotation(msgspec.Struct):
    id: int
    image_id: int
    category_id: int = 1
    keypoints: list[float] | None = None
    num_keypoints: int | None = None
    bbox: list[float] | None = None
    area: float | None = None
    iscrowd: int | bool = 0
    foot_kpts: list[float] | None = None
    face_kpts: list[float] | None = None
    lefthand_kpts: list[float] | None = None
    righthand_kpts: list[float] | None = None


class _AnnotationFile(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] = []


class _Result(msgspec.Struct):
    image_id: int
    keypoints: list[float]
    score: float
    category_id: int = 1
    bbox: list[float] | None = None
    center: list[float] | None = None


class _WholeBodyResult(_Result, kw_only=True):
    foot_kpts: list[float]
    face_kpts: list[float]
    lefthand_kpts: list[float]
    righthand_kpts: list[float]
    foot_score: float | None = None
    face_score: float | None = None
    lefthand_score: float | None = None
    righthand_score: float | None = None
    wholebody_score: float | None = None


@dataclass(frozen=True)
class KeypointTruth:
    """The annotated persons of a file, in the file's order.

    Attributes:
        name: of the file, for messages.
        skeleton: names the k keypoints and gives their OKS sigmas.
        image_ids: every image of the file, ascending.
        ids: annotation ids.
        image: number of the person's image in `image_ids`.
        xy_px: keypoints in image pixels.
        visibility: COCO's v; a keypoint counts where v > 0.
        boxes_xywh: image pixels.
        area: px^2, the square of the length that OKS measures errors in.
        crowd: marks a group; it may be matched any number of times.
        ignored: whether a match with the person counts neither for nor against (a crowd, or no labelled keypoint).
        category_id: the category that is evaluated.
    """

    name: str
    skeleton: Skeleton
    image_ids: Int[np.ndarray, " i"]
    ids: Int[np.ndarray, " m"]
    image: Int[np.ndarray, " m"]
    xy_px: Float[np.ndarray, "m k 2"]
    visibility: Float[np.ndarray, "m k"]
    boxes_xywh: Float[np.ndarray, "m 4"]
    area: Float[np.ndarray, " m"]
    crowd: Bool[np.ndarray, " m"]
    ignored: Bool[np.ndarray, " m"]
    category_id: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labelled(self) -> Bool[np.ndarray, "m k"]:
        """Which keypoints have a truth."""
        return self.visibility > 0

    @property
    def sigmas(self) -> Float[np.ndarray, " k"]:
        """OKS sigmas to the bit of the reference: pycocotools writes 0.26 / 10 where xtcocotools writes 0.026."""
        sigmas = self.skeleton.sigmas
        return np.round(sigmas * 1000) / 100 / 10 if self.skeleton is COCO17 else sigmas


@dataclass(frozen=True)
class KeypointDetections:
    """The detections of a results file, in the file's order.

    Attributes:
        name: of the file, for messages.
        image: number of the detection's image in the truth's `image_ids`.
        xy_px: keypoints in image pixels.
        raw_score: each keypoint's third value as the file has it.
        score: what the file ranks the detection by.
        area: px^2 of the box (its own, or that of its keypoints): an unmatched one counts in its area range alone.
        centres: centre of the crop that a top-down network looked at, or None where the file does not say.
        part_scores: of a WholeBody file, the scores that rank each part.
        entries: index in the file of each detection (entries of other categories are left out).
    """

    name: str
    image: Int[np.ndarray, " n"]
    xy_px: Float[np.ndarray, "n k 2"]
    raw_score: Float[np.ndarray, "n k"]
    score: Float[np.ndarray, " n"]
    area: Float[np.ndarray, " n"]
    centres: Float[np.ndarray, "n 2"] | None
    part_scores: dict[str, Float[np.ndarray, " n"]]
    entries: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.image)

    def subset(self, chosen: Int[np.ndarray, " c"]) -> KeypointDetections:
        """Some of the detections, by number."""
        return KeypointDetections(
            name=self.name,
            image=self.image[chosen],
            xy_px=self.xy_px[chosen],
            raw_score=self.raw_score[chosen],
            score=self.score[chosen],
            area=self.area[chosen],
            centres=None if self.centres is None else self.centres[chosen],
            part_scores={part: values[chosen] for part, values in self.part_scores.items()},
            entries=self.entries[chosen],
        )


def read_truth(source: Source, skeleton: Skeleton = COCO17, use_area: bool = True) -> KeypointTruth:
    """Read an annotation file.

    Args:
        source: a COCO annotation file (or the parsed dictionary).
        skeleton: COCO17, or WHOLEBODY133 for COCO-WholeBody's five keypoint fields.
        use_area: take `area`; otherwise 0.53 times the box, for files whose area is not that of a mask.

    Raises:
        InputError: naming the file, the annotation's index and the field.
    """
    name = source_name(source, "annotations")
    content: _AnnotationFile = decode(
        source, _AnnotationFile, name, "annotation file (an object with images and annotations)"
    )
    category_id = _category(content, name)
    indices = [i for i, a in enumerate(content.annotations) if a.category_id == category_id]
    image_ids = np.unique(_integers([image.id for image in content.images], name, "images", "id"))
    ids = _integers([content.annotations[i].id for i in indices], name, "annotations", "id")
    _refuse_duplicates(ids, indices, name)
    image_id = _integers([content.annotations[i].image_id for i in indices], name, "annotations", "image_id")
    image, known = _look_up(image_id, image_ids)
    if not known.all():  # pycocotools, too, judges the listed images alone
        indices, ids, image = [i for i, k in zip(indices, known) if k], ids[known], image[known]
    persons = [content.annotations[i] for i in indices]
    fields = tuple(WHOLEBODY_FIELDS.values()) if skeleton is WHOLEBODY133 else ("keypoints",)
    keypoints = _keypoints(persons, fields, skeleton, indices, f"{name}: annotation")
    boxes = _boxes([p.bbox for p in persons], indices, f"{name}: annotation", required=True)
    area = boxes[:, 2] * boxes[:, 3] * BODY_SHARE_OF_BOX
    if use_area:
        for index, person in zip(indices, persons):
            if person.area is None or person.area < 0:
                raise InputError(f"{name}: annotation {index}, field area: {person.area} is not an area in px^2")
        area = np.array([p.area for p in persons], dtype=float)
    labelled = np.count_nonzero(keypoints[:, :, 2] > 0, axis=1)
    if skeleton is WHOLEBODY133:
        counted = labelled
    else:
        counted = np.array([n if p.num_keypoints is None else p.num_keypoints for p, n in zip(persons, labelled)])
    crowd = np.array([bool(p.iscrowd) for p in persons], dtype=bool)
    return KeypointTruth(
        name=name,
        skeleton=skeleton,
        image_ids=image_ids,
        ids=ids,
        image=image,
        xy_px=np.ascontiguousarray(keypoints[:, :, :2]),
        visibility=np.ascontiguousarray(keypoints[:, :, 2]),
        boxes_xywh=boxes,
        area=area,
        crowd=crowd,
        ignored=crowd | (counted == 0),
        category_id=category_id,
    )


def read_detections(source: Source, truth: KeypointTruth | None) -> KeypointDetections:
    """Read a results file against the annotation file that it belongs to, or (COCO's 17 keypoints) without one.

    Raises:
        InputError: naming the file, the entry's index and the field.
    """
    name = source_name(source, "results")
    skeleton = COCO17 if truth is None else truth.skeleton
    wholebody = skeleton is WHOLEBODY133
    kind = list[_WholeBodyResult] if wholebody else list[_Result]
    results: list[Any] = decode(source, kind, name, "results file (a list of detections)")
    if not results:
        raise InputError(f"{name} holds no detections: the list is empty")
    image_id = _integers([r.image_id for r in results], name, "entry", "image_id")
    image, known = _look_up(image_id, np.unique(image_id) if truth is None else truth.image_ids)
    if truth is not None and not known.all():
        entry = int(np.argmin(known))
        raise InputError(
            f"{name}: entry {entry}, field image_id: {truth.name} has no image {image_id[entry]}; "
            "are the two files of the same set?"
        )
    fields = tuple(WHOLEBODY_FIELDS.values()) if wholebody else ("keypoints",)
    keypoints = _keypoints(results, fields, skeleton, range(len(results)), f"{name}: entry")
    if results[0].bbox:  # pycocotools' loadRes: the first entry decides whose box gives the area
        boxes = _boxes([r.bbox for r in results], range(len(results)), f"{name}: entry", required=True)
        area = boxes[:, 2] * boxes[:, 3]
    else:
        body = keypoints[:, : len(COCO17), :2] if wholebody else keypoints[:, :, :2]
        with np.errstate(over="ignore", invalid="ignore"):
            area = np.prod(body.max(axis=1) - body.min(axis=1), axis=1)
    score = np.array([r.score for r in results], dtype=float)
    centres = None
    if all(r.center is not None and len(r.center) == 2 for r in results):
        centres = np.array([r.center for r in results], dtype=float)
    part_scores = {"body": score} if wholebody else {}
    for part in ("foot", "face", "lefthand", "righthand", "wholebody") if wholebody else ():
        own = [getattr(r, f"{part}_score") for r in results]
        part_scores[part] = np.array([s if o is None else o for o, s in zip(own, score)], dtype=float)
    entries = np.flatnonzero([truth is None or r.category_id == truth.category_id for r in results])
    if truth is not None and len(entries) == 0:
        raise InputError(
            f"{name}: entry 0, field category_id: no entry has category {truth.category_id} of {truth.name}"
        )
    everything = KeypointDetections(
        name=name,
        image=image,
        xy_px=np.ascontiguousarray(keypoints[:, :, :2]),
        raw_score=np.ascontiguousarray(keypoints[:, :, 2]),
        score=score,
        area=area,
        centres=centres,
        part_scores=part_scores,
        entries=np.arange(len(results)),
    )
    return everything if len(entries) == len(results) else everything.subset(entries)


def _category(content: _AnnotationFile, name: str) -> int:
    """The one category whose annotations carry keypoints."""
    if not content.images:
        raise InputError(f"{name}, field images: the list is empty")
    if not content.annotations:
        raise InputError(f"{name}, field annotations: the list is empty")
    found = {a.category_id for a in content.annotations if a.keypoints is not None}
    if not found:
        raise InputError(
            f"{name}: annotation 0, field keypoints: it is missing, as in every annotation; "
            "is this COCO's instances or captions file? person_keypoints_*.json is needed"
        )
    if len(found) > 1:
        raise InputError(f"{name}, field category_id: keypoints of {len(found)} categories; one alone can be evaluated")
    return found.pop()


def _integers(values: list[int], name: str, kind: str, field: str) -> np.ndarray:
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        index = next(i for i, value in enumerate(values) if abs(value) >= 1 << 63)
        raise InputError(f"{name}: {kind} {index}, field {field}: {values[index]} exceeds 64 bits") from None


def _refuse_duplicates(ids: np.ndarray, indices: Sequence[int], name: str) -> None:
    unique, first = np.unique(ids, return_index=True)
    if len(unique) == len(ids):
        return
    again = int(np.setdiff1d(np.arange(len(ids)), first)[0])
    raise InputError(f"{name}: annotation {indices[again]}, field id: {ids[again]} stands twice; ids must be unique")


def _look_up(values: np.ndarray, ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    position = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return position, ascending[position] == values


def _keypoints(
    entries: Sequence[Any], fields: Iterable[str], skeleton: Skeleton, indices: Sequence[int], where: str
) -> np.ndarray:
    """Join the fields' [x, y, v] triples, float64 (n, k, 3)."""
    parts, done = [], 0
    sizes = (17, 6, 68, 21, 21) if skeleton is WHOLEBODY133 else (len(skeleton),)
    for field, size in zip(fields, sizes):
        lists = [getattr(entry, field) for entry in entries]
        for index, values in zip(indices, lists):
            if values is None or len(values) != 3 * size:
                found = "it is missing" if values is None else f"{len(values)} numbers"
                raise InputError(
                    f"{where} {index}, field {field}: {found} where {3 * size} are needed ({size} of x, y, v)"
                )
        flat = np.fromiter(chain.from_iterable(lists), float, len(lists) * 3 * size)
        parts.append(flat.reshape(-1, size, 3))
        done += size
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _boxes(boxes: list[list[float] | None], indices: Sequence[int], where: str, required: bool) -> np.ndarray:
    for index, box in zip(indices, boxes):
        if box is None or len(box) != 4:
            raise InputError(f"{where} {index}, field bbox: {'it is missing' if box is None else box} (x, y, w, h)")
    return np.array(boxes, dtype=float).reshape(-1, 4)
