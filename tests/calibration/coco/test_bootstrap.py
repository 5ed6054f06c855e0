"""The weighted bootstrap against the evaluator on files in which each image really stands as often as drawn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration.coco.bootstrap import (
    bootstrap_average_precision,
    bootstrap_average_recall,
    bootstrap_sparsification_error,
    interval,
    resample_images,
)
from calibration.coco.files import read_detections, read_truth
from calibration.coco.matching import average_precision, match, rank
from calibration.coco.metrics import area_under_sparsification_error

AREAS = {"all": "AP", "medium": "APM", "large": "APL"}


def _files(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(1, 26):
        for _ in range(rng.integers(0, 4)):
            size = 10 ** rng.uniform(1.4, 2.4)
            xy = rng.uniform(0, 500, 2) + rng.uniform(0, size, (17, 2))
            visible = rng.integers(0, 3, 17)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "iscrowd": int(rng.random() < 0.1)}
                | {"keypoints": np.column_stack([xy, visible]).ravel().tolist(), "area": float(size**2 / 2)}
                | {"num_keypoints": int((visible > 0).sum()), "bbox": [*xy.min(axis=0).tolist(), size, size]}
            )
            for _ in range(rng.integers(0, 3)):
                moved = xy + rng.normal(0, size * 10 ** rng.uniform(-2.5, -0.5), (17, 2))
                keypoints = np.column_stack([moved, rng.random(17)]).ravel().tolist()
                results.append({"image_id": image, "category_id": 1, "keypoints": keypoints, "score": rng.random()})
    images = [{"id": image} for image in range(1, 26)]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1}]}, results


def _drawn(annotations: dict[str, Any], results: list[dict[str, Any]], counts: np.ndarray) -> Any:
    """The files with image i standing counts[i] times, its copies side by side."""
    copies: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": annotations["categories"]}
    detections = []
    for image, count in zip(range(1, 26), counts):
        for number in range(count):
            name = image * 1000 + number
            copies["images"].append({"id": name})
            for person in annotations["annotations"]:
                if person["image_id"] == image:
                    person = {**copy.deepcopy(person), "image_id": name, "id": len(copies["annotations"]) + 1}
                    copies["annotations"].append(person)
            detections += [{**r, "image_id": name} for r in results if r["image_id"] == image]
    truth = read_truth(copies)
    return match(truth, read_detections(detections, truth))


@pytest.mark.parametrize("seed", [0, 1])
def test_replicates_are_evaluations_of_the_drawn_images(seed: int) -> None:
    annotations, results = _files(seed)
    truth = read_truth(annotations)
    detections = read_detections(results, truth)
    ranked = rank(match(truth, detections), detections.score)
    counts = resample_images(25, 4, seed)
    samples = {area: bootstrap_average_precision(ranked, counts, area).mean(axis=1) for area in AREAS}
    recall = bootstrap_average_recall(ranked, counts)
    for number, drawn in enumerate(counts):
        stats = average_precision(_drawn(annotations, results, drawn))
        for area, name in AREAS.items():
            assert samples[area][number] == pytest.approx(getattr(stats, name), abs=1e-12)
        assert recall[number] == pytest.approx(stats.AR, abs=1e-12)


def test_drawing_each_image_once_gives_the_estimate(shared_data: Path) -> None:
    truth = read_truth(shared_data / "val_subset250_gt.json")
    matches = match(truth, read_detections(shared_data / "results_val_subset250_greenpose.json", truth))
    ranked = rank(matches, matches.detections.score)
    once = np.ones((1, len(truth.image_ids)), dtype=np.int16)
    assert bootstrap_average_precision(ranked, once).mean() == pytest.approx(average_precision(matches).AP, abs=1e-12)


def test_resamples_are_multinomial() -> None:
    counts = resample_images(40, 2000, seed=5)
    assert (counts.sum(axis=1) == 40).all()
    assert counts.mean(axis=0) == pytest.approx(1, abs=0.12)
    assert counts.var(axis=0).mean() == pytest.approx(1 - 1 / 40, rel=0.05)
    np.testing.assert_array_equal(counts, resample_images(40, 2000, seed=5))


def test_resamples_without_a_person_are_left_out() -> None:
    annotations, results = _files(3)
    truth = read_truth(annotations)
    detections = read_detections(results, truth)
    ranked = rank(match(truth, detections), detections.score)
    samples = bootstrap_average_precision(ranked, np.zeros((1, 25), dtype=np.int16))
    assert np.isnan(samples).all()
    assert np.isnan(interval(samples[:, 0]).low)
    assert interval(np.array([np.nan, 1.0, 2.0])).high == pytest.approx(1.975)


@pytest.mark.parametrize("decimals", [1, 9], ids=["ties", "no ties"])
def test_sparsification_error_equals_that_of_repeated_samples(decimals: int) -> None:
    rng = np.random.default_rng(4)
    confidence, error = np.round(rng.random(300), decimals), np.round(rng.random(300) ** 2, decimals)
    image = rng.integers(0, 40, 300)
    counts = resample_images(40, 6, seed=5)
    counts[-1] = 0
    found = bootstrap_sparsification_error(confidence, error, image, counts)
    for value, drawn in zip(found[:-1], counts[:-1]):
        times = drawn[image]
        expected = area_under_sparsification_error(np.repeat(confidence, times), np.repeat(error, times), False)
        assert value == pytest.approx(expected, abs=1e-12)
    assert np.isnan(found[-1])
