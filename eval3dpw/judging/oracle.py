"""How right 2D keypoints really are: the OKS of each one against the ground-truth body.

Ground truth does not go further than this file: what leaves it is a confidence in [0, 1] for each keypoint, the best
that any calibration could give, and fitting treats it as it treats every other confidence.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from calibration.oks import oks_from_area
from eval3dpw.dataset.ground_truth import camera_truth, project_px
from eval3dpw.dataset.sequences import Track
from eval3dpw.drawing.rasteriser import rasterise
from fitting.bodies.body import Body
from pose2d.skeletons import Skeleton

_BATCH = 128
_SILHOUETTE_PX = 128


def oracle_confidence(
    track: Track, xy_px: Float[np.ndarray, "n k 2"], skeleton: Skeleton, body: Body
) -> Float[np.ndarray, "n k"]:
    """True OKS of each keypoint (equation 6).

    Args:
        track: with ground truth.
        xy_px: found keypoints of every frame of the track, image pixels.
        skeleton: names them; its OKS sigmas are used.
        body: of the actor's gender. The area is that of its silhouette, where COCO has a drawn outline.

    Returns:
        0 where the true keypoint lies behind the camera or nothing was found (NaN).
    """
    true_px, area_px = true_keypoints(track, skeleton, body)
    squared = ((xy_px - true_px) ** 2).sum(-1)
    return np.asarray(np.nan_to_num(oks_from_area(squared, area_px[:, None], skeleton.sigmas), nan=0.0))


def true_keypoints(
    track: Track, skeleton: Skeleton, body: Body
) -> tuple[Float[np.ndarray, "n k 2"], Float[np.ndarray, " n"]]:
    """The ground-truth body's keypoints in image pixels and the area of its silhouette in square pixels."""
    truth = camera_truth(track, body)
    xy_px, area_px = [], []
    for start in range(0, len(track), _BATCH):
        part = slice(start, start + _BATCH)
        with torch.no_grad():
            output = body(truth.rotations[part], truth.betas[part], truth.translation[part])
            keypoints = body.keypoints(output, skeleton)
        xy_px.append(project_px(keypoints.double().numpy(), track.intrinsics))
        area_px += [silhouette_area(v, body.faces, track.intrinsics) for v in output.vertices.double().numpy()]
    return np.concatenate(xy_px), np.array(area_px)


def silhouette_area(
    vertices_camera: Float[np.ndarray, "v 3"], faces: np.ndarray, intrinsics: Float[np.ndarray, "3 3"]
) -> float:
    """Area of a mesh's picture in square pixels, also of what lies beyond the image's border.

    Drawn at a fixed size, so that the cost does not depend on the image. NaN for a mesh behind the camera.
    """
    xy_px = project_px(vertices_camera[None], intrinsics)[0]
    if not np.isfinite(xy_px).all():
        return float("nan")
    low = xy_px.min(0)
    scale = (_SILHOUETTE_PX - 1) / max(float((xy_px.max(0) - low).max()), 1e-9)
    to_window = np.array([[scale, 0, -scale * low[0]], [0, scale, -scale * low[1]], [0, 0, 1]])
    raster = rasterise(vertices_camera, faces, to_window @ intrinsics, (_SILHOUETTE_PX, _SILHOUETTE_PX))
    return float((raster.face >= 0).sum()) / scale**2
