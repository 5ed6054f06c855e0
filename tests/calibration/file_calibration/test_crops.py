"""Where the network looked, from whatever fields a results file has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calibration.coco.files import read_detections
from calibration.file_calibration.crops import Crops, crops_of
from pose2d.errors import InputError
from tests.calibration.file_calibration.made_results import made_files


def _results(**fields: Any) -> list[dict[str, Any]]:
    """Made results, their boxes replaced by other fields; callables are given the box."""
    entries = []
    for entry in made_files(3)[1]:
        box = np.array(entry.pop("bbox"))
        entries.append(entry | {name: value(box) if callable(value) else value for name, value in fields.items()})
    return entries


def _crops(results: list[dict[str, Any]], source: Any = None) -> Crops:
    return crops_of(results, read_detections(results, None), source)


def _centre(box: np.ndarray) -> list[float]:
    return (box[:2] + box[2:] / 2).tolist()


def test_boxes_and_crops_of_every_convention_agree() -> None:
    boxes = _crops(made_files(3)[1])
    assert boxes.source == "bbox"
    for scale in (lambda b: (b[2:] / 200).tolist(), lambda b: b[2:].tolist(), lambda b: float(b[2] / 200)):
        crops = _crops(_results(center=_centre, scale=scale))
        assert crops.source == "center and scale"
        np.testing.assert_allclose(crops.centre_px, boxes.centre_px)
        np.testing.assert_allclose(crops.size_px, boxes.size_px)


def test_without_boxes_it_is_the_box_of_the_pose() -> None:
    results = _results()
    results[0]["keypoints"][:3] = [0, 0, 0]  # not found
    crops = _crops(results)
    assert crops.source == "keypoints"
    found = np.array(results[0]["keypoints"]).reshape(-1, 3)[1:, :2]
    np.testing.assert_allclose(crops.size_px[0], np.ptp(found, axis=0))
    np.testing.assert_allclose(crops.centre_px[0], (found.min(axis=0) + found.max(axis=0)) / 2)


def test_boxes_around_the_keypoints_are_not_taken_for_crops() -> None:
    results = _results()
    for entry in results:
        xy = np.array(entry["keypoints"]).reshape(-1, 3)[:, :2]
        entry["bbox"] = [*xy.min(axis=0), *np.ptp(xy, axis=0)]
    assert _crops(results).source == "keypoints"


@pytest.mark.parametrize("bad", [None, [1, 2, 3], "box", [1, 2, -3, 4], [[1], 2, 3, 4]])
def test_a_file_with_an_unusable_box_has_none(bad: Any) -> None:
    results = made_files(3)[1]
    results[2]["bbox"] = bad
    detections = read_detections([{k: v for k, v in entry.items() if k != "bbox"} for entry in results], None)
    assert crops_of(results, detections).source == "keypoints"
    with pytest.raises(InputError, match="bbox"):
        crops_of(results, detections, "bbox")
