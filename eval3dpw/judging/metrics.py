"""Errors of 3D bodies, per frame. Points in metres, errors in millimetres, angles in degrees.

Every function returns one number per frame, so that frames can be pooled, grouped by track and resampled afterwards.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from eval3dpw.judging.alignment import similarity_aligned
from pose2d.skeletons import SMPL_PARENTS

MM_PER_M = 1000.0
PCK_THRESHOLD_MM = 50.0
AUC_STEPS_MM = 200


def point_errors_mm(predicted: Float[Tensor, "n k 3"], truth: Float[Tensor, "n k 3"]) -> Float[Tensor, "n k"]:
    """Distance of each point."""
    result: Tensor = (predicted.double() - truth.double()).norm(dim=-1) * MM_PER_M
    return result


def mean_point_error_mm(predicted: Float[Tensor, "n k 3"], truth: Float[Tensor, "n k 3"]) -> Float[Tensor, " n"]:
    """Mean distance: MPJPE when the points are joints brought to a common pelvis, MVE when they are vertices."""
    return point_errors_mm(predicted, truth).mean(1)


def pa_mpjpe_mm(predicted: Float[Tensor, "n k 3"], truth: Float[Tensor, "n k 3"]) -> Float[Tensor, " n"]:
    """Mean distance after each frame's similarity alignment of the prediction to the truth."""
    return mean_point_error_mm(similarity_aligned(predicted, truth), truth)


def acceleration_error_mm(predicted: Float[Tensor, "n k 3"], truth: Float[Tensor, "n k 3"]) -> Float[Tensor, " m"]:
    """Mean difference of second differences over consecutive frames, mm per frame squared, for the n - 2 inner frames.

    Kanazawa et al., human_dynamics (HMMR); the same function as VIBE's `compute_error_accel`.
    """
    return acceleration_mm(predicted.double() - truth.double())


def acceleration_mm(points: Float[Tensor, "n k 3"]) -> Float[Tensor, " m"]:
    """Mean length of second differences over consecutive frames, mm per frame squared: jitter, and true movement."""
    points = points.double()
    result: Tensor = (points[:-2] - 2 * points[1:-1] + points[2:]).norm(dim=-1).mean(1) * MM_PER_M
    return result


def pck(errors_mm: Float[Tensor, "n k"], threshold_mm: float = PCK_THRESHOLD_MM) -> Float[Tensor, " n"]:
    """Share of points within the threshold (3dpw-eval counts a point on the threshold as within), in [0, 1]."""
    return (errors_mm <= threshold_mm).double().mean(1)


def auc(errors_mm: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
    """Area under PCK over thresholds 0, 1, ..., 199 mm, normalised to [0, 1] (3dpw-eval: linear between them)."""
    curve = torch.stack([pck(errors_mm, float(threshold)) for threshold in range(AUC_STEPS_MM)], dim=1)
    return torch.trapezoid(curve, dx=1.0 / (AUC_STEPS_MM - 1), dim=1)


def global_rotations(rotations: Float[Tensor, "n 24 3 3"]) -> Float[Tensor, "n 24 3 3"]:
    """Orientation of each SMPL part in the frame of the root's rotation, from rotations relative to the parent."""
    composed = [rotations[:, 0]]
    for joint in range(1, len(SMPL_PARENTS)):
        composed.append(composed[SMPL_PARENTS[joint]] @ rotations[:, joint])
    return torch.stack(composed, dim=1)


def angle_errors_deg(predicted: Float[Tensor, "n k 3 3"], truth: Float[Tensor, "n k 3 3"]) -> Float[Tensor, "n k"]:
    """Geodesic angle between rotations.

    From the chord, |R1 - R2| = 2 sqrt(2) sin(angle / 2): exact near zero and, unlike arccos of a trace, never NaN.
    """
    chord = (predicted.double() - truth.double()).flatten(-2).norm(dim=-1)
    return torch.rad2deg(2 * torch.asin((chord / 8**0.5).clamp(max=1.0)))
