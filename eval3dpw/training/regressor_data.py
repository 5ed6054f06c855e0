"""Training data of the regressor: crops in COCO's layout with SMPL parameters in NeuralAnnot's; random views of them.

A view is a square crop with the truth expressed in the frame of the ray through its centre (`fitting.regressor`),
so shifting, turning or mirroring the crop changes the truth along with the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from eval3dpw.training.options import ViewConfig
from fitting.bodies.body import GENDERS, load_body
from fitting.bodies.reduced_body import reduce_body
from fitting.regressor.model import BOX_SCALE, ray_rotations
from pose2d.crops import apply_affine, invert_affine, square_crop_affine
from pose2d.datasets.coco import KeypointDataset, annotation_file, read_coco
from pose2d.datasets.crop_set import warp_persons
from pose2d.errors import InputError
from pose2d.files.storage import read_json
from pose2d.skeletons import COCO17, SMPL24, Skeleton

#: Points in which bodies are compared in training: SMPL's joints and the head's landmarks.
TRAINING_POINTS = Skeleton("training", SMPL24.keypoints + COCO17.keypoints[:5] + ("head_top",))
_KEPT_PX = 144
_KEPT_SCALE = BOX_SCALE * 1.25
_MIRROR = np.diag([-1.0, 1.0, 1.0])
_FEW_KEYPOINTS = 4


@dataclass(frozen=True)
class PersonSet:
    """n persons with known bodies. Row i of every array is the same person.

    Attributes:
        dataset: COCO's annotations.
        genders: of the bodies the parameters belong to.
        rotations: relative to the parent; the root's in the image's camera.
        betas: of the gendered body. neutral_betas: of the neutral body closest to it at rest.
        points: TRAINING_POINTS about the pelvis in the camera's frame, metres.
        points_px: the same points in the image.
        intrinsics: of the images' cameras.
        boxes_xywh: tight about the labelled keypoints, where there are enough of them; else the annotated box.
    """

    dataset: KeypointDataset
    genders: tuple[str, ...]
    rotations: Float[np.ndarray, "n 24 3 3"]
    betas: Float[np.ndarray, "n 10"]
    neutral_betas: Float[np.ndarray, "n 10"]
    points: Float[np.ndarray, "n p 3"]
    points_px: Float[np.ndarray, "n p 2"]
    intrinsics: Float[np.ndarray, "n 3 3"]
    boxes_xywh: Float[np.ndarray, "n 4"]

    def __len__(self) -> int:
        return len(self.rotations)


@dataclass(frozen=True)
class KeptCrops:
    """Persons cut out once, with more of the image about them than the network sees."""

    images: UInt8[np.ndarray, "n kept kept 3"]
    affines: Float[np.ndarray, "n 2 3"]


PLAIN = ViewConfig(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Views:
    """A batch of crops and their truth, in the frame of the ray through each crop's centre.

    points_xy: TRAINING_POINTS in the crop's [-1, 1] frame. centers_px, sides_px: the squares in the images.
    """

    images: UInt8[np.ndarray, "b size size 3"]
    rotations: Float[np.ndarray, "b 24 3 3"]
    betas: Float[np.ndarray, "b 10"]
    points: Float[np.ndarray, "b p 3"]
    points_xy: Float[np.ndarray, "b p 2"]
    centers_px: Float[np.ndarray, "b 2"]
    sides_px: Float[np.ndarray, " b"]


def read_persons(
    root: str | Path, split: str, body_dir: str | Path | None = None, limit: int | None = None
) -> PersonSet:
    """Read the persons of a split that have SMPL parameters.

    Args:
        root: directory in COCO's layout.
        split: train, validation, ...
        body_dir: bodies that the parameters belong to; None for the packaged ones.
        limit: the first so many persons only.

    Raises:
        InputError: a file or field is missing or misshapen, or no person is left.
    """
    dataset = read_coco(root, split)
    path = annotation_file(root, split, "person_smpl")
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise InputError(f"{path}: an object with one entry for each annotation id is needed")
    rows = np.array([i for i, number in enumerate(dataset.annotation_ids) if str(number) in entries], dtype=np.int64)
    if len(rows) == 0:
        raise InputError(f"{path} holds parameters of none of the {len(dataset)} persons of {dataset.annotation_file}")
    dataset = dataset.select(rows[:limit])
    chosen = [(str(number), entries[str(number)]) for number in dataset.annotation_ids]
    pose, betas, trans, focal, princpt = (
        np.stack([_vector(entry, group, name, size, number, path) for number, entry in chosen])
        for group, name, size in (
            *(("smpl_param", "pose", 72), ("smpl_param", "shape", 10), ("smpl_param", "trans", 3)),
            *(("cam_param", "focal", 2), ("cam_param", "princpt", 2)),
        )
    )
    genders = tuple(entry["smpl_param"].get("gender", "neutral") for _, entry in chosen)
    strange = set(genders) - set(GENDERS)
    if strange:
        raise InputError(f"{path}: gender {sorted(strange)[0]!r}, known are {', '.join(GENDERS)}")
    rotations = Rotation.from_rotvec(pose.reshape(-1, 3)).as_matrix().reshape(-1, 24, 3, 3)
    intrinsics = np.tile(np.eye(3), (len(chosen), 1, 1))
    intrinsics[:, [0, 1], [0, 1]], intrinsics[:, :2, 2] = focal, princpt
    points, neutral = np.zeros((len(chosen), len(TRAINING_POINTS), 3)), np.zeros_like(betas)
    for gender in GENDERS:
        own = np.array([g == gender for g in genders])
        if not own.any():
            continue
        reduced = reduce_body(load_body(body_dir, gender), TRAINING_POINTS)
        parameters = (torch.tensor(array[own], dtype=torch.float64) for array in (rotations, betas, trans))
        points[own] = reduced.keypoint_positions(*parameters).numpy()
        neutral[own] = betas[own] if gender == "neutral" else _neutral_betas(body_dir, gender, betas[own])
    seen = points @ np.swapaxes(intrinsics, -1, -2)
    points_px = seen[..., :2] / seen[..., 2:]
    return PersonSet(
        dataset,
        genders,
        rotations,
        betas,
        neutral,
        points - points[:, :1],
        points_px,
        intrinsics,
        keypoint_boxes(dataset),
    )


def keypoint_boxes(dataset: KeypointDataset) -> Float[np.ndarray, "n 4"]:
    """Boxes about the labelled keypoints, as 3DPW's 2D poses give them; the annotated box where few are labelled."""
    boxes = dataset.boxes_xywh.copy()
    for row, (xy, labelled) in enumerate(zip(dataset.xy_px, dataset.labelled, strict=True)):
        if labelled.sum() >= _FEW_KEYPOINTS:
            low, high = xy[labelled].min(axis=0), xy[labelled].max(axis=0)
            if (high - low).max() > 1:
                boxes[row] = (*low, *np.maximum(high - low, 1.0))
    return boxes


