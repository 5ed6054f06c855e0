"""Confidence-weighted refinement of predicted bodies: each person's own SMPL parameters move (`fitting.objective`)."""

from __future__ import annotations

from fitting.body_fits import BodyFits
from fitting.inputs import FitInputs
from fitting.methods.preparation import prepare, refined
from fitting.refinement_config import RefinementConfig
from fitting.solving.solvers import solve


def refine(inputs: FitInputs, config: RefinementConfig) -> BodyFits:
    """Refine predicted bodies by weighted 2D keypoints in CLIFF's full-image camera.

    Returns:
        Refined bodies, each with the reason why its fit ended. A frame that cannot be fitted keeps its initial
        estimate; no frame disturbs another.

    Raises:
        InputError: unknown solver.
    """
    prepared = prepare(inputs, config)
    return refined(prepared, solve(prepared.problem, config), inputs, config)
