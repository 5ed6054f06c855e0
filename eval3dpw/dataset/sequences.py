"""Image sequences of persons: what a reader hands over, and what every dataset can do.

A dataset is found and read by paths alone, so that a worker on another machine opens the same one from its name and its
root. Truth is optional: footage of one's own has images and boxes, and no bodies to compare with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from pose2d.errors import InputError
from pose2d.files.storage import sha256
from pose2d.skeletons import Skeleton


@dataclass(frozen=True)
class DetectedKeypoints:
    """2D keypoints that come with a dataset, n frames of one person."""

    skeleton: Skeleton
    xy_px: Float[np.ndarray, "n k 2"]
    score: Float[np.ndarray, "n k"]
    """The detector's own; 0 where the keypoint was not found."""

    def select(self, index: Int[np.ndarray, " m"]) -> DetectedKeypoints:
        """The keypoints of some frames."""
        return replace(self, xy_px=self.xy_px[index], score=self.score[index])


@dataclass(frozen=True)
class TrackTruth:
    """Ground truth of one person: SMPL parameters in the world's frame, and the camera that saw it. Metres."""

    gender: str
    """'male', 'female' or 'neutral': the body that the parameters belong to."""
    poses: Float[np.ndarray, "n 72"]
    """Rotation vectors of SMPL's 24 joints, radians; the root's maps the body to the world."""
    betas: Float[np.ndarray, " 10"]
    translation: Float[np.ndarray, "n 3"]
    T_camera_world: Float[np.ndarray, "n 4 4"]
    """Maps world to camera (OpenCV axes)."""
    camera_known: Bool[np.ndarray, " n"]
    """Whether `T_camera_world` can be trusted; elsewhere it may hold anything."""

    def select(self, index: Int[np.ndarray, " m"]) -> TrackTruth:
        """The truth of some frames."""
        return replace(
            self,
            poses=self.poses[index],
            translation=self.translation[index],
            T_camera_world=self.T_camera_world[index],
            camera_known=self.camera_known[index],
        )


@dataclass(frozen=True)
class Track:
    """One person through one sequence: n frames, all from one camera with fixed intrinsics."""

    path: Path
    """The file that the track was read from."""
    sequence: str
    actor: int
    """Index of the person within the sequence."""
    frame_ids: Int[np.ndarray, " n"]
    """Index of each frame within the sequence, in rising order."""
    image_paths: tuple[Path, ...]
    """One image per frame; empty when the track was read without images."""
    image_size_wh: tuple[int, int] | None
    """Width and height of the images, px; None when read without images."""
    intrinsics: Float[np.ndarray, "3 3"]
    joint_boxes_xyxy: Float[np.ndarray, "n 4"]
    """Left, top, right and bottom (px) of the box that just holds the person's joints; NaN where there is none.
    `eval3dpw.dataset.boxes` makes it from keypoints or from a detector's boxes."""
    boxes_field: str
    """The field of `path` that the boxes come from, for messages."""
    detected: DetectedKeypoints | None = None
    """Keypoints that come with the dataset, or None."""
    truth: TrackTruth | None = None
    """None where nothing is known, as in footage of one's own."""
    num_frames: int | None = None
    """Of the whole sequence, also when the track was cut to some of them; None where it is not known."""

    @property
    def name(self) -> str:
        """Sequence and actor, unique within a split."""
        return f"{self.sequence}_{self.actor}"

    @property
    def has_box(self) -> Bool[np.ndarray, " n"]:
        """Whether the person was found in each frame."""
        return np.asarray(np.isfinite(self.joint_boxes_xyxy).all(axis=1))

    def __len__(self) -> int:
        return len(self.frame_ids)

    def require_truth(self) -> TrackTruth:
        """The ground truth.

        Raises:
            InputError: there is none.
        """
        if self.truth is None:
            raise InputError(f"{self.path}: track {self.name} has no ground truth: it can be fitted, but not evaluated")
        return self.truth

    def select(self, frames: Int[np.ndarray, " m"] | Bool[np.ndarray, " n"]) -> Track:
        """The same track with only some of its frames (indices or a mask over the present frames)."""
        index = np.flatnonzero(frames) if frames.dtype == bool else frames
        return replace(
            self,
            frame_ids=self.frame_ids[index],
            image_paths=tuple(self.image_paths[i] for i in index) if self.image_paths else (),
            joint_boxes_xyxy=self.joint_boxes_xyxy[index],
            detected=None if self.detected is None else self.detected.select(index),
            truth=None if self.truth is None else self.truth.select(index),
        )


@dataclass(frozen=True)
class SequenceRef:
    """A sequence that was found and is not read yet: small, and the same on every machine."""

    name: str
    path: Path
    """The file (or folder) that describes it."""


class SequenceDataset(ABC):
    """Sequences below one folder. A new kind is one subclass and one line in `eval3dpw.dataset.catalogue`."""

    splits: ClassVar[tuple[str, ...]]
    """Names of its parts."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @abstractmethod
    def find(self, split: str, names: Sequence[str] = ()) -> tuple[SequenceRef, ...]:
        """The sequences of a split, sorted by name.

        Args:
            split: one of `splits`.
            names: only these sequences, in this order; all when empty.

        Raises:
            InputError: the folder has another layout, the split is unknown, a named sequence is not there, or there is
                none.
        """

    @abstractmethod
    def read(self, sequence: SequenceRef, with_images: bool = True) -> tuple[Track, ...]:
        """Read a sequence: a track for each of its persons, with all frames.

        Args:
            sequence: as `find` returned it.
            with_images: every image must then be there; without, none is looked at.

        Raises:
            InputError: with the file, the field, what came and what to do.
        """

    @abstractmethod
    def image_path(self, sequence: str, frame_id: int) -> Path | None:
        """Where the image of a frame lies; None where it is not there."""

    def digest(self, sequence: SequenceRef) -> str:
        """SHA-256 of what describes a sequence: results of a run are kept as long as it stays the same.

        Images are not part of it: they are many, and named by what describes the sequence.
        """
        return sha256(sequence.path)

    def tracks(self, split: str, names: Sequence[str] = (), with_images: bool = True) -> Iterator[Track]:
        """Every person of every sequence of a split, in the order of `find`.

        Raises:
            InputError: as `find` and `read`, at the first sequence that cannot be used.
        """
        for sequence in self.find(split, names):
            yield from self.read(sequence, with_images)

    def check_split(self, split: str) -> None:
        """
        Raises:
            InputError: the dataset has no such split.
        """
        if split not in self.splits:
            raise InputError(f"split {split!r} is unknown: take one of {', '.join(self.splits)}")

    @staticmethod
    def chosen(found: Mapping[str, SequenceRef], names: Sequence[str], folder: Path) -> tuple[SequenceRef, ...]:
        """Those of the found sequences that are asked for.

        Raises:
            InputError: a named one is not among them.
        """
        if not names:
            return tuple(found.values())
        missing = [name for name in names if name not in found]
        if missing:
            raise InputError(f"{folder} has no sequence {', '.join(missing)}: it has {', '.join(list(found)[:8])}, ...")
        return tuple(found[name] for name in dict.fromkeys(names))
