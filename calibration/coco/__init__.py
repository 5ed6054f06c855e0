"""COCO evaluation of keypoint results: AP, AR, ECE, AUSE and correlation with OKS, with paired bootstrap intervals.

Reads annotation and results files, matches detections as pycocotools does, and measures confidences on them. May import
`calibration`'s geometry and `pose2d`; knows no network and no commands.
"""
