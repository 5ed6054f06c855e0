"""Tiny folders in the layouts of MPII and of COCO-WholeBody, made of stick figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.io import savemat

from pose2d.skeletons import COCO17, MPII16, WHOLEBODY133, WHOLEBODY_FIELDS
from tests.stick_figures import write_stick_figures


def _persons(root: Path, split: str, count: int, seed: int) -> list[tuple[dict, dict, np.ndarray]]:
    """Image, annotation and keypoints (17, 3) of each stick figure."""
    write_stick_figures(root, split, count, seed)
    content = json.loads((root / "annotations" / f"person_keypoints_{split}.json").read_text())
    return [
        (image, annotation, np.array(annotation["keypoints"]).reshape(-1, 3))
        for image, annotation in zip(content["images"], content["annotations"])
    ]


def write_mpii_figures(root: Path, split: str, count: int, seed: int = 0, head_boxes: bool = True) -> None:
    """`annot/<split>.json`, `annot/gt_<split>.mat` where asked for, `images/`: one person in each of `count` images."""
    (root / "annot").mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    entries, corners = [], []
    for image, annotation, coco in _persons(root / "coco", split, count, seed):
        name = f"{split}_{image['file_name']}"
        (root / "images" / name).write_bytes((root / "coco" / "images" / split / image["file_name"]).read_bytes())
        shoulders, hips = (
            coco[COCO17.indices((f"left_{part}", f"right_{part}")), :2].mean(axis=0) for part in ("shoulder", "hip")
        )
        height = np.linalg.norm(shoulders - hips) if (hips > 0).all() else 30.0
        extra = {
            "pelvis": hips,
            "thorax": shoulders,
            "upper_neck": shoulders - (0, 0.2 * height),
            "head_top": shoulders - (0, 0.8 * height),
        }
        xyv = np.array([coco[COCO17.index(k)] if k in COCO17 else (*extra[k], 2) for k in MPII16.keypoints])
        x, y, w, h = annotation["bbox"]
        scale = max(w, h) / 200
        entries.append(
            {
                "image": name,
                "center": [x + w / 2 + 1, y + h / 2 - 15 * scale + 1],
                "scale": scale,
                "joints": (xyv[:, :2] + 1).tolist(),
                "joints_vis": (xyv[:, 2] > 0).astype(int).tolist(),
            }
        )
        middle = shoulders - (0, 0.5 * height)
        corners.append([middle - 0.3 * height, middle + 0.3 * height])
    (root / "annot" / f"{split}.json").write_text(json.dumps(entries))
    if head_boxes:
        savemat(root / "annot" / f"gt_{split}.mat", {"headboxes_src": np.transpose(corners, (1, 2, 0))})


def write_wholebody_figures(root: Path, split: str, count: int, seed: int = 0) -> None:
    """`annotations/coco_wholebody_<split>_v1.0.json` and `images/<split>`; some parts without any label."""
    rng = np.random.default_rng(seed)
    parts = dict(WHOLEBODY133.parts)
    annotations, images = [], []
    for image, annotation, coco in _persons(root, split, count, seed):
        xyv = np.zeros((len(WHOLEBODY133), 3))
        xyv[parts["body"]] = coco
        anchors = {"foot": "left_ankle", "face": "nose", "lefthand": "left_wrist", "righthand": "right_wrist"}
        for part, anchor in anchors.items():
            size = parts[part].stop - parts[part].start
            xyv[parts[part], :2] = coco[COCO17.index(anchor), :2] + rng.normal(0, 3, (size, 2))
            # Data sets of this kind know fractions of a label, and persons without a labelled hand.
            xyv[parts[part], 2] = 0 if rng.random() < 0.3 else rng.choice([0, 0.4, 1, 2], size)
        fields = {field: xyv[parts[part]].ravel().tolist() for part, field in WHOLEBODY_FIELDS.items()}
        annotations.append(annotation | fields)
        images.append(image)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (root / "annotations" / f"coco_wholebody_{split}_v1.0.json").write_text(json.dumps(content))
