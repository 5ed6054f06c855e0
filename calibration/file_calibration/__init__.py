"""Calibrators that learn from a results file alone, without the network.

May import `calibration.coco` and `pose2d`; knows no CCNet, no experiments and no commands.
"""
