"""COCO's two files as arrays: the annotation file (truth) and the results file (detections).

What cannot be used is refused with the file's name, the entry's index and the field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from calibration.coco.columns import ResultColumns, read_annotation_columns, read_result_columns
from calibration.coco.json_files import Source, source_name
from pose2d.errors import InputError
from pose2d.skeletons import BODY_SHARE_OF_BOX, COCO17, WHOLEBODY133, Skeleton

_SAME_BOX = 0.01
"""Boxes that differ by less, relative to their size, from those around the keypoints say nothing of the crop."""


@dataclass(frozen=True)
class KeypointTruth:
    """The annotated persons of a file, in the file's order.

    Attributes:
        name: of the file, for messages.
        skeleton: names the k keypoints and gives their OKS sigmas.
        image_ids: every image of the file, ascending: numbers, or text where the file has text.
        ids: annotation ids.
        image: number of the person's image in `image_ids`.
        xy_px: keypoints in image pixels.
        visibility: COCO's v; a keypoint counts where v > 0.
        boxes_xywh: image pixels.
        area: px^2, the square of the length that OKS measures errors in.
        crowd: marks a group; it may be matched any number of times.
        ignored: whether a match with the person counts neither for nor against (a crowd, or no labelled keypoint).
        category_id: the category that is evaluated.
        notes: what a reader of the numbers must know about the file, a sentence each.
    """

    name: str
    skeleton: Skeleton
    image_ids: Shaped[np.ndarray, " i"]
    ids: Int[np.ndarray, " m"]
    image: Int[np.ndarray, " m"]
    xy_px: Float[np.ndarray, "m k 2"]
    visibility: Float[np.ndarray, "m k"]
    boxes_xywh: Float[np.ndarray, "m 4"]
    area: Float[np.ndarray, " m"]
    crowd: Bool[np.ndarray, " m"]
    ignored: Bool[np.ndarray, " m"]
    category_id: int
    notes: tuple[str, ...] = ()

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
    columns = read_annotation_columns(source, name, skeleton, use_area)
    _refuse_duplicates(columns.ids, columns.index, name)
    image_ids = _ascending(columns.image_ids)
    if _are_text(columns.image_id) != _are_text(image_ids):
        raise InputError(
            f"{name}: annotation {columns.index[0]}, field image_id: {_mixed(columns.image_id, image_ids)}"
        )
    image, known = _look_up(columns.image_id, image_ids)
    area = columns.area
    if area is None:
        area = columns.boxes_xywh[:, 2] * columns.boxes_xywh[:, 3] * BODY_SHARE_OF_BOX
    notes = []
    if not columns.category_listed:
        notes.append(
            f"{name}: its categories do not list {columns.category_id}, which is evaluated; pycocotools gives -1"
        )
    listed = slice(None) if known.all() else known  # pycocotools, too, judges the listed images alone
    return KeypointTruth(
        name=name,
        skeleton=skeleton,
        image_ids=image_ids,
        ids=columns.ids[listed],
        image=image[listed],
        xy_px=columns.xy_px[listed],
        visibility=columns.visibility[listed],
        boxes_xywh=columns.boxes_xywh[listed],
        area=area[listed],
        crowd=columns.crowd[listed],
        ignored=(columns.crowd | (columns.num_keypoints == 0))[listed],
        category_id=columns.category_id,
        notes=tuple(notes),
    )


def read_detections(source: Source, truth: KeypointTruth | None) -> KeypointDetections:
    """Read a results file against the annotation file that it belongs to, or (COCO's 17 keypoints) without one.

    Raises:
        InputError: naming the file, the entry's index and the field.
    """
    name = source_name(source, "results")
    skeleton, category_id = (COCO17, None) if truth is None else (truth.skeleton, truth.category_id)
    columns = read_result_columns(source, name, skeleton, category_id)
    image = _image_of(columns, truth, name)
    if truth is not None and len(columns.entries) == 0:
        raise InputError(
            f"{name}: entry 0, field category_id: no entry has category {truth.category_id} of {truth.name}"
        )
    return KeypointDetections(
        name=name,
        image=image,
        xy_px=columns.xy_px,
        raw_score=columns.third,
        score=columns.score,
        area=_detected_area(columns),
        centres=_crop_centres(columns),
        part_scores={"body": columns.score} | columns.part_scores if skeleton is WHOLEBODY133 else {},
        entries=columns.entries,
    )


def _image_of(columns: ResultColumns, truth: KeypointTruth | None, name: str) -> np.ndarray:
    """Number of each detection's image; pycocotools, too, wants to know the images of entries of other categories."""
    image_ids = _ascending(columns.image_id) if truth is None else truth.image_ids
    if truth is not None and _are_text(columns.image_id) != _are_text(image_ids):
        raise InputError(f"{name}: entry 0, field image_id: {_mixed(columns.image_id, image_ids)} in {truth.name}")
    image, known = _look_up(columns.image_id, image_ids)
    if truth is not None and not known.all():
        entry = int(np.argmin(known))
        raise InputError(
            f"{name}: entry {entry}, field image_id: {truth.name} has no image {columns.image_id[entry]}; "
            "are the two files of the same set?"
        )
    return image if len(image) == len(columns.entries) else image[columns.entries]


def _crop_centres(columns: ResultColumns) -> np.ndarray | None:
    """Where a top-down network looked: `center`, or the middle of `bbox` where that is not the box of the keypoints.

    (pycocotools' loadRes writes the latter into results without a box.)
    """
    boxes = columns.boxes_xywh
    if columns.centres is not None or boxes is None or not (boxes[:, 2:] > 0).all():
        return columns.centres
    low, high = extremes(columns.xy_px)
    pose = np.stack([low[0], low[1], high[0], high[1]], axis=1)
    difference = np.abs(pose - np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])).max(axis=1)
    if np.median(difference / boxes[:, 2:].max(axis=1)) < _SAME_BOX:
        return None
    centres: np.ndarray = boxes[:, :2] + boxes[:, 2:] / 2
    return centres


