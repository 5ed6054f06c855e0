"""Confidence-weighted refinement of predicted bodies: 2D keypoints, weights and a camera in, SMPL parameters out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from fitting.bodies.body import Body
from fitting.bodies.reduced_body import ReducedBody, reduce_body
from fitting.body_fits import BodyFits
from fitting.methods.preparation import apply_solution, prepare
from fitting.refinement_config import RefinementConfig
from fitting.solving.solvers import solve
from pose2d.errors import InputError
from pose2d.skeletons import Skeleton


def refine(
    body: Body | ReducedBody,
    skeleton: Skeleton,
    xy_px: Float[np.ndarray, "n k 2"],
    weights: Float[np.ndarray, "n k"],
    intrinsics: Float[np.ndarray, "n 3 3"],
    initial: BodyFits,
    size_px: Float[np.ndarray, "n"],
    config: RefinementConfig,
) -> BodyFits:
    """Refine predicted bodies by weighted 2D keypoints (CLIFF's full-image camera, `fitting.objective`).

    Args:
        body: the body, or `reduce_body(body, skeleton)` where many calls share it.
        skeleton: names the keypoints; those that the body does not have are left out.
        xy_px: full-image pixels. Where the weight is 0 anything, NaN too.
        weights: not negative, mean about 1 (`fitting.weightings`). 0 means exactly no influence.
        intrinsics: of the full image.
        initial: predictions in the camera's frame.
        size_px: size of each person, the larger side of its box; errors are measured relative to it.

    Returns:
        Refined bodies, each with the reason why its fit ended. A frame that cannot be fitted keeps its initial
        estimate; no frame disturbs another.

    Raises:
        InputError: arrays of different lengths, or an unknown solver.
    """
    lengths = {len(a) for a in (xy_px, weights, intrinsics, initial, size_px)}
    if len(lengths) > 1 or xy_px.shape[1] != len(skeleton):
        raise InputError(
            f"refine needs as many poses, weights, cameras, predictions and sizes, got {sorted(lengths)}, "
            f"and {len(skeleton)} keypoints, got {xy_px.shape[1]}"
        )
    reduced = body if isinstance(body, ReducedBody) else reduce_body(body, skeleton)
    prepared = prepare(reduced, xy_px, weights, intrinsics, initial, size_px, config)
    return apply_solution(prepared, solve(prepared.problem, config), initial, config.max_beta)
