"""The six WholeBody evaluations against a second, straightforward implementation of xtcocotools' rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration import evaluate_keypoints
from calibration.coco.matching import KeypointStats
from pose2d.skeletons import WHOLEBODY133, WHOLEBODY_FIELDS

PARTS = {
    "body": ("keypoints",),
    "foot": ("foot_kpts",),
    "face": ("face_kpts",),
    "lefthand": ("lefthand_kpts",),
    "righthand": ("righthand_kpts",),
    "wholebody": tuple(WHOLEBODY_FIELDS.values()),
}


def _second_opinion(annotations: dict, results: list, part: str, use_area: bool = True) -> list[float]:
    """One image, one threshold and one area range at a time, with plain loops over dictionaries."""
    sigmas = WHOLEBODY133.sigmas[dict(WHOLEBODY133.parts)[part]]
    key = {"body": "score"}.get(part, f"{part}_score")

    def points(entry: dict) -> np.ndarray:
        return np.array([v for field in PARTS[part] for v in entry[field]], dtype=float).reshape(-1, 3)

    def area_of(person: dict) -> float:
        return person["area"] if use_area else person["bbox"][2] * person["bbox"][3] * 0.53

    def oks(detection: dict, person: dict) -> float:
        truth, found = points(person), points(detection)
        seen = truth[:, 2] > 0
        offset = found[:, :2] - truth[:, :2]
        if not seen.any():
            x, y, w, h = person["bbox"]
            low, high = np.array([x - w, y - h]), np.array([x + 2 * w, y + 2 * h])
            offset = np.maximum(0, low - found[:, :2]) + np.maximum(0, found[:, :2] - high)
            seen = np.ones(len(truth), dtype=bool)
        error = (offset**2).sum(axis=1) / (2 * (2 * sigmas) ** 2 * (area_of(person) + np.spacing(1)))
        return float(np.exp(-error[seen]).mean())

    pairs = [(r, p) for r in results for p in annotations["annotations"] if r["image_id"] == p["image_id"]]
    known = {(id(r), id(p)): oks(r, p) for r, p in pairs}
    precisions: dict[Any, np.ndarray] = {}
    recalls: dict[Any, float] = {}
    ranges = {"all": (0, 1e10), "M": (32**2, 96**2), "L": (96**2, 1e10)}
    for size, (low, high) in ranges.items():
        for threshold in np.linspace(0.5, 0.95, 10):
            judged, positives = [], 0
            for image in sorted(i["id"] for i in annotations["images"]):
                persons = [p for p in annotations["annotations"] if p["image_id"] == image]
                ignored = [
                    bool(p.get("iscrowd")) or not (points(p)[:, 2] > 0).any() or not low <= area_of(p) <= high
                    for p in persons
                ]
                positives += ignored.count(False)
                mine = [r for r in results if r["image_id"] == image and (points(r)[:, 2] > 0).any()]
                mine = sorted(mine, key=lambda r: -r.get(key, r["score"]))[:20]
                taken: set[int] = set()
                for detection in mine:
                    options = [
                        (not ignored[j], known[id(detection), id(p)], j)
                        for j, p in enumerate(persons)
                        if j not in taken or p.get("iscrowd")
                    ]
                    options = [o for o in options if o[1] >= threshold]
                    body = np.array(detection["keypoints"]).reshape(-1, 3)[:, :2]
                    if options:
                        counts, _, chosen = max(options)
                        taken.add(chosen)
                        outcome = "hit" if counts else "ignored"
                    else:
                        inside = low <= float(np.prod(np.ptp(body, axis=0))) <= high
                        outcome = "miss" if inside else "ignored"
                    judged.append((detection.get(key, detection["score"]), outcome))
            if positives == 0:
                continue
            judged.sort(key=lambda j: -j[0])
            hits = np.cumsum([o == "hit" for _, o in judged])
            misses = np.cumsum([o == "miss" for _, o in judged])
            recall, precision = hits / positives, hits / (hits + misses + np.spacing(1))
            precisions[size, threshold] = np.array(
                [precision[recall >= r].max(initial=0) for r in np.linspace(0, 1, 101)]
            )
            recalls[size, threshold] = recall[-1] if len(recall) else 0.0

    def mean(table: dict, size: str, threshold: float | None = None) -> float:
        values = [v for (s, t), v in table.items() if s == size and (threshold is None or np.isclose(t, threshold))]
        return float(np.mean(values)) if values else -1.0

    return [
        *(mean(precisions, "all", t) for t in (None, 0.5, 0.75)),
        *(mean(precisions, s) for s in "ML"),
        *(mean(recalls, "all", t) for t in (None, 0.5, 0.75)),
        *(mean(recalls, s) for s in "ML"),
    ]


@pytest.fixture
def files(shared_data: Path) -> tuple[dict, list]:
    names = ("wholebody_example_gt.json", "wholebody_example_preds.json")
    annotations, results = (json.loads((shared_data / name).read_text()) for name in names)
    return annotations, results


def _stats(row_stats: KeypointStats) -> np.ndarray:
    return row_stats.as_array()


@pytest.mark.parametrize("variant", ["as they are", "part scores", "without areas"])
def test_six_evaluations(files: tuple[dict, list], variant: str) -> None:
    annotations, results = files
    if variant == "part scores":  # own ranking keys, dropped parts, fractional visibilities, a crowd
        rng = np.random.default_rng(0)
        for number, result in enumerate(results):
            for part in ("foot", "face", "lefthand", "wholebody"):
                if rng.random() < 0.8:
                    result[f"{part}_score"] = float(rng.random())
            if number % 5 == 0:
                result["lefthand_kpts"] = [0.0 if k % 3 == 2 else v for k, v in enumerate(result["lefthand_kpts"])]
        annotations["annotations"][2]["iscrowd"] = 1
        annotations["annotations"][0]["foot_kpts"][2] = 0.5
    use_area = variant != "without areas"
    evaluation = evaluate_keypoints(annotations, results, dataset="wholebody", bootstrap=0, use_area=use_area)
    rows = {row.part: row for row in evaluation.rows if row.confidence_name == "as given"}
    assert list(rows) == list(PARTS)
    for part, row in rows.items():
        expected = _second_opinion(annotations, results, part, use_area)
        np.testing.assert_allclose(_stats(row.stats), expected, atol=1e-10, err_msg=part)


def test_a_part_is_judged_by_the_persons_own(files: tuple[dict, list]) -> None:
    """A detection whose person has no labelled left hand is no sample for left hands, not a wrong one; and the two
    whose persons have no labels at all are no samples of anything."""
    annotations, results = files
    evaluation = evaluate_keypoints(annotations, results, dataset="wholebody", bootstrap=0)
    by_part = {row.part: row for row in evaluation.rows if row.confidence_name == "as given"}
    accuracy = by_part["lefthand"].accuracy
    with_hand = np.array([any(v > 0 for v in p["lefthand_kpts"][2::3]) for p in annotations["annotations"]])
    assert with_hand[accuracy.person[accuracy.judged]].all()
    unlabelled = sum(not any(v > 0 for v in p["keypoints"][2::3]) for p in annotations["annotations"])
    whole = by_part["wholebody"].instance.count
    assert 0 < by_part["lefthand"].instance.count < whole == len(results) - unlabelled
