"""Body models: SMPL's format read safely, and a reduced body whose posing costs little.

May import `pose2d` only. The open body's files lie here.
"""
