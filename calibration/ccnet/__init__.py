"""CCNet: the light branch on frozen features that predicts each keypoint's OKS, visibility and presence.

Holds the model, its inputs and their cache, its training and its files. May import `calibration.oks`, `theory`,
`rescoring`, `aggregation` and `pose2d`; knows no experiments and no commands.
"""
