"""Refinement of SMPL bodies by 2D keypoints: the reprojection error, weighted by calibrated confidences.

Takes `CalibratedPoses2D` from `calibration`, cameras and initial bodies; returns `BodyFits`. May import `calibration`
and `pose2d`; ground truth never comes here. The names below are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fitting.bodies.body import Body, load_body
    from fitting.body_fits import BodyFits
    from fitting.evidence import KeypointEvidence
    from fitting.inputs import FitInputs
    from fitting.methods.catalogue import MethodConfig, fit_bodies
    from fitting.regressor.model import load_regressor
    from fitting.weightings import WeightingConfig, keypoint_weights

__all__ = [
    "Body",
    "BodyFits",
    "FitInputs",
    "KeypointEvidence",
    "MethodConfig",
    "WeightingConfig",
    "fit_bodies",
    "keypoint_weights",
    "load_body",
    "load_regressor",
]

_HOMES = {
    "Body": "fitting.bodies.body",
    "BodyFits": "fitting.body_fits",
    "FitInputs": "fitting.inputs",
    "KeypointEvidence": "fitting.evidence",
    "MethodConfig": "fitting.methods.catalogue",
    "WeightingConfig": "fitting.weightings",
    "fit_bodies": "fitting.methods.catalogue",
    "keypoint_weights": "fitting.weightings",
    "load_body": "fitting.bodies.body",
    "load_regressor": "fitting.regressor.model",
}


def __getattr__(name: str) -> object:
    """The exported names, imported on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
