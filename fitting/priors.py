"""Priors: how far each joint may turn from the initial prediction, which way knees and elbows do not bend, and SPIN's
mixture over poses for users who have its licensed file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pose2d.errors import InputError
from pose2d.files.boundary import reading
from pose2d.files.unpickling import plain, restricted_load
from pose2d.skeletons import SMPL24

JOINT_STD_RAD = {
    **dict.fromkeys(("spine1", "spine2", "spine3"), 0.08),
    **dict.fromkeys(("left_collar", "right_collar", "neck"), 0.10),
    **dict.fromkeys(("left_foot", "right_foot", "left_hand", "right_hand"), 0.10),
    "pelvis": 0.15,
    "head": 0.15,
    **dict.fromkeys(("left_hip", "right_hip"), 0.20),
    **dict.fromkeys(("left_ankle", "right_ankle", "left_wrist", "right_wrist"), 0.20),
    **dict.fromkeys(("left_shoulder", "right_shoulder", "left_knee", "right_knee"), 0.30),
    **dict.fromkeys(("left_elbow", "right_elbow"), 0.35),
}
"""Expected error of an initial prediction's joint rotations: small along the spine, large at the ends of the limbs."""

# Hinges: joint, axis of the parent's frame, sign of the turn that anatomy forbids (SPIN, smplify/prior.py).
_HINGES = (("left_elbow", 1, 1.0), ("right_elbow", 1, -1.0), ("left_knee", 0, -1.0), ("right_knee", 0, -1.0))


@dataclass(frozen=True)
class Hinges:
    """Knees and elbows among the unknown joints: position of the joint, axis and forbidden sign of each."""

    joints: tuple[int, ...]
    axes: tuple[int, ...]
    signs: tuple[float, ...]


def hinges(joints: tuple[int, ...]) -> Hinges:
    """The hinges among the SMPL joints `joints`."""
    found = [(joints.index(SMPL24.index(n)), a, s) for n, a, s in _HINGES if SMPL24.index(n) in joints]
    return Hinges(*(tuple(column) for column in zip(*found, strict=True))) if found else Hinges((), (), ())


def joint_std_rad(joints: tuple[int, ...]) -> Float[np.ndarray, " U"]:
    """Standard deviation of the prior of each joint's rotation, radians."""
    return np.array([JOINT_STD_RAD[SMPL24.keypoints[joint]] for joint in joints])


def hinge_values(
    rotations: Float[Tensor, "n U 3 3"], bends: Hinges
) -> tuple[Float[Tensor, "n h"], Float[Tensor, "n h 3"]]:
    """How far each hinge bends the forbidden way, and the derivative by a turn of the joint in its own frame.

    The bend is the sine-like component a . vee(R - R^T)/2, the rotation vector's component at small angles but smooth
    at pi too; its derivative by exp(hat d) on the right is (tr(R) I - R^T)/2 in row a. 0 where the bend is allowed.
    """
    turned = rotations[:, list(bends.joints)]
    vee = torch.stack(
        [
            turned[..., 2, 1] - turned[..., 1, 2],
            turned[..., 0, 2] - turned[..., 2, 0],
            turned[..., 1, 0] - turned[..., 0, 1],
        ],
        -1,
    )
    sign = rotations.new_tensor(bends.signs)
    h = list(range(len(bends.joints)))
    value = sign * vee[:, h, list(bends.axes)] / 2
    trace = turned.diagonal(dim1=-2, dim2=-1).sum(-1)
    slope = (trace[..., None, None] * torch.eye(3, dtype=turned.dtype, device=turned.device) - turned.mT) / 2
    bent = value > 0
    slope = slope[:, h, list(bends.axes)] * sign[:, None]
    return torch.where(bent, value, 0.0), torch.where(bent[..., None], slope, 0.0)


@dataclass(frozen=True)
class PoseMixture:
    """SPIN's Gaussian mixture over 69 axis-angle numbers of the body pose (smplify/prior.py, MaxMixturePrior)."""

    means: Float[Tensor, "m 69"]
    precisions: Float[Tensor, "m 69 69"]
    log_weights: Float[Tensor, " m"]

    def __call__(self, body_pose: Float[Tensor, "n 69"]) -> Float[Tensor, " n"]:
        """min over components of 1/2 D^T S^-1 D - log w'."""
        difference = body_pose[:, None] - self.means
        squared = torch.einsum("nmi,mij,nmj->nm", difference, self.precisions, difference)
        return (squared / 2 - self.log_weights).amin(1)


def load_pose_mixture(path: str | Path) -> PoseMixture:
    """Read the user's gmm_08.pkl. It is licensed and not shipped.

    w' = w / ((2 pi)^(69/2) sqrt(det S / min det S)), SPIN's normalisation.

    Raises:
        InputError: the file is no such mixture.
    """
    loaded = restricted_load(path)
    if not isinstance(loaded, dict) or {"means", "covars", "weights"} - loaded.keys():
        raise InputError(f"{path} is no pose mixture: means, covars and weights are needed")
    with reading(path, "a pose mixture"):
        means, covariances, weights = (
            np.asarray(plain(loaded[name]), float) for name in ("means", "covars", "weights")
        )
    if means.shape != (len(means), 69) or covariances.shape != (len(means), 69, 69) or weights.shape != (len(means),):
        raise InputError(
            f"{path}: means, covars, weights have shapes {means.shape}, {covariances.shape}, {weights.shape}"
        )
    root_determinant = np.sqrt(np.linalg.det(covariances))
    scaled = weights / ((2 * np.pi) ** 34.5 * root_determinant / root_determinant.min())
    return PoseMixture(*(torch.tensor(a).float() for a in (means, np.linalg.inv(covariances), np.log(scaled))))
