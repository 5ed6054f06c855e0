"""What the 2D stage hands on: keypoints in image pixels with what the network said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz
from pose2d.skeletons import SKELETONS, Skeleton


@dataclass(frozen=True)
class Poses2D:
    """2D keypoints of n persons.

    Attributes:
        skeleton: names the k keypoints.
        xy_px: image pixels; the centre of pixel (0, 0) is at (0.0, 0.0).
        raw_score: the network's own score per keypoint (heatmap maximum, 1 - sigma, ...); not calibrated.
        boxes_xywh: the person boxes that the crops were cut around, image pixels.
        sigma_px: the network's own standard deviation per axis in image pixels, or None where it has none.
    """

    skeleton: Skeleton
    xy_px: Float[np.ndarray, "n k 2"]
    raw_score: Float[np.ndarray, "n k"]
    boxes_xywh: Float[np.ndarray, "n 4"]
    sigma_px: Float[np.ndarray, "n k"] | None = None

    def __len__(self) -> int:
        return len(self.xy_px)

    def select(self, rows: Int[np.ndarray, " m"] | slice) -> Poses2D:
        """The persons in `rows`, in that order."""
        sigma_px = None if self.sigma_px is None else self.sigma_px[rows]
        return Poses2D(self.skeleton, self.xy_px[rows], self.raw_score[rows], self.boxes_xywh[rows], sigma_px)

    @classmethod
    def concatenate(cls, parts: Sequence[Poses2D]) -> Poses2D:
        """The persons of all parts, one part after the other.

        Raises:
            ValueError: no parts, different skeletons, or only some of them with a sigma.
        """
        if len({part.skeleton.name for part in parts}) != 1:
            raise ValueError("2D poses to concatenate must be of one skeleton")
        sigmas_px = [part.sigma_px for part in parts if part.sigma_px is not None]
        if sigmas_px and len(sigmas_px) < len(parts):
            raise ValueError("some of these 2D poses have a sigma and some have none")
        return cls(
            parts[0].skeleton,
            np.concatenate([part.xy_px for part in parts]),
            np.concatenate([part.raw_score for part in parts]),
            np.concatenate([part.boxes_xywh for part in parts]),
            np.concatenate(sigmas_px) if sigmas_px else None,
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Fields of the .npz that holds these poses."""
        sigma_px = {} if self.sigma_px is None else {"sigma_px": self.sigma_px}
        return {
            "skeleton": np.array(self.skeleton.name),
            "xy_px": self.xy_px,
            "raw_score": self.raw_score,
            "boxes_xywh": self.boxes_xywh,
            **sigma_px,
        }

    def save(self, path: str | Path) -> None:
        """Write as .npz (whole or not at all)."""
        write_npz(path, **self.arrays())

    @classmethod
    def load(cls, path: str | Path) -> Poses2D:
        """Read what `save` wrote.

        Raises:
            InputError: the file is not such an .npz.
        """
        arrays = read_npz(path)
        missing = {"skeleton", "xy_px", "raw_score", "boxes_xywh"} - arrays.keys()
        if missing:
            raise InputError(f"{path} holds no 2D poses: it lacks {', '.join(sorted(missing))}")
        name = str(arrays["skeleton"])
        if name not in SKELETONS:
            raise InputError(f"{path}: unknown skeleton {name!r}; known are {', '.join(SKELETONS)}")
        return cls(SKELETONS[name], arrays["xy_px"], arrays["raw_score"], arrays["boxes_xywh"], arrays.get("sigma_px"))