def _detected_area(columns: ResultColumns) -> np.ndarray:
    """The area of each detection: of its mask or box where the file gives one, else of the box of its keypoints.

    Of WholeBody, the box of the body's 17 keypoints.
    """
    if columns.mask_area is not None:
        return columns.mask_area
    if columns.boxes_xywh is not None:
        return np.asarray(columns.boxes_xywh[:, 2] * columns.boxes_xywh[:, 3])
    body = columns.xy_px
    if body.shape[1] == len(WHOLEBODY133):
        body = body[:, : len(COCO17)]
    low, high = extremes(body)
    with np.errstate(over="ignore", invalid="ignore"):
        area: np.ndarray = (high[0] - low[0]) * (high[1] - low[1])
    return area


def extremes(
    xy_px: Float[np.ndarray, "n k 2"], counted: Bool[np.ndarray, "n k"] | None = None
) -> tuple[Float[np.ndarray, "2 n"], Float[np.ndarray, "2 n"]]:
    """Least and greatest x and y of each instance's keypoints; infinite where none is counted."""
    low, high = np.empty((2, 2, len(xy_px)))
    for rows in (slice(start, start + 512) for start in range(0, len(xy_px), 512)):
        # Extremes over a leading axis are many times as fast, and a few rows turned at a time stay in the cache.
        turned = np.ascontiguousarray(xy_px[rows].transpose(2, 1, 0))
        if counted is None:
            low[:, rows], high[:, rows] = turned.min(axis=1), turned.max(axis=1)
        else:
            here = np.ascontiguousarray(counted[rows].T)
            low[:, rows] = np.where(here, turned, np.inf).min(axis=1)
            high[:, rows] = np.where(here, turned, -np.inf).max(axis=1)
    return low, high


def _are_text(identities: np.ndarray) -> bool:
    return identities.dtype == object


def _mixed(value: np.ndarray, image_ids: np.ndarray) -> str:
    kinds = ("numbers", "text")
    return f"image ids are {kinds[_are_text(value)]} here and {kinds[_are_text(image_ids)]} among the images"


def _refuse_duplicates(ids: np.ndarray, index: np.ndarray, name: str) -> None:
    if len(_ascending(ids)) == len(ids):
        return
    again = int(np.setdiff1d(np.arange(len(ids)), np.unique(ids, return_index=True)[1])[0])
    raise InputError(f"{name}: annotation {index[again]}, field id: {ids[again]} stands twice; ids must be unique")


def _ascending(values: np.ndarray) -> np.ndarray:
    """The different values in order. (np.unique imports numpy.ma first, which takes longer than all the sorting.)"""
    ordered = np.sort(values)
    return ordered[np.r_[True, ordered[1:] != ordered[:-1]]]


def _look_up(values: np.ndarray, ascending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    position = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return position, ascending[position] == values
