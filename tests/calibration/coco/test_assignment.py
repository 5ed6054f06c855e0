"""One detection a person: the oracle row is a bound, and duplicates are false alarms however good their poses are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from calibration.coco.accuracy import Accuracy, accuracy_of
from calibration.coco.assignment import one_per_person
from calibration.coco.evaluation import standard_confidences
from calibration.coco.files import read_detections, read_truth
from calibration.coco.matching import KeypointMatches, average_precision, match

REBUILT = "data/person_keypoints_val2017_rebuilt.json"
FILES = {
    "movenet/movenet_lightning_538_detector_boxes.json.gz": "data/person_keypoints_val2017_538exact.json",
    "movenet/movenet_lightning_val2017_gtbox.json": REBUILT,
    "data/litehrnet_500_results.json": "data/litehrnet_500_gt.json",
    "data/results_val_subset250_greenpose.json": "data/val_subset250_gt.json",
    "data/results_val_subset250_lightpose_ax642511.json": "data/val_subset250_gt.json",
}


def _figure(x_px: float, size_px: float = 100) -> np.ndarray:
    """Seventeen labelled keypoints in a column, (17, 3)."""
    return np.column_stack([np.full(17, x_px), np.linspace(0, size_px, 17), np.full(17, 2.0)])


def _person(number: int, x_px: float, labelled: bool = True) -> dict:
    keypoints = _figure(x_px) * (1 if labelled else 0)
    box = [x_px - 20, 0, 40, 100]
    return {"id": number, "image_id": 1, "category_id": 1, "keypoints": keypoints.ravel().tolist(), "bbox": box} | {
        "area": 3000.0,
        "iscrowd": 0,
    }


def _judge(persons: list[dict], places_px: list[float]) -> tuple[KeypointMatches, Accuracy]:
    truth = read_truth({"images": [{"id": 1}], "annotations": persons})
    results = [{"image_id": 1, "keypoints": _figure(x).ravel().tolist(), "score": 0.5} for x in places_px]
    matches = match(truth, read_detections(results, truth))
    return matches, accuracy_of(matches)


def test_a_person_is_given_its_best_detection_and_the_next_person_the_next_one() -> None:
    """Both detections are nearest to the first person; the second person gets the one that is left."""
    matches, accuracy = _judge([_person(1, 100), _person(2, 108)], [101, 103, 400])
    pairs = one_per_person(matches, np.arange(len(matches.oks)))
    assert matches.pair_truth[pairs[:2]].tolist() == [0, 1]
    assert accuracy.speaks.tolist() == [True, True, False]
    assert accuracy.oks[0] > accuracy.oks[1] > 0


def test_a_duplicate_is_a_false_alarm_and_has_no_keypoints() -> None:
    _, accuracy = _judge([_person(1, 100)], [102, 100, 101])
    assert accuracy.speaks.tolist() == [False, True, False]
    np.testing.assert_allclose(accuracy.oks, [0, 1, 0])
    assert accuracy.judged.all()
    assert np.isnan(accuracy.keypoint_oks[[0, 2]]).all()
    assert (accuracy.instance_error[[0, 2]] > 0).all(), "how far the pose is off is known of a duplicate, too"


def test_who_shows_a_person_without_labels_is_no_sample() -> None:
    _, accuracy = _judge([_person(1, 100), _person(2, 300, labelled=False)], [100, 300, 900])
    assert accuracy.judged.tolist() == [True, False, True]
    assert accuracy.oks.tolist() == [1, 0, 0]


@pytest.mark.parametrize("results", FILES)
def test_oracle_is_a_bound_on_real_files(shared_data: Path, results: str) -> None:
    path = shared_data.parent / results
    content = json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    truth = read_truth(shared_data.parent / FILES[results])
    matches = match(truth, read_detections(content, truth))
    confidences = standard_confidences(matches, accuracy_of(matches))
    found = {name: average_precision(matches, confidence.instance).AP for name, confidence in confidences}
    assert max(found, key=found.__getitem__) == "oracle"
    if "detector_boxes" in results:
        assert found["as given"] == pytest.approx(0.424, abs=0.001)
        assert found["oracle"] == pytest.approx(0.512, abs=0.001)
