"""What the 2D stage hands on: keypoints in image pixels with what the network said of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz
from pose2d.skeletons import SKELETONS, Skeleton


@dataclass(frozen=True)
class Poses2D:
    """2D keypoints of n persons.

    Attributes:
        skeleton: names the k keypoints.
        xy_px: image pixels; the centre of pixel (0, 0) is at (0.0, 0.0).
        raw_score: what the network says of each keypoint (heatmap maximum, 1 - sigma, ...); not calibrated.
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

    def save(self, path: str | Path) -> None:
        """Write as .npz (whole or not at all)."""
        arrays = {"xy_px": self.xy_px, "raw_score": self.raw_score, "boxes_xywh": self.boxes_xywh}
        if self.sigma_px is not None:
            arrays["sigma_px"] = self.sigma_px
        write_npz(path, skeleton=np.array(self.skeleton.name), **arrays)

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
