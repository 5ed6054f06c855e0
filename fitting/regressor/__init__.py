"""The regressor that predicts the initial body from a square crop (SPIN's architecture), and its files.

May import `bodies` and `pose2d`.
"""
