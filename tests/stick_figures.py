"""A tiny data set in COCO's layout: drawn figures whose keypoints are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from pose2d.skeletons import COCO17

_STAND = {
    "nose": (0.0, -0.86),
    "eye": (0.04, -0.89),
    "ear": (0.08, -0.87),
    "shoulder": (0.18, -0.66),
    "elbow": (0.26, -0.42),
    "wrist": (0.30, -0.20),
    "hip": (0.11, -0.15),
    "knee": (0.13, 0.30),
    "ankle": (0.14, 0.75),
}


def write_stick_figures(root: Path, split: str, count: int, seed: int = 0, first_id: int = 1) -> None:
    """Write `count` images of one figure each, 120 x 160, with person_keypoints json beside them."""
    rng = np.random.default_rng(seed)
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    folder = root / "images" / split
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(first_id, first_id + count):
        picture = rng.integers(90, 160, (160, 120, 3), dtype=np.uint8)
        xy = _figure(rng)
        for a, b in COCO17.edges:
            ends = [tuple(int(v) for v in xy[COCO17.index(name)]) for name in (a, b)]
            cv2.line(picture, ends[0], ends[1], (240, 60, 60) if a.startswith("left") else (40, 60, 240), 4)
        visible = np.where(rng.random(17) < 0.15, 0, 2)
        visible[5:7] = 2
        low, high = xy.min(axis=0) - 6, xy.max(axis=0) + 6
        name = f"{number:012d}.jpg"
        cv2.imwrite(str(folder / name), picture[..., ::-1])
        images.append({"id": number, "file_name": name, "width": 120, "height": 160})
        keypoints = np.concatenate([np.where(visible[:, None] > 0, xy, 0.0), visible[:, None]], axis=1)
        annotations.append(
            {
                "id": 1000 + number,
                "image_id": number,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [*low.tolist(), *(high - low).tolist()],
                "area": float(0.5 * np.prod(high - low)),
                "keypoints": keypoints.ravel().tolist(),
                "num_keypoints": int((visible > 0).sum()),
            }
        )
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (root / "annotations" / f"person_keypoints_{split}.json").write_text(json.dumps(content))


def _figure(rng: np.random.Generator) -> np.ndarray:
    height = rng.uniform(35, 65)
    center = np.array([60.0, 85.0]) + rng.uniform(-8, 8, 2)
    lean = rng.uniform(-0.25, 0.25)
    turn = np.array([[np.cos(lean), -np.sin(lean)], [np.sin(lean), np.cos(lean)]])
    points = []
    for name in COCO17.keypoints:
        side, _, part = name.rpartition("_")
        x, y = _STAND[part]
        jitter = rng.normal(0, 0.03, 2)
        points.append(np.array([x if side == "left" else -x, y]) + jitter)
    return np.clip(center + height * np.stack(points) @ turn.T, 3, (116, 156))
