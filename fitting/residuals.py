"""The data term's parts: the reprojection residual scaled by person size, and the robust kernels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def scaled_focal(
    intrinsics: Float[Tensor, "n 3 3"], pixels_per_unit: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"]]:
    """Focal lengths and principal point in units of the person box."""
    focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], -1)
    return focal / pixels_per_unit[:, None], intrinsics[:, :2, 2] / pixels_per_unit[:, None]


def reprojection(
    points: Float[Tensor, "n 3 K"],
    xy: Float[Tensor, "n 2 K"],
    focal: Float[Tensor, "n 2"],
    centre: Float[Tensor, "n 2"],
) -> Float[Tensor, "n 2 K"]:
    """Projected minus observed, in the units of `xy`."""
    return focal[..., None] * points[:, :2] / points[:, 2:] + centre[..., None] - xy


def projection_jacobian(points: Float[Tensor, "n 3 K"], focal: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2 K 3"]:
    """Derivative of the projection by the point."""
    out = points.new_zeros(len(points), 2, points.shape[2], 3)
    inverse_depth = 1 / points[:, 2]
    scale = focal[..., None] * inverse_depth[:, None]
    out[:, 0, :, 0], out[:, 1, :, 1] = scale[:, 0], scale[:, 1]
    out[..., 2] = -scale * points[:, :2] * inverse_depth[:, None]
    return out


def geman_mcclure(squared: Float[Tensor, "*shape"], knee: float) -> Float[Tensor, "*shape"]:
    """rho(s) = c^2 s / (c^2 + s) of a squared error s: s while small, c^2 at most (Geman and McClure 1987)."""
    return knee**2 * squared / (knee**2 + squared)


def geman_mcclure_slope(squared: Float[Tensor, "*shape"], knee: float) -> Float[Tensor, "*shape"]:
    """d rho / d s = (c^2 / (c^2 + s))^2, the weight of iterated reweighted least squares; from 1 down to 0."""
    return (knee**2 / (knee**2 + squared)) ** 2


def student(squared: Float[Tensor, "*shape"], freedom: float) -> Float[Tensor, "*shape"]:
    """(nu + 2) log(1 + s / nu): twice the negative log density of a 2D Student t at squared Mahalanobis distance s,
    without its constant."""
    return (freedom + 2) * torch.log1p(squared / freedom)


def student_slope(squared: Float[Tensor, "*shape"], freedom: float) -> Float[Tensor, "*shape"]:
    """Its derivative, (nu + 2) / (nu + s): the precision expected a posteriori, relative to the prior's."""
    return (freedom + 2) / (freedom + squared)
