"""Figure 3: a grey patch grows over a keypoint, and its confidence should shrink as its OKS does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from calibration.aggregation import above_threshold
from calibration.ccnet.model import CCNet, calibrate_batch, check_fits
from calibration.oks import falloff_px, keypoint_oks
from pose2d.console.progress import track
from pose2d.datasets.coco import KeypointDataset
from pose2d.errors import InputError
from pose2d.files.images import read_image
from pose2d.files.storage import atomic_path
from pose2d.inference import InferredBatch, infer_batches
from pose2d.networks.base import PoseNetwork

PATCH_SIDES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
"""Sides of the patch, as shares of the square root of the person's area."""


@dataclass(frozen=True)
class PatchCurves:
    """Means over persons for each side of the patch.

    Attributes:
        keypoint: that the patch lies on.
        sides: of the patch, as shares of sqrt(area).
        persons: that the means are over.
        keypoint_oks, keypoint_raw, keypoint_confidence: of the covered keypoint.
        instance_oks, instance_raw, instance_confidence: of the person.
    """

    keypoint: str
    sides: tuple[float, ...]
    persons: int
    keypoint_oks: Float[np.ndarray, " s"]
    keypoint_raw: Float[np.ndarray, " s"]
    keypoint_confidence: Float[np.ndarray, " s"]
    instance_oks: Float[np.ndarray, " s"]
    instance_raw: Float[np.ndarray, " s"]
    instance_confidence: Float[np.ndarray, " s"]


def growing_patch(
    network: PoseNetwork,
    branch: CCNet,
    dataset: KeypointDataset,
    keypoint: str,
    sides: Sequence[float] = PATCH_SIDES,
    persons: int = 100,
) -> PatchCurves:
    """Cover a keypoint by a growing patch and watch OKS, raw score and confidence.

    Args:
        network: frozen, in evaluation mode.
        branch: its CCNet.
        dataset: annotated persons; those whose keypoint is seen (v = 2) are taken.
        keypoint: to cover.
        sides: of the patch, as shares of sqrt(area).
        persons: at most.

    Raises:
        InputError: the branch is of another network, or nobody shows the keypoint.
    """
    check_fits(branch, network.identity, dataset.skeleton, network.input_spec.size_wh)
    number = dataset.skeleton.index(keypoint)
    rows = np.flatnonzero(dataset.visible[:, number] == 2)[:persons]
    if len(rows) == 0:
        raise InputError(f"{dataset.annotation_file} has nobody whose {keypoint} is seen (v = 2)")
    chosen = dataset.select(rows)
    pictures = [read_image(path) for path in chosen.image_paths]
    falloff = falloff_px(np.maximum(chosen.areas, 1.0)[:, None], dataset.skeleton.sigmas)
    means = []
    for side in track(sides, f"patches over {keypoint}"):
        covered = [
            _covered(picture, chosen.xy_px[row, number], side * float(np.sqrt(chosen.areas[row])))
            for row, picture in enumerate(pictures)
        ]
        inferred = infer_batches(network, covered, chosen.boxes_xywh, dataset.skeleton)
        parts = [part for part in inferred if isinstance(part, InferredBatch)]
        found = np.concatenate([part.rows for part in parts])
        calibrated = [calibrate_batch(branch, part, network.input_spec.size_wh) for part in parts]
        confidence = np.concatenate([one.confidence for one in calibrated])
        instance = np.concatenate([one.instance_confidence for one in calibrated])
        raw = np.concatenate([part.poses.raw_score for part in parts])
        distance = np.linalg.norm(np.concatenate([p.poses.xy_px for p in parts]) - chosen.xy_px[found], axis=-1)
        accuracy, labelled = keypoint_oks(distance, falloff[found]), chosen.labelled[found]
        whole = (accuracy * labelled).sum(axis=1) / labelled.sum(axis=1)
        of_keypoint = (accuracy[:, number], raw[:, number], confidence[:, number])
        means.append([values.mean() for values in (*of_keypoint, whole, above_threshold(raw), instance)])
    return PatchCurves(keypoint, tuple(sides), len(rows), *np.array(means).T)


def _covered(picture: np.ndarray, center: np.ndarray, side: float) -> np.ndarray:
    """The picture with a grey square of that side about a point."""
    covered = picture.copy()
    left, top = np.round(center - side / 2).astype(int)
    right, bottom = np.round(center + side / 2).astype(int)
    covered[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 127
    return covered


def draw_growing_patch(curves: Sequence[PatchCurves], path: str | Path) -> None:
    """Draw the curves of several keypoints side by side, keypoints above, instances below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.8 * len(curves), 6.4), layout="constrained")
    axes = figure.subplots(2, len(curves), squeeze=False, sharey=True)
    for column, one in enumerate(curves):
        for axis, title, values in (
            (axes[0, column], one.keypoint, (one.keypoint_oks, one.keypoint_raw, one.keypoint_confidence)),
            (axes[1, column], "instance", (one.instance_oks, one.instance_raw, one.instance_confidence)),
        ):
            for curve, label, style in zip(values, ("OKS", "raw score", "CCNet"), ("k", "C1--", "C0")):
                axis.plot(one.sides, curve, style, label=label)
            axis.set(title=f"{title} ({one.persons} persons)", xlabel="side of the patch / sqrt(area)")
    axes[0, 0].legend(fontsize=8)
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
