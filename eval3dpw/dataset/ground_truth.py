"""Ground truth of a track in the frame of its moving camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch
from jaxtyping import Float
from torch import Tensor

from eval3dpw.dataset.sequences import Track
from fitting.bodies.body import Body
from pose2d.skeletons import SMPL24


@dataclass(frozen=True)
class CameraTruth:
    """SMPL parameters that put the body where the camera saw it: metres, OpenCV camera frame."""

    rotations: Float[Tensor, "n 24 3 3"]
    betas: Float[Tensor, "n 10"]
    translation: Float[Tensor, "n 3"]


def camera_rotations(track: Track) -> Float[Tensor, "n 24 3 3"]:
    """Joint rotations with the root's turned from the world's frame into the camera's.

    Raises:
        InputError: the track has no ground truth.
    """
    truth = track.require_truth()
    rotations = roma.rotvec_to_rotmat(torch.as_tensor(truth.poses).reshape(len(track), len(SMPL24), 3))
    R_camera_world = torch.as_tensor(truth.T_camera_world[:, :3, :3])
    rotations[:, 0] = R_camera_world @ rotations[:, 0]
    result: Tensor = rotations.float()
    return result


def camera_truth(track: Track, body: Body) -> CameraTruth:
    """The track's parameters in the camera's frame.

    SMPL turns the body about its root joint, which rests at an offset J0 from the model's origin:
    x = R (v - J0) + J0 + t. With the camera's motion (Rc, tc) in front, the same body has root orientation Rc R and
    translation Rc (J0 + t) + tc - J0.

    Args:
        track: with ground truth.
        body: of the truth's gender; the offset depends on it and on the shape.

    Raises:
        InputError: the track has no ground truth.
    """
    truth = track.require_truth()
    betas = torch.as_tensor(truth.betas).float()
    root = rest_root(body, betas[None])[0].double()
    T = torch.as_tensor(truth.T_camera_world)
    moved = torch.einsum("nij,nj->ni", T[:, :3, :3], torch.as_tensor(truth.translation) + root) + T[:, :3, 3]
    return CameraTruth(camera_rotations(track), betas.expand(len(track), -1), (moved - root).float())


def rest_root(body: Body, betas: Float[Tensor, "n 10"]) -> Float[Tensor, "n 3"]:
    """Where the root joint lies in rest pose: the point about which the root's rotation turns."""
    root = body.joint_regressor[SMPL24.index("pelvis")]
    offsets = torch.einsum("v,vck->ck", root, body.shapedirs)
    return root @ body.v_template + betas.to(offsets) @ offsets.T


def project_px(points: Float[np.ndarray, "n k 3"], intrinsics: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "n k 2"]:
    """Pixels of points in the camera's frame; skew counts. Points at or behind the camera give NaN."""
    homogeneous = points @ intrinsics.T
    depth = np.where(homogeneous[..., 2:] > 0, homogeneous[..., 2:], np.nan)
    return np.asarray(homogeneous[..., :2] / depth)
