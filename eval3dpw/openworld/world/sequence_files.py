"""Sequences of the open world, laid out on disk as 3DPW's are.

    ROOT/imageFiles/<sequence>/image_00000.jpg
    ROOT/sequenceFiles/<split>/<sequence>.pkl

The pickles hold what 3DPW's hold, under the same keys, in the same types and shapes, and they are Python 2 pickles as
those are: open them with ``pickle.load(file, encoding="latin1")``.
"""

from __future__ import annotations

import pickle
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from eval3dpw.openworld.people.people import Person, posed_people, rest_person
from eval3dpw.openworld.places.cameras import project, transform
from eval3dpw.openworld.places.sequence_scenes import Actor, SequenceScene, SequenceStatistics, sample_sequence
from eval3dpw.openworld.world.pictures import SequenceStage, encode_jpeg
from pose2d.errors import InputError
from pose2d.files.storage import atomic_path
from pose2d.parallel import parallel_map
from pose2d.skeletons import OPENPOSE18

SEQUENCE_SPLITS = ("train", "validation", "test")

_SEED_OFFSET = 100  # keeps the sequences' random generators apart from the crops'
_MIN_JOINTS = 6  # 3DPW leaves poses2d at zero where fewer joints were found
_DETECTION_NOISE_PX = 0.15
_MAX_ATTEMPTS = 10
_MIN_VALID_SHARE = 0.5


@dataclass(frozen=True)
class SequenceConfig:
    """Everything that decides one split's sequences."""

    seed: int
    split: str
    num_frames: int
    statistics: SequenceStatistics = field(default_factory=SequenceStatistics)


