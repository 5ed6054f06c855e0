"""What calibration hands on to fitting: 2D poses with calibrated confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from calibration.aggregation import visibility_weighted
from calibration.oks import falloff_px, sigma_from_expected_oks
from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz
from pose2d.poses import Poses2D
from pose2d.skeletons import Skeleton


@dataclass(frozen=True)
class CalibratedPoses2D:
    """2D poses of n persons with a calibrated confidence per keypoint.

    Attributes:
        poses: keypoints, raw scores, boxes and the network's own sigmas, as the pose network gave them.
        confidence: expected OKS of each keypoint, in [0, 1].
        visibility: probability that the keypoint is labelled, in [0, 1].
        presence: probability that it lies in the picture and the crop, in [0, 1]; None from a calibrator that does not
            predict it.
    """

    poses: Poses2D
    confidence: Float[np.ndarray, "n k"]
    visibility: Float[np.ndarray, "n k"]
    presence: Float[np.ndarray, "n k"] | None = None

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def skeleton(self) -> Skeleton:
        """Names of the keypoints."""
        return self.poses.skeleton

    @property
    def instance_confidence(self) -> Float[np.ndarray, " n"]:
        """sum_k v_k s_k / sum_k v_k."""
        return visibility_weighted(self.confidence, self.visibility)

    def implied_sigma_px(self, areas_px2: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n k"]:
        """Spread of each keypoint per axis in image pixels that its confidence implies (equation 12 inverted).

        Not the network's own sigma, which is `poses.sigma_px`.

        Args:
            areas_px2: body areas in image px^2.

        Raises:
            ValueError: no OKS falloff is published for this skeleton.
        """
        return sigma_from_expected_oks(self.confidence, falloff_px(areas_px2[:, None], self.skeleton.sigmas))

    def select(self, rows: Int[np.ndarray, " m"] | slice) -> CalibratedPoses2D:
        """The persons in `rows`, in that order."""
        return CalibratedPoses2D(
            self.poses.select(rows),
            self.confidence[rows],
            self.visibility[rows],
            None if self.presence is None else self.presence[rows],
        )

    @classmethod
    def concatenate(cls, parts: Sequence[CalibratedPoses2D]) -> CalibratedPoses2D:
        """The persons of all parts, one part after the other.

        Raises:
            ValueError: no parts, different skeletons, or only some of them with a presence or a sigma.
        """
        poses = Poses2D.concatenate([part.poses for part in parts])
        presences = [part.presence for part in parts if part.presence is not None]
        if presences and len(presences) < len(parts):
            raise ValueError("some of these poses have a presence and some have none")
        return cls(
            poses,
            np.concatenate([part.confidence for part in parts]),
            np.concatenate([part.visibility for part in parts]),
            np.concatenate(presences) if presences else None,
        )

    def save(self, path: str | Path) -> None:
        """Write as .npz (whole or not at all): the poses' fields, confidence, visibility, presence."""
        presence = {} if self.presence is None else {"presence": self.presence}
        write_npz(path, **self.poses.arrays(), confidence=self.confidence, visibility=self.visibility, **presence)

    @classmethod
    def load(cls, path: str | Path) -> CalibratedPoses2D:
        """Read what `save` wrote.

        Raises:
            InputError: the file is not such an .npz.
        """
        poses, arrays = Poses2D.load(path), read_npz(path)
        if not {"confidence", "visibility"} <= arrays.keys():
            raise InputError(f"{path} holds 2D poses without calibrated confidences: calibrate them first")
        found = {name: arrays[name] for name in ("confidence", "visibility", "presence") if name in arrays}
        for name, values in found.items():
            if values.shape != poses.raw_score.shape:
                raise InputError(f"{path}: {name} has shape {values.shape}, the poses have {poses.raw_score.shape}")
        return cls(poses, **found)
