"""What comes before the solver: which frames can be fitted at all, and where the body stands."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from fitting.bodies.reduced_body import ReducedBody
from fitting.body_fits import Reason
from fitting.camera import project, translation_from_2d
from fitting.evidence import BOX_PX
from fitting.inputs import FitTensors
from fitting.objective import MIN_DEPTH_M
from fitting.refinement_config import FirstStage
from fitting.residuals import geman_mcclure_slope

FITTABLE = -1
"""`refusals` of a frame with nothing against it."""


def refusals(persons: FitTensors, max_beta: float) -> Int[Tensor, " n"]:
    """For each frame the first `Reason` why it cannot be fitted, or `FITTABLE`."""
    weights, intrinsics, rotations = persons.weights, persons.intrinsics, persons.rotations
    weight_ok = torch.isfinite(weights) & (weights >= 0)
    keypoint_ok = torch.isfinite(persons.xy_px).all(2) | (weights == 0)
    focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], 1)
    camera_ok = torch.isfinite(intrinsics).flatten(1).all(1) & (focal > 0).all(1)
    eye = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    orthogonal = ((rotations.mT @ rotations - eye).abs() < 1e-2).flatten(1).all(1)
    proper = (torch.linalg.det(torch.nan_to_num(rotations)) > 0).all(1)
    initial_ok = orthogonal & proper & (persons.betas.abs() <= max_beta).all(1)
    initial_ok &= torch.isfinite(persons.translation).all(1)
    out = torch.full((len(weights),), FITTABLE, device=weights.device)
    for reason, wrong in (
        (Reason.NO_WEIGHT, ~(weights > 0).any(1)),
        (Reason.BAD_INITIAL, ~initial_ok),
        (Reason.BAD_CAMERA, ~camera_ok),
        (Reason.BAD_BOX, ~(torch.isfinite(persons.size_px) & (persons.size_px > 0))),
        (Reason.BAD_KEYPOINT, ~(weight_ok & keypoint_ok).all(1)),
    ):
        out = torch.where(wrong, int(reason), out)
    return out


def translation_stage(
    persons: FitTensors, reduced: ReducedBody, settings: FirstStage
) -> tuple[Float[Tensor, "n 3"], Bool[Tensor, " n"]]:
    """Move a badly placed body to where the 2D keypoints see it, before its pose is touched (SPIN's first stage).

    Iterated closed form: each round solves for the translation with the squared error made a pixel error by the depths
    of the last round, with the robust kernel's weights and a pull to the initial translation. Where that lies behind
    the camera, one round without pull and kernel finds another start. A well placed body is left where it is.

    Returns:
        Translation, and whether all weighted keypoints lie in front of the camera there.
    """
    points = reduced.keypoint_positions(persons.rotations, persons.betas, torch.zeros_like(persons.translation))
    xy_px, weights, intrinsics, initial = persons.xy_px, persons.weights, persons.intrinsics, persons.translation
    pixels_per_unit = persons.size_px / BOX_PX
    used = weights > 0
    observed = torch.where(used[..., None], xy_px, 0.0)

    def in_front(translation: Tensor) -> Tensor:
        depth = points[..., 2] + translation[:, 2:]
        return ((depth > MIN_DEPTH_M) | ~used).all(1) & torch.isfinite(translation).all(1)

    def squared_error(translation: Tensor) -> tuple[Tensor, Tensor]:
        pixels, depth = project(points + translation[:, None], intrinsics)
        squared = ((pixels - observed) ** 2).sum(2) / pixels_per_unit[:, None] ** 2
        return torch.where(used, squared, 0.0), depth

    start_ok = in_front(initial)
    free = translation_from_2d(points, xy_px, weights, intrinsics)
    prior = torch.where(start_ok[:, None], initial, free)
    usable = in_front(prior)
    prior = torch.where(usable[:, None], prior, initial)
    mean_error = (weights * squared_error(prior)[0].sqrt()).sum(1) / weights.sum(1)
    misplaced = usable & (~start_ok | (mean_error > settings.above))
    translation = prior
    pull = settings.prior_strength / (prior[:, 2:] * points.new_tensor(settings.std)) ** 2
    unit = weights / (settings.pixel_scale * pixels_per_unit[:, None]) ** 2
    for _ in range(settings.iterations if misplaced.any() else 0):
        squared, depth = squared_error(translation)
        slope = geman_mcclure_slope(weights * squared / settings.pixel_scale**2, settings.kernel_knee)
        round_weights = torch.where(used, unit * slope / depth**2, 0.0)
        moved = translation_from_2d(points, xy_px, round_weights, intrinsics, prior, pull)
        translation = torch.where((misplaced & in_front(moved))[:, None], moved, translation)
    return translation, usable
