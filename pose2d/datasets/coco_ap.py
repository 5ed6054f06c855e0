"""COCO keypoint AP at GT boxes, by pycocotools, for watching a training run."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from jaxtyping import Float
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pose2d.datasets.coco import KeypointDataset


def average_precision_percent(
    dataset: KeypointDataset, xy_px: Float[np.ndarray, "n k 2"], instance_score: Float[np.ndarray, " n"]
) -> float:
    """AP in percent over OKS .50:.05:.95, of these persons alone (not of the others in the annotation file).

    Args:
        dataset: the annotated persons, one prediction each.
        xy_px: predicted keypoints in image pixels.
        instance_score: what ranks the predictions.
    """
    rows = range(len(dataset))
    keypoints = np.concatenate([dataset.xy_px, dataset.visible[..., None].astype(float)], axis=-1)
    predicted = np.concatenate([xy_px, np.ones((*xy_px.shape[:2], 1))], axis=-1)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": int(number)} for number in np.unique(dataset.image_ids)],
            "categories": [{"id": 1, "name": "person"}],
            "annotations": [
                {
                    "id": int(dataset.annotation_ids[row]),
                    "image_id": int(dataset.image_ids[row]),
                    "category_id": 1,
                    "iscrowd": 0,
                    "area": float(dataset.areas[row]),
                    "bbox": dataset.boxes_xywh[row].tolist(),
                    "keypoints": keypoints[row].ravel().tolist(),
                    "num_keypoints": int(dataset.labelled[row].sum()),
                }
                for row in rows
            ],
        }
        truth.createIndex()
        results = truth.loadRes(
            [
                {
                    "image_id": int(dataset.image_ids[row]),
                    "category_id": 1,
                    "keypoints": predicted[row].ravel().tolist(),
                    "score": float(instance_score[row]),
                }
                for row in rows
            ]
        )
        judge = COCOeval(truth, results, "keypoints")
        judge.params.kpt_oks_sigmas = dataset.skeleton.sigmas
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return 100.0 * float(judge.stats[0])
