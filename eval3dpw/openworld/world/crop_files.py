"""Person crops of the open world, laid out on disk as COCO's person keypoints are.

    ROOT/images/<split>/000000000123.jpg
    ROOT/annotations/person_keypoints_<split>.json   COCO's layout
    ROOT/annotations/person_smpl_<split>.json        NeuralAnnot's layout: SMPL parameters for each annotation id

Every picture has a random generator of its own, seeded by (seed, split, index): the bytes depend neither on the number
of processes nor on how many pictures are made.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from eval3dpw.openworld.people.people import Person, camera_frame_smpl
from eval3dpw.openworld.places.cameras import project, transform
from eval3dpw.openworld.places.crop_scenes import CropScene, CropStatistics, sample_scene
from eval3dpw.openworld.world.pictures import Picture, encode_jpeg, take_picture
from pose2d.errors import InputError
from pose2d.files.storage import atomic_path
from pose2d.parallel import parallel_map
from pose2d.skeletons import COCO17

CROP_SPLITS = ("train", "calibration", "validation", "test")

Entry = dict[str, Any]
"""An object of a JSON file."""
"""`calibration` holds pictures that the pose network has not seen, for what is fitted on its outputs."""

_FACE = COCO17.indices(("nose", "left_eye", "right_eye", "left_ear", "right_ear"))
_MAX_ATTEMPTS = 20


@dataclass(frozen=True)
class LabelRules:
    """How people are annotated.

    Attributes:
        unlabelled_limbs, unlabelled_face: shares of the hidden keypoints that the annotators leave out (v = 0).
        min_area_px: people of whom fewer pixels are seen are not annotated.
        min_visible, min_seen_share: the main person of a picture shows at least so many keypoints, and that part of the
            body's pixels in the frame.
    """

    unlabelled_limbs: float = 0.55
    unlabelled_face: float = 0.8
    min_area_px: int = 300
    min_visible: int = 5
    min_seen_share: float = 0.3


@dataclass(frozen=True)
class CropConfig:
    """Everything that decides one split's pictures."""

    seed: int
    split: str
    statistics: CropStatistics = field(default_factory=CropStatistics)
    labels: LabelRules = field(default_factory=LabelRules)


def keypoint_flags(
    rng: np.random.Generator, visible: Bool[np.ndarray, "17"], inside: Bool[np.ndarray, "17"], rules: LabelRules
) -> np.ndarray:
    """COCO's v of each keypoint, int (17,): 2 seen, 1 hidden but labelled, 0 outside the image or left out."""
    left_out = rng.random(len(COCO17))
    threshold = np.full(len(COCO17), rules.unlabelled_limbs)
    threshold[_FACE] = rules.unlabelled_face
    return np.where(inside, np.where(visible, 2, np.where(left_out < threshold, 0, 1)), 0)


def annotation_of(
    person: Person,
    scene: CropScene,
    mask: Bool[np.ndarray, "h w"],
    flags: np.ndarray,
    image_id: int,
    annotation_id: int,
) -> dict[str, Any]:
    """COCO's annotation of one person; box and area are those of the pixels in which the person is seen."""
    keypoints_px = project(transform(scene.T_camera_world, person.coco17), scene.intrinsics)
    keypoints = np.where(flags[:, None] > 0, np.column_stack([keypoints_px.round(2), flags]), 0.0)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "area": int(mask.sum()),
        "num_keypoints": int((flags > 0).sum()),
        "keypoints": [int(value) if value == int(value) else float(value) for value in keypoints.ravel()],
    }


def smpl_of(person: Person, scene: CropScene) -> dict[str, Any]:
    """NeuralAnnot's entry of one person: SMPL parameters in the camera's frame and the camera."""
    pose, translation = camera_frame_smpl(person, scene.T_camera_world)
    return {
        "smpl_param": {
            "pose": pose.round(5).tolist(),
            "shape": person.betas.round(5).tolist(),
            "trans": translation.round(5).tolist(),
            "gender": person.gender,
        },
        "cam_param": {
            "focal": np.diag(scene.intrinsics)[:2].round(4).tolist(),
            "princpt": scene.intrinsics[:2, 2].round(4).tolist(),
        },
    }


@dataclass(frozen=True)
class Crop:
    """One finished picture: its JPEG bytes and the three kinds of labels."""

    jpeg: bytes
    image: dict[str, Any]
    annotations: list[dict[str, Any]]
    smpl: dict[str, dict[str, Any]]


