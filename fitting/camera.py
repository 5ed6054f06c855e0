"""The full-image perspective camera: projection, CLIFF's change from crop camera to full image, translation from 2D.

Frame: OpenCV (+x right, +y down, +z forward), metres; pixels with the centre of pixel (0, 0) at (0.0, 0.0).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def intrinsics_from_focal(
    focal_px: Float[Tensor, " n"], width_px: Float[Tensor, " n"], height_px: Float[Tensor, " n"]
) -> Float[Tensor, "n 3 3"]:
    """Intrinsic matrices with square pixels and the principal point in the middle of the image."""
    intrinsics = torch.zeros(*focal_px.shape, 3, 3, dtype=focal_px.dtype, device=focal_px.device)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal_px
    intrinsics[:, 0, 2] = (width_px - 1) / 2
    intrinsics[:, 1, 2] = (height_px - 1) / 2
    intrinsics[:, 2, 2] = 1
    return intrinsics


def diagonal_focal_px(width_px: Float[Tensor, " n"], height_px: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """CLIFF's focal length where none is known: the image's diagonal, a field of view of 53 degrees."""
    return (width_px**2 + height_px**2).sqrt()


def project(
    points: Float[Tensor, "n k 3"], intrinsics: Float[Tensor, "n 3 3"]
) -> tuple[Float[Tensor, "n k 2"], Float[Tensor, "n k"]]:
    """Pixels and depths of points in the camera frame, without skew. A point at depth <= 0 has no meaningful pixel."""
    depth = points[..., 2]
    focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], -1)[:, None]
    centre = intrinsics[:, None, :2, 2]
    return points[..., :2] / depth[..., None] * focal + centre, depth


def crop_to_full_translation(
    crop_camera: Float[Tensor, "n 3"], boxes_xywh: Float[Tensor, "n 4"], intrinsics: Float[Tensor, "n 3 3"]
) -> Float[Tensor, "n 3"]:
    """Translation in the full image's camera from a regressor's weak-perspective crop camera (CLIFF, cam_crop2full).

    The body's origin projects to where the crop's camera puts it. Differentiable.

    Args:
        crop_camera: scale s and shift (tx, ty) in units of half the crop's side: a point X of the body
            lies at s (X + t) in the crop's [-1, 1].
        boxes_xywh: the square crop in image pixels; only its centre and its larger side are used.
        intrinsics: of the full image, which may have fx != fy and any principal point.
    """
    scale, shift = crop_camera[:, 0], crop_camera[:, 1:]
    side_px = boxes_xywh[:, 2:].amax(1)
    middle_px = boxes_xywh[:, :2] + boxes_xywh[:, 2:] / 2
    focal_px = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], -1)
    size = scale * side_px
    depth = 2 * focal_px.mean(1) / (size + 1e-9)
    offset_px = size[:, None] / 2 * shift + middle_px - intrinsics[:, :2, 2]
    return torch.cat([offset_px / focal_px * depth[:, None], depth[:, None]], 1)


def translation_from_2d(
    points: Float[Tensor, "n k 3"],
    xy_px: Float[Tensor, "n k 2"],
    weights: Float[Tensor, "n k"],
    intrinsics: Float[Tensor, "n 3 3"],
    prior: Float[Tensor, "n 3"] | None = None,
    prior_weight: Float[Tensor, "n 3"] | None = None,
) -> Float[Tensor, "n 3"]:
    """The translation that best explains 2D keypoints of a posed body, in closed form (SPIN, utils/geometry.py).

    u - cx = fx (X + tx) / (Z + tz) becomes linear in t when multiplied by the depth, so the weighted squared error is
    that of the pixels times the depth Z + tz. A caller that knows the depths makes it the pixel error by dividing the
    weights by depth squared (see `fitting.methods.stages`).

    Args:
        points: body-frame keypoints at translation 0, metres.
        xy_px: where they are seen in the full image; anything, NaN too, where the weight is 0.
        weights: of the squared error.
        intrinsics: of the full image.
        prior: centre of a pull sum(prior_weight (t - prior)^2) that is added to the error; none by default.
        prior_weight: strength of the pull per axis.

    Returns:
        Translation in metres; not finite where the keypoints do not determine it (fewer than two of them).
    """
    used = weights > 0
    xy_px = torch.where(used[..., None], xy_px, 0.0)
    focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], -1)[:, None]
    ray = (xy_px - intrinsics[:, None, :2, 2]) / focal  # (n, k, 2)
    weight = weights[..., None] * focal**2
    # Rows (1, 0, -rx) and (0, 1, -ry) for t; right-hand side r Z - X.
    target = ray * points[..., 2:] - points[..., :2]
    normal = torch.zeros(len(points), 3, 3, dtype=points.dtype, device=points.device)
    right = torch.zeros(len(points), 3, dtype=points.dtype, device=points.device)
    for axis in range(2):
        normal[:, axis, axis] = weight[..., axis].sum(1)
        normal[:, axis, 2] = normal[:, 2, axis] = -(weight[..., axis] * ray[..., axis]).sum(1)
        right[:, axis] = (weight[..., axis] * target[..., axis]).sum(1)
    normal[:, 2, 2] = (weight * ray**2).sum((1, 2))
    right[:, 2] = -(weight * ray * target).sum((1, 2))
    if prior is not None and prior_weight is not None:
        normal = normal + torch.diag_embed(prior_weight)
        right = right + prior_weight * prior
    solution, failed = torch.linalg.solve_ex(normal, right[..., None])
    return torch.where((failed == 0)[:, None], solution[..., 0], torch.nan)
