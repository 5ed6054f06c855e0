"""Altered views of labelled persons: cut away at a line or a box, or with a patch over a keypoint.

What a person's labels do not show, an altered image does. In a *cut* view the image ends at a line or a box through the
person; keypoints that were labelled and now lie beyond it are known to be absent, which teaches a branch presence
(ProbPose, 2024, showed that it matters). In a *patched* view a keypoint is hidden, which teaches it doubt.
The view of a person depends on the seed and the annotation's number alone, not on which other persons are seen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from calibration.ccnet.options import ViewKind
from pose2d.crops import padded_boxes
from pose2d.datasets.coco import KeypointDataset

_DEEPEST_LINE, _DEEPEST_BOX = 0.6, 0.3
"""Shares of the box that a cut at one side takes at most."""
_PATCH_SIDES = (0.15, 0.8)
_LEAST_BOX_PX = 4.0


@dataclass(frozen=True)
class AlteredViews:
    """n persons, each seen in one altered view; row i of everything is the same person.

    Attributes:
        kind: of the views.
        dataset: the persons as they would be annotated in this view: what is cut away has no label, box and area are
            those of what is left.
        window_xyxy: what is left of the image, in its pixels; black beyond.
        patch_xyxy: what is covered, in image pixels; empty in cut views.
        present: whether the keypoint lies in the picture and the crop; meaningful only where `presence_known`.
        presence_known: the whole image has a label of the keypoint.
        label_known: whether an annotator of this view would have labelled the keypoint is known: not under a patch.
        seed: of all that is drawn.
    """

    kind: ViewKind
    dataset: KeypointDataset
    window_xyxy: Float[np.ndarray, "n 4"]
    patch_xyxy: Float[np.ndarray, "n 4"]
    present: Bool[np.ndarray, "n k"]
    presence_known: Bool[np.ndarray, "n k"]
    label_known: Bool[np.ndarray, "n k"]
    seed: int

    def __len__(self) -> int:
        return len(self.dataset)

    def select(self, rows: Int[np.ndarray, " m"]) -> AlteredViews:
        """The persons in `rows`."""
        names = ("window_xyxy", "patch_xyxy", "present", "presence_known", "label_known")
        return replace(self, dataset=self.dataset.select(rows), **{name: getattr(self, name)[rows] for name in names})

    @property
    def digest(self) -> str:
        """Differs between these views and others of the same persons."""
        drawn = np.round(np.concatenate([self.window_xyxy, self.patch_xyxy]), 3)
        return f"{self.kind} {self.seed} {hashlib.sha256(drawn.tobytes()).hexdigest()[:16]}"

    def picture(self, row: int, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """A person's image as this view shows it, in the coordinates of the image.

        Args:
            row: of the person.
            image: that the person is in.
        """
        if self.kind == "cut":
            seen = np.zeros_like(image)
            inside = _slices(self.window_xyxy[row], image)
            seen[inside] = image[inside]
            return seen
        seen = image.copy()
        covered = _slices(self.patch_xyxy[row], image)
        seen[covered] = _texture(image, seen[covered].shape, _generator(self.dataset, row, self.seed + 1))
        return seen


def cut_views(dataset: KeypointDataset, size_wh: tuple[int, int], padding: float, seed: int = 0) -> AlteredViews:
    """Persons whose image ends at a line through their box (half of them) or at a box within it.

    Args:
        dataset: annotated persons.
        size_wh: of the crop in pixels; with `padding` it decides which keypoints the crop shows.
        padding: by which boxes are enlarged.
        seed: of the cuts.
    """
    boxes = dataset.boxes_xywh
    share = np.stack([_cut(_generator(dataset, row, seed)) for row in range(len(dataset))])
    low = boxes[:, :2] + share[:, :2] * boxes[:, 2:]
    high = boxes[:, :2] + (1.0 - share[:, 2:]) * boxes[:, 2:]
    high = np.maximum(high, low + _LEAST_BOX_PX)
    # Beyond the sides that were not cut there is more image than the box.
    window = np.concatenate([np.where(share[:, :2] > 0, low, -np.inf), np.where(share[:, 2:] > 0, high, np.inf)], 1)
    seen = np.concatenate([low, high - low], axis=1)
    inside = _inside(dataset.xy_px, window) & _in_crop(dataset.xy_px, seen, size_wh, padding)
    left = seen[:, 2:].prod(axis=1) / np.maximum(boxes[:, 2:].prod(axis=1), 1.0)
    as_annotated = replace(
        dataset,
        boxes_xywh=seen,
        areas=dataset.areas * np.minimum(left, 1.0),
        xy_px=np.where(inside[..., None], dataset.xy_px, 0.0),
        visible=np.where(inside, dataset.visible, 0),
    )
    return AlteredViews(
        "cut",
        as_annotated,
        window,
        np.zeros((len(dataset), 4)),
        inside & dataset.labelled,
        dataset.labelled,
        np.ones_like(dataset.labelled),
        seed,
    )


def patched_views(dataset: KeypointDataset, seed: int = 0) -> AlteredViews:
    """Persons with a square patch over one of their labelled keypoints, grey, noisy or a piece of the same image.

    Args:
        dataset: annotated persons.
        seed: of the patches.
    """
    patch = np.zeros((len(dataset), 4))
    for row in range(len(dataset)):
        rng = _generator(dataset, row, seed)
        side = rng.uniform(*_PATCH_SIDES) * np.sqrt(max(dataset.areas[row], 1.0))
        keypoint = rng.choice(np.flatnonzero(dataset.labelled[row])) if dataset.labelled[row].any() else 0
        center = dataset.xy_px[row, keypoint] + rng.uniform(-0.25, 0.25, 2) * side
        patch[row] = np.concatenate([center - side / 2, center + side / 2])
    window = np.tile([-np.inf, -np.inf, np.inf, np.inf], (len(dataset), 1))
    covered = _inside(dataset.xy_px, patch)
    labelled = dataset.labelled
    return AlteredViews("patched", dataset, window, patch, labelled, labelled, ~(covered & labelled), seed)


def views_of(kind: ViewKind, dataset: KeypointDataset, size_wh: tuple[int, int], padding: float) -> AlteredViews:
    """Cut or patched views, by name; see `cut_views` and `patched_views`."""
    return cut_views(dataset, size_wh, padding) if kind == "cut" else patched_views(dataset)


def _generator(dataset: KeypointDataset, row: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, abs(int(dataset.annotation_ids[row]))])


def _cut(rng: np.random.Generator) -> np.ndarray:
    """Shares of the box that go at its left, top, right and bottom."""
    if rng.random() < 0.5:
        share = np.zeros(4)
        share[rng.integers(4)] = rng.uniform(0.1, _DEEPEST_LINE)
        return share
    share = rng.uniform(0.0, _DEEPEST_BOX, 4) * (rng.random(4) < 0.6)
    share[rng.integers(4)] = rng.uniform(0.1, _DEEPEST_BOX)
    return share


def _inside(xy_px: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    inside = (xy_px >= xyxy[:, None, :2]) & (xy_px <= xyxy[:, None, 2:])
    return np.asarray(inside.all(axis=-1))


def _in_crop(xy_px: np.ndarray, boxes_xywh: np.ndarray, size_wh: tuple[int, int], padding: float) -> np.ndarray:
    centers, extents = padded_boxes(boxes_xywh, size_wh, padding)
    return _inside(xy_px, np.concatenate([centers - extents / 2, centers + extents / 2], axis=1))


def _slices(xyxy: np.ndarray, image: np.ndarray) -> tuple[slice, slice]:
    """Pixels whose centres lie in a rectangle."""
    height, width = image.shape[:2]
    left, top = np.ceil(np.clip(xyxy[:2], 0, [width, height])).astype(int)
    right, bottom = np.floor(np.clip(xyxy[2:], -1, [width - 1, height - 1])).astype(int) + 1
    return slice(top, max(bottom, top)), slice(left, max(right, left))


def _texture(image: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A patch of one colour with or without noise, or another piece of the image, wrapped about its borders."""
    height, width = shape[:2]
    kind = rng.integers(3)
    if kind == 2 and height and width:
        rows = (rng.integers(image.shape[0]) + np.arange(height)) % image.shape[0]
        columns = (rng.integers(image.shape[1]) + np.arange(width)) % image.shape[1]
        return np.asarray(image[rows[:, None], columns])
    colour = np.full(3, rng.integers(40, 216)) if kind == 0 else rng.integers(0, 256, 3)
    noise = rng.normal(0.0, 25.0, shape) if kind == 1 else np.zeros(shape)
    return np.clip(colour + noise, 0, 255).astype(np.uint8)
