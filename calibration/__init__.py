"""Calibrated confidences of 2D keypoints: theory, CCNet, rescoring, and the COCO track that judges them."""