def detections_2d(
    rng: np.random.Generator,
    person: Person,
    visible: Bool[np.ndarray, "18"],
    T_camera_world: Float[np.ndarray, "4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
    size_wh: tuple[int, int],
) -> Float[np.ndarray, "3 18"]:
    """One frame of poses2d: x, y (pixels) and confidence of each joint, zeros for joints that are not seen.

    Stands for the clean detections that 3DPW's poses were fitted to: the error stays below half a pixel.
    """
    points = transform(T_camera_world, person.openpose18)
    xy_px = project(points, intrinsics)
    noise = np.clip(rng.normal(0.0, _DETECTION_NOISE_PX, xy_px.shape), -0.45, 0.45)
    confidence = np.clip(rng.normal(0.85, 0.08, len(OPENPOSE18)), 0.3, 1.0)
    inside = ((xy_px > -0.5) & (xy_px < np.array(size_wh) - 0.5)).all(axis=1) & (points[:, 2] > 0)
    seen = visible & inside
    if seen.sum() < _MIN_JOINTS:
        return np.zeros((3, len(OPENPOSE18)))
    return np.where(seen, np.vstack([(xy_px + noise).T, confidence]), 0.0)


def sequence_name(split: str, index: int, scene: SequenceScene) -> str:
    """Activity names, split and number; unique in a world."""
    return "_".join([*(actor.activity for actor in scene.actors), split, f"{index:02d}"])


def sequence_data(
    name: str,
    scene: SequenceScene,
    people: list[list[Person]],
    poses2d: list[Float[np.ndarray, "n 3 18"]],
    clothes: list[np.ndarray],
) -> dict[str, Any]:
    """The dictionary of one sequence; lists hold one entry for each actor.

    Args:
        name: of the sequence.
        scene: actors and cameras.
        people: for each actor the body in each image.
        poses2d: for each actor.
        clothes: for each actor an image of the colours worn.
    """
    actors = scene.actors
    return {
        "sequence": name,
        "betas": [actor.betas.copy() for actor in actors],
        "betas_clothed": [actor.betas.copy() for actor in actors],
        "poses": [actor.poses_60hz[scene.frame_ids] for actor in actors],
        "trans": [actor.translations_60hz[scene.frame_ids] for actor in actors],
        "poses_60Hz": [actor.poses_60hz for actor in actors],
        "trans_60Hz": [actor.translations_60hz for actor in actors],
        "img_frame_ids": scene.frame_ids,
        "poses2d": poses2d,
        "jointPositions": [np.stack([person.joints.ravel() for person in track]) for track in people],
        "cam_poses": scene.T_camera_world,
        "campose_valid": [(~scene.lost_camera).astype(np.int64) for _ in actors],
        "cam_intrinsics": scene.intrinsics,
        "genders": [actor.gender[0] for actor in actors],
        "v_template_clothed": [_rest_vertices(actor) for actor in actors],
        "texture_maps": clothes,
    }


def _rest_vertices(actor: Actor) -> Float[np.ndarray, "v 3"]:
    return rest_person(actor.gender, actor.betas).vertices


def make_sequence(index: int, config: SequenceConfig, images_root: Path, files_root: Path) -> tuple[str, int]:
    """Render and write one sequence.

    Returns:
        Its name, and how many persons in frames have detections and a valid camera.
    """
    split_number = _SEED_OFFSET + SEQUENCE_SPLITS.index(config.split)
    rng = np.random.default_rng(np.random.SeedSequence([config.seed, split_number, index]))
    num_actors = 1 + index % 2
    for _ in range(_MAX_ATTEMPTS):
        scene = sample_sequence(rng, num_actors, config.num_frames, config.statistics)
        people = [
            posed_people(
                actor.gender,
                actor.betas,
                actor.poses_60hz[scene.frame_ids],
                actor.translations_60hz[scene.frame_ids],
            )
            for actor in scene.actors
        ]
        stage = SequenceStage.sample(rng, scene, people)
        jpegs, poses2d = _film(rng, scene, people, stage)
        found = np.stack([detections[:, 2].any(axis=1) for detections in poses2d])
        if (found.mean(axis=1) >= _MIN_VALID_SHARE).all():
            break
    name = sequence_name(config.split, index, scene)
    folder = images_root / name
    folder.mkdir(parents=True)
    for number, jpeg in enumerate(jpegs):
        (folder / f"image_{number:05d}.jpg").write_bytes(jpeg)
    clothes = [stage.clothes_image(number) for number in range(num_actors)]
    with atomic_path(files_root / f"{name}.pkl") as path, open(path, "wb") as file:
        dump_python2(sequence_data(name, scene, people, poses2d, clothes), file)
    return name, int((found & ~scene.lost_camera).sum())


def _film(
    rng: np.random.Generator, scene: SequenceScene, people: list[list[Person]], stage: SequenceStage
) -> tuple[list[bytes], list[np.ndarray]]:
    jpegs: list[bytes] = []
    poses2d: list[list[np.ndarray]] = [[] for _ in people]
    for frame, T_camera_world in enumerate(scene.T_camera_world):
        bodies = [track[frame] for track in people]
        picture = stage.take(rng, frame, bodies)
        jpegs.append(encode_jpeg(picture.image, picture.jpeg_quality))
        for number, body in enumerate(bodies):
            poses2d[number].append(
                detections_2d(rng, body, picture.visible[number], T_camera_world, scene.intrinsics, scene.size_wh)
            )
    return jpegs, [np.stack(frames) for frames in poses2d]


def write_sequence_split(
    root: Path, config: SequenceConfig, count: int, workers: int = 1, overwrite: bool = False
) -> int:
    """Write one split of ``count`` sequences under ``root``; the folder of pickles appears last.

    Returns:
        How many persons in frames have detections and a valid camera.

    Raises:
        InputError: the split exists and ``overwrite`` is not set.
    """
    files, images = root / "sequenceFiles" / config.split, root / "imageFiles"
    if files.exists():
        if not overwrite:
            raise InputError(f"{files} exists: choose another directory or add --overwrite")
        for old in files.glob("*.pkl"):
            shutil.rmtree(images / old.stem, ignore_errors=True)
        shutil.rmtree(files)
    partial_files = files.with_name(f"{config.split}.partial")
    partial_images = images / f"{config.split}.partial"
    for folder in (partial_files, partial_images):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    make = partial(make_sequence, config=config, images_root=partial_images, files_root=partial_files)
    results = parallel_map(make, range(count), workers, f"sequences {config.split}")
    for name, _ in results:
        shutil.rmtree(images / name, ignore_errors=True)
        (partial_images / name).rename(images / name)
    partial_images.rmdir()
    partial_files.rename(files)
    return sum(valid for _, valid in results)


_PurePickler: Any = pickle._Pickler  # the pickler in C cannot be changed


class _Python2Pickler(_PurePickler):  # type: ignore[misc] # typeshed hides the pickler in Python
    """Pickler whose files look as numpy under Python 2 wrote them: byte strings, and numpy's modules of that time.

    Any numpy from 1.x on opens such files; those that a current numpy writes name `numpy._core`, which old ones lack.
    """

    dispatch: ClassVar[dict[type, Callable[..., None]]] = dict(_PurePickler.dispatch)

    def save_bytes(self, data: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    dispatch[bytes] = save_bytes

    def save_global(self, value: Any, name: str | None = None) -> None:
        module = getattr(value, "__module__", None) or ""
        if module.startswith("numpy._core."):
            module = module.replace("numpy._core.", "numpy.core.")
            self.write(pickle.GLOBAL + f"{module}\n{name or value.__qualname__}\n".encode("ascii"))
            self.memoize(value)
        else:
            super().save_global(value, name)

    dispatch[type(np.dot)] = save_global
    dispatch[type(save_global)] = save_global


def dump_python2(value: Any, file: BinaryIO) -> None:
    """Pickle plain containers and numpy arrays as Python 2 did (protocol 2)."""
    _Python2Pickler(file, protocol=2).dump(value)
