"""Annotations and results of a made network whose errors follow from what its results say."""

from __future__ import annotations

from typing import Any

import numpy as np

from pose2d.skeletons import COCO17, Skeleton

HAND = Skeleton("hand5", ("root", "thumb", "index", "left_tip", "right_tip"), oks_sigmas=(0.03, 0.03, 0.04, 0.05, 0.05))
"""A skeleton of no catalogue."""


def made_files(
    images: int,
    persons: int = 2,
    duplicates: int = 0,
    skeleton: Skeleton = COCO17,
    seed: int = 0,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A COCO annotation file and a results file as parsed JSON.

    The network is the less accurate, the farther a person's pose lies from the middle of its box; its scores know half
    of that. Duplicates are half as accurate and have half the score. Boxes stand in `bbox`; `score` is the box's score
    times the mean of the keypoints' scores.
    """
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for person in range(persons):
            corner, size = np.array([400.0 * person, 50.0]), rng.uniform(80, 160)
            xy = corner + size * rng.uniform(0.1, 0.9, (len(skeleton), 2))
            labelled = np.where(rng.random(len(skeleton)) < 0.2, 0, 2)
            box = [*corner.tolist(), size, size]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": 1,
                    "keypoints": np.column_stack([xy, labelled]).ravel().tolist(),
                    "bbox": box,
                    "area": 0.5 * size**2,
                    "iscrowd": 0,
                }
            )
            for copy in range(1 + duplicates):
                results.append(_result(rng, image, xy, box, copy))
    names = {"id": 1, "name": "person", "keypoints": list(skeleton.keypoints)}
    return {
        "images": [{"id": n + 1} for n in range(images)],
        "annotations": annotations,
        "categories": [names],
    }, results


def _result(rng: np.random.Generator, image: int, xy: np.ndarray, box: list[float], copy: int) -> dict[str, Any]:
    size = box[2]
    shift = rng.uniform(-0.3, 0.3, 2)
    spread = (1 + copy) * size * (0.005 + 0.2 * np.abs(shift).sum() ** 2) * rng.uniform(0.3, 1.7, len(xy))
    found = xy + rng.normal(0, 1, xy.shape) * spread[:, None]
    raw = np.clip(0.9 - 1.5 * spread / size + rng.normal(0, 0.1, len(xy)), 0.01, 0.99)
    box_score = rng.uniform(0.7, 1.0) * 0.5**copy
    return {
        "image_id": image,
        "category_id": 1,
        "keypoints": np.column_stack([found, raw]).ravel().tolist(),
        "score": float(box_score * raw.mean()),
        "bbox": [box[0] - shift[0] * size, box[1] - shift[1] * size, size, size],
        "note": "kept",
    }