def cut_persons(persons: PersonSet, cache_directory: str | Path | None = None) -> KeptCrops:
    """Cut every person once, at 1.5 times the longer side of both boxes' union.

    Args:
        persons: whom to cut.
        cache_directory: where the crops are kept (`pose2d.datasets.crop_set.warp_persons`); None keeps them in memory.

    Raises:
        InputError: an image cannot be read.
    """
    low = np.minimum(persons.boxes_xywh[:, :2], persons.dataset.boxes_xywh[:, :2])
    high = np.maximum(*(boxes[:, :2] + boxes[:, 2:] for boxes in (persons.boxes_xywh, persons.dataset.boxes_xywh)))
    affines = square_crop_affine(0.5 * (low + high), _KEPT_SCALE * (high - low).max(axis=1), _KEPT_PX)
    return KeptCrops(warp_persons(persons.dataset, affines, (_KEPT_PX, _KEPT_PX), cache_directory), affines)


def sample_views(
    persons: PersonSet, crops: KeptCrops, rows: np.ndarray, size: int, config: ViewConfig, rng: np.random.Generator
) -> Views:
    """Views of some persons; with `PLAIN` the crops that `fitting.regressor.model` would cut.

    Args:
        persons: all persons, and their crops.
        crops: of `cut_persons`.
        rows: which persons.
        size: side of the views in pixels.
        config: how far they stray.
        rng: the source of chance.
    """
    count = len(rows)
    annotated = rng.random(count) < config.annotated_box_share
    boxes = np.where(annotated[:, None], persons.dataset.boxes_xywh[rows], persons.boxes_xywh[rows])
    sides = BOX_SCALE * boxes[:, 2:].max(axis=1) * (1 + config.scale * rng.uniform(-1, 1, count))
    shift = config.shift * np.clip(rng.standard_normal((count, 2)), -2, 2)
    centers = boxes[:, :2] + 0.5 * boxes[:, 2:] + sides[:, None] * shift
    turn = np.deg2rad(config.rotation_deg * np.clip(rng.standard_normal(count), -2.5, 2.5))
    turn = np.where(rng.random(count) < config.rotation_share, turn, 0.0)
    flip = rng.random(count) < config.flip_share

    turning = Rotation.from_rotvec(turn[:, None] * [0.0, 0.0, 1.0]).as_matrix()
    affines = square_crop_affine(centers, sides, size)
    # turned about the centre, which lies at (size / 2, size / 2)
    affines = turning[:, :2, :2] @ (affines - [[0, 0, size / 2]]) + [[0, 0, size / 2]]
    to_ray = turning @ np.swapaxes(ray_rotations(centers, persons.intrinsics[rows]), -1, -2)
    rotations = persons.rotations[rows].copy()
    rotations[:, 0] = to_ray @ rotations[:, 0]
    points = persons.points[rows] @ np.swapaxes(to_ray, -1, -2)

    permutation = TRAINING_POINTS.flip_permutation
    affines[flip, 0] = -affines[flip, 0] + [0, 0, size]
    points_xy = apply_affine(affines, persons.points_px[rows]) * (2.0 / size) - 1.0
    points[flip] = points[flip][:, permutation] * [-1, 1, 1]
    points_xy[flip] = points_xy[flip][:, permutation]
    rotations[flip] = _MIRROR @ rotations[flip][:, SMPL24.flip_permutation] @ _MIRROR

    images = np.empty((count, size, size, 3), dtype=np.uint8)
    kept_to_view = _chain(affines, invert_affine(crops.affines[rows]))
    for place, row in enumerate(rows):
        images[place] = cv2.warpAffine(crops.images[row], kept_to_view[place], (size, size), flags=cv2.INTER_LINEAR)
        if rng.random() < config.patch_share:
            _paint_patch(images[place], rng)
    if config.colour:
        gains = (1 + config.colour * rng.uniform(-1, 1, (count, 1))) * (
            1 + config.colour * rng.uniform(-1, 1, (count, 3))
        )
        for image, gain in zip(images, gains, strict=True):
            table = np.clip(np.arange(256.0)[:, None] * gain, 0, 255).astype(np.uint8)[None]
            cv2.LUT(image, table, dst=image)
    return Views(images, rotations, persons.neutral_betas[rows], points, points_xy, centers, sides)


