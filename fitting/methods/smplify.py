"""SMPLify as SPIN runs it: Adam through the full body, two stages of 100 steps (Kolotouros et al. 2019, smplify/).

A peer to measure `fitting.solving` against, and a check: another objective, another optimiser, the whole mesh. What
differs from SPIN: the camera is the full image's (CLIFF), the weights stand where SPIN has squared confidences
(`--power 2` for SPIN's own), and where the user has no gmm_08.pkl, which is licensed, a Gaussian around the initial
pose with `fitting.priors.JOINT_STD_RAD` takes the mixture's place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch
from torch import Tensor

from fitting.bodies.body import Body
from fitting.body_fits import BodyFits, Reason
from fitting.camera import project
from fitting.inputs import FitInputs, FitTensors
from fitting.methods.stages import FITTABLE, refusals
from fitting.priors import PoseMixture, joint_std_rad, load_pose_mixture
from pose2d.skeletons import Skeleton

_TORSO = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
_IGNORED = ("neck", "left_hip", "right_hip")
_ANGLES, _SIGNS = (55, 58, 12, 15), (1.0, -1.0, -1.0, -1.0)
"""Full-pose indices and forbidden signs of elbows and knees."""


@dataclass(frozen=True)
class SmplifyConfig:
    """SPIN's constants (smplify/smplify.py, smplify/losses.py).

    Attributes:
        iterations: of each of the two stages.
        learning_rate: Adam's.
        depth_weight: on (tz - tz0)^2 in the camera stage, squared before use.
        error_scale: s of the robust kernel in pixels of the 224-pixel crop.
        pose_weight, angle_weight, shape_weight: squared before use.
        crop_scale: side of SPIN's crop over the person's size; a crop is 224 pixels wide.
        mixture: the user's gmm_08.pkl.
        batch_size: persons at a time.
        max_beta: a shape beyond this many standard deviations is an error, not a body.
    """

    iterations: int = 100
    learning_rate: float = 1e-2
    depth_weight: float = 100.0
    error_scale: float = 100.0
    pose_weight: float = 4.78
    angle_weight: float = 15.2
    shape_weight: float = 5.0
    crop_scale: float = 1.2
    mixture: Path | None = None
    batch_size: int = 64
    max_beta: float = 10.0


def smplify(inputs: FitInputs, config: SmplifyConfig = SmplifyConfig()) -> BodyFits:
    """Refine predicted bodies by SPIN's SMPLify.

    A frame keeps its initial estimate where the mean weighted reprojection error does not fall, as in SPIN
    (`Reason.DAMPING_LIMIT`). Its objective is that error, in pixels of the 224-pixel crop.
    """
    sources = inputs.body.keypoint_sources(inputs.skeleton)
    present = np.array([k for k, source in enumerate(sources) if source is not None], dtype=np.int64)
    skeleton = Skeleton(inputs.skeleton.name, tuple(inputs.skeleton.keypoints[k] for k in present))
    mixture = None if config.mixture is None else load_pose_mixture(config.mixture)
    everyone = FitTensors.of(inputs, present)
    refused = refusals(everyone, config.max_beta).numpy()
    fittable = np.flatnonzero(refused == FITTABLE)
    initial, count = inputs.initial, len(inputs)
    out = {
        "rotations": initial.rotations.copy(),
        "betas": initial.betas.copy(),
        "translation": initial.translation.copy(),
        "reason": refused.copy(),
        "iterations": np.where(refused == FITTABLE, 2 * config.iterations, 0),
        "initial_objective": np.full(count, np.nan),
        "objective": np.full(count, np.nan),
    }
    for start in range(0, len(fittable), config.batch_size):
        frames = fittable[start : start + config.batch_size]
        persons = everyone.select(torch.from_numpy(frames)).to(torch.float32)
        fitted = _fit_batch(persons, inputs.body, skeleton, config, mixture)
        better = fitted["reason"] == Reason.ITERATION_LIMIT
        for name, array in fitted.items():
            rows = better if name in ("rotations", "betas", "translation") else slice(None)
            out[name][frames[rows]] = array[rows]
    return BodyFits(**out)


def _fit_batch(
    persons: FitTensors, body: Body, skeleton: Skeleton, config: SmplifyConfig, mixture: PoseMixture | None
) -> dict[str, np.ndarray]:
    """Both stages for some persons; the fields of `BodyFits` by name."""
    weights, intrinsics = persons.weights, persons.intrinsics
    crop_px = 224 / (config.crop_scale * persons.size_px)
    observed = torch.where(weights[..., None] > 0, persons.xy_px, 0.0)
    pose0 = roma.rotmat_to_rotvec(persons.rotations)
    std = torch.as_tensor(joint_std_rad(tuple(range(24)))).float()[1:, None]
    root, joints = pose0[:, :1].clone(), pose0[:, 1:].clone()
    shape, camera = persons.betas.clone(), persons.translation.clone()

    def error(root: Tensor, joints: Tensor, shape: Tensor, camera: Tensor) -> Tensor:
        pose = roma.rotvec_to_rotmat(torch.cat([root, joints], 1))
        pixels, _ = project(body.keypoints(body(pose, shape, camera), skeleton), intrinsics)
        return torch.where(weights[..., None] > 0, (pixels - observed) * crop_px[:, None, None], 0.0)

    def mean_error(*state: Tensor) -> Tensor:
        with torch.no_grad():
            return (weights * error(*state).square().sum(2)).sum(1) / weights.sum(1)

    before = mean_error(root, joints, shape, camera)
    torso = [skeleton.index(name) for name in _TORSO if name in skeleton]
    depth0 = camera[:, 2].clone()

    def camera_loss() -> Tensor:
        squared = error(root, joints, shape, camera)[:, torso].square().sum((1, 2))
        return (squared + config.depth_weight**2 * (camera[:, 2] - depth0) ** 2).sum()

    _adam([root, camera], camera_loss, config)
    counted = weights.clone()
    counted[:, [skeleton.index(name) for name in _IGNORED if name in skeleton]] = 0
    signs = torch.tensor(_SIGNS)

    def body_loss() -> Tensor:
        squared = error(root, joints, shape, camera).square()
        robust = config.error_scale**2 * squared / (config.error_scale**2 + squared)
        angles = torch.cat([root, joints], 1).flatten(1)[:, list(_ANGLES)] * signs
        if mixture is None:
            prior = (((joints - pose0[:, 1:]) / std) ** 2).sum((1, 2)) / 2
        else:
            prior = mixture(joints.flatten(1))
        loss: Tensor = (
            (counted * robust.sum(2)).sum(1)
            + config.pose_weight**2 * prior
            + config.angle_weight**2 * (torch.exp(angles) ** 2).sum(1)
            + config.shape_weight**2 * shape.square().sum(1)
        ).sum()
        return loss

    _adam([root, joints, shape], body_loss, config)
    after = mean_error(root, joints, shape, camera)
    pose = roma.rotvec_to_rotmat(torch.cat([root, joints], 1))
    sane = torch.isfinite(after) & (shape.abs() <= config.max_beta).all(1)
    better = sane & (after < before)
    failed = torch.where(sane, int(Reason.DAMPING_LIMIT), int(Reason.DIVERGED))
    fitted = {
        "rotations": pose,
        "betas": shape,
        "translation": camera,
        "reason": torch.where(better, int(Reason.ITERATION_LIMIT), failed),
        "initial_objective": before,
        "objective": torch.where(better, after, before),
    }
    return {name: array.numpy() for name, array in fitted.items()}


def _adam(parameters: list[Tensor], loss: Callable[[], Tensor], config: SmplifyConfig) -> None:
    """Minimise in place."""
    for parameter in parameters:
        parameter.requires_grad_()
    optimiser = torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.999))
    for _ in range(config.iterations):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    for parameter in parameters:
        parameter.requires_grad_(False)
