"""Calibrated confidences of 2D keypoints: the theory, CCNet, calibrators of results files, and the COCO evaluation.

May import `pose2d`; knows no bodies. The names below are imported when they are first used, so that the geometry
(`calibration.oks`) and the hand-over to fitting (`calibration.calibrated_poses`) cost no more than NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from calibration.calibrated_poses import CalibratedPoses2D
    from calibration.ccnet.files import load_ccnet, save_ccnet
    from calibration.ccnet.model import CCNet, calibrate_batch
    from calibration.coco.evaluation import Confidence, KeypointEvaluation, evaluate_keypoints

__all__ = [
    "CCNet",
    "CalibratedPoses2D",
    "Confidence",
    "KeypointEvaluation",
    "calibrate_batch",
    "evaluate_keypoints",
    "load_ccnet",
    "save_ccnet",
]

_HOMES = {
    "CCNet": "calibration.ccnet.model",
    "CalibratedPoses2D": "calibration.calibrated_poses",
    "Confidence": "calibration.coco.evaluation",
    "KeypointEvaluation": "calibration.coco.evaluation",
    "calibrate_batch": "calibration.ccnet.model",
    "evaluate_keypoints": "calibration.coco.evaluation",
    "load_ccnet": "calibration.ccnet.files",
    "save_ccnet": "calibration.ccnet.files",
}


def __getattr__(name: str) -> object:
    """The exported names, imported on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