def _chain(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    linear = outer[..., :2] @ inner
    linear[..., 2] += outer[..., 2]
    return np.asarray(linear)


def _paint_patch(image: np.ndarray, rng: np.random.Generator) -> None:
    size = len(image)
    height, width = (size * rng.uniform(0.12, 0.4, 2)).astype(int)
    top, left = rng.integers(0, size - height), rng.integers(0, size - width)
    patch = rng.integers(0, 256, 3) + rng.normal(0, 12, (height, width, 1))
    image[top : top + height, left : left + width] = np.clip(patch, 0, 255)


def _neutral_betas(body_dir: str | Path | None, gender: Any, betas: np.ndarray) -> np.ndarray:
    """Shape of the neutral body whose rest vertices are closest, up to a shift, to the gendered body's."""
    ours, theirs = load_body(body_dir, "neutral"), load_body(body_dir, gender)
    if ours.v_template.shape != theirs.v_template.shape:
        raise InputError(
            f"the {gender} and the neutral body have different topologies, so shapes cannot be carried over"
        )

    def centred(array: torch.Tensor) -> np.ndarray:
        return (array - array.mean(dim=0)).reshape(-1, *array.shape[2:]).double().numpy()

    basis = centred(ours.shapedirs)
    offset = centred(theirs.v_template) - centred(ours.v_template)
    constant = np.linalg.lstsq(basis, offset, rcond=None)[0]
    linear = np.linalg.lstsq(basis, centred(theirs.shapedirs), rcond=None)[0]
    return np.asarray(constant + betas @ linear.T)


def _vector(entry: Any, group: str, name: str, size: int, number: str, path: Path) -> np.ndarray:
    try:
        value = np.asarray(entry[group][name], dtype=np.float64)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: entry {number} has no numeric field {group}.{name}") from None
    if value.shape != (size,) or not np.isfinite(value).all():
        raise InputError(f"{path}: entry {number}, field {group}.{name} needs {size} finite numbers, not {value.shape}")
    return value
