"""The evaluator against pycocotools, on real files and on made ones."""

from __future__ import annotations

import contextlib
import copy
import io
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from calibration.coco.files import read_detections, read_truth
from calibration.coco.matching import AREA_RANGES, average_precision, match, normalised_error, oks_per_keypoint

FILES = [
    ("litehrnet_500_gt.json", "litehrnet_500_results.json"),
    ("val_subset250_gt.json", "results_val_subset250_greenpose.json"),
    ("val_subset250_gt.json", "results_val_subset250_lightpose_ax642511.json"),
    ("wholebody_example_gt.json", "wholebody_example_preds.json"),
]


def _pycocotools(annotations: Any, results: Any) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations if isinstance(annotations, str) else None)
        if not isinstance(annotations, str):
            truth.dataset = copy.deepcopy(annotations)
            truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _match(annotations: Any, results: Any):
    truth = read_truth(annotations)
    return match(truth, read_detections(results, truth))


@pytest.mark.parametrize(("annotations", "results"), FILES)
def test_real_files_give_pycocotools_stats(shared_data: Path, annotations: str, results: str) -> None:
    expected = _pycocotools(str(shared_data / annotations), str(shared_data / results)).stats
    stats = average_precision(_match(shared_data / annotations, shared_data / results))
    np.testing.assert_allclose(stats.as_array(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("annotations", "results", "ap", "ar", "constant"),
    [
        ("litehrnet_500_gt.json", "litehrnet_500_results.json", 83.337, 86.420, 79.624),
        ("val_subset250_gt.json", "results_val_subset250_lightpose_ax642511.json", 21.536, 24.559, 10.902),
        ("val_subset250_gt.json", "results_val_subset250_greenpose.json", 7.369, 9.514, 2.085),
    ],
)
def test_published_numbers_of_the_real_files(
    shared_data: Path, annotations: str, results: str, ap: float, ar: float, constant: float
) -> None:
    matches = _match(shared_data / annotations, shared_data / results)
    given_stats = average_precision(matches)
    assert pytest.approx(ap, abs=6e-4) == given_stats.AP * 100
    assert pytest.approx(ar, abs=6e-4) == given_stats.AR * 100
    assert pytest.approx(constant, abs=6e-4) == average_precision(matches, np.ones(len(matches.detections))).AP * 100


@pytest.mark.parametrize(
    "truth_file", ["person_keypoints_val2017_538exact.json", "person_keypoints_val2017_rebuilt.json"]
)
def test_real_truth_with_jittered_detections(shared_data: Path, truth_file: str) -> None:
    """Crowds, persons without keypoints and images of many persons, as the validation set has them."""
    import json

    annotations = json.loads((shared_data / truth_file).read_text())
    rng = np.random.default_rng(0)
    results = []
    for person in annotations["annotations"][:900]:
        for _ in range(rng.integers(0, 4)):
            keypoints = np.array(person["keypoints"], dtype=float).reshape(-1, 3)
            if not keypoints[:, 2].any():
                x, y, w, h = person["bbox"]
                keypoints[:, :2] = [x, y] + rng.uniform(0, 1, (17, 2)) * [w, h]
            keypoints[:, :2] += rng.normal(0, 0.1 * rng.random() * np.sqrt(person["area"]), (17, 2))
            results.append(
                {
                    "image_id": person["image_id"],
                    "category_id": 1,
                    "keypoints": keypoints.ravel().tolist(),
                    "score": float(np.round(rng.random(), 2)),
                }
            )
    matches = _match(annotations, results)
    for scores in (None, rng.permutation(len(results)) / len(results), np.ones(len(results))):
        if scores is not None:
            results = [{**r, "score": float(s)} for r, s in zip(results, scores)]
        expected = _pycocotools(annotations, results).stats
        np.testing.assert_allclose(average_precision(matches, scores).as_array(), expected, rtol=0, atol=1e-12)


def test_oks_are_pycocotools_oks(shared_data: Path) -> None:
    annotations, results = (shared_data / name for name in FILES[2])
    expected = _pycocotools(str(annotations), str(results)).ious
    matches = _match(annotations, results)
    truth, detections = matches.truth, matches.detections
    for image in np.unique(detections.image[matches.pair_detection]):
        pairs = np.flatnonzero(detections.image[matches.pair_detection] == image)
        persons = np.flatnonzero(truth.image == image)
        table = dict(zip(zip(matches.pair_detection[pairs], matches.pair_truth[pairs]), matches.oks[pairs]))
        ranked = np.flatnonzero(detections.image == image)
        ranked = ranked[np.argsort(-detections.score[ranked], kind="stable")][:20]
        mine = np.array([[table[d, p] for p in persons] for d in ranked])
        np.testing.assert_array_equal(mine, expected[truth.image_ids[image], 1])


@st.composite
def coco_files(draw: Any) -> tuple[dict, list]:
    """Files that meet every rule of the matching: ties, crowds, ignored persons, area limits, id 0."""
    coordinate = st.integers(0, 12).map(lambda n: 10.0 * n)
    images = draw(st.lists(st.integers(1, 50), min_size=1, max_size=5, unique=True))
    persons: list[dict[str, Any]] = []
    for image in images:
        for _ in range(draw(st.integers(0, 3))):
            labelled = draw(st.lists(st.integers(0, 2), min_size=17, max_size=17))
            if draw(st.integers(0, 3)) == 0:
                labelled = [0] * 17
            xy = draw(st.lists(coordinate, min_size=34, max_size=34))
            if persons and draw(st.booleans()):
                xy = [n for k in range(17) for n in persons[-1]["keypoints"][3 * k : 3 * k + 2]]
            persons.append(
                {
                    "id": len(persons) + draw(st.sampled_from([0, 1])) if not persons else persons[-1]["id"] + 1,
                    "image_id": image,
                    "category_id": 1,
                    "keypoints": [n for k in range(17) for n in (*xy[2 * k : 2 * k + 2], labelled[k])],
                    "num_keypoints": draw(st.sampled_from([0, sum(v > 0 for v in labelled)])),
                    "bbox": draw(st.lists(coordinate, min_size=4, max_size=4)),
                    "area": draw(st.sampled_from([0.0, 500.0, 1024.0, 2000.0, 9216.0, 20000.0])),
                    "iscrowd": draw(st.sampled_from([0, 0, 0, 1])),
                }
            )
    results = []
    for image in draw(st.lists(st.sampled_from(images), min_size=1, max_size=3)):
        templates = [p["keypoints"] for p in persons if p["image_id"] == image] or [[50.0, 50.0, 1] * 17]
        for _ in range(draw(st.sampled_from([1, 2, 4, 23]))):
            shift = draw(st.sampled_from([0.0, 0.0, 1.0, 4.0, 10.0, 300.0]))
            keypoints = [n + shift * (i % 3 != 2) for i, n in enumerate(draw(st.sampled_from(templates)))]
            score = draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, -3.0, 472.0]))
            results.append({"image_id": image, "category_id": 1, "keypoints": keypoints, "score": score})
    return {
        "images": [{"id": image} for image in images],
        "annotations": persons,
        "categories": [{"id": 1, "name": "person"}],
    }, results


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(coco_files())
def test_made_files_give_pycocotools_stats(files: tuple[dict, list]) -> None:
    annotations, results = files
    if not annotations["annotations"]:
        return
    expected = _pycocotools(annotations, results)
    matches = _match(annotations, results)
    np.testing.assert_allclose(average_precision(matches).as_array(), expected.stats, rtol=0, atol=1e-12)
    # A second confidence over the same matches must be what a fresh evaluation of it gives.
    scores = np.sin(np.arange(len(results)) * 7.0).round(1)
    results = [{**r, "score": float(s)} for r, s in zip(results, scores)]
    expected = _pycocotools(annotations, results)
    np.testing.assert_allclose(average_precision(matches, scores).as_array(), expected.stats, rtol=0, atol=1e-12)


