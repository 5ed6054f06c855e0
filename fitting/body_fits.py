"""Bodies in their cameras' frames, and why each one's refinement ended: what every method takes and returns."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from pose2d.errors import InputError
from pose2d.files.storage import read_npz, write_npz


class Reason(IntEnum):
    """Why a frame's fit ended. Those from NO_WEIGHT on leave the initial estimate as it was."""

    CONVERGED = 0
    """A step lowered the objective by less than the tolerance, or the model promises no more than that."""
    ITERATION_LIMIT = 1
    DAMPING_LIMIT = 2
    """No step lowers the objective, however short, although the model promises it."""
    NO_WEIGHT = 3
    """All keypoints have weight 0."""
    BAD_KEYPOINT = 4
    """A keypoint with weight has NaN or infinite coordinates, or a weight is negative or not finite."""
    BAD_BOX = 5
    """The person's size is 0, negative or not finite."""
    BAD_CAMERA = 6
    """The intrinsics are not finite or a focal length is not above 0."""
    BAD_INITIAL = 7
    """The initial prediction is not finite, not a rotation, or its shape is beyond belief."""
    BEHIND_CAMERA = 8
    """A keypoint lies behind the camera and the 2D keypoints do not say where the body should be instead."""
    DIVERGED = 9
    """The result is not finite or its shape is beyond belief."""


@dataclass(frozen=True)
class BodyFits:
    """Bodies of n persons in their cameras' frames: an initial prediction or the result of a refinement.

    Attributes:
        rotations: of each joint relative to its parent; the first is the root's orientation in the camera.
        betas: shape.
        translation: metres; the root joint lies at `translation` plus its rest offset.
        reason: why the refinement of each ended (`Reason`); None for a prediction.
        iterations: of the solver.
        initial_objective, objective: before and after the solver (after the translation stage both); NaN where it did
            not run.
        joint_std_mm: standard deviation of each joint relative to the pelvis, along the camera's axes
            (`fitting.start.posterior`); NaN where the body was not refined, None where it was not asked for.
    """

    rotations: Float[np.ndarray, "n 24 3 3"]
    betas: Float[np.ndarray, "n 10"]
    translation: Float[np.ndarray, "n 3"]
    reason: Int[np.ndarray, " n"] | None = None
    iterations: Int[np.ndarray, " n"] | None = None
    initial_objective: Float[np.ndarray, " n"] | None = None
    objective: Float[np.ndarray, " n"] | None = None
    joint_std_mm: Float[np.ndarray, "n 24 3"] | None = None

    def __len__(self) -> int:
        return len(self.rotations)

    def reason_counts(self) -> dict[str, int]:
        """How many frames ended for which reason, by name."""
        if self.reason is None:
            return {}
        codes, counts = np.unique(self.reason, return_counts=True)
        return {Reason(code).name.lower(): int(count) for code, count in zip(codes, counts, strict=True)}

    def select(self, frames: np.ndarray | slice) -> BodyFits:
        """Some of the persons."""
        chosen: dict[str, Any] = {
            f.name: None if (array := getattr(self, f.name)) is None else array[frames] for f in fields(self)
        }
        return BodyFits(**chosen)

    def save(self, path: str | Path) -> None:
        """Write as .npz (whole or not at all)."""
        write_npz(path, **{f.name: v for f in fields(self) if (v := getattr(self, f.name)) is not None})

    @classmethod
    def load(cls, path: str | Path) -> BodyFits:
        """Read what `save` wrote, or any .npz with rotations (n, 24, 3, 3), betas (n, 10) and translation (n, 3).

        Raises:
            InputError: the file is not such an .npz.
        """
        arrays = read_npz(path)
        for name, shape in (("rotations", (24, 3, 3)), ("betas", (10,)), ("translation", (3,))):
            if name not in arrays:
                raise InputError(f"{path} holds no body predictions: it lacks {name}")
            if arrays[name].shape[1:] != shape or len(arrays[name]) != len(arrays["rotations"]):
                raise InputError(
                    f"{path}: field {name} has shape {arrays[name].shape}, (n, {', '.join(map(str, shape))}) is needed"
                )
        return cls(**{f.name: arrays[f.name] for f in fields(cls) if f.name in arrays})
