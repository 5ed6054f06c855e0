"""Random views of kept crops for training, on the CPU in bytes: about 0.1 ms per crop."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from pose2d.crops import BOX_PADDING, apply_affine
from pose2d.datasets.crop_set import MARGIN, network_affine
from pose2d.skeletons import Skeleton
from pose2d.training.options import Augmentation

_LOWER_BODY = ("hip", "knee", "ankle")
_HALF_PADDING = 1.5 * BOX_PADDING * MARGIN
"""Height of a kept crop over the spread of the keypoints of the half body it is to show."""


@dataclass(frozen=True)
class TrainingCrops:
    """A batch of network crops with keypoints in their pixels; keypoints that left the crop keep their label."""

    images: UInt8[np.ndarray, "b h w 3"]
    xy_px: Float[np.ndarray, "b k 2"]
    labelled: Bool[np.ndarray, "b k"]


def augment(
    images: UInt8[np.ndarray, "b kept_h kept_w 3"],
    xy_px: Float[np.ndarray, "b k 2"],
    labelled: Bool[np.ndarray, "b k"],
    size_wh: tuple[int, int],
    skeleton: Skeleton,
    config: Augmentation,
    rng: np.random.Generator,
) -> TrainingCrops:
    """Random views of a batch.

    Args:
        images: kept crops (`cut_crops`).
        xy_px: their keypoints in kept-crop pixels.
        labelled: which keypoints carry a label.
        size_wh: of the network's crop.
        skeleton: for mirroring and half bodies.
        config: how far the views stray.
        rng: the source of chance.
    """
    kept_wh = (images.shape[2], images.shape[1])
    base = network_affine(kept_wh, size_wh)
    views = np.empty((len(images), size_wh[1], size_wh[0], 3), dtype=np.uint8)
    affines = np.empty((len(images), 2, 3))
    flipped = rng.random(len(images)) < config.flip_share
    lower = np.array([name.endswith(_LOWER_BODY) for name in skeleton.keypoints])
    for row in range(len(images)):
        view = _zoom(base, size_wh, config, rng)
        if rng.random() < config.half_body_share:
            view = view @ _homogeneous(_half_body(xy_px[row], labelled[row], lower, kept_wh, rng))
        if flipped[row]:
            view[0] = -view[0]
            view[0, 2] += size_wh[0] - 1.0
        views[row] = cv2.warpAffine(images[row], view, size_wh, flags=cv2.INTER_LINEAR)
        affines[row] = view
        if rng.random() < config.erase_share:
            _erase(views[row], rng)
    if config.colour:
        _jitter(views, config.colour, rng)
    xy, mark = apply_affine(affines, xy_px), labelled.copy()
    permutation = skeleton.flip_permutation
    xy[flipped] = xy[flipped][:, permutation]
    mark[flipped] = mark[flipped][:, permutation]
    return TrainingCrops(views, xy, mark)


def plain_views(
    images: UInt8[np.ndarray, "b kept_h kept_w 3"], size_wh: tuple[int, int]
) -> UInt8[np.ndarray, "b h w 3"]:
    """The network's crops without any augmentation."""
    base = network_affine((images.shape[2], images.shape[1]), size_wh)
    return np.stack([cv2.warpAffine(image, base, size_wh, flags=cv2.INTER_LINEAR) for image in images])


def _homogeneous(affine: np.ndarray) -> np.ndarray:
    return np.vstack([affine, [0.0, 0.0, 1.0]])


