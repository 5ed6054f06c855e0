"""Sequences that lie on disk as 3DPW's do.

    ROOT/imageFiles/<sequence>/image_00000.jpg
    ROOT/sequenceFiles/{train,validation,test}/<sequence>.pkl

The real files and the open world's are read by the same code. Everything is checked here, at the door: later stages may
trust shapes, lengths and finite numbers. Keys and shapes: 3DPW's readme; `poses2d` lies on disk as (n, 3, 18).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from eval3dpw.dataset.boxes import joint_boxes
from eval3dpw.dataset.sequences import DetectedKeypoints, SequenceDataset, SequenceRef, Track, TrackTruth
from pose2d.errors import InputError
from pose2d.files.images import image_size_wh
from pose2d.files.storage import require_directory
from pose2d.files.unpickling import restricted_load
from pose2d.skeletons import OPENPOSE18

GENDERS = {"m": "male", "f": "female"}

_PER_ACTOR = ("poses", "trans", "betas", "genders", "poses2d", "campose_valid")
_REQUIRED = ("sequence", *_PER_ACTOR, "cam_poses", "cam_intrinsics")
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_LARGEST = 1e7
"""Pixels, metres, radians and coefficients of shape are all far below."""
_CENTRE_SHARE = 0.2
"""How far from the image's middle a principal point may lie, of the image's size (3DPW: below 0.01)."""
_ROTATION_TOLERANCE = 1e-3  # real camera files are float32 products of several rotations


class ThreeDPW(SequenceDataset):
    """3DPW (von Marcard et al., ECCV 2018), or anything that lies on disk in its layout."""

    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")

    def find(self, split: str, names: Sequence[str] = ()) -> tuple[SequenceRef, ...]:
        """See `SequenceDataset.find`: one sequence per file sequenceFiles/<split>/<sequence>.pkl."""
        self.check_split(split)
        folder = require_directory(self.root) / "sequenceFiles" / split
        if not folder.is_dir():
            raise InputError(f"{self.root} does not lie on disk as 3DPW does: no folder {folder}")
        found = {file.stem: SequenceRef(file.stem, file) for file in sorted(folder.glob("*.pkl"))}
        if not found:
            raise InputError(f"{folder} holds no sequence (*.pkl)")
        return self.chosen(found, names, folder)

    def read(self, sequence: SequenceRef, with_images: bool = True) -> tuple[Track, ...]:
        """See `SequenceDataset.read`: one track per actor, with every frame, valid or not."""
        return read_sequence(sequence.path, self.root / "imageFiles" if with_images else None)

    def image_path(self, sequence: str, frame_id: int) -> Path | None:
        """See `SequenceDataset.image_path`."""
        path = self.root / "imageFiles" / sequence / _image_name(frame_id)
        return path if path.is_file() else None


def _image_name(frame_id: int) -> str:
    return f"image_{frame_id:05d}.jpg"


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
    actors = _length(data["genders"])
    if actors == 0:
        raise InputError(f"{path}: genders names no actor")
    for key in _PER_ACTOR:
        if _length(data[key]) != actors:
            raise InputError(f"{path}: {key} must be a list with one entry for each of the {actors} actors")

    sequence = str(data["sequence"])
    if not sequence or Path(sequence).name != sequence or sequence == ".." or not sequence.isprintable():
        raise InputError(f"{path}: sequence is {sequence!r:.80}, expected the name of a folder under imageFiles")
    if sequence != path.stem:
        raise InputError(
            f"{path}: its field sequence is {sequence!r:.80}: results are named by it, so rename the file to "
            f"{sequence}.pkl or mend the field"
        )
    image_paths, size_wh = _images(path, image_root, sequence, frames)
    _check_principal_point(path, intrinsics, size_wh)
    tracks = []
    for actor in range(actors):
        known = _array(path, f"campose_valid[{actor}]", data["campose_valid"][actor], (frames,)).astype(bool)
        _check_cameras(path, T_camera_world, known)
        truth = TrackTruth(
            gender=_gender(path, actor, data["genders"][actor]),
            poses=_array(path, f"poses[{actor}]", data["poses"][actor], (frames, 72)),
            betas=_betas(path, actor, data["betas"][actor]),
            translation=_array(path, f"trans[{actor}]", data["trans"][actor], (frames, 3)),
            T_camera_world=T_camera_world,
            camera_known=known,
        )
        poses2d = _array(path, f"poses2d[{actor}]", data["poses2d"][actor], (frames, 3, 18)).transpose(0, 2, 1)
        tracks.append(
            Track(
                path=path,
                sequence=sequence,
                actor=actor,
                frame_ids=np.arange(frames),
                image_paths=image_paths,
                image_size_wh=size_wh,
                intrinsics=intrinsics,
                joint_boxes_xyxy=joint_boxes(poses2d),
                boxes_field=f"poses2d[{actor}]",
                num_frames=frames,
                detected=DetectedKeypoints(OPENPOSE18, poses2d[..., :2], poses2d[..., 2]),
                truth=truth,
            )
        )
    return tuple(tracks)


def _array(path: Path, field: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """`value` as float64 of the given shape (None: any length), all finite."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{path}: {field} is not an array of numbers") from None
    expected = "(" + ", ".join("n" if size is None else str(size) for size in shape) + ")"
    if array.ndim != len(shape) or any(want not in (None, came) for want, came in zip(shape, array.shape, strict=True)):
        raise InputError(f"{path}: {field} has shape {array.shape}, expected {expected}")
    # Not only finite: squares and products of what is larger overflow long after this door.
    bad = np.asarray(~(np.abs(array) < _LARGEST).all(axis=tuple(range(1, array.ndim))))
    if bad.any():
        raise InputError(
            f"{path}: {field} holds NaN, infinite or huge numbers at index {np.flatnonzero(bad)[0]} "
            f"({bad.sum()} of {len(bad)}): repair the file or leave the sequence out with --sequences"
        )
    return array


