"""Where a network looked for each detection, as its results file tells it: most of what a calibrator can learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgspec
import numpy as np
from jaxtyping import Float, Int

from calibration.coco.files import KeypointDetections
from calibration.coco.json_files import Source, decode
from pose2d.errors import InputError

CropSource = Literal["center and scale", "bbox", "keypoints"]
"""Which fields say it, the most exact first; "keypoints" is the box around the pose itself."""
CROP_SOURCES: tuple[CropSource, ...] = get_args(CropSource)
PIXEL_STD = 200.0
"""Unit of `scale` in the results of HRNet's and mmpose's code; later versions write pixels."""
_FEWEST_PX = 1.0
_HULL_TOLERANCE = 0.01
"""Boxes that differ by less, relative to their size, from those around the keypoints say nothing of the crop."""


class _Entry(msgspec.Struct):
    bbox: Any = None
    center: Any = None
    scale: Any = None


_DECODER = msgspec.json.Decoder(list[_Entry])


@dataclass(frozen=True)
class Crops:
    """The crop of each detection in image pixels.

    Attributes:
        centre_px: of the crop.
        size_px: width and height, at least a pixel.
        source: which fields of the results file they come from.
    """

    centre_px: Float[np.ndarray, "n 2"]
    size_px: Float[np.ndarray, "n 2"]
    source: CropSource

    def subset(self, chosen: Int[np.ndarray, " c"]) -> Crops:
        """Some of them, by number."""
        return Crops(self.centre_px[chosen], self.size_px[chosen], self.source)


def crops_of(results: Source, detections: KeypointDetections, source: CropSource | None = None) -> Crops:
    """Crops of a results file's detections: by `center` and `scale`, by `bbox`, or by the keypoints themselves.

    Args:
        results: the file that `detections` were read from, or its list.
        detections: of that file.
        source: the fields to use; by default the best that every entry has.

    Raises:
        InputError: the file does not have the fields asked for.
    """
    if source != "keypoints":
        entries: list[_Entry] = decode(results, _DECODER, detections.name, "results file (a list of detections)")
        entries = [entries[number] for number in detections.entries]
        readers = {"center and scale": _by_scale, "bbox": _by_box}
        for name, read in readers.items():
            found = read(entries, detections) if source in (None, name) else None
            if found is not None:
                return found
    if source not in (None, "keypoints"):
        raise InputError(
            f"{detections.name}: not every entry has {source}, which the calibrator was fitted with; add them, or fit "
            "one to results without"
        )
    corner, size = pose_boxes(detections)
    return Crops(corner + size / 2, size, "keypoints")


def pose_boxes(detections: KeypointDetections) -> tuple[np.ndarray, np.ndarray]:
    """Corner and size (n, 2) of the box around the keypoints that the network found (all, where it found none)."""
    found = is_found(detections)
    found |= ~found.any(axis=1, keepdims=True)
    low = np.where(found[:, :, None], detections.xy_px, np.inf).min(axis=1)
    high = np.where(found[:, :, None], detections.xy_px, -np.inf).max(axis=1)
    return low, np.maximum(high - low, _FEWEST_PX)


def is_found(detections: KeypointDetections) -> np.ndarray:
    """Which keypoints have a place, (n, k): bottom-up networks write 0, 0, 0 for those that they did not find."""
    return np.asarray((detections.raw_score > 0) | (detections.xy_px != 0).any(axis=2))


def _by_scale(entries: list[_Entry], detections: KeypointDetections) -> Crops | None:
    centre = _numbers([entry.center for entry in entries], (2,))
    scale = _numbers([entry.scale for entry in entries], (2,))
    if scale is None:
        single = _numbers([entry.scale for entry in entries], ())
        scale = None if single is None else np.column_stack([single, single])
    if centre is None or scale is None or not (scale > 0).all():
        return None
    # A pose fills most of its crop: in pixels where this holds without the unit, too.
    extent = np.median(pose_boxes(detections)[1].max(axis=1) / scale.max(axis=1))
    unit = PIXEL_STD if extent > np.sqrt(PIXEL_STD) else 1.0
    return Crops(centre, np.maximum(scale * unit, _FEWEST_PX), "center and scale")


def _by_box(entries: list[_Entry], detections: KeypointDetections) -> Crops | None:
    box = _numbers([entry.bbox for entry in entries], (4,))
    if box is None or not (box[:, 2:] >= 0).all():
        return None
    size = np.maximum(box[:, 2:], _FEWEST_PX)
    corner, pose = pose_boxes(detections)
    difference = np.abs(np.hstack([corner - box[:, :2], pose - size])).max(axis=1) / size.max(axis=1)
    if np.median(difference) < _HULL_TOLERANCE:
        return None
    return Crops(box[:, :2] + box[:, 2:] / 2, size, "bbox")


def _numbers(values: list[Any], shape: tuple[int, ...]) -> np.ndarray | None:
    """The values as finite numbers (n, *shape), or None where one is not."""
    if any(value is None for value in values):
        return None
    try:
        found = np.array(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.shape == (len(values), *shape) and np.isfinite(found).all() else None