def make_crop(index: int, config: CropConfig) -> Crop:
    """Make picture ``index`` of a split; where the main person turned out hidden, another is drawn."""
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, CROP_SPLITS.index(config.split), index]))
    for _ in range(_MAX_ATTEMPTS):
        scene = sample_scene(rng, config.statistics)
        picture = take_picture(
            rng,
            scene.people,
            scene.T_camera_world,
            scene.intrinsics,
            scene.size_wh,
            occluder=scene.occluder,
            height_px=scene.main_height_px,
        )
        inside = [_inside(person, scene) for person in scene.people]
        if _shows_main_person(picture, inside[0], config.labels):
            return _labelled(rng, index, scene, picture, inside, config.labels)
    raise RuntimeError(f"no picture with a visible person in {_MAX_ATTEMPTS} attempts: the statistics are too hard")


def _shows_main_person(picture: Picture, inside: Bool[np.ndarray, "17"], rules: LabelRules) -> bool:
    return bool(
        picture.masks[0].sum() >= rules.min_area_px
        and picture.seen_share[0] >= rules.min_seen_share
        and (picture.visible[0] & inside).sum() >= rules.min_visible
    )


def _inside(person: Person, scene: CropScene) -> Bool[np.ndarray, "17"]:
    points = transform(scene.T_camera_world, person.coco17)
    xy_px = project(points, scene.intrinsics)
    return ((xy_px > -0.5) & (xy_px < np.array(scene.size_wh) - 0.5)).all(axis=1) & (points[:, 2] > 0)


def _labelled(
    rng: np.random.Generator,
    index: int,
    scene: CropScene,
    picture: Picture,
    inside: list[Bool[np.ndarray, "17"]],
    rules: LabelRules,
) -> Crop:
    image_id = index + 1
    annotations, smpl = [], {}
    for number, person in enumerate(scene.people):
        flags = keypoint_flags(rng, picture.visible[number], inside[number], rules)
        if picture.masks[number].sum() < rules.min_area_px:
            continue
        annotation = annotation_of(person, scene, picture.masks[number], flags, image_id, 10 * image_id + number)
        annotations.append(annotation)
        smpl[str(annotation["id"])] = smpl_of(person, scene)
    width, height = scene.size_wh
    image = {"id": image_id, "file_name": f"{image_id:012d}.jpg", "width": width, "height": height}
    return Crop(encode_jpeg(picture.image, picture.jpeg_quality), image, annotations, smpl)


def _write_crop(index: int, config: CropConfig, images: Path) -> tuple[Entry, list[Entry], Entry]:
    crop = make_crop(index, config)
    (images / crop.image["file_name"]).write_bytes(crop.jpeg)
    return crop.image, crop.annotations, crop.smpl


def write_crop_split(root: Path, config: CropConfig, count: int, workers: int = 1, overwrite: bool = False) -> None:
    """Write one split of ``count`` pictures under ``root``; the keypoint file appears last, when all else is there.

    Raises:
        InputError: the split exists and ``overwrite`` is not set.
    """
    images = root / "images" / config.split
    annotations = root / "annotations"
    keypoint_file = annotations / f"person_keypoints_{config.split}.json"
    if (images.exists() or keypoint_file.exists()) and not overwrite:
        raise InputError(f"{images} exists: choose another directory or add --overwrite")
    partial_images = images.with_name(f"{config.split}.partial")
    shutil.rmtree(partial_images, ignore_errors=True)
    partial_images.mkdir(parents=True)
    write = partial(_write_crop, config=config, images=partial_images)
    results = parallel_map(write, range(count), workers, f"crops {config.split}", chunk=8)

    keypoint_file.unlink(missing_ok=True)
    shutil.rmtree(images, ignore_errors=True)
    partial_images.rename(images)
    smpl: dict[str, Any] = {}
    for _, _, entries in results:
        smpl |= entries
    _write_compact_json(annotations / f"person_smpl_{config.split}.json", smpl)
    _write_compact_json(keypoint_file, _coco_file(config, results))


def _write_compact_json(path: Path, value: Any) -> None:
    with atomic_path(path) as partial_path:
        partial_path.write_text(json.dumps(value, separators=(",", ":"), allow_nan=False), encoding="utf-8")


def _coco_file(config: CropConfig, results: list[tuple[Entry, list[Entry], Entry]]) -> dict[str, Any]:
    number = {name: index + 1 for index, name in enumerate(COCO17.keypoints)}
    return {
        "info": {"description": f"open world crops, split {config.split}, seed {config.seed}"},
        "licenses": [],
        "images": [image for image, _, _ in results],
        "annotations": [annotation for _, annotations, _ in results for annotation in annotations],
        "categories": [
            {
                "id": 1,
                "name": "person",
                "supercategory": "person",
                "keypoints": list(COCO17.keypoints),
                "skeleton": [[number[a], number[b]] for a, b in COCO17.edges],
            }
        ],
    }