def _betas(path: Path, actor: int, value: Any) -> np.ndarray:
    try:
        flat = np.asarray(value).reshape(-1)
    except ValueError:
        raise InputError(f"{path}: betas[{actor}] is not an array of numbers") from None
    betas = _array(path, f"betas[{actor}]", flat, (None,))
    if len(betas) < 10:
        raise InputError(f"{path}: betas[{actor}] has {len(betas)} coefficients, at least 10 are needed")
    return betas[:10]


def _gender(path: Path, actor: int, value: Any) -> str:
    gender = GENDERS.get(str(value))
    if gender is None:
        raise InputError(f"{path}: genders[{actor}] is {value!r:.60}, expected 'm' or 'f'")
    return gender


def _check_intrinsics(path: Path, intrinsics: np.ndarray) -> None:
    if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0 or not np.allclose(intrinsics[2], (0, 0, 1)):
        raise InputError(
            f"{path}: cam_intrinsics is no camera matrix (focal lengths {intrinsics[0, 0]:g} and {intrinsics[1, 1]:g} "
            "px must be positive and the last row 0 0 1)"
        )


def _check_principal_point(path: Path, intrinsics: np.ndarray, size_wh: tuple[int, int] | None) -> None:
    """Images that were made smaller after the camera was calibrated give bodies at the wrong place, without a sign."""
    if size_wh is None:
        return
    centre, size = intrinsics[:2, 2], np.array(size_wh, dtype=np.float64)
    if (np.abs(centre - size / 2) > _CENTRE_SHARE * size).any():
        raise InputError(
            f"{path}: the principal point ({centre[0]:g}, {centre[1]:g}) of cam_intrinsics is not near the middle of "
            f"its {size_wh[0]}x{size_wh[1]} images: were they resized? Take the original images or scale cam_intrinsics"
        )


def _length(value: Any) -> int:
    """How many actors a field has; 0 where it is no list."""
    sized = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim)
    return len(value) if sized else 0


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
    image_paths = tuple(folder / _image_name(frame) for frame in range(frames))
    present = {file.name for file in folder.iterdir()}
    missing = [image for image in image_paths if image.name not in present]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{path} has {frames} frames but image {missing[0].name}{more} is missing: unpack the images of {sequence} "
            "again or leave the sequence out with --sequences"
        )
    for image in image_paths:
        _check_jpeg(image)
    return image_paths, image_size_wh(image_paths[0])


def _check_jpeg(path: Path) -> None:
    """Refuse a JPEG without its end marker: it would be decoded, with grey where the rest was."""
    with open(path, "rb") as file:
        start = file.read(2)
        file.seek(max(path.stat().st_size - 1024, 0))
        if start != _JPEG_START or _JPEG_END not in file.read():
            raise InputError(f"{path} is no whole JPEG image: is it truncated?")
