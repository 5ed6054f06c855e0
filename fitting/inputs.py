"""What a refinement is given: the persons' 2D keypoints and weights, their cameras, and the bodies to start from."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from fitting.bodies.body import Body
from fitting.bodies.reduced_body import ReducedBody, reduce_body
from fitting.body_fits import BodyFits
from fitting.evidence import KeypointEvidence
from fitting.regressor.model import Regressor
from pose2d.errors import InputError
from pose2d.skeletons import Skeleton


@dataclass(frozen=True)
class Crops:
    """What the regressor sees: square crops and where they lie in their images (pixels)."""

    images: UInt8[np.ndarray, "n size size 3"]
    centers_px: Float[np.ndarray, "n 2"]
    sides_px: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class FitInputs:
    """All that a method may need for n persons.

    Attributes:
        body: the body model, posed in the precision of its buffers.
        skeleton: names the k keypoints; those that the body does not have are left out.
        xy_px: full-image pixels. Where the weight is 0 anything, NaN too.
        weights: not negative, mean about 1 (`fitting.weightings`). 0 means exactly no influence.
        intrinsics: of the full images.
        initial: the bodies to start from, in the cameras' frames.
        size_px: size of each person, the larger side of its box; errors are measured relative to it.
        regressor: the network that predicted the initial bodies; None where they come from elsewhere.
        crops: what it saw of the persons; kept only for a method that moves its weights.
        frame_ids: rising frame numbers of one person's track, for the temporal term.
        evidence: what the weights were made from, for objectives that use it directly.

    Raises:
        InputError: the numbers of persons or keypoints differ.
    """

    body: Body
    skeleton: Skeleton
    xy_px: Float[np.ndarray, "n k 2"]
    weights: Float[np.ndarray, "n k"]
    intrinsics: Float[np.ndarray, "n 3 3"]
    initial: BodyFits
    size_px: Float[np.ndarray, " n"]
    regressor: Regressor | None = None
    crops: Crops | None = None
    frame_ids: Int[np.ndarray, " n"] | None = None
    evidence: KeypointEvidence | None = None

    def __post_init__(self) -> None:
        lengths = {len(a) for a in (self.xy_px, self.weights, self.intrinsics, self.initial, self.size_px)}
        if len(lengths) > 1:
            raise InputError(
                f"a refinement needs as many poses, weights, cameras, initial bodies and sizes, got {sorted(lengths)}"
            )
        if self.xy_px.shape[1] != len(self.skeleton):
            raise InputError(
                f"skeleton {self.skeleton.name} has {len(self.skeleton)} keypoints, got {self.xy_px.shape[1]}"
            )

    def __len__(self) -> int:
        return len(self.xy_px)

    @property
    def reduced(self) -> ReducedBody:
        """The body reduced to the skeleton's keypoints; derived once for each body and skeleton."""
        return reduce_body(self.body, self.skeleton)


@dataclass(frozen=True)
class FitTensors:
    """The numbers of `FitInputs` as tensors, for the K keypoints that the body has."""

    xy_px: Float[Tensor, "n K 2"]
    weights: Float[Tensor, "n K"]
    intrinsics: Float[Tensor, "n 3 3"]
    size_px: Float[Tensor, " n"]
    rotations: Float[Tensor, "n 24 3 3"]
    betas: Float[Tensor, "n 10"]
    translation: Float[Tensor, "n 3"]

    @classmethod
    def of(cls, inputs: FitInputs, keypoints: Int[np.ndarray, " K"]) -> FitTensors:
        """In float64, with the keypoints of these numbers."""
        initial = inputs.initial
        seen = (inputs.xy_px[:, keypoints], inputs.weights[:, keypoints], inputs.intrinsics, inputs.size_px)
        bodies = (initial.rotations, initial.betas, initial.translation)
        return cls(*(torch.tensor(array, dtype=torch.float64) for array in (*seen, *bodies)))

    def select(self, rows: Int[Tensor, " m"] | Bool[Tensor, " n"]) -> FitTensors:
        """Some of the persons."""
        return FitTensors(*(getattr(self, field.name)[rows] for field in fields(self)))

    def to(self, dtype: torch.dtype) -> FitTensors:
        """In another precision."""
        return FitTensors(*(getattr(self, field.name).to(dtype) for field in fields(self)))