def test_detections_own_box_gives_their_area_as_in_load_res() -> None:
    """loadRes takes the area from `bbox` where the first entry has one; it decides APM of an unmatched detection."""
    keypoints = [v for k in range(17) for v in (10.0 * k, 5.0 * k, 2)]
    annotations = {
        "images": [{"id": 1}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "keypoints": keypoints, "num_keypoints": 17}
            | {"bbox": [0, 0, 160, 80], "area": 2000.0, "iscrowd": 0}
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    far = [v + 500 * (i % 3 != 2) for i, v in enumerate(keypoints)]
    for box in ([0, 0, 40, 40], [0, 0, 400, 400]):
        results = [
            {"image_id": 1, "category_id": 1, "keypoints": k, "score": s, "bbox": box}
            for k, s in ((far, 0.9), (keypoints, 0.5))
        ]
        expected = _pycocotools(annotations, results).stats
        np.testing.assert_allclose(average_precision(_match(annotations, results)).as_array(), expected, atol=1e-12)


def test_boxes_stand_in_for_areas_on_request(shared_data: Path) -> None:
    """litehrnet_500's `area` is 0.53 x box already, so both rules must agree there."""
    annotations, results = (shared_data / name for name in FILES[0])
    truth = read_truth(annotations, use_area=False)
    stats = average_precision(match(truth, read_detections(results, truth)))
    np.testing.assert_allclose(stats.as_array(), average_precision(_match(annotations, results)).as_array(), atol=1e-6)


def test_oks_per_keypoint_averages_to_oks(shared_data: Path) -> None:
    matches = _match(*(shared_data / name for name in FILES[0]))
    person = np.empty(len(matches.detections), dtype=np.int64)
    person[matches.pair_detection] = matches.pair_truth  # one person an image
    oks = oks_per_keypoint(matches.truth, matches.detections, person)
    assert oks.shape == (500, 17)
    np.testing.assert_allclose(np.nanmean(oks, axis=1)[matches.pair_detection], matches.oks, rtol=1e-12)
    error = normalised_error(matches.truth, matches.detections, person)
    np.testing.assert_allclose(np.exp(-(error**2) / 2), oks, rtol=1e-12)
    assert np.isnan(oks_per_keypoint(matches.truth, matches.detections, np.full(500, -1))).all()


def test_area_ranges_are_pycocotools_ranges() -> None:
    from pycocotools.cocoeval import Params

    params = Params("keypoints")
    assert [list(r) for r in AREA_RANGES.values()] == params.areaRng
    assert list(AREA_RANGES) == params.areaRngLbl
