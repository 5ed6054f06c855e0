"""Reader of sequences that lie on disk as 3DPW's do.

    ROOT/imageFiles/<sequence>/image_00000.jpg
    ROOT/sequenceFiles/{train,validation,test}/<sequence>.pkl

The real files and the open world's are read by the same code. Everything is checked here, at the door: later stages may
trust shapes, lengths and finite numbers. Keys and shapes: 3DPW's readme; `poses2d` lies on disk as (n, 3, 18).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from pose2d.datasets.crop_set import read_image
from pose2d.errors import InputError
from pose2d.files.storage import require_directory
from pose2d.files.unpickling import restricted_load
from pose2d.skeletons import LSP14, OPENPOSE18

SPLITS = ("train", "validation", "test")
GENDERS = {"m": "male", "f": "female"}

_PER_ACTOR = ("poses", "trans", "betas", "genders", "poses2d", "campose_valid")
_REQUIRED = ("sequence", *_PER_ACTOR, "cam_poses", "cam_intrinsics")
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_ROTATION_TOLERANCE = 1e-3  # real camera files are float32 products of several rotations


@dataclass(frozen=True)
class Track:
    """One actor through one sequence: n frames, all from one moving camera with fixed intrinsics.

    World and camera frames in metres; `T_camera_world` maps world to camera (OpenCV axes).
    """

    path: Path
    """The sequence file."""
    sequence: str
    actor: int
    """Index of the actor within the file."""
    gender: str
    """'male' or 'female': the body that `poses`, `betas` and `translation` belong to."""
    frame_ids: Int[np.ndarray, " n"]
    """Index of each frame within the sequence, as in the image's file name."""
    image_paths: tuple[Path, ...]
    """One image a frame; empty when the track was read without images."""
    image_size_wh: tuple[int, int] | None
    """Width and height of the images, px; None when read without images."""
    poses: Float[np.ndarray, "n 72"]
    """Rotation vectors of SMPL's 24 joints, radians; the root's maps the body to the world."""
    betas: Float[np.ndarray, " 10"]
    translation: Float[np.ndarray, "n 3"]
    poses2d: Float[np.ndarray, "n 18 3"]
    """x, y (px) and detector score of OpenPose's 18 keypoints; all zero where nothing was found."""
    campose_valid: Bool[np.ndarray, " n"]
    T_camera_world: Float[np.ndarray, "n 4 4"]
    intrinsics: Float[np.ndarray, "3 3"]

    @property
    def name(self) -> str:
        """Sequence and actor, unique within a split."""
        return f"{self.sequence}_{self.actor}"

    def __len__(self) -> int:
        return len(self.frame_ids)

    def select(self, frames: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> Track:
        """The same track with only some of its frames (indices or a mask over the present frames)."""
        index = np.flatnonzero(frames) if frames.dtype == bool else frames
        return replace(
            self,
            frame_ids=self.frame_ids[index],
            image_paths=tuple(self.image_paths[i] for i in index) if self.image_paths else (),
            poses=self.poses[index],
            translation=self.translation[index],
            poses2d=self.poses2d[index],
            campose_valid=self.campose_valid[index],
            T_camera_world=self.T_camera_world[index],
        )


def find_sequences(root: str | Path, split: str, names: Sequence[str] | None = None) -> list[Path]:
    """The sequence files of a split, sorted by name.

    Args:
        root: the folder that holds imageFiles/ and sequenceFiles/.
        split: train, validation or test.
        names: only these sequences (without .pkl); all when None or empty.

    Raises:
        InputError: the folders are missing, the split is unknown, a named sequence is not there, or there is none.
    """
    if split not in SPLITS:
        raise InputError(f"split {split!r} is unknown: take one of {', '.join(SPLITS)}")
    folder = require_directory(root) / "sequenceFiles" / split
    if not folder.is_dir():
        raise InputError(f"{root} does not lie on disk as 3DPW does: no folder {folder}")
    files = {file.stem: file for file in sorted(folder.glob("*.pkl"))}
    if not files:
        raise InputError(f"{folder} holds no sequence (*.pkl)")
    if not names:
        return list(files.values())
    missing = [name for name in names if name not in files]
    if missing:
        raise InputError(f"{folder} has no sequence {', '.join(missing)}: it has {', '.join(list(files)[:8])}, ...")
    return [files[name] for name in dict.fromkeys(names)]


def iter_tracks(root: str | Path, split: str, names: Sequence[str] | None = None) -> Iterator[Track]:
    """Every actor of every sequence of a split, in order of file name.

    Raises:
        InputError: as `find_sequences` and `read_sequence`, at the first sequence that cannot be used.
    """
    for path in find_sequences(root, split, names):
        yield from read_sequence(path, Path(root) / "imageFiles")


def read_sequence(path: str | Path, image_root: str | Path | None) -> tuple[Track, ...]:
    """Read one sequence file: a track for each of its actors, with every frame, valid or not.

    Args:
        path: a 3DPW sequence file (.pkl); nothing in it is run.
        image_root: the imageFiles folder; every image of the sequence must then be there. None: no images are needed.

    Raises:
        InputError: with the file, the field, what came and what to do.
    """
    path = Path(path)
    data = restricted_load(path)
    if not isinstance(data, dict):
        raise InputError(f"{path} holds a {type(data).__name__} where 3DPW's files hold a dictionary")
    lacking = [key for key in _REQUIRED if key not in data]
    if lacking:
        raise InputError(f"{path} lacks {', '.join(lacking)}: is it a 3DPW sequence file?")

    T_camera_world = _array(path, "cam_poses", data["cam_poses"], (None, 4, 4))
    frames = len(T_camera_world)
    if frames == 0:
        raise InputError(f"{path}: cam_poses has no frames")
    intrinsics = _array(path, "cam_intrinsics", data["cam_intrinsics"], (3, 3))
    _check_intrinsics(path, intrinsics)
    actors = len(data["genders"]) if isinstance(data["genders"], (list, tuple, np.ndarray)) else 0
    if actors == 0:
        raise InputError(f"{path}: genders names no actor")
    for key in _PER_ACTOR:
        if not isinstance(data[key], (list, tuple, np.ndarray)) or len(data[key]) != actors:
            raise InputError(f"{path}: {key} must be a list with one entry for each of the {actors} actors")

    sequence = str(data["sequence"])
    if not sequence or Path(sequence).name != sequence:
        raise InputError(f"{path}: sequence is {sequence!r}, expected the name of a folder under imageFiles")
    image_paths, image_size_wh = _images(path, image_root, sequence, frames)
    tracks = []
    for actor in range(actors):
        valid = _array(path, f"campose_valid[{actor}]", data["campose_valid"][actor], (frames,)).astype(bool)
        _check_cameras(path, T_camera_world, valid)
        tracks.append(
            Track(
                path=path,
                sequence=sequence,
                actor=actor,
                gender=_gender(path, actor, data["genders"][actor]),
                frame_ids=np.arange(frames),
                image_paths=image_paths,
                image_size_wh=image_size_wh,
                poses=_array(path, f"poses[{actor}]", data["poses"][actor], (frames, 72)),
                betas=_betas(path, actor, data["betas"][actor]),
                translation=_array(path, f"trans[{actor}]", data["trans"][actor], (frames, 3)),
                poses2d=_array(path, f"poses2d[{actor}]", data["poses2d"][actor], (frames, 3, 18)).transpose(0, 2, 1),
                campose_valid=valid,
                T_camera_world=T_camera_world,
                intrinsics=intrinsics,
            )
        )
    return tuple(tracks)


def _array(path: Path, field: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """`value` as float64 of the given shape (None: any length), all finite."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{path}: {field} is not an array of numbers") from None
    expected = "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"
    if array.ndim != len(shape) or any(want not in (None, came) for want, came in zip(shape, array.shape, strict=True)):
        raise InputError(f"{path}: {field} has shape {array.shape}, expected {expected}")
    bad = np.asarray(~np.isfinite(array).all(axis=tuple(range(1, array.ndim))))
    if bad.any():
        raise InputError(
            f"{path}: {field} holds NaN or infinite numbers at index {np.flatnonzero(bad)[0]} "
            f"({bad.sum()} of {len(bad)}): repair the file or leave the sequence out with --sequences"
        )
    return array


def _betas(path: Path, actor: int, value: Any) -> np.ndarray:
    betas = _array(path, f"betas[{actor}]", np.asarray(value).reshape(-1), (None,))
    if len(betas) < 10:
        raise InputError(f"{path}: betas[{actor}] has {len(betas)} coefficients, at least 10 are needed")
    return betas[:10]


def _gender(path: Path, actor: int, value: Any) -> str:
    gender = GENDERS.get(str(value))
    if gender is None:
        raise InputError(f"{path}: genders[{actor}] is {value!r}, expected 'm' or 'f'")
    return gender


def _check_intrinsics(path: Path, intrinsics: np.ndarray) -> None:
    if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0 or not np.allclose(intrinsics[2], (0, 0, 1)):
        raise InputError(
            f"{path}: cam_intrinsics is no camera matrix (focal lengths {intrinsics[0, 0]:g} and {intrinsics[1, 1]:g} "
            "px must be positive and the last row 0 0 1)"
        )


def _check_cameras(path: Path, T_camera_world: np.ndarray, valid: np.ndarray) -> None:
    """Only frames that the file calls valid: elsewhere real files hold anything."""
    rotation = T_camera_world[:, :3, :3]
    error = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    bad = valid & ((error > _ROTATION_TOLERANCE) | (np.linalg.det(rotation) < 0))
    if bad.any():
        raise InputError(
            f"{path}: cam_poses at frame {np.flatnonzero(bad)[0]} is not a rigid motion though campose_valid says so"
        )


def _images(
    path: Path, image_root: str | Path | None, sequence: str, frames: int
) -> tuple[tuple[Path, ...], tuple[int, int] | None]:
    """Paths of the images, all present, and their size."""
    if image_root is None:
        return (), None
    folder = Path(image_root) / sequence
    if not folder.is_dir():
        raise InputError(f"{path}: its images are missing, no such directory: {folder}")
    image_paths = tuple(folder / f"image_{frame:05d}.jpg" for frame in range(frames))
    present = {file.name for file in folder.iterdir()}
    missing = [image for image in image_paths if image.name not in present]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{path} has {frames} frames but image {missing[0]}{more} is missing: unpack the images of {sequence} "
            "again or leave the sequence out with --sequences"
        )
    for image in image_paths:
        _check_jpeg(image)
    height, width = read_image(image_paths[0]).shape[:2]
    return image_paths, (width, height)


def _check_jpeg(path: Path) -> None:
    """Refuse a JPEG without its end marker: it would be decoded, with grey where the rest was."""
    with open(path, "rb") as file:
        start = file.read(2)
        file.seek(max(path.stat().st_size - 1024, 0))
        if start != _JPEG_START or _JPEG_END not in file.read():
            raise InputError(f"{path} is no whole JPEG image: is it truncated?")


def valid_campose(track: Track) -> Bool[np.ndarray, " n"]:
    """The camera's pose is known."""
    return track.campose_valid


def valid_spin(track: Track) -> Bool[np.ndarray, " n"]:
    """The camera's pose is known and a joint was detected, hence a box (SPIN, datasets/preprocess/pw3d.py)."""
    return track.campose_valid & (track.poses2d[..., 2] > 0).any(axis=1)


def valid_official(track: Track) -> Bool[np.ndarray, " n"]:
    """The camera's pose is known and poses2d is not all zero (3dpw-eval, `check_valid_inds`)."""
    return track.campose_valid & (track.poses2d != 0).any(axis=(1, 2))


def valid_vibe(track: Track) -> Bool[np.ndarray, " n"]:
    """More than 6 of the 12 limb joints score above 0.3 (VIBE, lib/data_utils/threedpw_utils.py).

    VIBE does not ask whether the camera's pose is known, although it turns the ground truth with it.
    """
    limbs = [name for name in LSP14.keypoints if name in OPENPOSE18 and name != "neck"]
    seen = track.poses2d[:, OPENPOSE18.indices(limbs), 2] > 0.3
    return seen.sum(axis=1) > 6


VALIDITY: dict[str, Callable[[Track], Bool[np.ndarray, " n"]]] = {
    "campose": valid_campose,
    "spin": valid_spin,
    "official": valid_official,
    "vibe": valid_vibe,
}
"""Which frames of a track count, by name."""


def person_boxes(
    poses2d: Float[np.ndarray, "n 18 3"], scale: float = 1.2
) -> tuple[Float[np.ndarray, "n 4"], Bool[np.ndarray, " n"]]:
    """Boxes around the detected joints, both sides grown by `scale` about the centre.

    The square crop of SPIN's evaluation (datasets/preprocess/pw3d.py) has the longer side of this box.

    Returns:
        boxes_xywh in px (NaN where nothing was detected) and whether there is a box.
    """
    seen = poses2d[..., 2] > 0
    exists = seen.any(axis=1)
    xy = poses2d[..., :2]
    low = np.where(seen[..., None], xy, math.inf).min(axis=1)
    high = np.where(seen[..., None], xy, -math.inf).max(axis=1)
    low[~exists] = high[~exists] = math.nan
    size = (high - low) * scale
    return np.concatenate([(low + high - size) / 2, size], axis=1), np.asarray(exists)


def track_boxes(track: Track, scale: float = 1.2) -> Float[np.ndarray, "n 4"]:
    """`person_boxes` of a track whose every frame has one, checked against the image.

    Raises:
        InputError: a frame without detected joints, a box of zero area, or an actor wholly outside the image.
    """
    boxes_xywh, exists = person_boxes(track.poses2d, scale)
    if not exists.all():
        frame = track.frame_ids[np.flatnonzero(~exists)[0]]
        raise InputError(f"{track.path}: poses2d[{track.actor}] has no joint at frame {frame}: no box can be made")
    empty = (boxes_xywh[:, 2:] <= 0).any(axis=1)
    if empty.any():
        frame = track.frame_ids[np.flatnonzero(empty)[0]]
        raise InputError(
            f"{track.path}: the box around poses2d[{track.actor}] has zero area at frame {frame}: "
            "repair the 2D joints or set them all to zero, which marks the frame as invalid"
        )
    if track.image_size_wh is not None:
        outside = (boxes_xywh[:, :2] >= track.image_size_wh) | (boxes_xywh[:, :2] + boxes_xywh[:, 2:] <= 0)
        if outside.any():
            at = np.flatnonzero(outside.any(axis=1))[0]
            width, height = track.image_size_wh
            raise InputError(
                f"{track.path}: poses2d[{track.actor}] lies outside the {width}x{height} image at frame "
                f"{track.frame_ids[at]} (box x, y, w, h = {np.round(boxes_xywh[at], 1).tolist()}): do the images "
                "belong to this sequence?"
            )
    return boxes_xywh
