"""Pose networks, one family per file, behind one abstract base; their catalogue, their checkpoints, their size.

May import `crops`, `decoding`, `skeletons` and `files`. `base.PoseNetwork` is what everything else runs, of whatever
origin; `packaged` loads one by its options.
"""