def _zoom(base: np.ndarray, size_wh: tuple[int, int], config: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """`base` followed by a random zoom and rotation about the crop's centre and a random shift."""
    zoom = 1.0 + config.scale * rng.uniform(-1.0, 1.0)
    angle = 0.0
    if rng.random() < config.rotation_share:
        angle = np.deg2rad(config.rotation_deg * np.clip(rng.standard_normal(), -2.0, 2.0))
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    center = (np.array(size_wh) - 1.0) / 2
    shift = config.shift * size_wh[1] * rng.standard_normal(2)
    motion = np.concatenate([turn, (center - turn @ center + shift)[:, None]], axis=1)
    affine: np.ndarray = motion @ _homogeneous(base)
    return affine


def _half_body(
    xy: np.ndarray, labelled: np.ndarray, lower: np.ndarray, kept_wh: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Affine in kept-crop pixels that makes half of the body fill the crop; the identity where few labels are."""
    half = labelled & (lower if rng.random() < 0.5 else ~lower)
    if half.sum() < 5:
        return np.eye(2, 3)
    low, high = xy[half].min(axis=0), xy[half].max(axis=0)
    extent = max((high[1] - low[1]), (high[0] - low[0]) * kept_wh[1] / kept_wh[0], 1.0) * _HALF_PADDING
    scale = float(np.clip(kept_wh[1] / extent, 1.0, 1.6))
    center = (np.array(kept_wh) - 1.0) / 2
    return np.concatenate([np.eye(2) * scale, (center - scale * (low + high) / 2)[:, None]], axis=1)


def _erase(view: np.ndarray, rng: np.random.Generator) -> None:
    height, width = view.shape[:2]
    h, w = (rng.uniform(0.1, 0.35, 2) * (height, height)).astype(int)
    top, left = rng.integers(0, max(height - h, 1)), rng.integers(0, max(width - w, 1))
    view[top : top + h, left : left + w] = rng.integers(0, 256, 3)


def _jitter(views: np.ndarray, colour: float, rng: np.random.Generator) -> None:
    gains = (1.0 + colour * rng.uniform(-1.0, 1.0, (len(views), 1))) * (
        1.0 + colour * rng.uniform(-1.0, 1.0, (len(views), 3))
    )
    ramp = np.arange(256.0)
    for view, gain in zip(views, gains, strict=True):
        table = np.clip(ramp[:, None] * gain, 0, 255).astype(np.uint8)[None]
        cv2.LUT(view, table, dst=view)


def target_heatmaps(
    xy_px: Float[np.ndarray, "b k 2"],
    labelled: Bool[np.ndarray, "b k"],
    size_wh: tuple[int, int],
    heatmap_wh: tuple[int, int],
    sigma: float,
) -> tuple[Float[np.ndarray, "b k h w"], Float[np.ndarray, "b k"]]:
    """Gaussian targets of equation 2 with continuous centres (UDP), and their weights.

    Args:
        xy_px: keypoints in crop pixels.
        labelled: which keypoints carry a label.
        size_wh: of the crop.
        heatmap_wh: of the heatmap.
        sigma: the target's standard deviation l~ in heatmap cells.

    Returns:
        Targets with maximum 1, and weights: 1 where labelled and within 3 sigma of the map, else 0.
    """
    scale = (np.array(heatmap_wh) - 1.0) / (np.array(size_wh) - 1.0)
    centers = xy_px * scale
    inside = ((centers > -3 * sigma) & (centers < np.array(heatmap_wh) - 1 + 3 * sigma)).all(axis=-1)
    weights = (labelled & inside).astype(np.float32)
    centers = np.where(weights[..., None] > 0, centers, 0.0)
    columns, rows = np.arange(heatmap_wh[0]), np.arange(heatmap_wh[1])
    across = np.exp(-((columns - centers[..., :1]) ** 2) / (2 * sigma**2)).astype(np.float32)
    down = np.exp(-((rows - centers[..., 1:]) ** 2) / (2 * sigma**2)).astype(np.float32)
    return down[..., :, None] * across[..., None, :], weights


def epoch_order(count: int, seed: int, epoch: int) -> Int[np.ndarray, " n"]:
    """The order in which an epoch goes through the crops, the same for the same seed."""
    return np.random.default_rng((seed, epoch)).permutation(count)
