"""Image sequences with bodies: finding, reading, images of frames, truth and boxes.

3DPW's layout is the first; the open world is written in it. May import `fitting` and `pose2d`; knows nothing of runs.
"""
