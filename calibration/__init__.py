"""Calibrated confidences of 2D keypoints: theory, CCNet, rescoring, and the COCO track that judges them."""

from calibration.coco.evaluation import Confidence, KeypointEvaluation, evaluate_keypoints

__all__ = ["Confidence", "KeypointEvaluation", "evaluate_keypoints"]
